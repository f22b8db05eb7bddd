//! What the engine wants from the Jobs API of a workspace.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

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
    /// Its page in the workspace, where the API tells it.
    pub page: Option<String>,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// Waiting or running.
    Active,
    /// A state that we don't know, as told: taken as still running, because "done" cannot be taken back.
    Unknown(String),
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

/// A start, as it is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order<'a> {
    /// The workspace.
    pub domain: &'a Domain,
    /// The job.
    pub job: &'a JobId,
    /// Idempotency token.
    pub token: &'a str,
    /// What is new, for runs that want to be told ([`crate::news`]).
    pub news: Option<&'a str>,
}

/// The Jobs API of all workspaces that the ACONs name.
pub trait Jobs: Send + Sync {
    /// Starts a run, or finds the one that the token has started. Retries within its own deadline.
    fn run_now(&self, order: Order<'_>) -> impl Future<Output = StartOutcome> + Send;

    /// The named runs of one workspace, with as few calls as that takes; a run that is absent from the answer was
    /// deleted. Of the others each stands there, or why it could not be asked about.
    fn runs(
        &self,
        domain: &Domain,
        run_ids: &[i64],
    ) -> impl Future<Output = BTreeMap<i64, Result<Run, NoAnswer>>> + Send;

    /// Runs of a job that were created at or after `since`, in any order.
    fn runs_since(
        &self,
        domain: &Domain,
        job: &JobId,
        since: Timestamp,
    ) -> impl Future<Output = Result<Vec<Run>, NoAnswer>> + Send;
}

impl<T: Jobs> Jobs for Arc<T> {
    async fn run_now(&self, order: Order<'_>) -> StartOutcome {
        self.as_ref().run_now(order).await
    }

    async fn runs(&self, domain: &Domain, run_ids: &[i64]) -> BTreeMap<i64, Result<Run, NoAnswer>> {
        self.as_ref().runs(domain, run_ids).await
    }

    async fn runs_since(&self, domain: &Domain, job: &JobId, since: Timestamp) -> Result<Vec<Run>, NoAnswer> {
        self.as_ref().runs_since(domain, job, since).await
    }
}
