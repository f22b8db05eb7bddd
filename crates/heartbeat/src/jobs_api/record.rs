//! What the stand-in shows of itself: its runs and the calls it got.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::job_spec::RunResult;

/// A run of the stand-in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRecord {
    /// The run: 15 digits, growing.
    pub run_id: i64,
    /// Its job.
    pub job_id: i64,
    /// How it stands.
    pub phase: Phase,
    /// The token it was started with.
    pub idempotency_token: Option<String>,
    /// The notebook or job parameters it was started with, by name.
    pub parameters: BTreeMap<String, String>,
    /// All parameters it was started with, as they came.
    pub overriding: Map<String, Value>,
    /// When it was made.
    pub created: Timestamp,
    /// When it began to run; `None` while queued or if skipped.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether it was deleted: the API no longer shows it.
    pub deleted: bool,
    /// How often it was repaired: it ran again under its id.
    pub repairs: u32,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Phase {
    /// Waits for a place.
    Queued,
    /// Runs.
    Running,
    /// Is over.
    Done(RunResult),
}

/// A run-now call, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedCall {
    /// When it came.
    pub at: Timestamp,
    /// The path it came by.
    pub path: String,
    /// The body as it came.
    pub body: String,
    /// The status it was answered with; `None` if by design no answer was sent.
    pub status: Option<u16>,
    /// The run it made or found.
    pub run_id: Option<i64>,
}

impl RecordedCall {
    /// The body as JSON, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }
}
