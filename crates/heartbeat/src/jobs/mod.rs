//! Client of the Databricks Jobs API: start a job, look at runs.
//!
//! One [`JobsClient`] speaks to one workspace. A start carries an idempotency token: the workspace promises at
//! most one run per token, so a try whose answer was lost is made again with the same token. What the caller gets
//! to know is exact: a [`StartError`] says whether a run may exist.
//!
//! All calls go to version 2.1 of the API, where the original sensor posts its starts.

mod answer;
mod error;
mod limit;
mod retry;
mod run;
mod settings;
mod token;
mod transport;
mod wire;

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Client;

pub use self::answer::{Answer, Shape};
pub use self::error::{ApiError, Refusal, StartError, Trouble};
pub use self::limit::Limiter;
pub use self::retry::{Backoff, Class, Seen, Verdict, classify, next_wait, retry_after};
pub use self::run::{Run, RunId, RunOutcome};
pub use self::settings::Settings;
pub use self::token::{Token, TokenError};
use self::transport::{Call, Ended, exchange};
pub use heartbeat_core::domain::{BadDomain, Domain};

/// Most pages that one list call follows: 1,000 runs.
const MOST_PAGES: u32 = 40;
/// Runs per page: the most that the API gives.
const PAGE_SIZE: &str = "25";

/// A start as decided: nothing is left to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunNow {
    /// The job as the row names it; sent as text, as it stands.
    pub job_id: String,
    /// At most 64 characters. One token, one run.
    pub idempotency_token: String,
}

/// Which runs a list is about.
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

/// Client of one workspace. Clones share connections and limits; make one per workspace.
#[derive(Debug, Clone)]
pub struct JobsClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: Client,
    domain: Domain,
    token: Token,
    settings: Settings,
    limits: Limits,
}

#[derive(Debug, Clone)]
struct Limits {
    starts: Limiter,
    gets: Limiter,
    lists: Limiter,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The token can't be sent.
    #[error("the access token can't be used")]
    Token(#[source] TokenError),
    /// TLS could not be set up.
    #[error("the HTTP client could not be set up")]
    Http(#[source] reqwest::Error),
}

impl JobsClient {
    /// Makes a client. Sends nothing.
    pub fn new(domain: &Domain, token: Token, settings: Settings) -> Result<Self, ClientError> {
        let limits = Limits {
            starts: Limiter::per_second(settings.starts_per_second),
            gets: Limiter::per_second(settings.gets_per_second),
            lists: Limiter::per_second(settings.lists_per_second),
        };
        Self::assemble(domain, token, settings, limits)
    }

    /// A client of the same workspace with another token. The limits are the workspace's, so both count together.
    pub fn with_token(&self, token: Token) -> Result<Self, ClientError> {
        let Shared { domain, settings, limits, .. } = &*self.shared;
        Self::assemble(domain, token, settings.clone(), limits.clone())
    }

    fn assemble(
        domain: &Domain,
        token: Token,
        settings: Settings,
        limits: Limits,
    ) -> Result<Self, ClientError> {
        let http = transport::http_client(domain, &token, &settings)?;
        let shared = Shared { http, domain: domain.clone(), token, settings, limits };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The workspace.
    pub fn domain(&self) -> &Domain {
        &self.shared.domain
    }

    /// Starts a job, once per token: `POST /api/2.1/jobs/run-now`.
    ///
    /// Waits for its turn under the limit, then tries until answered, refused, or `start_limit` is over. The run
    /// returned may be one that an earlier call with the token made, finished or failed: look at it. Dropping
    /// the future leaves the outcome unknown.
    pub async fn run_now(&self, call: &RunNow) -> Result<RunId, StartError> {
        let shared = &*self.shared;
        let body = wire::RunNowBody {
            job_id: &call.job_id,
            notebook_params: wire::NotebookParams { msg: "triggered via heartbeat sensor" },
            idempotency_token: &call.idempotency_token,
        };
        let url = self.url("run-now");
        let ended = exchange(
            Call {
                name: "run-now",
                about: &call.job_id,
                limiter: &shared.limits.starts,
                limit: shared.settings.start_limit,
                request: &|| shared.http.post(&url).json(&body),
                read: &|body| serde_json::from_slice::<wire::RunNowAnswer>(body).ok()?.run_id.map(RunId),
            },
            &shared.settings,
            &shared.token,
        )
        .await;
        ended.map_err(|ended| start_error(call.job_id.clone(), ended))
    }

    /// Looks at one run: `GET /api/2.1/jobs/runs/get`.
    pub async fn get_run(&self, run_id: RunId) -> Result<Run, ApiError> {
        const CALL: &str = "runs/get";
        let shared = &*self.shared;
        let (url, id) = (self.url(CALL), run_id.to_string());
        let query = [("run_id", id.as_str())];
        let run = exchange(
            Call {
                name: CALL,
                about: &id,
                limiter: &shared.limits.gets,
                limit: shared.settings.read_limit,
                request: &|| shared.http.get(&url).query(&query),
                read: &|body| Run::from_body(serde_json::from_slice(body).ok()?),
            },
            &shared.settings,
            &shared.token,
        )
        .await
        .map_err(|ended| match (ended.class, ended.trouble) {
            (Class::Refused, Trouble::Answer(answer)) if error::run_is_missing(&answer) => {
                ApiError::RunMissing { run_id, answer }
            }
            (class, trouble) => api_error(CALL, class, Ended { trouble, ..ended }),
        })?;
        if run.run_id == run_id {
            Ok(run)
        } else {
            Err(ApiError::Mismatch { call: CALL, asked: id, got: run.run_id.to_string() })
        }
    }

    /// Lists runs, newest first: `GET /api/2.1/jobs/runs/list`, all pages.
    ///
    /// Complete or an error: a list of more than 1,000 runs is [`ApiError::TooManyPages`].
    pub async fn list_runs(&self, filter: &RunFilter) -> Result<Vec<Run>, ApiError> {
        const CALL: &str = "runs/list";
        let shared = &*self.shared;
        let url = self.url(CALL);
        let mut query = vec![("limit", PAGE_SIZE.to_owned())];
        query.extend(filter.job_id.iter().map(|id| ("job_id", id.clone())));
        match filter.phase {
            RunPhase::Any => {}
            RunPhase::Active => query.push(("active_only", "true".to_owned())),
            RunPhase::Completed => query.push(("completed_only", "true".to_owned())),
        }
        query.extend(
            filter.start_time_from.iter().map(|at| ("start_time_from", at.as_millisecond().to_string())),
        );
        let mut runs = Vec::new();
        let mut page_token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let (runs_here, next) = exchange(
                Call {
                    name: CALL,
                    about: filter.job_id.as_deref().unwrap_or("all jobs"),
                    limiter: &shared.limits.lists,
                    limit: shared.settings.read_limit,
                    request: &|| {
                        let request = shared.http.get(&url).query(&query);
                        match &page_token {
                            Some(token) => request.query(&[("page_token", token)]),
                            None => request,
                        }
                    },
                    read: &|body| {
                        let page: wire::RunsPage = serde_json::from_slice(body).ok()?;
                        let runs: Option<Vec<Run>> = page.runs.into_iter().map(Run::from_body).collect();
                        Some((runs?, page.next_page_token))
                    },
                },
                &shared.settings,
                &shared.token,
            )
            .await
            .map_err(|ended| api_error(CALL, ended.class, ended))?;
            for run in runs_here {
                check_job(CALL, filter, &run)?;
                runs.push(run);
            }
            page_token = next.filter(|token| !token.is_empty());
            if page_token.is_none() {
                return Ok(runs);
            }
        }
        Err(ApiError::TooManyPages { call: CALL, pages: MOST_PAGES })
    }

    fn url(&self, call: &str) -> String {
        format!("{}/api/2.1/jobs/{call}", self.shared.domain)
    }
}

fn start_error(job_id: String, ended: Ended) -> StartError {
    let Ended { tries, in_doubt, class, retry_after, trouble } = ended;
    match (class, trouble) {
        // A refusal says nothing about the tries before it.
        (_, trouble) if in_doubt => StartError::Unknown { job_id, tries, trouble },
        (Class::Refused, Trouble::Answer(answer)) => {
            StartError::Refused { job_id, why: Refusal::of(&answer), answer }
        }
        (_, trouble) => StartError::NotStarted { job_id, tries, retry_after, trouble },
    }
}

fn api_error(call: &'static str, class: Class, ended: Ended) -> ApiError {
    let Ended { tries, trouble, .. } = ended;
    match (class, trouble) {
        (Class::Refused, Trouble::Answer(answer)) => {
            ApiError::Refused { call, why: Refusal::of(&answer), answer }
        }
        (_, Trouble::Answer(answer)) if answer.status < 300 => ApiError::Unusable { call, answer },
        (_, trouble) => ApiError::Unavailable { call, tries, trouble },
    }
}

/// A server that ignores the filter must not pass off another job's runs.
fn check_job(call: &'static str, filter: &RunFilter, run: &Run) -> Result<(), ApiError> {
    let asked = filter.job_id.as_deref().and_then(|id| id.parse::<i64>().ok());
    match (asked, run.job_id) {
        (Some(asked), Some(got)) if asked != got => {
            Err(ApiError::Mismatch { call, asked: format!("job {asked}"), got: format!("job {got}") })
        }
        _ => Ok(()),
    }
}
