//! Whether an entry that was created really is the table's next version.
//!
//! Entry N + 1 is created only if it is absent. Absent means "not yet written" as long as nobody cleans the
//! log; a writer that was suspended after it read version N may create entry N + 1 after the real one was
//! cleaned away. Its entry then lies behind a checkpoint, where no reader looks, and the commit is void.
//!
//! Entries are only ever cleaned one after the other, oldest first. So if the entry of N still is the one that
//! was read, *after* ours was created, then the real N + 1 cannot have been cleaned before: ours is it. That is
//! one file head. If the entry of N is gone, the log is listed and [`judge`] looks at what lies beyond ours.
//! Without proof that ours came too late it is left alone, for others may have built on it, and the
//! outcome is unknown.

use object_store::ObjectMeta;

use crate::entry::Written;
use crate::error::Error;
use crate::location::Location;
use crate::log_dir::{LogFile, log_files};

/// Milliseconds. Storages round the times of their files to as much as a second.
const GRAIN: i64 = 2_000;

/// What an entry that we created is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The table's next version.
    Next,
    /// Nothing: the table had long gone on, or is another one.
    Late,
    /// It cannot be told.
    Unknown,
}

/// Settles what became of our entry `version`, made against a base whose entry was `read`. One that came too
/// late is removed.
pub(crate) async fn settle(
    location: &Location,
    version: u64,
    read: Option<&ObjectMeta>,
) -> Result<Written, Error> {
    let unknown = |source: Error| Error::OutcomeUnknown {
        path: location.name.clone(),
        version,
        source: Box::new(source),
    };
    let (base_path, path) = (Location::entry(version - 1), Location::entry(version));
    let (base, ours) = futures::join!(location.head(&base_path), location.head(&path));
    let (base, ours) = (base.map_err(unknown)?, ours.ok().flatten());
    if base.is_some() && base.as_ref() == read {
        return Ok(Written::Ours(ours));
    }
    let log = location.list_log().await.map_err(unknown)?;
    let verdict = match &ours {
        Some(ours) => judge(version, base.is_some(), ours, &log),
        None => Verdict::Unknown,
    };
    match verdict {
        Verdict::Next => Ok(Written::Ours(ours)),
        Verdict::Late => {
            tracing::warn!(table = %location.name, version, "a commit came too late and is void");
            location.discard(&path).await;
            Ok(Written::Theirs)
        }
        Verdict::Unknown => {
            Err(unknown(Error::BaseGone { path: location.name.clone(), version: version - 1 }))
        }
    }
}

/// Judges our entry `version` by the log's files, when its base's entry is not the one that was read.
///
/// Times are those of one storage. What lies beyond a real entry was made after it; a late one was made after
/// the checkpoint that let the real one be cleaned.
fn judge(version: u64, base_is_there: bool, ours: &ObjectMeta, log: &[ObjectMeta]) -> Verdict {
    let beyond = log_files(log).filter(|(file, _)| match file {
        LogFile::Entry(other) | LogFile::Helper(other) => *other > version,
        LogFile::Checkpoint(other) | LogFile::CheckpointPart(other) => *other >= version,
    });
    let Some(first) = beyond.map(|(_, meta)| meta.last_modified).min() else {
        // Nobody went on from version N, or the table was dropped, and perhaps made anew.
        let is_base = |(file, _): (LogFile, &ObjectMeta)| matches!(file, LogFile::Checkpoint(other) | LogFile::CheckpointPart(other) if other == version - 1);
        return if !base_is_there && log_files(log).any(is_base) { Verdict::Next } else { Verdict::Late };
    };
    let ahead = (ours.last_modified - first).num_milliseconds();
    if !base_is_there && ahead >= GRAIN { Verdict::Late } else { Verdict::Unknown }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use object_store::path::Path;
    use rstest::rstest;

    use super::*;

    /// A file of the log that was written this many seconds after the epoch.
    fn file(name: &str, second: u64) -> ObjectMeta {
        ObjectMeta {
            location: Path::from(format!("_delta_log/{name}")),
            last_modified: (SystemTime::UNIX_EPOCH + Duration::from_secs(second)).into(),
            size: 1,
            e_tag: None,
            version: None,
        }
    }

    fn entry(version: u64, second: u64) -> ObjectMeta {
        file(&format!("{version:020}.json"), second)
    }

    fn checkpoint(version: u64, second: u64) -> ObjectMeta {
        file(&format!("{version:020}.checkpoint.parquet"), second)
    }

    /// Our entry is 8, written at 1,000 s.
    #[rstest]
    #[case::cleaned_long_before(false, vec![checkpoint(20, 300), entry(21, 301)], Verdict::Late)]
    #[case::a_checkpoint_of_the_same_version(false, vec![checkpoint(8, 300)], Verdict::Late)]
    #[case::others_went_on_from_ours(false, vec![entry(9, 1_001), checkpoint(9, 1_002)], Verdict::Unknown)]
    #[case::within_the_grain(false, vec![checkpoint(9, 999)], Verdict::Unknown)]
    #[case::the_log_begins_with_a_checkpoint(false, vec![checkpoint(7, 300)], Verdict::Next)]
    #[case::parts_are_a_checkpoint(
        false,
        vec![file("00000000000000000007.checkpoint.0000000001.0000000001.parquet", 300)],
        Verdict::Next
    )]
    #[case::the_table_was_dropped(false, vec![], Verdict::Late)]
    #[case::the_table_was_made_anew(true, vec![entry(7, 900)], Verdict::Late)]
    #[case::made_anew_and_others_went_on(true, vec![entry(7, 900), entry(9, 990)], Verdict::Unknown)]
    fn what_lies_beyond_tells(
        #[case] base_is_there: bool,
        #[case] mut log: Vec<ObjectMeta>,
        #[case] expected: Verdict,
    ) {
        let ours = entry(8, 1_000);
        log.push(ours.clone());
        log.push(checkpoint(3, 1));
        assert_eq!(judge(8, base_is_there, &ours, &log), expected);
    }
}
