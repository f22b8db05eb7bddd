//! What the stand-in answers: a request and the state in, a reply out. No I/O, no clock.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::config::RunResult;
use super::fault::{Fault, FaultKind, FaultTarget};
use super::record::RecordedCall;
use super::reply::Reply;
use super::run_now;
use super::state::{RunRefusal, StartRefusal, State};
use super::{listing, view};

/// An HTTP request, as far as the API looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) authorization: Option<&'a str>,
    pub(super) body: &'a [u8],
}

/// What to do with the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivery {
    Send(Reply),
    SendAfter(std::time::Duration, Reply),
    /// Close the connection without an answer.
    Drop,
    /// Leave the caller waiting.
    Hang,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    RunNow,
    Get,
    List,
    Cancel,
    Delete,
}

impl Endpoint {
    /// Versions 2.1 and 2.2 alike.
    fn of(method: &str, path: &str) -> Option<Self> {
        let call = path.strip_prefix("/api/2.1/jobs/").or_else(|| path.strip_prefix("/api/2.2/jobs/"))?;
        match (method, call) {
            ("POST", "run-now") => Some(Self::RunNow),
            ("GET", "runs/get") => Some(Self::Get),
            ("GET", "runs/list") => Some(Self::List),
            ("POST", "runs/cancel") => Some(Self::Cancel),
            ("POST", "runs/delete") => Some(Self::Delete),
            _ => None,
        }
    }

    fn fault_target(self) -> Option<FaultTarget> {
        match self {
            Self::RunNow => Some(FaultTarget::RunNow),
            Self::Get => Some(FaultTarget::RunsGet),
            Self::List => Some(FaultTarget::RunsList),
            Self::Cancel | Self::Delete => None,
        }
    }
}

/// Answers a call, records it, and lets a fault have its way.
pub(super) fn answer(state: &mut State, request: Request<'_>, now: Timestamp) -> Delivery {
    state.advance(now);
    let Some(endpoint) = Endpoint::of(request.method, request.path) else {
        return Delivery::Send(unknown_path(request.path));
    };
    let job_id = job_of(state, endpoint, &request);
    let fault = endpoint.fault_target().and_then(|on| Fault::take(&mut state.faults, on, job_id));
    let untouched = |reply| (reply, None);
    let (reply, run_id) = match &fault {
        None | Some(FaultKind::DropAfter | FaultKind::NoRunId | FaultKind::Delay(_)) => {
            serve(state, endpoint, request, now)
        }
        Some(kind) => untouched(kind.reply().unwrap_or_else(|| Reply::text(200, String::new()))),
    };
    let delivery = match fault {
        Some(FaultKind::DropBefore | FaultKind::DropAfter) => Delivery::Drop,
        Some(FaultKind::Hang) => Delivery::Hang,
        Some(FaultKind::Delay(wait)) => Delivery::SendAfter(wait, reply),
        Some(FaultKind::NoRunId) if reply.status == 200 => Delivery::Send(Reply::json(200, &json!({}))),
        _ => Delivery::Send(reply),
    };
    if endpoint == Endpoint::RunNow {
        let status = match &delivery {
            Delivery::Send(reply) | Delivery::SendAfter(_, reply) => Some(reply.status),
            Delivery::Drop | Delivery::Hang => None,
        };
        let body = String::from_utf8_lossy(request.body).into_owned();
        state.calls.push(RecordedCall { at: now, path: request.path.to_owned(), body, status, run_id });
    }
    delivery
}

/// The SDKs look for `/.well-known/databricks-config` first and take a JSON 404 for "none".
fn unknown_path(path: &str) -> Reply {
    if path.starts_with("/.well-known/") {
        return Reply::refused(404, "ENDPOINT_NOT_FOUND", format!("No API found for 'GET {path}'"));
    }
    Reply::text(404, format!("Bad Target: {path}"))
}

/// The job that a call is about, for faults that ask for one.
fn job_of(state: &State, endpoint: Endpoint, request: &Request<'_>) -> Option<i64> {
    match endpoint {
        Endpoint::RunNow => {
            let body: Value = serde_json::from_slice(request.body).ok()?;
            run_now::integer(body.get("job_id")?)
        }
        Endpoint::List => listing::Query::parse(request.query).ok()?.job_id,
        _ => state.run(query_run_id(request.query)?).map(|run| run.job_id),
    }
}

fn serve(
    state: &mut State,
    endpoint: Endpoint,
    request: Request<'_>,
    now: Timestamp,
) -> (Reply, Option<i64>) {
    if let Err(refused) = authorize(state, request.authorization) {
        return (refused, None);
    }
    match endpoint {
        Endpoint::RunNow => match start(state, request.body, now) {
            Ok(run_id) => {
                (Reply::json(200, &json!({"run_id": run_id, "number_in_job": run_id})), Some(run_id))
            }
            Err(refused) => (refused, None),
        },
        Endpoint::Get => (get(state, request.query, now), None),
        Endpoint::List => (list(state, request, now), None),
        Endpoint::Cancel => (change(request.body, |run_id| cancel(state, run_id, now)), None),
        Endpoint::Delete => (
            change(request.body, |run_id| state.delete(run_id, now).map_err(|why| missing(run_id, why))),
            None,
        ),
    }
}

/// 401 and 403 carry an integer `error_code`, as the platform's do.
fn authorize(state: &State, authorization: Option<&str>) -> Result<(), Reply> {
    let bearer = authorization.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
    match (bearer.filter(|token| !token.is_empty()), &state.config.token) {
        (None, _) => {
            let message = "Credential was not sent or was of an unsupported type for this API.";
            Err(Reply::refused(401, 401, message))
        }
        (Some(given), Some(wanted)) if given != wanted.expose() => {
            let message = "Invalid access token.";
            Err(Reply::refused(403, 403, message).header("x-databricks-reason-phrase", message))
        }
        (Some(_), _) => Ok(()),
    }
}

fn start(state: &mut State, body: &[u8], now: Timestamp) -> Result<i64, Reply> {
    if !state.admit(now) {
        let message = "Too many requests: the limit of run-now calls per second is reached.";
        return Err(Reply::refused(429, "REQUEST_LIMIT_EXCEEDED", message).header("retry-after", "1"));
    }
    let start = run_now::read(body)?;
    let job_id = start.job_id;
    state.start(start, now).map_err(|refusal| {
        invalid(match refusal {
            StartRefusal::NoSuchJob => format!("Job {job_id} does not exist."),
            StartRefusal::TokenOfDeletedRun => "The run with this idempotency token was deleted.".to_owned(),
        })
    })
}

fn get(state: &State, query: &str, now: Timestamp) -> Reply {
    let Some(run_id) = query_run_id(query) else {
        return invalid("run_id is required and must be an integer".to_owned());
    };
    match state.run(run_id) {
        Some(run) => {
            Reply::json(200, &view::run(run, state.spec(run.job_id).name.as_deref(), &state.base_url, now))
        }
        None => invalid(format!("Run {run_id} does not exist.")),
    }
}

fn list(state: &State, request: Request<'_>, now: Timestamp) -> Reply {
    let query = match listing::Query::parse(request.query) {
        Ok(query) => query,
        Err(message) => return invalid(message),
    };
    let (runs, next) = query.page(state.runs());
    let mut body = json!({});
    if !runs.is_empty() {
        body["runs"] = runs
            .into_iter()
            .map(|run| view::run(run, state.spec(run.job_id).name.as_deref(), &state.base_url, now))
            .collect();
    }
    if request.path.starts_with("/api/2.1/") {
        body["has_more"] = next.is_some().into();
    }
    if let Some(next) = next {
        body["next_page_token"] = next.into();
    }
    Reply::json(200, &body)
}

/// Cancelling what is over is no error.
fn cancel(state: &mut State, run_id: i64, now: Timestamp) -> Result<(), Reply> {
    match state.finish(run_id, RunResult::Canceled, now) {
        Ok(()) | Err(RunRefusal::WrongPhase) => Ok(()),
        Err(why) => Err(missing(run_id, why)),
    }
}

fn change(body: &[u8], act: impl FnOnce(i64) -> Result<(), Reply>) -> Reply {
    let body: Option<Value> = serde_json::from_slice(body).ok();
    match body.and_then(|body| run_now::integer(body.get("run_id")?)) {
        None => Reply::refused(400, "MALFORMED_REQUEST", "run_id is required and must be an integer"),
        Some(run_id) => act(run_id).map_or_else(|refused| refused, |()| Reply::json(200, &json!({}))),
    }
}

fn missing(run_id: i64, why: RunRefusal) -> Reply {
    match why {
        RunRefusal::Missing => invalid(format!("Run {run_id} does not exist.")),
        RunRefusal::WrongPhase => {
            Reply::refused(400, "INVALID_STATE", format!("Run {run_id} is still active."))
        }
    }
}

fn query_run_id(query: &str) -> Option<i64> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "run_id")?.1.parse().ok()
}

fn invalid(message: String) -> Reply {
    Reply::refused(400, "INVALID_PARAMETER_VALUE", message)
}

#[cfg(test)]
mod tests;
