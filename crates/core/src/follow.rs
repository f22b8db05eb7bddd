//! Following runs: which ones to ask about, and what the answers change in the sensor table (step D1, and the claims of
//! runs that ended otherwise).
//!
//! | claim | its run | another run of the job, begun later | then |
//! |---|---|---|---|
//! | accepted | active, or in a state that is not known | | as it is |
//! | accepted | succeeded | | done: the claimed news is accounted for |
//! | accepted | failed, deleted | | failed: the job rests |
//! | accepted, failed | skipped | | released: the news is claimed again with the next attempt |
//! | failed | succeeded (repaired) | | done |
//! | failed | active (being repaired) | | accepted |
//! | failed | failed, deleted | succeeded | done by that run |
//! | failed | failed, deleted | none that succeeded | as it is |

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::claim::{change_claims, finish, keep_unclaimed};
use crate::domain::Domain;
use crate::ids::JobId;
use crate::jobs::{Run, RunState};
use crate::row::{PROCESSED_NEW_DATA, SensorRow};
use crate::sensor::{Status, View};
use crate::state::{Claim, ClaimState, Release};
use crate::table::Changes;

/// A run to ask about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The job.
    pub job: JobId,
    /// Its workspace.
    pub domain: Domain,
    /// Token of the claim.
    pub token: String,
    /// The run that the claim has.
    pub run_id: i64,
    /// When the claim was made, by the clock of who made it.
    pub claimed_at: Timestamp,
    /// Runs that have accounted for earlier news of the job, as far as its rows remember.
    pub earlier_runs: BTreeSet<i64>,
    /// True after the run ended badly: a later run of the job may have succeeded.
    pub rests: bool,
    /// True where somebody else has marked rows as completed, deleted them or fed them anew.
    pub marked: bool,
}

/// What was found out about a followed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The run itself; `None` when the workspace no longer has it.
    pub run: Option<Run>,
    /// For a job that rests: a run that began after the claimed one and succeeded.
    pub success: Option<i64>,
}

/// The open claims that have a run.
pub fn followed(view: &View) -> Vec<Followed> {
    let claims = view.jobs.keys().chain(view.orphan_jobs()).filter_map(|job| {
        let claim = view.open_claim(job)?;
        Some(Followed {
            job: job.clone(),
            domain: claim.domain.clone(),
            token: claim.token.clone(),
            run_id: claim.run_id()?,
            claimed_at: claim.at,
            earlier_runs: earlier_runs(view, job),
            rests: matches!(claim.state, ClaimState::Failed { .. }),
            marked: is_marked(view, job, claim),
        })
    });
    claims.collect()
}

/// Runs that have accounted for earlier news of a job, as far as its rows remember.
pub fn earlier_runs(view: &View, job: &JobId) -> BTreeSet<i64> {
    view.states_of_job(job).filter_map(|state| state.last_run).collect()
}

/// Leaves only runs that can have read the claimed news. By the workspace's own clock: what began before a run that is
/// known to be an earlier one is earlier too.
pub fn retain_later(runs: &mut Vec<Run>, earlier_runs: &BTreeSet<i64>) {
    let earlier = runs.iter().filter(|run| earlier_runs.contains(&run.run_id));
    let newest_earlier = earlier.filter_map(|run| run.started).max();
    runs.retain(|run| {
        !earlier_runs.contains(&run.run_id) && (newest_earlier.is_none() || run.started > newest_earlier)
    });
}

/// The newest run of the job that succeeded and began after the claimed one, by the workspace's clock; where that one is
/// gone, after the claim.
pub fn later_success(mut runs: Vec<Run>, failed: &Followed) -> Option<i64> {
    retain_later(&mut runs, &failed.earlier_runs);
    let began = runs.iter().find(|run| run.run_id == failed.run_id).and_then(|run| run.started);
    let after = |run: &&Run| match began {
        Some(began) => run.started > Some(began),
        None => run.started >= Some(failed.claimed_at),
    };
    let succeeded = runs.iter().filter(|run| run.run_id != failed.run_id && run.state == RunState::Succeeded);
    succeeded.filter(after).max_by_key(|run| run.started).map(|run| run.run_id)
}

/// What the answers, by token, change. Claims that somebody else has moved on meanwhile stay as they are.
pub fn tell(view: &View, told: &BTreeMap<String, Told>, now: Timestamp) -> Changes<SensorRow> {
    let mut changes = change_claims(view, |claim| {
        let next = verdict(claim, told.get(&claim.token)?, now)?;
        (!matches!(next, ClaimState::Done { .. })).then_some(next)
    });
    for Followed { job, token, .. } in followed(view) {
        let Some(claim) = view.open_claim(&job).filter(|claim| claim.token == token) else { continue };
        match told.get(&token).and_then(|told| verdict(claim, told, now)) {
            Some(done @ ClaimState::Done { .. }) => {
                let finished = finish(view, &job, &token, &done, None, now);
                changes.update.extend(finished.update);
                changes.insert.extend(finished.insert);
            }
            Some(ClaimState::Released { .. }) => keep_unclaimed(view, &job, &token, &mut changes),
            _ => {}
        }
    }
    changes
}

/// The state that a claim goes into, if into another one.
fn verdict(claim: &Claim, told: &Told, now: Timestamp) -> Option<ClaimState> {
    let (run_id, rests) = match claim.state {
        ClaimState::Accepted { run_id } => (run_id, false),
        ClaimState::Failed { run_id, .. } => (run_id, true),
        _ => return None,
    };
    if told.run.as_ref().is_some_and(|run| run.run_id != run_id) {
        return None;
    }
    let failed = |reason: String| match told.success {
        Some(other) => Some(ClaimState::Done { run_id: Some(other) }),
        None => (!rests).then_some(ClaimState::Failed { run_id, reason }),
    };
    match told.run.as_ref().map(|run| &run.state) {
        None => failed("the run was deleted".to_owned()),
        Some(RunState::Succeeded) => Some(ClaimState::Done { run_id: Some(run_id) }),
        Some(RunState::Failed(reason)) => failed(reason.clone()),
        Some(RunState::Skipped(reason)) => {
            let why = Release::Skipped { reason: reason.clone(), at: now };
            Some(ClaimState::Released { run_id: Some(run_id), why })
        }
        Some(RunState::Active | RunState::Unknown(_)) => rests.then_some(ClaimState::Accepted { run_id }),
    }
}

fn is_marked(view: &View, job: &JobId, claim: &Claim) -> bool {
    let still_fed = |row_id: &String| view.of_job(job).any(|sensor| sensor.row_id.as_str() == row_id);
    let marked = view.of_job(job).any(|sensor| {
        let processed = sensor
            .sensor
            .is_some_and(|index| view.sensor[index].status.as_deref() == Some(PROCESSED_NEW_DATA));
        claim.rows.contains_key(sensor.row_id.as_str())
            && (matches!(sensor.status, Status::Completed | Status::Never) || processed)
    });
    marked || !claim.rows.keys().all(still_fed)
}

#[cfg(test)]
mod tests;
