//! Lists of runs: filters, pages, and the one sweep that follows many runs with few calls.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::client::{Ask, JobsClient, api_error};
use super::error::ApiError;
use super::run::Run;
use super::wire::RunsPage;

const CALL: &str = "runs/list";
/// Most pages that one list follows: 1,000 runs.
const MOST_PAGES: u32 = 40;
/// Most pages of a sweep: 10,000 runs. A workspace runs 2,000 tasks at a time; the rest waits in queues.
const MOST_PAGES_OF_A_SWEEP: u32 = 400;
/// Runs per page: the most that the API gives.
const PAGE_SIZE: &str = "25";

/// Which runs a list is about. Only runs of jobs are listed, not one-time submissions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this job only.
    pub job_id: Option<String>,
    /// In this phase only.
    pub phase: RunPhase,
    /// Made at or after this time.
    pub start_time_from: Option<Timestamp>,
}

/// The phase that a list asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunPhase {
    /// Any.
    #[default]
    Any,
    /// Queued, pending, running or terminating.
    Active,
    /// Done.
    Completed,
}

/// All active runs of a workspace, as one sweep saw them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveRuns {
    /// The runs, each once.
    pub runs: Vec<Run>,
    /// Calls that it took: one per 25 runs, at least one.
    pub pages: u32,
}

impl JobsClient {
    /// Lists runs, newest first: `GET /api/2.2/jobs/runs/list`, all pages.
    ///
    /// Complete or an error: a list of more than 1,000 runs is [`ApiError::TooManyPages`].
    pub async fn list_runs(&self, filter: &RunFilter) -> Result<Vec<Run>, ApiError> {
        self.pages(filter, MOST_PAGES).await.map(|(runs, _)| runs)
    }

    /// All active runs of the workspace's jobs, in one sweep.
    ///
    /// The pages are not of one moment. A run that is in the sweep was active during it. One that is not has ended,
    /// was made since, or slipped from page to page: [`JobsClient::get_run`] tells.
    pub async fn active_runs(&self) -> Result<ActiveRuns, ApiError> {
        let filter = RunFilter { phase: RunPhase::Active, ..RunFilter::default() };
        let (runs, pages) = self.pages(&filter, MOST_PAGES_OF_A_SWEEP).await?;
        Ok(ActiveRuns { runs, pages })
    }

    async fn pages(&self, filter: &RunFilter, most: u32) -> Result<(Vec<Run>, u32), ApiError> {
        let mut query = filter.query();
        let fixed = query.len();
        let (mut runs, mut seen) = (Vec::new(), BTreeSet::new());
        for page in 1..=most {
            let (runs_here, next) = self
                .ask(Ask {
                    name: CALL,
                    about: filter.job_id.as_deref().unwrap_or("all jobs"),
                    limiter: self.lists(),
                    query: &query,
                    read: &|body| {
                        let page: RunsPage = serde_json::from_slice(body).ok()?;
                        let runs: Option<Vec<Run>> = page.runs.into_iter().map(Run::from_body).collect();
                        Some((runs?, page.next_page_token))
                    },
                })
                .await
                .map_err(|ended| api_error(CALL, ended))?;
            for run in runs_here {
                check_job(filter, &run)?;
                if seen.insert(run.run_id) {
                    runs.push(run);
                }
            }
            let Some(next) = next.filter(|token| !token.is_empty()) else { return Ok((runs, page)) };
            query.truncate(fixed);
            query.push(("page_token", next));
        }
        Err(ApiError::TooManyPages { call: CALL, pages: most })
    }
}

impl RunFilter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", PAGE_SIZE.to_owned()), ("run_type", "JOB_RUN".to_owned())];
        query.extend(self.job_id.iter().map(|id| ("job_id", id.clone())));
        match self.phase {
            RunPhase::Any => {}
            RunPhase::Active => query.push(("active_only", "true".to_owned())),
            RunPhase::Completed => query.push(("completed_only", "true".to_owned())),
        }
        let from = self.start_time_from.iter();
        query.extend(from.map(|at| ("start_time_from", at.as_millisecond().to_string())));
        query
    }
}

/// A server that ignores the filter must not pass off another job's runs.
fn check_job(filter: &RunFilter, run: &Run) -> Result<(), ApiError> {
    let asked = filter.job_id.as_deref().and_then(|id| id.parse::<i64>().ok());
    match (asked, run.job_id) {
        (Some(asked), Some(got)) if asked != got => {
            Err(ApiError::Mismatch { call: CALL, asked: format!("job {asked}"), got: format!("job {got}") })
        }
        _ => Ok(()),
    }
}
