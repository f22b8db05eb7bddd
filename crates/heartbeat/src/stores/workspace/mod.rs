//! A Databricks workspace as the keeper of files: calls signed with its credentials, and what its refusals mean.

#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use heartbeat_core::domain::Domain;
use heartbeat_core::secret::SecretRef;

pub(super) use self::walk::{Entry, Walk};
use super::error::{Fault, StoreError};
use super::http::{Answer, TrafficCount, Wire};
use crate::error_chain::chain;
use crate::jobs::credentials::{Signature, Signer};
use crate::jobs::{self, Credentials, GrantError, Shape};
use crate::secrets::{self, SecretError, Secrets};

/// The workspace, called with what the ACON, the environment or a profile has for it.
pub(super) struct Workspace {
    domain: Domain,
    token: Option<SecretRef>,
    login: Mutex<Arc<Login>>,
    wire: Wire,
}

/// Credentials in use.
struct Login {
    credentials: Credentials,
    signer: Signer,
}

/// What to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'a Method,
    /// Path and query, encoded.
    pub(super) target: &'a str,
    pub(super) headers: &'a [(header::HeaderName, &'a str)],
    pub(super) body: &'a Bytes,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) answer: Answer,
    /// What an answer says that is no success.
    pub(super) refused: Option<jobs::Answer>,
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Workspace {
    /// The ACON's workspace, else that of the environment or a profile. Credentials are read, nothing is asked yet.
    pub(super) async fn open(secrets: &Secrets) -> Result<Self, Fault> {
        let of_acon = secrets.workspace().cloned();
        let (domain, token) = match of_acon {
            Some(workspace) => workspace,
            None => (aside(secrets::workspace).await?, None),
        };
        let credentials = read(&domain, token.as_ref()).await?;
        let login = Login::new(&domain, credentials)?;
        let wire = Wire::new(domain.as_str())?;
        Ok(Self { domain, token, login: Mutex::new(Arc::new(login)), wire })
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        self.wire.traffic()
    }

    /// One call. A 401 is answered once with a new access token, or with what the place that the token is read from
    /// holds by now.
    pub(super) async fn ask(
        &self,
        what: &str,
        call: Call<'_>,
        deadline: Instant,
    ) -> Result<Reply, StoreError> {
        let url = format!("{}{}", self.domain, call.target);
        let login = Arc::clone(&self.login());
        let mut signature = within(deadline, login.signer.sign())
            .await
            .and_then(|signed| signed.map_err(|error| no_token(&error)))
            .map_err(|fault| fault.of(what))?;
        let mut renewed = false;
        let mut blind = false;
        loop {
            let mut answer = self.wire.send(what, deadline, async || request(&url, call, &signature)).await?;
            blind |= answer.repeated_blindly;
            answer.repeated_blindly = blind;
            if answer.status.is_success() {
                return Ok(Reply { answer, refused: None });
            }
            if answer.status == StatusCode::UNAUTHORIZED && !renewed {
                renewed = true;
                let other = within(deadline, self.renewed(&login, &signature)).await;
                if let Some(other) = other.map_err(|fault| fault.of(what))? {
                    signature = other;
                    continue;
                }
            }
            let location = answer.header("location");
            let told = jobs::Answer::read(answer.status, location, &answer.body, signature.secret());
            return Ok(Reply { answer, refused: Some(told) });
        }
    }

    /// Another signature in the place of one that was refused. `None`: there is no other.
    async fn renewed(&self, login: &Arc<Login>, refused: &Signature) -> Option<Signature> {
        if let Some(other) = login.signer.renew(refused).await {
            return Some(other);
        }
        let current = Arc::clone(&self.login());
        if !Arc::ptr_eq(&current, login) {
            // Another call was quicker.
            return current.signer.sign().await.ok();
        }
        // What cannot be read now cannot help; the refusal says more than why.
        let credentials = read(&self.domain, self.token.as_ref()).await.ok()?;
        if credentials.is_same(&login.credentials) {
            return None;
        }
        let other = Arc::new(Login::new(&self.domain, credentials).ok()?);
        *self.login() = Arc::clone(&other);
        other.signer.sign().await.ok()
    }

    fn login(&self) -> MutexGuard<'_, Arc<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Login {
    fn new(domain: &Domain, credentials: Credentials) -> Result<Self, Fault> {
        let signer = Signer::of(&credentials, domain);
        let signer = signer.map_err(|error| Fault::Misconfigured(chain(&error)))?;
        Ok(Self { credentials, signer })
    }
}

impl Reply {
    /// Fails unless nothing but success is said. A login page says 200 too.
    pub(super) fn done(&self) -> Result<(), Fault> {
        if self.answer.body.is_empty() || serde_json::from_slice::<Empty>(&self.answer.body).is_ok() {
            return Ok(());
        }
        Err(not_the_api(&jobs::Answer::read(self.answer.status, None, &self.answer.body, "")))
    }
}

#[derive(serde::Deserialize)]
struct Empty {}

/// Whether a refusal says that something is not there.
pub(super) fn is_missing(told: &jobs::Answer) -> bool {
    let code = told.error_code.as_deref();
    let says_so = matches!(told.shape, Shape::Json | Shape::Empty) && code != Some("ENDPOINT_NOT_FOUND");
    (told.status == 404 && says_so) || code == Some("RESOURCE_DOES_NOT_EXIST")
}

/// What a refusal means. `need`: the right that the call needs.
pub(super) fn refusal(told: &jobs::Answer, need: &str) -> Fault {
    // A token of another workspace or of nobody is refused like a right that is missing.
    let of_token = ["Invalid access token", "Invalid access to Org"];
    match told.status {
        ..=399 => not_the_api(told),
        401 => Fault::Credentials(told.to_string()),
        403 if of_token.iter().any(|text| told.message.contains(text)) => {
            Fault::Credentials(told.to_string())
        }
        403 => Fault::Forbidden { need: need.to_owned(), told: told.to_string() },
        _ if told.says_throttled() => Fault::Unreachable { told: told.to_string(), cause: None },
        _ if is_missing(told) => Fault::Missing,
        404 => not_the_api(told),
        _ => Fault::Nonsense(told.to_string()),
    }
}

/// Refuses what servers would resolve or merge instead of taking it for a name.
pub(super) fn check_path(path: &str) -> Result<(), Fault> {
    let is_odd = |part: &str| matches!(part, "" | "." | "..");
    if !path.is_empty() && path.split('/').any(is_odd) {
        return Err(Fault::Misconfigured(
            "the path has an empty part, or one that is `.` or `..`".to_owned(),
        ));
    }
    Ok(())
}

fn not_the_api(told: &jobs::Answer) -> Fault {
    Fault::Misconfigured(format!(
        "something else than the workspace's API answered; check the domain and proxies in between ({told})"
    ))
}

fn request(url: &str, call: Call<'_>, signature: &Signature) -> Result<Request<Bytes>, Fault> {
    let mut request = Request::builder().method(call.method).uri(url);
    for (name, value) in call.headers {
        request = request.header(name, *value);
    }
    let mut request =
        request.body(call.body.clone()).map_err(|error| Fault::Misconfigured(error.to_string()))?;
    request.headers_mut().extend(signature.headers.clone());
    Ok(request)
}

fn no_token(error: &Arc<GrantError>) -> Fault {
    let told = chain(&**error);
    match &**error {
        GrantError::Refused { .. } => Fault::Credentials(told),
        GrantError::Unavailable { .. } | GrantError::BrokenOff => Fault::Unreachable { told, cause: None },
        _ => Fault::Misconfigured(told),
    }
}

async fn read(domain: &Domain, token: Option<&SecretRef>) -> Result<Credentials, Fault> {
    let (domain, token) = (domain.clone(), token.cloned());
    aside(move || secrets::credentials(&domain, token.as_ref())).await
}

/// Files are read beside the runtime: they may lie on a mount that hangs.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Fault::Unreachable { told: error.to_string(), cause: None })??)
}

async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Result<T, Fault> {
    tokio::time::timeout_at(deadline.into(), work).await.map_err(|_| Fault::Timeout)
}
