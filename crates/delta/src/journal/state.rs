//! What a process knows of a journal: its newest version and its files, without their rows.
//!
//! Entries that others wrote since are read one by one, each once. Anything in them that is not a plain file
//! added or removed (columns, protocol, deletion vectors) makes the log be read anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use object_store::ObjectMeta;
use serde_json::{Value, json};

use crate::error::Error;
use crate::file::LoggedFile;
use crate::journal::line::Line;
use crate::layout::Layout;
use crate::location::{Location, Log};
use crate::log;
use crate::record::DeltaRecord as _;

/// More entries than this are not followed one by one.
const FOLLOW: usize = 64;

/// One version of a journal.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) table_id: String,
    pub(crate) version: u64,
    /// What the storage says of this version's log entry.
    pub(crate) entry: Option<ObjectMeta>,
    pub(crate) layout: Arc<Layout>,
    /// By path.
    pub(crate) files: BTreeMap<String, JournalFile>,
    pub(crate) checkpoint: Option<u64>,
    pub(crate) in_commit_timestamp: Option<i64>,
}

/// A file of entries.
#[derive(Debug, Clone)]
pub(crate) struct JournalFile {
    pub(crate) logged: LoggedFile,
    /// `None` where its writer did not say.
    pub(crate) records: Option<u64>,
    /// No entry in it is newer.
    pub(crate) newest: Option<Timestamp>,
}

impl JournalFile {
    /// A file as the log names it.
    pub(crate) fn new(mut logged: LoggedFile) -> Self {
        let stats: Value =
            logged.stats.take().and_then(|stats| serde_json::from_str(&stats).ok()).unwrap_or_default();
        let newest = stats["maxValues"]["at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        Self {
            records: stats["numRecords"].as_u64(),
            // Writers cut the fraction of a bound off after milliseconds.
            newest: newest.map(|at| at.saturating_add(SignedDuration::from_millis(1)).unwrap_or(at)),
            logged,
        }
    }
}

/// The statistics of a file whose entries lie between two times.
pub(crate) fn stats(records: usize, oldest: Timestamp, newest: Timestamp) -> Value {
    let text = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
    json!({
        "numRecords": records,
        "minValues": {"at": text(oldest)},
        "maxValues": {"at": text(newest)},
        "nullCount": {"at": 0},
    })
}

/// The newest version; `None` when there is no journal. `known` saves reading what it holds.
pub(crate) async fn newest(location: &Location, known: Option<State>) -> Result<Option<State>, Error> {
    let Some(mut state) = known else { return load(location).await };
    let (own, next) = (Location::entry(state.version), Location::entry(state.version + 1));
    let (own, next) = futures::try_join!(location.head(&own), location.head(&next))?;
    if own.is_none() || own != state.entry {
        return load(location).await;
    }
    if next.is_none() {
        return Ok(Some(state));
    }
    for _ in 0..FOLLOW {
        let found = location.get_with_meta(&Location::entry(state.version + 1)).await?;
        let Some((meta, entry)) = found else { return Ok(Some(state)) };
        if !state.follow(&entry) {
            break;
        }
        state.version += 1;
        state.entry = Some(meta);
    }
    load(location).await
}

async fn load(location: &Location) -> Result<Option<State>, Error> {
    if location.log().await? != Log::Entries {
        return Ok(None);
    }
    let found = log::find(location, Line::COLUMNS).await?;
    let files = found.files.into_iter().map(|logged| (logged.path.clone(), JournalFile::new(logged)));
    Ok(Some(State {
        table_id: found.table_id,
        version: found.version,
        entry: found.entry,
        layout: found.layout,
        files: files.collect(),
        checkpoint: found.checkpoint,
        in_commit_timestamp: found.in_commit_timestamp,
    }))
}

impl State {
    /// Takes over what the next entry did; `false` when only reading the whole log can tell.
    pub(crate) fn follow(&mut self, entry: &[u8]) -> bool {
        let lines = entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for line in lines {
            let Ok(action) = serde_json::from_slice::<Value>(line) else { return false };
            let is_plain = |file: &Value| file["deletionVector"].is_null();
            if let Some(add) = action.get("add") {
                let (Some(path), true) = (add["path"].as_str(), is_plain(add)) else { return false };
                let logged = LoggedFile {
                    path: path.to_owned(),
                    size: add["size"].as_i64().unwrap_or_default(),
                    modified: add["modificationTime"].as_i64().unwrap_or_default(),
                    stats: add["stats"].as_str().map(str::to_owned),
                    deletion_vector: None,
                };
                self.files.insert(path.to_owned(), JournalFile::new(logged));
            } else if let Some(remove) = action.get("remove") {
                let (Some(path), true) = (remove["path"].as_str(), is_plain(remove)) else { return false };
                self.files.remove(path);
            } else if let Some(info) = action.get("commitInfo") {
                if self.in_commit_timestamp.is_some() {
                    self.in_commit_timestamp = info["inCommitTimestamp"].as_i64();
                }
            } else if action.get("metaData").is_some() || action.get("protocol").is_some() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_after_they_were_written_and_read() {
        let oldest: Timestamp = "2026-01-02T03:04:05.000999Z".parse().unwrap();
        let newest: Timestamp = "2026-01-02T03:04:06.999999Z".parse().unwrap();
        let file = JournalFile::new(LoggedFile {
            path: "p".into(),
            size: 1,
            modified: 0,
            stats: Some(stats(3, oldest, newest).to_string()),
            deletion_vector: None,
        });
        assert_eq!(file.records, Some(3));
        assert!(file.newest.unwrap() >= newest, "{file:?}");
    }
}
