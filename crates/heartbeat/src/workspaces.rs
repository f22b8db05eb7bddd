//! The workspaces that the ACONs name, as the engine's port to the Jobs API.

use std::collections::BTreeMap;

use heartbeat_core::claim::StartOutcome;
use heartbeat_core::domain::Domain;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::{Jobs, NoAnswer, Run, RunState};
use jiff::Timestamp;

use crate::error_chain::chain;
use crate::jobs::{
    self, ClientError, Credentials, JobsClient, RunFilter, RunId, RunNow, RunOutcome, RunPhase, Settings,
    StartError,
};

/// A client per workspace.
#[derive(Debug, Default)]
pub struct Workspaces {
    clients: BTreeMap<Domain, (JobsClient, Credentials)>,
    unusable: BTreeMap<Domain, String>,
}

impl Workspaces {
    /// Adds a workspace. The first credentials given for it are used; others are a warning.
    pub fn add(&mut self, domain: &Domain, credentials: Credentials) -> Result<(), ClientError> {
        match self.clients.get(domain) {
            Some((_, first)) if first.is_same(&credentials) => {}
            Some((_, first)) => tracing::warn!(
                %domain,
                used = %first.origin,
                unused = %credentials.origin,
                "several acons give the workspace different credentials, the first are used"
            ),
            None => {
                let client = JobsClient::new(domain, &credentials, Settings::default())?;
                tracing::debug!(%domain, method = credentials.method.name(), origin = %credentials.origin, "workspace");
                self.clients.insert(domain.clone(), (client, credentials));
            }
        }
        Ok(())
    }

    /// Notes why a workspace cannot be called; its jobs fail with that, the others go on.
    pub fn add_unusable(&mut self, domain: &Domain, why: String) {
        self.unusable.insert(domain.clone(), why);
    }

    /// The client of a workspace, or why there is none.
    pub fn client(&self, domain: &Domain) -> Result<&JobsClient, String> {
        self.clients.get(domain).map(|(client, _)| client).ok_or_else(|| match self.unusable.get(domain) {
            Some(why) => format!("workspace {domain}: {why}"),
            None => format!(
                "the start was claimed for workspace {domain}, which no ACON of this pass names; add its ACON"
            ),
        })
    }
}

impl Jobs for Workspaces {
    async fn run_now(&self, domain: &Domain, job: &JobId, token: &str) -> StartOutcome {
        let client = match self.client(domain) {
            Ok(client) => client,
            Err(why) => return StartOutcome::Refused(why),
        };
        let call =
            RunNow { job_id: job.to_string(), idempotency_token: token.to_owned(), job_parameters: None };
        match client.run_now(&call).await {
            Ok(RunId(run_id)) => {
                tracing::info!(%job, run_id, "job started");
                StartOutcome::Accepted(run_id)
            }
            Err(error) => {
                let reason = format!("workspace {domain}: {}", chain(&error));
                tracing::info!(%job, reason, "job not started");
                match error {
                    StartError::Unknown { .. } => StartOutcome::Unknown(reason),
                    StartError::Refused { .. }
                    | StartError::NotStarted { .. }
                    | StartError::NoCredential { .. } => StartOutcome::Refused(reason),
                }
            }
        }
    }

    async fn run(&self, domain: &Domain, run_id: i64) -> Result<Run, NoAnswer> {
        let client = self.client(domain).map_err(NoAnswer)?;
        let run = client.get_run(RunId(run_id)).await.map_err(|error| NoAnswer(chain(&error)))?;
        Ok(judged(run))
    }

    async fn runs_since(&self, domain: &Domain, job: &JobId, since: Timestamp) -> Result<Vec<Run>, NoAnswer> {
        let client = self.client(domain).map_err(NoAnswer)?;
        let filter =
            RunFilter { job_id: Some(job.to_string()), phase: RunPhase::Any, start_time_from: Some(since) };
        let runs = client.list_runs(&filter).await.map_err(|error| NoAnswer(chain(&error)))?;
        Ok(runs.into_iter().map(judged).collect())
    }
}

fn judged(run: jobs::Run) -> Run {
    let state = match run.outcome {
        RunOutcome::Active | RunOutcome::Unknown { .. } => RunState::Active,
        RunOutcome::Succeeded => RunState::Succeeded,
        RunOutcome::Failed { reason } => RunState::Failed(reason),
        RunOutcome::Skipped { reason } => RunState::Skipped(reason),
    };
    Run { run_id: run.run_id.0, started: run.start_time, state }
}
