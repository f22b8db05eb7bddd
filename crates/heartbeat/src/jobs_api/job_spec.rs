//! How the runs of one job go, and how a run can end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// Most runs of one job at a time that the platform lets a job ask for (Databricks jobs.JobSettings).
const MOST_CONCURRENT_RUNS: u32 = 1000;

/// How the runs of one job go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobSpec {
    /// Shown as the run's name.
    pub name: Option<String>,
    /// Run by `sh -c` for each run: exit 0 is `SUCCESS`, else `FAILED`. Excludes `duration`, `result` and `results`.
    pub command: Option<String>,
    /// How long a run without a command takes; at once by default.
    #[serde(deserialize_with = "duration")]
    pub duration: Option<Duration>,
    /// How a run without a command ends; `SUCCESS` by default.
    pub result: Option<RunResult>,
    /// How the first run ends, the second, and so on; the last is that of all further ones. Skipped runs don't count,
    /// repairs do. Excludes `result`.
    pub results: Vec<RunResult>,
    /// Job parameters with their defaults.
    pub parameters: BTreeMap<String, String>,
    /// Runs at a time, as on the platform: 1 by default, 0 skips every run.
    pub max_concurrent_runs: u32,
    /// Whether runs beyond `max_concurrent_runs` wait (else they are skipped).
    pub queue: bool,
    /// Most runs that wait; further ones are skipped, as the queue is full.
    pub queue_size: u32,
    /// Whether the older form of a skipped run's state lacks its result, as it was seen to.
    pub skipped_without_result: bool,
    /// A run that takes longer ends as `TIMEDOUT`; 0 is no limit.
    pub timeout_seconds: u32,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            name: None,
            command: None,
            duration: None,
            result: None,
            results: Vec::new(),
            parameters: BTreeMap::new(),
            max_concurrent_runs: 1,
            queue: false,
            queue_size: 10_000,
            skipped_without_result: false,
            timeout_seconds: 0,
        }
    }
}

impl JobSpec {
    /// What is wrong with it: the key, and what is asked of its value.
    pub(super) fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let has_command = self.command.is_some();
        if has_command && self.duration.is_some() {
            return Some(("duration", "excludes `command`: the command takes as long as it takes"));
        }
        if has_command && self.result.is_some() {
            return Some(("result", "excludes `command`: its exit status is the result"));
        }
        if has_command && !self.results.is_empty() {
            return Some(("results", "excludes `command`: its exit status is the result"));
        }
        if self.result.is_some() && !self.results.is_empty() {
            return Some(("results", "excludes `result`"));
        }
        (self.max_concurrent_runs > MOST_CONCURRENT_RUNS)
            .then_some(("max_concurrent_runs", "must be at most 1000"))
    }

    /// How a run without a command ends by itself, after how long. `earlier`: how many there were before it.
    pub(super) fn plan(&self, earlier: usize) -> (Duration, RunResult) {
        let takes = self.duration.unwrap_or_default();
        let timeout = Duration::from_secs(self.timeout_seconds.into());
        if !timeout.is_zero() && takes > timeout {
            return (timeout, RunResult::TimedOut);
        }
        let in_turn = self.results.get(earlier).or(self.results.last()).copied();
        (takes, in_turn.or(self.result).unwrap_or(RunResult::Success))
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunResult {
    /// All went well.
    Success,
    /// A task failed, all leaf tasks went well.
    SuccessWithFailures,
    /// A task of the job failed: `INTERNAL_ERROR` with the result `FAILED`, as the platform shows it.
    Failed,
    /// The same in the other form that was seen: `TERMINATED` with the result `FAILED`.
    TerminatedFailed,
    /// It took longer than its timeout.
    #[serde(rename = "TIMEDOUT")]
    TimedOut,
    /// Somebody cancelled it.
    Canceled,
    /// The platform failed: `INTERNAL_ERROR` without a result.
    InternalError,
    /// It never ran: the job was at its limit.
    Skipped,
    /// It never ran: the queue was full.
    QueueFull,
    /// In a state and with a code that no client has heard of.
    Unknown,
}

impl RunResult {
    /// Whether a repair makes sense of it.
    pub(super) fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::SuccessWithFailures)
    }
}

/// `2s`, `1h 30m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.map(Some).ok_or_else(|| {
        de::Error::invalid_value(de::Unexpected::Str(&text), &"a duration such as 500ms, 2s or 1h 30m")
    })
}
