//! The stand-in's own pages under `/stand-in/`: look at runs and calls, make faults, end, repair
//! and delete runs by hand, let access tokens run out.
//!
//! No credential is asked for: listen on loopback only. Nothing here can run a command.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::api::Request;
use super::fault::Fault;
use super::job_spec::RunResult;
use super::reply::Reply;
use super::state::{RunRefusal, State};

/// Where these pages are.
pub(super) const PREFIX: &str = "/stand-in/";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finish {
    result: RunResult,
}

/// Answers a call below [`PREFIX`].
pub(super) fn answer(state: &mut State, request: Request<'_>, now: Timestamp) -> Reply {
    state.advance(now);
    let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
    match (request.method, path) {
        ("GET", "runs") => Reply::json(200, &json!({"runs": state.runs().collect::<Vec<_>>()})),
        ("GET", "calls") => Reply::json(200, &json!({"calls": &state.calls, "counts": &state.counts})),
        ("POST", "faults") => match read_faults(request.body) {
            Ok(faults) => {
                state.faults.extend(faults);
                Reply::json(200, &json!({"faults": state.faults.len()}))
            }
            Err(error) => Reply::refused(400, "MALFORMED_REQUEST", error.to_string()),
        },
        ("DELETE", "faults") => {
            state.faults.clear();
            Reply::json(200, &json!({"faults": 0}))
        }
        ("DELETE", "tokens") => {
            state.identity.expire_all(now);
            Reply::json(200, &json!({}))
        }
        ("POST", path) => match run_target(path) {
            Some((run_id, "finish")) => finish(state, run_id, request.body, now),
            Some((run_id, "repair")) => settled(run_id, state.repair(run_id, now), "has nothing to repair"),
            Some((run_id, "delete")) => settled(run_id, state.delete(run_id, now), "is not over"),
            _ => nothing_here(request.path),
        },
        _ => nothing_here(request.path),
    }
}

/// One fault or an array of them, told apart before parsing so that an error names the wrong key.
fn read_faults(body: &[u8]) -> Result<Vec<Fault>, serde_json::Error> {
    if body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(body)
    } else {
        serde_json::from_slice(body).map(|fault| vec![fault])
    }
}

fn run_target(path: &str) -> Option<(i64, &str)> {
    let (run_id, act) = path.strip_prefix("runs/")?.split_once('/')?;
    Some((run_id.parse().ok()?, act))
}

fn finish(state: &mut State, run_id: i64, body: &[u8], now: Timestamp) -> Reply {
    match serde_json::from_slice::<Finish>(body) {
        Ok(Finish { result }) => settled(run_id, state.finish(run_id, result, now), "is over"),
        Err(error) => Reply::refused(400, "MALFORMED_REQUEST", error.to_string()),
    }
}

fn settled(run_id: i64, result: Result<(), RunRefusal>, phase: &str) -> Reply {
    match result {
        Ok(()) => Reply::json(200, &json!({})),
        Err(RunRefusal::Missing) => {
            Reply::refused(404, "RESOURCE_DOES_NOT_EXIST", format!("no run {run_id}"))
        }
        Err(RunRefusal::WrongPhase) => Reply::refused(409, "INVALID_STATE", format!("run {run_id} {phase}")),
    }
}

fn nothing_here(path: &str) -> Reply {
    let message = format!(
        "{path}: there are GET runs, GET calls, POST and DELETE faults, DELETE tokens, POST runs/ID/finish, \
             runs/ID/repair and runs/ID/delete"
    );
    Reply::refused(404, "ENDPOINT_NOT_FOUND", message)
}
