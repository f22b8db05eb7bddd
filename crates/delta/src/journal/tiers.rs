//! Which files of a journal are merged, and which go. Pure.
//!
//! Files are sorted into tiers by their number of entries, each eight times as large as the one below. Eight
//! files of one tier become one of a higher tier, so an entry is rewritten at most once per tier, and no tier
//! keeps eight files for long.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;

use crate::journal::state::JournalFile;
use crate::retention::Retention;

/// Files of a tier that are merged.
const FANOUT: u64 = 8;
/// Bytes that a merged file may have. Entries take ten times as much in memory.
const MAX_MERGED: i64 = 8 * 1024 * 1024;
/// A file that is this large is merged no more.
const LARGE: i64 = 2 * 1024 * 1024;
/// A guess at the bytes of an entry, for files whose writer did not count.
const ENTRY: u64 = 100;

/// How long a journal keeps its entries. They go with whole files, so some stay a little longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRetention {
    /// Entries older than this go. Default: 90 days.
    pub max_age: Duration,
    /// Bytes that the entries may take; the oldest go first. Default: 256 MiB.
    pub max_bytes: u64,
    /// What is kept of the table's earlier versions. Default: as of other tables, but at most 64 MiB.
    pub versions: Retention,
}

impl Default for JournalRetention {
    fn default() -> Self {
        Self {
            max_age: Duration::from_hours(90 * 24),
            max_bytes: 256 * 1024 * 1024,
            versions: Retention { max_bytes: 64 * 1024 * 1024, ..Retention::default() },
        }
    }
}

/// The paths of files that go.
pub(crate) fn expired<'a>(
    files: impl Iterator<Item = &'a JournalFile>,
    keep: &JournalRetention,
    now: Timestamp,
) -> Vec<String> {
    let mut newest_first: Vec<(Timestamp, &JournalFile)> = files.map(|file| (newest(file), file)).collect();
    newest_first.sort_by_key(|(newest, _)| Reverse(*newest));
    let cut = now.checked_sub(keep.max_age).unwrap_or(Timestamp::MIN);
    let mut bytes = 0;
    let mut gone = Vec::new();
    for (newest, file) in newest_first {
        bytes += u64::try_from(file.logged.size).unwrap_or_default();
        if newest < cut || bytes > keep.max_bytes {
            gone.push(file.logged.path.clone());
        }
    }
    gone
}

/// The paths of files that become one each, oldest entries first.
pub(crate) fn merges<'a>(files: impl Iterator<Item = &'a JournalFile>) -> Vec<Vec<String>> {
    let mut tiers: Vec<Vec<&JournalFile>> = Vec::new();
    for file in files.filter(|file| file.logged.size < LARGE) {
        let size = u64::try_from(file.logged.size).unwrap_or_default();
        let records = file.records.unwrap_or(size / ENTRY).max(1);
        let tier = records.ilog(FANOUT) as usize;
        tiers.resize_with(tiers.len().max(tier + 1), Vec::new);
        tiers[tier].push(file);
    }
    let mut merges = Vec::new();
    for mut tier in tiers {
        if tier.len() < FANOUT as usize {
            continue;
        }
        tier.sort_by_key(|file| newest(file));
        let mut merge: Vec<String> = Vec::new();
        let mut bytes = 0;
        for file in tier {
            if bytes + file.logged.size > MAX_MERGED {
                merges.push(std::mem::take(&mut merge));
                bytes = 0;
            }
            bytes += file.logged.size;
            merge.push(file.logged.path.clone());
        }
        merges.push(merge);
    }
    merges.retain(|merge| merge.len() > 1);
    merges
}

/// The time of a file's newest entry; where its writer did not say, it was written after all of them.
fn newest(file: &JournalFile) -> Timestamp {
    file.newest.unwrap_or_else(|| Timestamp::from_millisecond(file.logged.modified).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::LoggedFile;

    fn file(name: usize, records: u64, size: i64, day: i64) -> JournalFile {
        let at = Timestamp::from_second(day * 86_400).unwrap();
        let logged = LoggedFile {
            path: name.to_string(),
            size,
            modified: at.as_millisecond(),
            stats: None,
            deletion_vector: None,
        };
        JournalFile { logged, records: Some(records), newest: Some(at) }
    }

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    #[test]
    fn entries_go_by_age_and_by_bytes() {
        let keep =
            JournalRetention { max_age: Duration::from_hours(240), max_bytes: 100, ..Default::default() };
        let files = [file(0, 1, 40, 1), file(1, 1, 40, 9), file(2, 1, 40, 11), file(3, 1, 40, 12)];
        assert_eq!(expired(files.iter(), &keep, day(10)), ["1", "0"], "two fit");
        assert_eq!(expired(files[2..].iter(), &keep, day(21)), [""; 0]);
        assert_eq!(expired(files[2..].iter(), &keep, day(22)), ["2"]);
        let unknown = JournalFile { newest: None, ..file(4, 1, 40, 1) };
        assert_eq!(expired([unknown].iter(), &keep, day(12)), ["4"]);
    }

    #[test]
    fn eight_of_a_tier_are_merged_and_large_ones_left_alone() {
        let seven: Vec<JournalFile> = (0..7).map(|name| file(name, 5, 4_000, 7 - name as i64)).collect();
        assert_eq!(merges(seven.iter()), Vec::<Vec<String>>::new());
        let higher = file(7, 8, 4_000, 1);
        assert_eq!(merges(seven.iter().chain([&higher])), Vec::<Vec<String>>::new());
        let eighth = file(8, 7, 4_000, 9);
        let merged = merges(seven.iter().chain([&higher, &eighth]));
        assert_eq!(merged, [["6", "5", "4", "3", "2", "1", "0", "8"]]);
        let large: Vec<JournalFile> = (0..9).map(|name| file(name, 40_000, LARGE, 1)).collect();
        assert_eq!(merges(large.iter()), Vec::<Vec<String>>::new());
        let medium: Vec<JournalFile> =
            (0..9).map(|name| file(name, 40_000, LARGE - 1, name as i64)).collect();
        let sizes: Vec<usize> = merges(medium.iter()).iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 4], "a merged file has a bound");
    }

    /// Appends of five entries each, merged as soon as they can be.
    #[test]
    fn files_stay_few_and_rows_are_rewritten_seldom() {
        const APPENDS: usize = 60_000;
        let (mut files, mut rewritten, mut most) = (Vec::<JournalFile>::new(), 0, 0);
        for append in 0..APPENDS {
            files.push(file(append, 5, 4_000, 0));
            for merge in merges(files.iter()) {
                let of_merge = |file: &JournalFile| merge.contains(&file.logged.path);
                let merged = files.iter().filter(|file| of_merge(file));
                let (records, size) = merged.fold((0, 0), |(records, size), file| {
                    (records + file.records.unwrap(), size + file.logged.size / 3)
                });
                files.retain(|file| !of_merge(file));
                rewritten += records;
                files.push(file(append + APPENDS, records, size.max(4_000), 0));
            }
            most = most.max(files.len());
        }
        let times = rewritten as f64 / (APPENDS * 5) as f64;
        assert!(most <= 42 && times <= 6.0, "{most} files, each entry rewritten {times} times");
    }
}
