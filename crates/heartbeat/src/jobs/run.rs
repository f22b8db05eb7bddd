//! A run as we follow it, and the judgement of how it stands.
//!
//! A run carries two forms of the same news: `status` (newer) and `state` (deprecated, still sent). `status` is
//! asked first; where it can't tell, `state` is. All enums are open: what neither form explains counts as still
//! running, because "done" can't be taken back.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::wire::{RunBody, StateBody, StatusBody};

/// A start as decided: nothing is left to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunNow {
    /// The job as the row names it; sent as text, as it stands.
    pub job_id: String,
    /// At most 64 characters. One token, one run.
    pub idempotency_token: String,
    /// Job parameters, sent instead of the original's `notebook_params` (a start can't have both), with the original's
    /// `msg` among them unless they have their own. `None`: the start is the original's.
    pub job_parameters: Option<BTreeMap<String, String>>,
}

/// Id of a run: a 64-bit integer, 15 digits and more in the wild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub i64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The run.
    pub run_id: RunId,
    /// The job it belongs to; `None` if the answer doesn't say.
    pub job_id: Option<i64>,
    /// How it stands, judged.
    pub outcome: RunOutcome,
    /// `status.state` or `state.life_cycle_state` as sent, for people.
    pub state: Option<String>,
    /// `status.termination_details.code` or `state.result_state` as sent, for people.
    pub result: Option<String>,
    /// When the run was made.
    pub start_time: Option<Timestamp>,
    /// When it ended; `None` while it runs (the API sends 0 or nothing).
    pub end_time: Option<Timestamp>,
    /// Its page in the workspace.
    pub run_page_url: Option<String>,
}

/// How a run stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// Queued, waiting or running.
    Active,
    /// Done, and good. Includes `SUCCESS_WITH_FAILURES`: every leaf task succeeded.
    Succeeded,
    /// Done, and not good: failed, timed out, cancelled.
    Failed {
        /// Code and message as sent.
        reason: String,
    },
    /// Done without ever having run (job at its concurrency limit, queue full, switched off).
    Skipped {
        /// Code and message as sent.
        reason: String,
    },
    /// Not understood. Treat as still running, and say so.
    Unknown {
        /// What was sent.
        text: String,
    },
}

impl RunOutcome {
    /// Whether the run is over for good.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed { .. } | Self::Skipped { .. })
    }
}

impl Run {
    /// `None` if the body names no run.
    pub(super) fn from_body(body: RunBody) -> Option<Self> {
        let run_id = RunId(body.run_id?);
        let status = body.status.unwrap_or_default();
        let state = body.state.unwrap_or_default();
        let outcome = judge(&status, &state);
        if let RunOutcome::Unknown { text } = &outcome {
            tracing::debug!(%run_id, state = %text, "run state not understood, taken as still running");
        }
        let code = status.termination_details.and_then(|details| details.code);
        Some(Self {
            run_id,
            job_id: body.job_id,
            outcome,
            state: status.state.or(state.life_cycle_state),
            result: code.or(state.result_state),
            start_time: time(body.start_time),
            end_time: time(body.end_time),
            run_page_url: body.run_page_url,
        })
    }
}

fn time(millis: Option<i64>) -> Option<Timestamp> {
    millis.filter(|millis| *millis > 0).and_then(|millis| Timestamp::from_millisecond(millis).ok())
}

/// How the run stands, by `status` first, then by `state`.
pub(super) fn judge(status: &StatusBody, state: &StateBody) -> RunOutcome {
    by_status(status).or_else(|| by_state(state)).unwrap_or_else(|| RunOutcome::Unknown {
        text: [
            status.state.as_deref(),
            status.termination_details.as_ref().and_then(|details| details.code.as_deref()),
            state.life_cycle_state.as_deref(),
            state.result_state.as_deref(),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" "),
    })
}

/// `None`: this form can't tell.
fn by_status(status: &StatusBody) -> Option<RunOutcome> {
    match status.state.as_deref()? {
        "BLOCKED" | "PENDING" | "QUEUED" | "RUNNING" | "TERMINATING" | "WAITING" => Some(RunOutcome::Active),
        "TERMINATED" => {
            let details = status.termination_details.as_ref()?;
            let (code, kind) = (details.code.as_deref(), details.kind.as_deref());
            let reason = || reason(code.or(kind), details.message.as_deref());
            match (code, kind) {
                (Some("SUCCESS" | "SUCCESS_WITH_FAILURES"), _) | (None, Some("SUCCESS")) => {
                    Some(RunOutcome::Succeeded)
                }
                (
                    Some(
                        "SKIPPED"
                        | "DISABLED"
                        | "MAX_CONCURRENT_RUNS_EXCEEDED"
                        | "MAX_JOB_QUEUE_SIZE_EXCEEDED"
                        | "WORKSPACE_RUN_LIMIT_EXCEEDED",
                    ),
                    _,
                ) => Some(RunOutcome::Skipped { reason: reason() }),
                // Known by name, so that a missing or odd type can't turn a stopped run into a good one.
                (
                    Some(
                        "USER_CANCELED"
                        | "CANCELED"
                        | "RUN_EXECUTION_ERROR"
                        | "INTERNAL_ERROR"
                        | "DRIVER_ERROR"
                        | "CLUSTER_ERROR"
                        | "CLOUD_FAILURE",
                    ),
                    _,
                )
                | (_, Some("CLIENT_ERROR" | "INTERNAL_ERROR" | "CLOUD_FAILURE")) => {
                    Some(RunOutcome::Failed { reason: reason() })
                }
                // A code we never heard of is no success on the word of its type alone.
                _ => None,
            }
        }
        _ => None,
    }
}

/// `None`: this form can't tell.
fn by_state(state: &StateBody) -> Option<RunOutcome> {
    let message = state.state_message.as_deref();
    let life = state.life_cycle_state.as_deref()?;
    let result = state.result_state.as_deref();
    match (life, result) {
        ("QUEUED" | "PENDING" | "BLOCKED" | "WAITING_FOR_RETRY" | "RUNNING" | "TERMINATING", _) => {
            Some(RunOutcome::Active)
        }
        ("TERMINATED", Some("SUCCESS" | "SUCCESS_WITH_FAILURES")) => Some(RunOutcome::Succeeded),
        ("SKIPPED", _)
        | ("TERMINATED", Some("MAXIMUM_CONCURRENT_RUNS_REACHED" | "EXCLUDED" | "DISABLED")) => {
            Some(RunOutcome::Skipped { reason: reason(result.or(Some(life)), message) })
        }
        // INTERNAL_ERROR is also how a job run ends whose task failed.
        ("INTERNAL_ERROR", _)
        | (
            "TERMINATED",
            Some("FAILED" | "TIMEDOUT" | "CANCELED" | "UPSTREAM_FAILED" | "UPSTREAM_CANCELED"),
        ) => Some(RunOutcome::Failed { reason: reason(result.or(Some(life)), message) }),
        _ => None,
    }
}

fn reason(code: Option<&str>, message: Option<&str>) -> String {
    let code = code.unwrap_or("UNKNOWN");
    match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn judge_json(body: &str) -> RunOutcome {
        let body: RunBody = serde_json::from_str(body).unwrap();
        judge(&body.status.unwrap_or_default(), &body.state.unwrap_or_default())
    }

    fn failed(reason: &str) -> RunOutcome {
        RunOutcome::Failed { reason: reason.to_owned() }
    }

    fn skipped(reason: &str) -> RunOutcome {
        RunOutcome::Skipped { reason: reason.to_owned() }
    }

    fn unknown(text: &str) -> RunOutcome {
        RunOutcome::Unknown { text: text.to_owned() }
    }

    #[rstest]
    fn unfinished_states_of_both_forms_are_active(
        #[values("BLOCKED", "PENDING", "QUEUED", "RUNNING", "TERMINATING", "WAITING")] status: &str,
        #[values("QUEUED", "PENDING", "BLOCKED", "WAITING_FOR_RETRY", "RUNNING", "TERMINATING")] state: &str,
    ) {
        assert_eq!(judge_json(&format!(r#"{{"status":{{"state":"{status}"}}}}"#)), RunOutcome::Active);
        let body = format!(r#"{{"state":{{"life_cycle_state":"{state}"}}}}"#);
        assert_eq!(judge_json(&body), RunOutcome::Active);
    }

    #[rstest]
    #[case("SUCCESS", "SUCCESS", RunOutcome::Succeeded)]
    #[case("SUCCESS_WITH_FAILURES", "SUCCESS", RunOutcome::Succeeded)]
    #[case("USER_CANCELED", "SUCCESS", failed("USER_CANCELED: m"))]
    #[case("CANCELED", "INTERNAL_ERROR", failed("CANCELED: m"))]
    #[case("RUN_EXECUTION_ERROR", "CLIENT_ERROR", failed("RUN_EXECUTION_ERROR: m"))]
    #[case("LIBRARY_INSTALLATION_ERROR", "CLIENT_ERROR", failed("LIBRARY_INSTALLATION_ERROR: m"))]
    #[case("CLOUD_FAILURE", "CLOUD_FAILURE", failed("CLOUD_FAILURE: m"))]
    #[case("NEW_NAME", "INTERNAL_ERROR", failed("NEW_NAME: m"))]
    #[case("NEW_NAME", "SUCCESS", unknown("TERMINATED NEW_NAME"))]
    #[case("NEW_NAME", "NEW_TYPE", unknown("TERMINATED NEW_NAME"))]
    #[case("MAX_CONCURRENT_RUNS_EXCEEDED", "CLIENT_ERROR", skipped("MAX_CONCURRENT_RUNS_EXCEEDED: m"))]
    #[case("MAX_JOB_QUEUE_SIZE_EXCEEDED", "CLIENT_ERROR", skipped("MAX_JOB_QUEUE_SIZE_EXCEEDED: m"))]
    #[case("WORKSPACE_RUN_LIMIT_EXCEEDED", "CLIENT_ERROR", skipped("WORKSPACE_RUN_LIMIT_EXCEEDED: m"))]
    #[case("SKIPPED", "SUCCESS", skipped("SKIPPED: m"))]
    #[case("DISABLED", "SUCCESS", skipped("DISABLED: m"))]
    fn terminated_is_judged_by_its_code(
        #[case] code: &str,
        #[case] kind: &str,
        #[case] expected: RunOutcome,
    ) {
        let body = format!(
            r#"{{"status":{{"state":"TERMINATED","termination_details":{{"code":"{code}","type":"{kind}","message":"m"}}}}}}"#
        );
        assert_eq!(judge_json(&body), expected);
    }

    #[rstest]
    #[case("TERMINATED", Some("SUCCESS"), RunOutcome::Succeeded)]
    #[case("TERMINATED", Some("SUCCESS_WITH_FAILURES"), RunOutcome::Succeeded)]
    #[case("TERMINATED", Some("FAILED"), failed("FAILED"))]
    #[case("TERMINATED", Some("TIMEDOUT"), failed("TIMEDOUT"))]
    #[case("TERMINATED", Some("CANCELED"), failed("CANCELED"))]
    #[case("TERMINATED", Some("UPSTREAM_FAILED"), failed("UPSTREAM_FAILED"))]
    #[case("TERMINATED", Some("MAXIMUM_CONCURRENT_RUNS_REACHED"), skipped("MAXIMUM_CONCURRENT_RUNS_REACHED"))]
    #[case("TERMINATED", Some("NEWS"), unknown("TERMINATED NEWS"))]
    #[case("TERMINATED", None, unknown("TERMINATED"))]
    #[case("INTERNAL_ERROR", Some("FAILED"), failed("FAILED"))]
    #[case("INTERNAL_ERROR", None, failed("INTERNAL_ERROR"))]
    #[case("SKIPPED", None, skipped("SKIPPED"))]
    #[case("SKIPPED", Some("MAXIMUM_CONCURRENT_RUNS_REACHED"), skipped("MAXIMUM_CONCURRENT_RUNS_REACHED"))]
    #[case("HIBERNATING", None, unknown("HIBERNATING"))]
    fn the_older_form_is_judged_by_life_and_result(
        #[case] life: &str,
        #[case] result: Option<&str>,
        #[case] expected: RunOutcome,
    ) {
        let state = StateBody {
            life_cycle_state: Some(life.to_owned()),
            result_state: result.map(str::to_owned),
            state_message: Some(" ".to_owned()),
        };
        assert_eq!(judge(&StatusBody::default(), &state), expected);
    }

    #[rstest]
    #[case(r#"{"status":{"state":"RUNNING"},"state":{"life_cycle_state":"TERMINATED","result_state":"SUCCESS"}}"#, RunOutcome::Active)]
    #[case(r#"{"status":{"state":"TERMINATED"},"state":{"life_cycle_state":"TERMINATED","result_state":"SUCCESS"}}"#, RunOutcome::Succeeded)]
    #[case(r#"{"status":{"state":"NEW"},"state":{"life_cycle_state":"RUNNING"}}"#, RunOutcome::Active)]
    #[case(r#"{"status":{"state":"NEW"},"state":{"life_cycle_state":"NEWER"}}"#, unknown("NEW NEWER"))]
    #[case("{}", unknown(""))]
    fn status_speaks_first_and_state_where_it_is_silent(#[case] body: &str, #[case] expected: RunOutcome) {
        assert_eq!(judge_json(body), expected);
    }

    #[test]
    fn an_end_time_of_zero_is_no_end() {
        let body = r#"{"run_id":9007199254740993,"job_id":7,"start_time":1700000000123,"end_time":0,
            "status":{"state":"RUNNING"},"run_page_url":"u"}"#;
        let run = Run::from_body(serde_json::from_str(body).unwrap()).unwrap();
        assert_eq!(run.run_id.to_string(), "9007199254740993");
        assert_eq!(run.start_time.unwrap().as_millisecond(), 1_700_000_000_123);
        assert_eq!((run.end_time, run.state.as_deref(), run.result), (None, Some("RUNNING"), None));
        assert_eq!(Run::from_body(serde_json::from_str("{}").unwrap()), None);
    }
}
