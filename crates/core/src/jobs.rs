//! What the engine wants from the Jobs API of a workspace.

use std::future::Future;

use jiff::Timestamp;

use crate::claim::StartOutcome;
use crate::domain::Domain;
use crate::ids::JobId;

/// A run, as far as the lifecycle is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub run_id: i64,
    /// When it was created, by the workspace's clock.
    pub started: Option<Timestamp>,
    /// How it stands.
    pub state: RunState,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Waiting or running; also every state that we don't know.
    Active,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed(String),
    /// Never ran: the job was at its limit of concurrent runs, or switched off.
    Skipped(String),
}

/// Why the API gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// The Jobs API of all workspaces that the ACONs name.
pub trait Jobs: Send + Sync {
    /// Starts a run, or finds the one that the token has started. Retries within its own deadline.
    fn run_now(&self, domain: &Domain, job: &JobId, token: &str)
    -> impl Future<Output = StartOutcome> + Send;

    /// One run.
    fn run(&self, domain: &Domain, run_id: i64) -> impl Future<Output = Result<Run, NoAnswer>> + Send;

    /// Runs of a job that were created at or after `since`, in any order.
    fn runs_since(
        &self,
        domain: &Domain,
        job: &JobId,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<Run>, NoAnswer>> + Send;
}
