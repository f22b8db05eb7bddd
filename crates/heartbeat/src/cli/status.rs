//! `heartbeat status`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Result;
use heartbeat_core::decide::{Decision, Holds, Selection, WaitReason, decide};
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::{Failing, RowKey, failing};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::{Sensor, Status, View};
use heartbeat_core::state::ClaimState;
use heartbeat_core::table::Table;
use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, Session, args, journal, output};

pub(super) async fn run(session: &Session, args: &args::Status) -> Result<Outcome> {
    let location = session.locate(&args.control_table)?;
    let control = session.place(&location).await?.table::<ControlRow>()?;
    let sensor = match &args.sensor_table {
        Some(name) => Some(session.place(&session.locate(name)?).await?.table::<SensorRow>()?),
        None => None,
    };
    let load_sensor = async {
        match &sensor {
            Some(table) => table.load().await.map(|snapshot| Some(snapshot.rows)),
            None => Ok(None),
        }
    };
    let (control, sensor, entries) =
        tokio::join!(control.load(), load_sensor, journal::recent(session, &location));
    let (control, sensor) = (Arc::new(control?.rows), sensor?);
    let reasons = reasons(&control, sensor, &failing(&entries), Timestamp::now());
    if session.printer.is_json() {
        let rows = control.iter().zip(&reasons).map(|(row, reason)| ReasonedRow { row, reason }).collect();
        session.printer.text(&format!("{}\n", serde_json::to_string(&Document { rows })?))?;
    } else {
        session.printer.text(&text(&control, &reasons))?;
    }
    Ok(Outcome::Good)
}

/// Written straight from the rows: a tree of values of 50,000 rows costs more than loading them.
#[derive(Serialize)]
struct Document<'a> {
    rows: Vec<ReasonedRow<'a>>,
}

#[derive(Serialize)]
struct ReasonedRow<'a> {
    #[serde(flatten)]
    row: &'a ControlRow,
    reason: &'a str,
}

/// The reason of every control row, in their order.
pub(super) fn reasons(
    control: &Arc<Vec<ControlRow>>,
    sensor: Option<Vec<SensorRow>>,
    failing: &BTreeMap<RowKey, Failing>,
    now: Timestamp,
) -> Vec<String> {
    let claims_known = sensor.is_some();
    let view = View::new(Arc::clone(control), sensor.unwrap_or_default());
    let by_job = job_reasons(decide(&view, &Selection::All, &Holds::default(), now), claims_known);
    let mut reasons = vec![String::new(); control.len()];
    for (index, problem) in &view.unusable {
        reasons[*index] = format!("never looked at: {problem}");
    }
    for row in &view.sensors {
        reasons[row.control] = reason(row, by_job.get(&row.job));
    }
    // Few rows fail; the others need no key.
    if !failing.is_empty() {
        for row in view.sensors.iter().filter(|row| row.is_watched()) {
            let key = (row.id.clone(), row.job.to_string());
            if let Some(Failing { since, why, .. }) = failing.get(&key) {
                reasons[row.control] = format!("cannot be looked at since {since:.0}: {why}");
            }
        }
    }
    for index in &view.duplicates {
        let row = view.sensors[*index].control;
        reasons[row] = format!("a duplicate, counts once: {}", reasons[row]);
    }
    reasons
}

/// What is said about a job: its text, and whether it only lacks news.
struct JobReason {
    text: String,
    no_news: bool,
    /// Hard rows that the job waits for.
    missing: Vec<String>,
}

fn job_reasons(decision: Decision, claims_known: bool) -> HashMap<JobId, JobReason> {
    let starts = decision.starts.into_iter().map(|start| {
        let text = format!("ready: the next trigger over {} starts the job", start.source);
        (start.job, JobReason { text, no_news: false, missing: Vec::new() })
    });
    let adoptions = decision.adoptions.into_iter().map(|adoption| {
        let text = format!(
            "start claimed at {:.0}, run not known yet: the next trigger asks again",
            adoption.claim.at
        );
        (adoption.job, JobReason { text, no_news: false, missing: Vec::new() })
    });
    let waiting = decision.waiting.into_iter().map(|(job, reason)| {
        let text = match &reason {
            // Without the sensor table nobody knows who started it.
            WaitReason::RunningElsewhere if !claims_known => {
                "in progress: waits for its completion".to_owned()
            }
            other => other.to_string(),
        };
        let no_news = reason == WaitReason::NoNews;
        let missing = match reason {
            WaitReason::HardRows(rows) => rows.into_iter().map(|(id, _)| id).collect(),
            _ => Vec::new(),
        };
        (job, JobReason { text, no_news, missing })
    });
    starts.chain(adoptions).chain(waiting).collect()
}

fn reason(row: &Sensor, job: Option<&JobReason>) -> String {
    if let Some(problem) = &row.problem {
        return format!("never looked at: {problem}");
    }
    if !row.unpaused {
        let of_job =
            job.filter(|_| row.status == Status::InProgress).map(|job| format!("; the job: {}", job.text));
        return format!("paused: job_state is not UNPAUSED{}", of_job.unwrap_or_default());
    }
    if let Some(trouble) = trouble_of_last_start(row) {
        return trouble;
    }
    match job {
        Some(job) if row.is_idle() && job.no_news => "watched: waits for news".to_owned(),
        Some(job) if row.is_idle() && job.missing.contains(&row.id) => {
            "watched: the job waits for news of this row".to_owned()
        }
        Some(job) => job.text.clone(),
        None => String::new(),
    }
}

/// What went wrong when the job of a row was to be started.
fn trouble_of_last_start(row: &Sensor) -> Option<String> {
    match &row.state.claim.as_ref()?.state {
        ClaimState::Refused { reason } if row.is_new() => {
            Some(format!("the last start was refused, the next trigger tries again: {reason}"))
        }
        ClaimState::Claimed { trouble: Some(trouble) } => {
            Some(format!("whether the job was started is not known, the next trigger asks again: {trouble}"))
        }
        _ => None,
    }
}

fn text(control: &[ControlRow], reasons: &[String]) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = control
        .iter()
        .zip(reasons)
        .map(|(row, reason)| {
            vec![
                shown(&row.sensor_source),
                shown(&row.sensor_id),
                shown(&row.trigger_job_id),
                shown(&row.dependency_flag),
                shown(&row.status),
                row.status_change_timestamp.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}")),
                reason.clone(),
            ]
        })
        .collect();
    output::table(&["source", "sensor_id", "job", "hard", "status", "since", "reason"], &rows)
}
