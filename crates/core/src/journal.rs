//! The journal: what happened, for people. Derived; no decision reads it.

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
    /// Something about an upstream that is no error and that people should know: lost data, a topic made again.
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
    pub const ALL: [Self; 15] = [
        Self::Detected,
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
