//! The workspaces that the ACONs name, as the engine's port to the Jobs API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use heartbeat_core::claim::StartOutcome;
use heartbeat_core::domain::Domain;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::{Jobs, NoAnswer, Order, Run, RunState};
use heartbeat_core::news::PARAMETER;
use jiff::Timestamp;

use crate::error_chain::chain;
use crate::jobs::{
    self, ApiError, ClientError, Credentials, JobsClient, Observer, RunFilter, RunId, RunNow, RunOutcome,
    RunPhase, Settings, StartError,
};

/// A client per workspace.
#[derive(Debug, Default)]
pub struct Workspaces {
    settings: Settings,
    clients: BTreeMap<Domain, (JobsClient, Credentials)>,
    unusable: BTreeMap<Domain, String>,
    /// Pages of the last sweep over all active runs.
    pages: Mutex<BTreeMap<Domain, u32>>,
}

impl Workspaces {
    /// Workspaces whose calls an observer is told of.
    pub fn observed(observer: Arc<dyn Observer>) -> Self {
        Self { settings: Settings { observer: Some(observer), ..Settings::default() }, ..Self::default() }
    }

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
                let client = JobsClient::new(domain, &credentials, self.settings.clone())?;
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

    fn pages(&self) -> MutexGuard<'_, BTreeMap<Domain, u32>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pages_of_last_sweep(&self, domain: &Domain) -> u32 {
        self.pages().get(domain).copied().unwrap_or(1)
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
    async fn run_now(&self, order: Order<'_>) -> StartOutcome {
        let Order { domain, job, token, news } = order;
        let client = match self.client(domain) {
            Ok(client) => client,
            Err(why) => return StartOutcome::Refused(why),
        };
        let job_parameters = news.map(|news| BTreeMap::from([(PARAMETER.to_owned(), news.to_owned())]));
        let call = RunNow { job_id: job.to_string(), idempotency_token: token.to_owned(), job_parameters };
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

    async fn runs(&self, domain: &Domain, run_ids: &[i64]) -> BTreeMap<i64, Result<Run, NoAnswer>> {
        // A workspace that hangs must not keep what others tell from being written.
        if let Ok(answers) = tokio::time::timeout(RUNS_LIMIT, self.ask_runs(domain, run_ids)).await {
            return answers;
        }
        let late = NoAnswer(format!("workspace {domain} did not answer within {} s", RUNS_LIMIT.as_secs()));
        run_ids.iter().map(|id| (*id, Err(late.clone()))).collect()
    }

    async fn runs_since(&self, domain: &Domain, job: &JobId, since: Timestamp) -> Result<Vec<Run>, NoAnswer> {
        let client = self.client(domain).map_err(NoAnswer)?;
        let filter =
            RunFilter { job_id: Some(job.to_string()), phase: RunPhase::Any, start_time_from: Some(since) };
        let runs = client.list_runs(&filter).await.map_err(|error| NoAnswer(chain(&error)))?;
        Ok(runs.into_iter().map(judged).collect())
    }
}

impl Workspaces {
    async fn ask_runs(&self, domain: &Domain, run_ids: &[i64]) -> BTreeMap<i64, Result<Run, NoAnswer>> {
        let client = match self.client(domain) {
            Ok(client) => client,
            Err(why) => return run_ids.iter().map(|id| (*id, Err(NoAnswer(why.clone())))).collect(),
        };
        let wanted: BTreeSet<i64> = run_ids.iter().copied().collect();
        let mut answers = BTreeMap::new();
        if pays_a_sweep(wanted.len(), self.pages_of_last_sweep(domain)) {
            match client.active_runs().await {
                Ok(sweep) => {
                    self.pages().insert(domain.clone(), sweep.pages);
                    let ours = sweep.runs.into_iter().filter(|run| wanted.contains(&run.run_id.0));
                    answers.extend(ours.map(|run| (run.run_id.0, Ok(judged(run)))));
                }
                // The single calls tell more of what is wrong, or work all the same.
                Err(error) => tracing::debug!(%domain, error = chain(&error), "runs could not be listed"),
            }
        }
        let rest: Vec<i64> = wanted.into_iter().filter(|run_id| !answers.contains_key(run_id)).collect();
        let looks =
            rest.into_iter().map(|run_id| async move { (run_id, client.get_run(RunId(run_id)).await) });
        for (run_id, answer) in stream::iter(looks).buffer_unordered(GETS_AT_A_TIME).collect::<Vec<_>>().await
        {
            match answer {
                Ok(run) => drop(answers.insert(run_id, Ok(judged(run)))),
                Err(ApiError::RunMissing { .. }) => {}
                Err(error) => drop(answers.insert(run_id, Err(NoAnswer(chain(&error))))),
            }
        }
        answers
    }
}

/// All questions about the runs of one workspace together may take this long.
const RUNS_LIMIT: Duration = Duration::from_mins(1);

/// Single calls that are on their way at a time; the client keeps to the workspace's limit.
const GETS_AT_A_TIME: usize = 16;

/// Whether listing all active runs of a workspace takes less of its limits than asking about each run: 30 pages a second
/// may be listed, and 100 runs asked about.
fn pays_a_sweep(runs: usize, pages: u32) -> bool {
    runs > 4 && runs > 3 * pages as usize
}

fn judged(run: jobs::Run) -> Run {
    let state = match run.outcome {
        RunOutcome::Active => RunState::Active,
        RunOutcome::Unknown { text } => RunState::Unknown(text),
        RunOutcome::Succeeded => RunState::Succeeded,
        RunOutcome::Failed { reason } => RunState::Failed(reason),
        RunOutcome::Skipped { reason } => RunState::Skipped(reason),
    };
    Run { run_id: run.run_id.0, started: run.start_time, state, page: run.run_page_url }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_runs_are_asked_about_and_many_are_listed_unless_the_workspace_runs_many_more() {
        let cases =
            [(1, 1, false), (4, 1, false), (5, 1, true), (100, 4, true), (100, 40, false), (1000, 40, true)];
        for (runs, pages, sweep) in cases {
            assert_eq!(pays_a_sweep(runs, pages), sweep, "{runs} runs, {pages} pages");
        }
    }
}
