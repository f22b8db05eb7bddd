//! A run as the API shows it, with both forms of its state.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::job_spec::{JobSpec, RunResult};
use super::record::{Phase, RunRecord};

/// Whether a run's tasks go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tasks {
    Shown,
    Hidden,
}

/// The object that runs/get answers with. `base_url` is the workspace's.
pub(super) fn run(run: &RunRecord, spec: &JobSpec, base_url: &str, tasks: Tasks, now: Timestamp) -> Value {
    let millis = |at: Timestamp| at.as_millisecond();
    let ran = run.started.map_or(0, |started| millis(run.ended.unwrap_or(now)) - millis(started));
    let queued = millis(run.started.or(run.ended).unwrap_or(now)) - millis(run.created);
    let mut view = json!({
        "job_id": run.job_id,
        "run_id": run.run_id,
        "number_in_job": run.run_id,
        "original_attempt_run_id": run.run_id,
        "attempt_number": 0,
        "state": state(run.phase, spec),
        "status": status(run.phase),
        "start_time": millis(run.created),
        "setup_duration": 0,
        "execution_duration": ran,
        "cleanup_duration": 0,
        "run_duration": ran,
        "queue_duration": queued,
        "end_time": run.ended.map_or(0, millis),
        "trigger": "ONE_TIME",
        "creator_user_name": "stand-in@localhost",
        "run_name": spec.name.as_deref().unwrap_or("Untitled"),
        "run_page_url": format!("{base_url}/?o=0#job/{}/run/{}", run.job_id, run.run_id),
        "run_type": "JOB_RUN",
        "format": "MULTI_TASK",
    });
    if !run.overriding.is_empty() {
        view["overriding_parameters"] = Value::Object(run.overriding.clone());
    }
    if !spec.parameters.is_empty() {
        let shown = spec.parameters.iter().map(|(name, default)| {
            let value = run.parameters.get(name).unwrap_or(default);
            json!({"name": name, "default": default, "value": value})
        });
        view["job_parameters"] = shown.collect();
    }
    if tasks == Tasks::Shown {
        // A task run has an id of its own, in the range below those of job runs.
        view["tasks"] = json!([{
            "run_id": run.run_id / 2,
            "task_key": "main",
            "attempt_number": 0,
            "state": view["state"],
            "status": view["status"],
            "start_time": view["start_time"],
            "end_time": view["end_time"],
        }]);
    }
    view
}

/// `state`, the older form. A job run whose task failed is INTERNAL_ERROR + FAILED there.
fn state(phase: Phase, spec: &JobSpec) -> Value {
    let stopped = matches!(phase, Phase::Done(RunResult::TimedOut | RunResult::Canceled));
    let (life, result, message) = match phase {
        Phase::Queued => ("QUEUED", None, "Run is queued."),
        Phase::Running => ("RUNNING", None, "In run"),
        Phase::Done(RunResult::Success) => ("TERMINATED", Some("SUCCESS"), ""),
        Phase::Done(RunResult::SuccessWithFailures) => ("TERMINATED", Some("SUCCESS_WITH_FAILURES"), ""),
        Phase::Done(RunResult::Failed) => ("INTERNAL_ERROR", Some("FAILED"), FAILED),
        Phase::Done(RunResult::TimedOut) => ("TERMINATED", Some("TIMEDOUT"), "Run timed out."),
        Phase::Done(RunResult::Canceled) => ("TERMINATED", Some("CANCELED"), "Run cancelled."),
        Phase::Done(RunResult::InternalError) => ("INTERNAL_ERROR", None, "Internal error."),
        Phase::Done(RunResult::TerminatedFailed) => ("TERMINATED", Some("FAILED"), FAILED),
        Phase::Done(RunResult::Skipped | RunResult::QueueFull) if spec.skipped_without_result => {
            ("SKIPPED", None, SKIPPED)
        }
        Phase::Done(RunResult::Skipped) => ("SKIPPED", Some("MAXIMUM_CONCURRENT_RUNS_REACHED"), SKIPPED),
        Phase::Done(RunResult::QueueFull) => ("SKIPPED", None, QUEUE_FULL),
        Phase::Done(RunResult::Unknown) => ("HIBERNATED", Some("DREAMT"), "A state of later days."),
    };
    let mut state = json!({
        "life_cycle_state": life,
        "state_message": message,
        "user_cancelled_or_timedout": stopped,
    });
    if let Some(result) = result {
        state["result_state"] = result.into();
    }
    if phase == Phase::Queued {
        state["queue_reason"] = QUEUED.into();
    }
    state
}

/// `status`, the newer form.
fn status(phase: Phase) -> Value {
    let (code, kind, message) = match phase {
        Phase::Queued => {
            let details = json!({"code": "MAX_CONCURRENT_RUNS_REACHED", "message": QUEUED});
            return json!({"state": "QUEUED", "queue_details": details});
        }
        Phase::Running => return json!({"state": "RUNNING"}),
        Phase::Done(result) => match result {
            RunResult::Success => ("SUCCESS", "SUCCESS", ""),
            RunResult::SuccessWithFailures => ("SUCCESS_WITH_FAILURES", "SUCCESS", ""),
            RunResult::Failed | RunResult::TerminatedFailed => {
                ("RUN_EXECUTION_ERROR", "CLIENT_ERROR", FAILED)
            }
            // The platform's own stop, e.g. after the maximal duration.
            RunResult::TimedOut => ("CANCELED", "CLIENT_ERROR", "Run timed out."),
            RunResult::Canceled => ("USER_CANCELED", "CLIENT_ERROR", "Run cancelled."),
            RunResult::InternalError => ("INTERNAL_ERROR", "INTERNAL_ERROR", "Internal error."),
            RunResult::Skipped => ("MAX_CONCURRENT_RUNS_EXCEEDED", "CLIENT_ERROR", SKIPPED),
            RunResult::QueueFull => ("MAX_JOB_QUEUE_SIZE_EXCEEDED", "CLIENT_ERROR", QUEUE_FULL),
            RunResult::Unknown => ("DREAMT", "LATER_TYPE", "A state of later days."),
        },
    };
    let details = json!({"code": code, "type": kind, "message": message});
    json!({"state": "TERMINATED", "termination_details": details})
}

const FAILED: &str = "Task main failed with message: the job ended with a failure.";
const SKIPPED: &str = "Skipping this run because the limit of maximum concurrent runs has been reached.";
const QUEUED: &str = "Queued because the maximum concurrent runs of the job has been reached.";
const QUEUE_FULL: &str = "Skipping this run because the queue of the job is full.";
