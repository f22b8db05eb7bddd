//! Claims: a start is written down before it is made (step K), its outcome after (K2), and a completed run
//! accounts for exactly what was claimed (D1).

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::decide::{Adoption, Start};
use crate::detect::{adopt_foreign_news, put, sensor_row};
use crate::domain::Domain;
use crate::ids::JobId;
use crate::row::{ACQUIRED_NEW_DATA, PROCESSED_NEW_DATA, SensorRow};
use crate::sensor::{RowProblem, Sensor, View};
use crate::state::{Claim, ClaimState, FORMAT, SensorState};
use crate::table::Changes;

/// Identities of the two tables: part of every token, so that two environments never share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableIds {
    /// Id of the control table.
    pub control: String,
    /// Id of the sensor table.
    pub sensor: String,
}

/// Where a job is started, and what it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workplace {
    /// The workspace.
    pub domain: Domain,
    /// Whether the run is told what is new.
    pub pass_news: bool,
}

/// Outcome of a call of run-now for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartOutcome {
    /// The run.
    Accepted(i64),
    /// Definitely no run.
    Refused(String),
    /// A run may exist; the same token is posted again by the next pass.
    Unknown(String),
}

/// Idempotency token of run-now: 64 hexadecimal digits, the length that the Jobs API allows.
///
/// A function of what is accounted for and nothing else: no clock, no soft row that fires later, no feed edit
/// and no other snapshot changes it. Sensor rows that were deleted and made again count from 0, so the time when
/// a row was made, which it remembers, is part of it.
pub fn token(ids: &TableIds, start: &Start) -> String {
    let parts = (FORMAT, &ids.control, &ids.sensor, start.job.as_str(), &start.rows, start.attempt);
    let json = if start.born.is_empty() {
        serde_json::to_vec(&parts)
    } else {
        serde_json::to_vec(&(parts, &start.born))
    };
    hex(&Sha256::digest(json.unwrap_or_default()))
}

/// Hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// The claim for a start, in the given workspace.
pub fn new_claim(ids: &TableIds, start: &Start, workplace: Workplace, now: Timestamp) -> Claim {
    let Workplace { domain, pass_news } = workplace;
    Claim {
        token: token(ids, start),
        attempt: start.attempt,
        domain,
        rows: start.rows.clone(),
        at: start.first_claimed.unwrap_or(now),
        pass_news,
        adopted: false,
        state: ClaimState::Claimed { trouble: None },
    }
}

/// Step K: writes claims into all rows they cover, and into adopted ones that they are, in one set of changes.
pub fn claim(
    view: &View,
    claims: &[(JobId, Claim)],
    adoptions: &[Adoption],
    now: Timestamp,
) -> Changes<SensorRow> {
    let mut changes = adopt(view, adoptions);
    let mut written = HashSet::new();
    for (job, claim) in claims {
        for sensor in view.of_job(job) {
            let covered = claim.rows.contains_key(sensor.row_id.as_str());
            if !covered {
                // Beside an open claim its mark would mean another run.
                if view.is_told_by_mark(sensor) && written.insert(&sensor.row_id) {
                    put(&mut changes, sensor, stored(sensor_row(view, sensor), &sensor.state));
                }
                continue;
            }
            if sensor.problem.is_some() || !written.insert(&sensor.row_id) {
                continue;
            }
            let mut row = sensor_row(view, sensor);
            let mut state = SensorState::clone(&sensor.state);
            if !state.has_news() {
                adopt_foreign_news(&mut state, claim.at);
                row.status = Some(ACQUIRED_NEW_DATA.to_owned());
                row.status_change_timestamp = Some(now);
            }
            state.claim = Some(claim.clone());
            state.store(&mut row);
            put(&mut changes, sensor, row);
        }
        for orphan in view.orphans_of(job) {
            let row = &view.sensor[orphan.sensor];
            if orphan.state.has_news() && row.status.as_deref() == Some(PROCESSED_NEW_DATA) {
                let mut state = SensorState::clone(&orphan.state);
                state.account(state.news);
                state.by_hand = true;
                changes.update.push((orphan.sensor, stored(row.clone(), &state)));
            }
        }
    }
    changes
}

fn adopt(view: &View, adoptions: &[Adoption]) -> Changes<SensorRow> {
    let tokens: HashSet<&str> = adoptions.iter().map(|adoption| adoption.claim.token.as_str()).collect();
    change_rows(view, |state| {
        let claim =
            state.claim.as_ref().filter(|claim| !claim.adopted && tokens.contains(claim.token.as_str()))?;
        Some(SensorState { claim: Some(Claim { adopted: true, ..claim.clone() }), ..state.clone() })
    })
}

/// Step K2: the outcomes of calls, by token. Claims that somebody else has moved on meanwhile stay as they are. A claim
/// is refused only where nobody but its maker can have posted its token.
pub fn record(view: &View, outcomes: &BTreeMap<String, StartOutcome>) -> Changes<SensorRow> {
    change_claims(view, |claim| {
        let outcome = outcomes.get(&claim.token)?;
        match (&claim.state, outcome) {
            (ClaimState::Claimed { .. }, StartOutcome::Accepted(run_id)) => {
                Some(ClaimState::Accepted { run_id: *run_id })
            }
            (ClaimState::Claimed { .. }, StartOutcome::Refused(reason)) if claim.adopted => {
                let why = format!("{reason}; another call may have started it all the same");
                Some(ClaimState::Claimed { trouble: Some(why) })
            }
            (ClaimState::Claimed { .. }, StartOutcome::Refused(reason)) => {
                Some(ClaimState::Refused { reason: reason.clone() })
            }
            (ClaimState::Claimed { .. }, StartOutcome::Unknown(why)) => {
                Some(ClaimState::Claimed { trouble: Some(why.clone()) })
            }
            // Completed by another run, or by this one before its id was known: what it tells is no news.
            (ClaimState::Done { .. }, StartOutcome::Accepted(run_id)) => {
                Some(ClaimState::Done { run_id: Some(*run_id) })
            }
            _ => None,
        }
    })
}

/// The rows, deleted ones too, whose claim goes into another state.
pub(crate) fn change_claims(view: &View, next: impl Fn(&Claim) -> Option<ClaimState>) -> Changes<SensorRow> {
    change_rows(view, |state| {
        let claim = state.claim.as_ref()?;
        next(claim).filter(|next| *next != claim.state).map(|next| moved_on(state, claim, next))
    })
}

fn change_rows(view: &View, next: impl Fn(&SensorState) -> Option<SensorState>) -> Changes<SensorRow> {
    let mut changes = Changes::default();
    let mut written = HashSet::new();
    for sensor in &view.sensors {
        let Some(next) = next(&sensor.state) else { continue };
        if written.insert(&sensor.row_id) {
            put(&mut changes, sensor, stored(sensor_row(view, sensor), &next));
        }
    }
    for orphan in &view.orphans {
        if let Some(next) = next(&orphan.state) {
            changes.update.push((orphan.sensor, stored(view.sensor[orphan.sensor].clone(), &next)));
        }
    }
    changes
}

fn stored(mut row: SensorRow, state: &SensorState) -> SensorRow {
    state.store(&mut row);
    let claim = state.claim.as_ref().map(|claim| &claim.state);
    // Whoever has marked the row beside the open claim meant its run, which does not count.
    if matches!(claim, Some(ClaimState::Released { .. })) && state.has_news() {
        row.status = Some(ACQUIRED_NEW_DATA.to_owned());
    }
    row
}

fn moved_on(state: &SensorState, claim: &Claim, next: ClaimState) -> SensorState {
    let last_run = match next {
        ClaimState::Done { run_id } => run_id,
        _ => state.last_run,
    };
    SensorState { claim: Some(Claim { state: next, ..claim.clone() }), last_run, ..state.clone() }
}

/// What a completion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The control table has no such job.
    UnknownJob,
    /// The open claim of ours, whose news is accounted for now.
    Claimed,
    /// A claim that is done already; only the control table may lag behind.
    DoneBefore,
    /// No claim of ours: the job was run by hand, all acquired news is accounted for.
    ByHand,
}

/// Step D1: accounts for what the completed run has processed. `run_id`, where the job tells it, keeps a repeated
/// completion of one run from accounting for news that came after it.
pub fn complete(
    view: &View,
    job: &JobId,
    run_id: Option<i64>,
    now: Timestamp,
) -> (Completion, Changes<SensorRow>) {
    if run_id.is_some_and(|told| view.states_of_job(job).any(|state| was_finished_by(state, told))) {
        return (Completion::DoneBefore, Changes::default());
    }
    if let Some(claim) = view.open_claim(job) {
        let did_not_succeed = matches!(claim.state, ClaimState::Failed { .. });
        let by = if did_not_succeed { run_id.or(claim.run_id()) } else { claim.run_id().or(run_id) };
        let done = ClaimState::Done { run_id: by };
        return (Completion::Claimed, finish(view, job, &claim.token, &done, run_id, now));
    }
    // A run that names itself may be that of another pass, which posted the token that was refused here and died
    // before it wrote the run down. By hand or not, it accounts for what was claimed.
    if let (Some(_), Some(claim)) = (run_id, refused_claim(view, job)) {
        return (
            Completion::Claimed,
            finish(view, job, &claim.token, &ClaimState::Done { run_id }, run_id, now),
        );
    }
    if view.of_job(job).next().is_none() {
        return (Completion::UnknownJob, Changes::default());
    }
    if view.of_job(job).any(|sensor| sensor.lags && claim_is_done(&sensor.state)) {
        return (Completion::DoneBefore, Changes::default());
    }
    (Completion::ByHand, account_for_all(view, job, run_id, now))
}

fn claim_is_done(state: &SensorState) -> bool {
    matches!(state.claim.as_ref().map(|claim| &claim.state), Some(ClaimState::Done { .. }))
}

/// A claim of the job that was refused and whose news still waits.
fn refused_claim<'v>(view: &'v View, job: &JobId) -> Option<&'v Claim> {
    let mut claims =
        view.states_of_job(job).filter(|state| state.has_news()).filter_map(|state| state.claim.as_ref());
    claims.find(|claim| matches!(claim.state, ClaimState::Refused { .. }))
}

/// Whether this run, claimed or told, completed a row last.
fn was_finished_by(state: &SensorState, told: i64) -> bool {
    let claimed = match state.claim.as_ref().map(|claim| &claim.state) {
        Some(ClaimState::Done { run_id }) => *run_id,
        _ => None,
    };
    claimed == Some(told) || state.last_run == Some(told)
}

/// D1 for the claim `token` of a job: only the claimed rows, only up to the claimed count. `told` is the run that told
/// so, where it may be another than the claimed one.
pub fn finish(
    view: &View,
    job: &JobId,
    token: &str,
    done: &ClaimState,
    told: Option<i64>,
    now: Timestamp,
) -> Changes<SensorRow> {
    let mut changes = Changes::default();
    let mut written = HashSet::new();
    for sensor in view.of_job(job) {
        let Some(claim) = sensor.state.claim.as_ref().filter(|claim| claim.token == token) else { continue };
        if !written.insert(&sensor.row_id) {
            continue;
        }
        let mut state = SensorState::clone(&sensor.state);
        state.account(claim.rows.get(sensor.row_id.as_str()).copied().unwrap_or_default());
        let mut state = moved_on(&state, claim, done.clone());
        state.last_run = told.or(state.last_run);
        // Whatever is wrong with the control row since, its claim must close: the state was read to get here.
        put_processed(view, sensor, &state, now, &mut changes);
    }
    keep_unclaimed(view, job, token, &mut changes);
    for orphan in view.orphans_of(job) {
        let Some(claim) = orphan.state.claim.as_ref().filter(|claim| claim.token == token) else { continue };
        let stored = &view.sensor[orphan.sensor];
        let mut row = SensorRow {
            status: Some(PROCESSED_NEW_DATA.to_owned()),
            status_change_timestamp: Some(now),
            ..stored.clone()
        };
        let mut state = SensorState::clone(&orphan.state);
        state.account(
            stored.sensor_id.as_ref().and_then(|id| claim.rows.get(id)).copied().unwrap_or_default(),
        );
        moved_on(&state, claim, done.clone()).store(&mut row);
        changes.update.push((orphan.sensor, row));
    }
    changes
}

/// Rows of the job with news that the claim `token` does not cover, and that somebody else has marked as processed beside
/// it: the run that was meant is the claimed one, and their news stays.
pub(crate) fn keep_unclaimed(view: &View, job: &JobId, token: &str, changes: &mut Changes<SensorRow>) {
    let mut written = HashSet::new();
    for sensor in view.of_job(job) {
        let claimed = sensor.state.claim.as_ref().is_some_and(|claim| claim.token == token);
        if claimed || !sensor.state.has_news() || !view.is_marked(sensor) || !written.insert(&sensor.row_id) {
            continue;
        }
        let mut row = sensor_row(view, sensor);
        row.status = Some(ACQUIRED_NEW_DATA.to_owned());
        put(changes, sensor, row);
    }
    for orphan in view.orphans_of(job) {
        let stored = &view.sensor[orphan.sensor];
        let claimed = orphan.state.claim.as_ref().is_some_and(|claim| claim.token == token);
        let is_marked = stored.status.as_deref() == Some(PROCESSED_NEW_DATA);
        if !claimed && orphan.state.has_news() && is_marked {
            let row = SensorRow { status: Some(ACQUIRED_NEW_DATA.to_owned()), ..stored.clone() };
            changes.update.push((orphan.sensor, row));
        }
    }
}

fn account_for_all(view: &View, job: &JobId, run_id: Option<i64>, now: Timestamp) -> Changes<SensorRow> {
    let mut changes = Changes::default();
    let mut written = HashSet::new();
    for sensor in view.of_job(job) {
        let stored = sensor.sensor.map(|index| &view.sensor[index]);
        let acquired = stored.is_some_and(|row| row.status.as_deref() == Some(ACQUIRED_NEW_DATA));
        let fired = acquired || sensor.state.has_news() || sensor.is_new();
        // A run that tells itself is remembered also where it had nothing to account for.
        let remembers = run_id.is_some() && *sensor.state != SensorState::default();
        let is_readable = !matches!(
            sensor.problem,
            Some(RowProblem::State(_) | RowProblem::SensorRowTwice(_) | RowProblem::Collision { .. })
        );
        if !(fired || remembers) || !is_readable || !written.insert(&sensor.row_id) {
            continue;
        }
        let mut state = SensorState::clone(&sensor.state);
        state.account(state.news);
        state.by_hand |= fired;
        state.last_run = run_id.or(state.last_run);
        put_processed(view, sensor, &state, now, &mut changes);
    }
    changes
}

fn put_processed(
    view: &View,
    sensor: &Sensor,
    state: &SensorState,
    now: Timestamp,
    changes: &mut Changes<SensorRow>,
) {
    let mut row = sensor_row(view, sensor);
    state.store(&mut row);
    if !state.has_news() {
        row.status = Some(PROCESSED_NEW_DATA.to_owned());
        row.status_change_timestamp = Some(now);
    }
    put(changes, sensor, row);
}

#[cfg(test)]
mod tests;
