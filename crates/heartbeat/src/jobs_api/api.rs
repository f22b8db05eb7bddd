//! What the stand-in answers: a request and the state in, a reply out. No clock, and no I/O but on the folder of files.

use axum::http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::fault::{Fault, FaultKind, FaultTarget};
use super::job_spec::RunResult;
use super::record::RecordedCall;
use super::reply::Reply;
use super::state::{RunRefusal, StartRefusal, State};
use super::{files, listing, run_now, vault, view};

/// An HTTP request, as far as the API looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

impl Request<'_> {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
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
    Repair,
    Secrets,
    Files,
    Dbfs,
    Token,
    Discovery,
    /// Everything else, which is not there.
    Nothing,
}

impl Endpoint {
    fn of(state: &State, method: &str, path: &str) -> Self {
        let older = path.strip_prefix("/api/2.1/jobs/");
        let newer = path.strip_prefix("/api/2.2/jobs/").filter(|_| state.config.version_2_2);
        match (method, older.or(newer).unwrap_or_default()) {
            ("POST", "run-now") => Self::RunNow,
            ("GET", "runs/get") => Self::Get,
            ("GET", "runs/list") => Self::List,
            ("POST", "runs/cancel") => Self::Cancel,
            ("POST", "runs/delete") => Self::Delete,
            ("POST", "runs/repair") => Self::Repair,
            _ if path.starts_with(vault::PREFIX) => Self::Secrets,
            _ if path.starts_with(files::FILES_PREFIX) => Self::Files,
            _ if path.starts_with(files::DBFS_PREFIX) => Self::Dbfs,
            ("POST", _) if path.ends_with("/token") => Self::Token,
            ("GET", _) if path.contains("/.well-known/") || path == "/aad/auth" => Self::Discovery,
            _ => Self::Nothing,
        }
    }

    /// Its name in counts, and as the target of faults.
    fn named(self) -> (&'static str, FaultTarget) {
        match self {
            Self::RunNow => ("run-now", FaultTarget::RunNow),
            Self::Get => ("runs/get", FaultTarget::RunsGet),
            Self::List => ("runs/list", FaultTarget::RunsList),
            Self::Cancel => ("runs/cancel", FaultTarget::RunsCancel),
            Self::Delete => ("runs/delete", FaultTarget::RunsDelete),
            Self::Repair => ("runs/repair", FaultTarget::RunsRepair),
            Self::Secrets => ("secrets", FaultTarget::Secrets),
            Self::Files => ("files", FaultTarget::Files),
            Self::Dbfs => ("dbfs", FaultTarget::Dbfs),
            Self::Token => ("token", FaultTarget::Token),
            Self::Discovery => ("discovery", FaultTarget::Discovery),
            Self::Nothing => ("other", FaultTarget::Any),
        }
    }
}

/// Answers a call, records it, and lets a fault have its way.
pub(super) fn answer(state: &mut State, request: Request<'_>, now: Timestamp) -> Delivery {
    state.advance(now);
    let endpoint = Endpoint::of(state, request.method, request.path);
    let (name, target) = endpoint.named();
    *state.counts.entry(name).or_default() += 1;
    let job_id = job_of(state, endpoint, &request);
    let fault = Fault::take(&mut state.faults, target, job_id);
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
        state.record(RecordedCall { at: now, path: request.path.to_owned(), body, status, run_id });
    }
    delivery
}

/// The job that a call is about, for faults that ask for one.
fn job_of(state: &State, endpoint: Endpoint, request: &Request<'_>) -> Option<i64> {
    let run = match endpoint {
        Endpoint::RunNow => {
            let body: Value = serde_json::from_slice(request.body).ok()?;
            return run_now::integer(body.get("job_id")?);
        }
        Endpoint::List => return listing::Query::parse(request.query).ok()?.job_id,
        Endpoint::Get => query_run_id(request.query),
        Endpoint::Cancel | Endpoint::Delete | Endpoint::Repair => body_run_id(request.body),
        Endpoint::Secrets
        | Endpoint::Files
        | Endpoint::Dbfs
        | Endpoint::Token
        | Endpoint::Discovery
        | Endpoint::Nothing => None,
    };
    state.run(run?).map(|run| run.job_id)
}

fn serve(
    state: &mut State,
    endpoint: Endpoint,
    request: Request<'_>,
    now: Timestamp,
) -> (Reply, Option<i64>) {
    let nothing = || Reply::text(404, format!("Bad Target: {}", request.path));
    let open = match endpoint {
        Endpoint::Nothing => Some(nothing()),
        Endpoint::Token => Some(state.identity.grant(&request, now).unwrap_or_else(nothing)),
        Endpoint::Discovery => Some(state.identity.discovery(&request).unwrap_or_else(nothing)),
        _ => state.identity.authorize(&request, now).err(),
    };
    if let Some(reply) = open {
        return (reply, None);
    }
    let reply = match endpoint {
        Endpoint::RunNow => match start(state, request.body, now) {
            Ok(run_id) => {
                let body = json!({"run_id": run_id, "number_in_job": run_id});
                return (Reply::json(200, &body), Some(run_id));
            }
            Err(refused) => refused,
        },
        Endpoint::Get => get(state, request.query, now),
        Endpoint::List => list(state, request, now),
        Endpoint::Cancel => change(request.body, |run_id| cancel(state, run_id, now)),
        Endpoint::Delete => change(request.body, |run_id| {
            state.delete(run_id, now).map_err(|why| missing(run_id, why, "is still active"))?;
            Ok(json!({}))
        }),
        Endpoint::Repair => change(request.body, |run_id| {
            state.repair(run_id, now).map_err(|why| missing(run_id, why, "has nothing to repair"))?;
            let repairs = state.run(run_id).map_or(0, |run| i64::from(run.repairs));
            Ok(json!({"repair_id": run_id + repairs}))
        }),
        Endpoint::Files | Endpoint::Dbfs => {
            let files = state.config.files.as_ref();
            files.and_then(|files| files::answer(files, &request)).unwrap_or_else(nothing)
        }
        Endpoint::Secrets => state.vault.answer(&request, now).unwrap_or_else(nothing),
        Endpoint::Token | Endpoint::Discovery | Endpoint::Nothing => nothing(),
    };
    (reply, None)
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
        Some(run) => Reply::json(
            200,
            &view::run(run, &state.spec(run.job_id), &state.base_url, view::Tasks::Shown, now),
        ),
        None => invalid(format!("Run {run_id} does not exist.")),
    }
}

fn list(state: &State, request: Request<'_>, now: Timestamp) -> Reply {
    let query = match listing::Query::parse(request.query) {
        Ok(query) => query,
        Err(message) => return invalid(message),
    };
    let page =
        if query.is_of_unfinished() { query.page(state.unfinished()) } else { query.page(state.runs()) };
    let tasks = if query.expand_tasks { view::Tasks::Shown } else { view::Tasks::Hidden };
    let mut body = json!({});
    if !page.runs.is_empty() {
        let shown = page.runs.iter();
        body["runs"] =
            shown.map(|run| view::run(run, &state.spec(run.job_id), &state.base_url, tasks, now)).collect();
    }
    if request.path.starts_with("/api/2.1/") {
        body["has_more"] = page.next.is_some().into();
    }
    if let Some(next) = page.next {
        body["next_page_token"] = next.into();
    }
    if let Some(previous) = page.previous {
        body["prev_page_token"] = previous.into();
    }
    Reply::json(200, &body)
}

/// Cancelling what is over is no error.
fn cancel(state: &mut State, run_id: i64, now: Timestamp) -> Result<Value, Reply> {
    match state.finish(run_id, RunResult::Canceled, now) {
        Ok(()) | Err(RunRefusal::WrongPhase) => Ok(json!({})),
        Err(why) => Err(missing(run_id, why, "")),
    }
}

fn change(body: &[u8], act: impl FnOnce(i64) -> Result<Value, Reply>) -> Reply {
    match body_run_id(body) {
        None => Reply::refused(400, "MALFORMED_REQUEST", "run_id is required and must be an integer"),
        Some(run_id) => act(run_id).map_or_else(|refused| refused, |answer| Reply::json(200, &answer)),
    }
}

fn missing(run_id: i64, why: RunRefusal, phase: &str) -> Reply {
    match why {
        RunRefusal::Missing => invalid(format!("Run {run_id} does not exist.")),
        RunRefusal::WrongPhase => Reply::refused(400, "INVALID_STATE", format!("Run {run_id} {phase}.")),
    }
}

fn body_run_id(body: &[u8]) -> Option<i64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    run_now::integer(body.get("run_id")?)
}

fn query_run_id(query: &str) -> Option<i64> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "run_id")?.1.parse().ok()
}

fn invalid(message: String) -> Reply {
    Reply::refused(400, "INVALID_PARAMETER_VALUE", message)
}

#[cfg(test)]
mod tests;
