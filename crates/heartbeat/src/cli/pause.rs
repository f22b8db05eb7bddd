//! `heartbeat pause` and `heartbeat resume`.

use anyhow::{Context, Result, bail};
use heartbeat_core::acon::SourceKind;
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::Event;
use heartbeat_core::row::ControlRow;
use heartbeat_core::steer::{JobState, Rows, set_job_state};
use heartbeat_core::table::{Commit, Table};
use heartbeat_delta::DeltaTable;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Outcome, Session, args, journal, near, output};
use crate::engine::{Clock as _, SystemClock};
use crate::scribe::{About, Scribe};

pub(super) async fn run(session: &Session, args: &args::Steer, state: JobState) -> Result<Outcome> {
    let job = args.which.job_id.as_deref().map(JobId::parse).transpose().context("--job-id")?;
    let which = Rows { job, sensor_id: args.which.sensor_id.clone() };
    let location = session.locate(&args.control_table)?;
    let rows = set(&session.place(&location).await?.table()?, &which, state).await?;
    let (command, event) = match state {
        JobState::Paused => ("heartbeat pause", Event::Paused),
        JobState::Unpaused => ("heartbeat resume", Event::Resumed),
    };
    let scribe = Scribe::new(command);
    for row in rows.iter().filter(|row| row.changed) {
        note(&scribe, event, &row.row, SystemClock.now());
    }
    journal::write(session, &scribe, &location).await;
    session.printer.data(&document(&rows, state), || text(&rows, state))?;
    Ok(Outcome::Good)
}

/// A row that was meant.
struct Meant {
    row: ControlRow,
    changed: bool,
}

async fn set(table: &DeltaTable<ControlRow>, which: &Rows, state: JobState) -> Result<Vec<Meant>> {
    loop {
        let base = table.load().await?;
        let (meant, changes) = set_job_state(&base.rows, which, state);
        if meant.is_empty() {
            bail!("{}", nothing_meant(which, &base.rows));
        }
        let changed = |index: usize| changes.update.iter().any(|(place, _)| *place == index);
        let rows: Vec<Meant> = meant
            .iter()
            .map(|index| Meant { row: base.rows[*index].clone(), changed: changed(*index) })
            .collect();
        if changes.is_empty() {
            return Ok(rows);
        }
        // Another writer's commit in between is a progress of its own; the change is made again on its rows.
        if let Commit::Done(_) = table.commit(base, changes, state.as_str()).await? {
            return Ok(rows);
        }
    }
}

/// What there is instead of what was named.
fn nothing_meant(which: &Rows, rows: &[ControlRow]) -> String {
    match (&which.job, &which.sensor_id) {
        (Some(job), Some(sensor_id)) => {
            let of_job = Rows { job: Some(job.clone()), sensor_id: None };
            let (of_job, _) = set_job_state(rows, &of_job, JobState::Paused);
            let there: Vec<String> = of_job
                .iter()
                .take(10)
                .map(|index| format!("`{}`", rows[*index].sensor_id.as_deref().unwrap_or_default()))
                .collect();
            if there.is_empty() {
                format!("the control table has no row for job {job}; {}", near::meant(job.as_str(), rows))
            } else {
                format!("job {job} has no row `{sensor_id}`; its rows are {}", there.join(", "))
            }
        }
        (Some(job), None) => {
            format!("the control table has no row for job {job}; {}", near::meant(job.as_str(), rows))
        }
        (None, sensor_id) => {
            let wanted = sensor_id.as_deref().unwrap_or_default().trim().to_lowercase();
            let ids = rows.iter().filter_map(|row| row.sensor_id.as_deref());
            let mut alike: Vec<&str> =
                ids.filter(|id| !wanted.is_empty() && id.to_lowercase().contains(&wanted)).collect();
            alike.sort_unstable();
            alike.dedup();
            let there = match alike.as_slice() {
                [] => "`heartbeat status` lists all".to_owned(),
                alike => {
                    let alike: Vec<String> = alike.iter().take(10).map(|id| format!("`{id}`")).collect();
                    format!("there are {}", alike.join(", "))
                }
            };
            format!(
                "the control table has no sensor_id `{}`; {there}",
                sensor_id.as_deref().unwrap_or_default()
            )
        }
    }
}

fn note(scribe: &Scribe, event: Event, row: &ControlRow, at: Timestamp) {
    let job = row.trigger_job_id.as_deref().and_then(|text| JobId::parse(text).ok());
    let source = row.sensor_source.as_deref().and_then(SourceKind::parse);
    let about = About { source, sensor_id: row.sensor_id.as_deref(), job: job.as_ref(), run_id: None };
    scribe.note(at, event, about, format!("{} by hand", event.as_str()), None);
}

fn document(rows: &[Meant], state: JobState) -> Value {
    let row = |meant: &Meant| {
        json!({
            "sensor_id": meant.row.sensor_id, "trigger_job_id": meant.row.trigger_job_id,
            "changed": meant.changed,
        })
    };
    json!({"job_state": state.as_str(), "rows": rows.iter().map(row).collect::<Vec<_>>()})
}

fn text(rows: &[Meant], state: JobState) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let listed: Vec<Vec<String>> = rows
        .iter()
        .map(|meant| {
            let before = if meant.changed {
                format!("was {}", meant.row.job_state.as_deref().unwrap_or("null"))
            } else {
                "as before".to_owned()
            };
            vec![
                shown(&meant.row.sensor_id),
                shown(&meant.row.trigger_job_id),
                state.as_str().to_owned(),
                before,
            ]
        })
        .collect();
    let changed = rows.iter().filter(|meant| meant.changed).count();
    let summary = if changed == 0 {
        format!("nothing to change: {} row(s) were {} before\n", rows.len(), state.as_str())
    } else {
        format!(
            "{changed} row(s) are {} now; the next feed sets job_state to what its CSV says\n",
            state.as_str()
        )
    };
    output::table(&["sensor_id", "job", "job_state", ""], &listed) + &summary
}
