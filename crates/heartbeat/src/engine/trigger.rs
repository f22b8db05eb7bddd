//! One decision and start pass.

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::{StartOutcome, Workplace};
use heartbeat_core::decide::{Holds, Selection, WaitReason};
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::Jobs;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Blobs, Table};

use super::{Call, Claimed, Clock, Engine, EngineError, Outcomes, Which};
use crate::fail_point;

/// What a pass did.
#[derive(Debug, Default)]
pub struct TriggerReport {
    /// Jobs that have a run now.
    pub started: Vec<Started>,
    /// Jobs that were not started, with the reason.
    pub waiting: Vec<(JobId, WaitReason)>,
    /// Jobs whose start failed; they stay NEW_EVENT_AVAILABLE.
    pub failed: Vec<Failed>,
    /// What people should know although it is no error.
    pub warnings: Vec<String>,
}

/// A job that has a run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run_id: i64,
}

/// A job whose start failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The job.
    pub job: JobId,
    /// Why, and what happens next.
    pub reason: String,
}

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// Settles claims beside which somebody else has marked rows, decides and starts. `workplace_of` names the
    /// workspace for jobs whose anchor is of a source.
    pub async fn trigger(
        &self,
        jobs: &impl Jobs,
        selection: &Selection,
        workplace_of: &(impl Fn(SourceKind) -> Workplace + Sync),
        clock: &impl Clock,
    ) -> Result<TriggerReport, EngineError> {
        let warnings = self.follow(jobs, Which::Marked, clock).await?.warnings;
        let Claimed { calls, waiting } =
            self.claim(selection, &Holds::default(), workplace_of, clock).await?;
        let mut report = TriggerReport { waiting, warnings, ..TriggerReport::default() };
        if calls.is_empty() {
            return Ok(report);
        }
        let outcomes = self.call_all(jobs, &calls, clock).await;
        fail_point::reach("trigger:after_r");
        self.record(&outcomes, clock).await?;
        for call in calls {
            let Some(outcome) = outcomes.get(call.token()) else { continue };
            match outcome {
                StartOutcome::Accepted(run_id) => {
                    report.started.push(Started { job: call.job, run_id: *run_id });
                }
                StartOutcome::Refused(reason) => {
                    report.failed.push(Failed { job: call.job, reason: reason.clone() });
                }
                StartOutcome::Unknown(why) => report.failed.push(Failed {
                    job: call.job,
                    reason: format!("{why}; the next pass asks again with the same token"),
                }),
            }
        }
        Ok(report)
    }

    /// R for all claims at once; the client keeps to the API's limit.
    async fn call_all(&self, jobs: &impl Jobs, calls: &[Call], clock: &impl Clock) -> Outcomes {
        let mut pending: FuturesUnordered<_> = calls
            .iter()
            .map(|call| async move { (call.token().to_owned(), self.call(jobs, call, clock).await) })
            .collect();
        let mut outcomes = Outcomes::new();
        while let Some((token, outcome)) = pending.next().await {
            outcomes.insert(token, outcome);
            fail_point::reach("trigger:after_first_r");
        }
        outcomes
    }
}
