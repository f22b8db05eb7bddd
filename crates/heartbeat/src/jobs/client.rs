//! The client of one workspace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Client;

use super::credentials::{Asker, Credentials, Signer};
use super::error::{self, ApiError, Refusal, StartError, Trouble};
use super::limit::Limiter;
use super::retry::Class;
use super::run::{Run, RunId, RunNow};
use super::secret_bytes::SecretBytes;
use super::transport::{self, Call, Ended, exchange};
use super::wire::{RunNowAnswer, RunNowBody};
use super::{Domain, Settings, TokenError};

/// Client of one workspace. Clones share connections and limits; make one per workspace.
#[derive(Debug, Clone)]
pub struct JobsClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: Client,
    domain: Domain,
    signer: Signer,
    settings: Settings,
    limits: Limits,
    /// The workspace has answered that it has no version 2.2.
    is_older: AtomicBool,
}

#[derive(Debug, Clone)]
struct Limits {
    starts: Limiter,
    gets: Limiter,
    lists: Limiter,
    secrets: Limiter,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Something of the credentials can't be sent.
    #[error("the credentials can't be sent in a header")]
    Credentials(#[source] TokenError),
    /// TLS could not be set up.
    #[error("the HTTP client could not be set up")]
    Http(#[source] reqwest::Error),
}

/// A question about runs.
pub(super) struct Ask<'a, T> {
    pub(super) name: &'static str,
    /// For logs: the job or run.
    pub(super) about: &'a str,
    pub(super) limiter: &'a Limiter,
    pub(super) query: &'a [(&'static str, String)],
    /// `None`: not the answer hoped for.
    pub(super) read: &'a (dyn Fn(&[u8]) -> Option<T> + Sync),
}

impl JobsClient {
    /// Makes a client. Sends nothing.
    pub fn new(domain: &Domain, credentials: &Credentials, settings: Settings) -> Result<Self, ClientError> {
        let limits = Limits {
            starts: Limiter::per_second(settings.starts_per_second),
            gets: Limiter::per_second(settings.gets_per_second),
            lists: Limiter::per_second(settings.lists_per_second),
            secrets: Limiter::per_second(settings.secrets_per_second),
        };
        let http = transport::http_client(domain, &settings)?;
        Self::assemble(domain, http, credentials, settings, limits)
    }

    /// A client of the same workspace with other credentials. The limits are the workspace's, so both count together.
    pub fn with_credentials(&self, credentials: &Credentials) -> Result<Self, ClientError> {
        let Shared { domain, http, settings, limits, .. } = &*self.shared;
        Self::assemble(domain, http.clone(), credentials, settings.clone(), limits.clone())
    }

    fn assemble(
        domain: &Domain,
        http: Client,
        credentials: &Credentials,
        settings: Settings,
        limits: Limits,
    ) -> Result<Self, ClientError> {
        let asker = Asker { http: http.clone(), backoff: settings.backoff, try_limit: settings.try_limit };
        let signer = Signer::new(credentials, domain, asker).map_err(ClientError::Credentials)?;
        let is_older = AtomicBool::new(false);
        let shared = Shared { http, domain: domain.clone(), signer, settings, limits, is_older };
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
        let body = RunNowBody::new(call);
        let url = format!("{}/api/2.1/jobs/run-now", shared.domain);
        let ended = exchange(
            Call {
                name: "run-now",
                about: &call.job_id,
                limiter: &shared.limits.starts,
                limit: shared.settings.start_limit,
                request: &|| shared.http.post(&url).json(&body),
                read: &|body| serde_json::from_slice::<RunNowAnswer>(body).ok()?.run_id.map(RunId),
            },
            &shared.settings,
            &shared.signer,
        )
        .await;
        ended.map_err(|ended| start_error(call.job_id.clone(), ended))
    }

    /// Looks at one run: `GET /api/2.2/jobs/runs/get`.
    pub async fn get_run(&self, run_id: RunId) -> Result<Run, ApiError> {
        const CALL: &str = "runs/get";
        let id = run_id.to_string();
        let run = self
            .ask(Ask {
                name: CALL,
                about: &id,
                limiter: &self.shared.limits.gets,
                query: &[("run_id", id.clone())],
                read: &|body| Run::from_body(serde_json::from_slice(body).ok()?),
            })
            .await
            .map_err(|ended| match (ended.class, ended.trouble) {
                (Class::Refused, Trouble::Answer(answer)) if error::run_is_missing(&answer) => {
                    ApiError::RunMissing { run_id, answer }
                }
                (_, trouble) => api_error(CALL, Ended { trouble, ..ended }),
            })?;
        if run.run_id == run_id {
            Ok(run)
        } else {
            Err(ApiError::Mismatch { call: CALL, asked: id, got: run.run_id.to_string() })
        }
    }

    /// Reads a secret of a scope: `GET /api/2.0/secrets/get`. Needs READ on the scope.
    pub async fn get_secret(&self, scope: &str, key: &str) -> Result<SecretBytes, ApiError> {
        const CALL: &str = "secrets/get";
        let shared = &*self.shared;
        let url = format!("{}/api/2.0/{CALL}", shared.domain);
        let query = [("scope", scope), ("key", key)];
        let call = Call {
            name: CALL,
            about: key,
            limiter: &shared.limits.secrets,
            limit: shared.settings.read_limit,
            request: &|| shared.http.get(&url).query(&query),
            read: &|body| SecretBytes::read(body),
        };
        let (got, bytes) = exchange(call, &shared.settings, &shared.signer).await.map_err(|ended| {
            match (ended.class, ended.trouble) {
                (Class::Refused, Trouble::Answer(answer)) if error::secret_is_missing(&answer) => {
                    ApiError::SecretMissing { scope: scope.to_owned(), key: key.to_owned(), answer }
                }
                (Class::Refused, Trouble::Answer(answer)) if answer.status == 403 => {
                    ApiError::SecretForbidden { scope: scope.to_owned(), answer }
                }
                // What came may be a secret in a form that we don't know.
                (_, Trouble::Answer(answer)) if answer.status < 300 => {
                    ApiError::Unusable { call: CALL, answer: answer.without_message() }
                }
                (_, trouble) => api_error(CALL, Ended { trouble, ..ended }),
            }
        })?;
        if got == key {
            Ok(bytes)
        } else {
            Err(ApiError::Mismatch { call: CALL, asked: format!("key {key}"), got: format!("key {got}") })
        }
    }

    pub(super) fn lists(&self) -> &Limiter {
        &self.shared.limits.lists
    }

    /// Asks version 2.2, or 2.1 once the workspace has said that it has no 2.2.
    pub(super) async fn ask<T>(&self, ask: Ask<'_, T>) -> Result<T, Ended> {
        let shared = &*self.shared;
        loop {
            let is_older = shared.is_older.load(Ordering::Relaxed);
            let version = if is_older { "2.1" } else { "2.2" };
            let url = format!("{}/api/{version}/jobs/{}", shared.domain, ask.name);
            let call = Call {
                name: ask.name,
                about: ask.about,
                limiter: ask.limiter,
                limit: shared.settings.read_limit,
                request: &|| shared.http.get(&url).query(ask.query),
                read: ask.read,
            };
            match exchange(call, &shared.settings, &shared.signer).await {
                Err(Ended { trouble: Trouble::Answer(answer), .. })
                    if !is_older && error::is_not_served(&answer) =>
                {
                    tracing::info!(domain = %shared.domain, "workspace has no jobs api 2.2, 2.1 is used");
                    shared.is_older.store(true, Ordering::Relaxed);
                }
                answered => return answered,
            }
        }
    }
}

fn start_error(job_id: String, ended: Ended) -> StartError {
    let Ended { tries, in_doubt, class, retry_after, trouble } = ended;
    match (class, trouble) {
        // A refusal says nothing about the tries before it.
        (_, trouble) if in_doubt => StartError::Unknown { job_id, tries, trouble },
        (_, Trouble::NoCredential(cause)) => StartError::NoCredential { job_id, cause },
        (Class::Refused, Trouble::Answer(answer)) => {
            StartError::Refused { job_id, why: Refusal::of(&answer), answer }
        }
        (_, trouble) => StartError::NotStarted { job_id, tries, retry_after, trouble },
    }
}

pub(super) fn api_error(call: &'static str, ended: Ended) -> ApiError {
    let Ended { tries, class, trouble, .. } = ended;
    match (class, trouble) {
        (Class::Refused, Trouble::Answer(answer)) => {
            ApiError::Refused { call, why: Refusal::of(&answer), answer }
        }
        (_, Trouble::Answer(answer)) if answer.status < 300 => ApiError::Unusable { call, answer },
        (_, Trouble::NoCredential(cause)) => ApiError::NoCredential { call, cause },
        (_, trouble) => ApiError::Unavailable { call, tries, trouble },
    }
}
