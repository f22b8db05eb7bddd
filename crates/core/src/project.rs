//! Projection: what the sensor rows say, written into the control table (steps C1, C2 and D2).
//!
//! The projection is a function of the two snapshots alone, so it also repairs what a crash between two
//! commits left behind, in whatever command comes next.

use jiff::Timestamp;

use crate::ids::JobId;
use crate::row::{ACQUIRED_NEW_DATA, COMPLETED, ControlRow, IN_PROGRESS, NEW_EVENT_AVAILABLE};
use crate::sensor::{Sensor, Status, View};
use crate::state::{ClaimState, SensorState};
use crate::table::Changes;

/// What is due for a job as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// C2: a run was accepted and a claimed row still says NEW_EVENT_AVAILABLE.
    Started,
    /// D2: the claim is done and a row still says IN_PROGRESS, or a completion by hand was cut off.
    Completed(Completed),
    /// Back from IN_PROGRESS: the run does not count.
    Released,
    /// Nothing but C1 of single rows.
    Rows,
}

/// Which completion it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// Of our claim: rows that fired outside it keep their news.
    Claimed,
    /// Of a run by hand: every row is completed.
    ByHand,
}

/// The control rows that differ from what the sensor rows say.
pub fn project(view: &View, now: Timestamp) -> Changes<ControlRow> {
    let mut changes = Changes::default();
    for job in view.jobs.keys() {
        let due = due(view, job);
        for sensor in view.of_job(job) {
            let row = view.control_row(sensor);
            let target = match due {
                Due::Started => started(sensor, row, now),
                Due::Completed(how) => completed(view, sensor, how, now),
                Due::Released => released(view, sensor, now),
                Due::Rows => fired(view, sensor, now),
            };
            if let Some(target) = target {
                changes.update.push((sensor.control, target));
            }
        }
    }
    changes
}

/// D2 for one job, told by `complete`: COMPLETED on all rows but those with unclaimed news.
pub fn complete_job(view: &View, job: &JobId, how: Completed, now: Timestamp) -> Changes<ControlRow> {
    let mut changes = Changes::default();
    for sensor in view.of_job(job) {
        if let Some(target) = completed(view, sensor, how, now) {
            changes.update.push((sensor.control, target));
        }
    }
    changes
}

fn due(view: &View, job: &JobId) -> Due {
    if let Some(claim) = view.open_claim(job) {
        let accepted = matches!(claim.state, ClaimState::Accepted { .. } | ClaimState::Failed { .. });
        let unmarked = view
            .of_job(job)
            .any(|s| s.status == Status::NewEvent && claim.rows.contains_key(s.row_id.as_str()));
        return if accepted && unmarked { Due::Started } else { Due::Rows };
    }
    let mut lagging = view.of_job(job).filter(|sensor| sensor.lags).peekable();
    if lagging.peek().is_none() {
        if is_released(view, job) {
            return Due::Released;
        }
        return if is_left_in_progress(view, job) { Due::Completed(Completed::Claimed) } else { Due::Rows };
    }
    let by_hand = lagging.any(|sensor| sensor.state.by_hand);
    Due::Completed(if by_hand { Completed::ByHand } else { Completed::Claimed })
}

/// D2 is due although no row lags: the claimed rows were deleted, or fed anew and fired since. A row that others have
/// fired, and whose job they may have started, is ACQUIRED_NEW_DATA without news of ours.
fn is_left_in_progress(view: &View, job: &JobId) -> bool {
    let fired_by_others = |sensor: &Sensor| {
        let stored = sensor.sensor.map(|index| &view.sensor[index]);
        let acquired = stored.is_some_and(|row| row.status.as_deref() == Some(ACQUIRED_NEW_DATA));
        acquired && !sensor.state.has_news()
    };
    view.of_job(job).any(|sensor| sensor.status == Status::InProgress)
        && view.states_of_job(job).any(|state| state.last_run.is_some() || state.was_completed())
        && !view.of_job(job).any(fired_by_others)
}

/// A claim was released while rows say IN_PROGRESS.
fn is_released(view: &View, job: &JobId) -> bool {
    let released = |state: &SensorState| {
        let claim = state.claim.as_ref().filter(|_| state.has_news());
        claim.is_some_and(|claim| matches!(claim.state, ClaimState::Released { .. }))
    };
    view.of_job(job).any(|sensor| sensor.status == Status::InProgress)
        && view.states_of_job(job).any(released)
}

fn started(sensor: &Sensor, row: &ControlRow, now: Timestamp) -> Option<ControlRow> {
    (sensor.status != Status::InProgress).then(|| ControlRow {
        status: Some(IN_PROGRESS.to_owned()),
        status_change_timestamp: Some(now),
        job_start_timestamp: Some(now),
        ..row.clone()
    })
}

fn completed(view: &View, sensor: &Sensor, how: Completed, now: Timestamp) -> Option<ControlRow> {
    let row = view.control_row(sensor);
    if how == Completed::Claimed && sensor.is_new() {
        return None;
    }
    if sensor.state.has_news() && sensor.unpaused {
        if sensor.status == Status::NewEvent {
            return None;
        }
        let mut fired = new_event(view, sensor, now);
        if sensor.status == Status::InProgress {
            fired.job_end_timestamp = Some(now);
        }
        return Some(fired);
    }
    Some(ControlRow {
        status: Some(COMPLETED.to_owned()),
        status_change_timestamp: Some(now),
        job_end_timestamp: Some(now),
        ..row.clone()
    })
}

/// The row as it was before its job was started: with news again, completed, or never fired.
fn released(view: &View, sensor: &Sensor, now: Timestamp) -> Option<ControlRow> {
    if sensor.status != Status::InProgress {
        return fired(view, sensor, now);
    }
    let row = view.control_row(sensor);
    if sensor.state.has_news() {
        return Some(ControlRow {
            status: Some(NEW_EVENT_AVAILABLE.to_owned()),
            status_change_timestamp: Some(now),
            ..row.clone()
        });
    }
    let has_completed = row.job_end_timestamp.is_some();
    Some(ControlRow {
        status: has_completed.then(|| COMPLETED.to_owned()),
        status_change_timestamp: Some(now),
        ..row.clone()
    })
}

fn fired(view: &View, sensor: &Sensor, now: Timestamp) -> Option<ControlRow> {
    let due = sensor.problem.is_none()
        && sensor.unpaused
        && sensor.is_idle()
        && sensor.state.has_news()
        && !sensor.state.open_claim_covers_news(sensor.row_id.as_str());
    due.then(|| new_event(view, sensor, now))
}

fn new_event(view: &View, sensor: &Sensor, now: Timestamp) -> ControlRow {
    let detected = sensor.sensor.and_then(|index| view.sensor[index].status_change_timestamp);
    ControlRow {
        status: Some(NEW_EVENT_AVAILABLE.to_owned()),
        status_change_timestamp: Some(now),
        latest_event_fetched_timestamp: Some(detected.unwrap_or(now)),
        ..view.control_row(sensor).clone()
    }
}

#[cfg(test)]
mod tests;
