//! The journal: what happened, for people. Derived; no decision reads it.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A row's upstream has news; the detail is its manifest.
    Detected,
    /// Offsets were gone before they were looked at; the detail tells which and why.
    DataLost,
    /// Something else about an upstream that is no error and that people should know.
    Remarked,
    /// A row could not be looked at. Written when it begins to fail, and when the cause changes.
    CheckFailed,
    /// A row that could not be looked at can be again.
    CheckRecovered,
    /// A job waits, and for another reason than before.
    Waiting,
    /// The start of a job was claimed; the detail is what the run is to account for.
    Claimed,
    /// The Jobs API returned a run.
    Started,
    /// The Jobs API refused, or its answer is not known.
    StartFailed,
    /// A run was seen in another state than before.
    RunState,
    /// News of a job was accounted for.
    Completed,
    /// The control table was fed.
    Fed,
    /// Rows were paused.
    Paused,
    /// Rows were resumed.
    Resumed,
    /// A job was set to start again.
    Retriggered,
    /// A daemon began, reloaded or ended.
    Daemon,
}

impl Event {
    /// Every event, in the order of a job's life.
    pub const ALL: [Self; 16] = [
        Self::Detected,
        Self::DataLost,
        Self::Remarked,
        Self::CheckFailed,
        Self::CheckRecovered,
        Self::Waiting,
        Self::Claimed,
        Self::Started,
        Self::StartFailed,
        Self::RunState,
        Self::Completed,
        Self::Fed,
        Self::Paused,
        Self::Resumed,
        Self::Retriggered,
        Self::Daemon,
    ];

    /// The word that stands in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detected => "detected",
            Self::DataLost => "data_lost",
            Self::Remarked => "remarked",
            Self::CheckFailed => "check_failed",
            Self::CheckRecovered => "check_recovered",
            Self::Waiting => "waiting",
            Self::Claimed => "claimed",
            Self::Started => "started",
            Self::StartFailed => "start_failed",
            Self::RunState => "run_state",
            Self::Completed => "completed",
            Self::Fed => "fed",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Retriggered => "retriggered",
            Self::Daemon => "daemon",
        }
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it happened, by the writer's clock.
    pub at: Timestamp,
    /// What happened, as a word of [`Event`]; text, so that older versions can read what newer ones wrote.
    pub event: String,
    /// Source of the row concerned.
    pub sensor_source: Option<String>,
    /// `sensor_id` of the row concerned.
    pub sensor_id: Option<String>,
    /// The job concerned.
    pub trigger_job_id: Option<String>,
    /// The run concerned.
    pub run_id: Option<i64>,
    /// Who wrote it: the command or daemon, its host and process.
    pub writer: String,
    /// One sentence for people.
    pub message: String,
    /// What exactly, as JSON.
    pub detail: Option<String>,
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this job; rows of the job name it as well.
    pub job: Option<String>,
    /// Of this `sensor_id`.
    pub sensor_id: Option<String>,
    /// At or after this time.
    pub since: Option<Timestamp>,
}

impl Filter {
    /// Whether an entry is wanted.
    pub fn matches(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, got: &Option<String>| wanted.is_none() || wanted == got;
        is(&self.job, &entry.trigger_job_id)
            && is(&self.sensor_id, &entry.sensor_id)
            && self.since.is_none_or(|since| entry.at >= since)
    }
}

/// A row that cannot be looked at, as far as the journal tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// When it began to fail.
    pub since: Timestamp,
    /// Why, as told last.
    pub why: String,
    source: Option<String>,
}

/// `sensor_id` and `trigger_job_id` of a row.
pub type RowKey = (String, String);

/// The rows that failed when they were looked at last; `entries` are the oldest first. A daemon that begins looks at
/// all rows of its sources at once and tells anew which fail, so what was told of them before no longer counts.
pub fn failing<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> BTreeMap<RowKey, Failing> {
    let mut failing: BTreeMap<RowKey, Failing> = BTreeMap::new();
    for entry in entries {
        if entry.event == Event::Daemon.as_str() {
            let sources = began_with(entry);
            failing.retain(|_, row| row.source.as_ref().is_none_or(|source| !sources.contains(source)));
            continue;
        }
        let (Some(sensor_id), Some(job)) = (&entry.sensor_id, &entry.trigger_job_id) else { continue };
        let key = (sensor_id.clone(), job.clone());
        if entry.event == Event::CheckFailed.as_str() {
            let since = failing.get(&key).map_or(entry.at, |row| row.since);
            let source = entry.sensor_source.clone();
            failing.insert(key, Failing { since, why: entry.message.clone(), source });
        } else if [Event::CheckRecovered.as_str(), Event::Detected.as_str()].contains(&entry.event.as_str()) {
            failing.remove(&key);
        }
    }
    failing
}

/// The detail of the entry of a daemon that begins to look at rows of these sources.
pub fn began_detail<'s>(sources: impl IntoIterator<Item = &'s str>) -> String {
    let sources: Vec<&str> = sources.into_iter().collect();
    serde_json::json!({ "sources": sources }).to_string()
}

fn began_with(entry: &Entry) -> Vec<String> {
    let detail = entry.detail.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let sources = detail.and_then(|mut detail: serde_json::Value| Some(detail.get_mut("sources")?.take()));
    sources.and_then(|sources| serde_json::from_value(sources).ok()).unwrap_or_default()
}

/// An append-only store of entries.
pub trait Journal: Send + Sync {
    /// Errors of the store.
    type Error: Error + Send + Sync + 'static;

    /// Appends entries, in one commit; makes the store if there is none yet.
    fn append(&self, entries: &[Entry]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The newest entries that match, newest first, at most `limit`. A store that does not exist is empty.
    fn newest(
        &self,
        filter: &Filter,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Entry>, Self::Error>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: i64, event: Event, sensor_id: Option<&str>, message: &str) -> Entry {
        Entry {
            at: Timestamp::from_second(second).unwrap(),
            event: event.as_str().into(),
            sensor_source: sensor_id.map(|_| "kafka".into()),
            sensor_id: sensor_id.map(str::to_owned),
            trigger_job_id: sensor_id.map(|_| "7".into()),
            run_id: None,
            writer: "test".into(),
            message: message.into(),
            detail: None,
        }
    }

    #[test]
    fn a_row_fails_since_its_first_failure_until_it_was_looked_at() {
        let told = [
            entry(1, Event::CheckFailed, Some("p: a"), "no answer"),
            entry(1, Event::CheckFailed, Some("p: b"), "no answer"),
            entry(1, Event::CheckFailed, Some("p: c"), "no answer"),
            entry(2, Event::CheckFailed, Some("p: a"), "no topic"),
            entry(3, Event::CheckRecovered, Some("p: b"), "answers again"),
            entry(3, Event::Detected, Some("p: c"), "news"),
        ];
        let failing = failing(&told);
        let row = &failing[&("p: a".to_owned(), "7".to_owned())];
        assert_eq!((row.since.as_second(), row.why.as_str(), failing.len()), (1, "no topic", 1));
    }

    #[test]
    fn a_daemon_that_begins_tells_anew_what_fails_of_its_sources() {
        let begins = |source| {
            let detail = Some(began_detail([source]));
            Entry { detail, ..entry(2, Event::Daemon, None, "watches") }
        };
        let failed = entry(1, Event::CheckFailed, Some("p: a"), "no answer");
        let ends = entry(2, Event::Daemon, None, "watches no longer");
        assert_eq!(failing([&failed, &begins("trigger_file"), &ends]).len(), 1);
        assert_eq!(failing([&failed, &begins("kafka")]).len(), 0);
        let again = entry(3, Event::CheckFailed, Some("p: a"), "no answer");
        assert_eq!(failing([&failed, &begins("kafka"), &again]).len(), 1);
    }
}
