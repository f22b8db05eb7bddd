//! Steering by hand: pausing rows, and starting a job again after a run that did not succeed.

use crate::claim::{change_claims, keep_unclaimed};
use crate::ids::JobId;
use crate::row::{ControlRow, SensorRow};
use crate::sensor::View;
use crate::state::{ClaimState, Release};
use crate::table::Changes;

/// Which rows are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// Of this job.
    pub job: Option<JobId>,
    /// Of this `sensor_id`.
    pub sensor_id: Option<String>,
}

/// What is to become of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// Looked at, and may start their job.
    Unpaused,
    /// Left alone.
    Paused,
}

impl JobState {
    /// The text of the column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unpaused => "UNPAUSED",
            Self::Paused => "PAUSED",
        }
    }
}

/// The rows that are meant, by index, and what changes in them.
pub fn set_job_state(
    rows: &[ControlRow],
    which: &Rows,
    state: JobState,
) -> (Vec<usize>, Changes<ControlRow>) {
    let is_meant = |row: &ControlRow| {
        let job = row.trigger_job_id.as_deref().and_then(|text| JobId::parse(text).ok());
        which.job.as_ref().is_none_or(|wanted| job.as_ref() == Some(wanted))
            && which.sensor_id.as_ref().is_none_or(|wanted| row.sensor_id.as_ref() == Some(wanted))
    };
    let meant: Vec<usize> = (0..rows.len()).filter(|index| is_meant(&rows[*index])).collect();
    let mut changes = Changes::default();
    for index in &meant {
        if rows[*index].job_state.as_deref() != Some(state.as_str()) {
            let changed = ControlRow { job_state: Some(state.as_str().to_owned()), ..rows[*index].clone() };
            changes.update.push((*index, changed));
        }
    }
    (meant, changes)
}

/// Why a job is not set to start again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRetriggered {
    /// The control table has no such job.
    #[error("the control table has no row for job {0}")]
    UnknownJob(JobId),
    /// Nothing is claimed: it starts by itself as soon as it may.
    #[error(
        "job {0} has no run that did not succeed; what waits is started by itself, and to run it without news, start it \
         in the workspace"
    )]
    NothingClaimed(JobId),
    /// The run goes on, as far as is known.
    #[error(
        "run {run_id} of job {job} goes on as far as is known; cancel it in the workspace first, or say --force: then the \
         job may run twice for the same news"
    )]
    Running {
        /// The job.
        job: JobId,
        /// Its run.
        run_id: i64,
    },
    /// Nobody knows whether there is a run.
    #[error(
        "whether job {0} has a run is not known, and the next pass asks; look for one in the workspace, and say --force \
         when there is none"
    )]
    InDoubt(JobId),
}

/// Whether a job is set to start again although its run may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Only after a run that did not succeed.
    No,
    /// Whatever is known of its run.
    Yes,
}

/// Releases the open claim of a job (by force also one that is refused again and again, because the run of its token was
/// deleted), so that the next pass claims its news with the next attempt.
pub fn retrigger(view: &View, job: &JobId, force: Force) -> Result<Changes<SensorRow>, NotRetriggered> {
    let refused =
        view.states_of_job(job).filter_map(|state| state.claim.as_ref().filter(|_| state.has_news()));
    let refused =
        refused.filter(|claim| matches!(claim.state, ClaimState::Refused { .. })).max_by_key(|c| c.at);
    let Some(claim) = view.open_claim(job).or(refused.filter(|_| force == Force::Yes)) else {
        return Err(match view.of_job(job).next() {
            Some(_) => NotRetriggered::NothingClaimed(job.clone()),
            None => NotRetriggered::UnknownJob(job.clone()),
        });
    };
    match (&claim.state, force) {
        (ClaimState::Failed { .. }, _) | (_, Force::Yes) => {}
        (ClaimState::Accepted { run_id }, Force::No) => {
            return Err(NotRetriggered::Running { job: job.clone(), run_id: *run_id });
        }
        (_, Force::No) => return Err(NotRetriggered::InDoubt(job.clone())),
    }
    let token = claim.token.clone();
    let released = ClaimState::Released { run_id: claim.run_id(), why: Release::Retriggered };
    let mut changes = change_claims(view, |own| (own.token == token).then(|| released.clone()));
    keep_unclaimed(view, job, &token, &mut changes);
    Ok(changes)
}
