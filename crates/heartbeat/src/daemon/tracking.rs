//! The loop that follows runs.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_core::state::ClaimState;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::context::{Complaint, Context, DeltaWatcher};
use crate::config::Runs;
use crate::engine::{EngineError, FollowReport, Which};
use crate::error_chain::chain;
use crate::metrics::{RunEnd, RunPhase, TableLabel};

/// Asking a workspace about its runs, and writing what it tells, may take this long.
const LIMIT: Duration = Duration::from_mins(3);

/// Follows the runs of a pair of tables.
pub(super) struct Tracking {
    pub(super) context: Context,
    pub(super) watcher: Arc<DeltaWatcher>,
    /// For logs and health.
    pub(super) name: String,
    pub(super) stir: Arc<Notify>,
    /// The control and the sensor table.
    pub(super) tables: [TableLabel; 2],
    pub(super) runs: Runs,
}

impl Tracking {
    /// Runs until it is asked to stop.
    pub(super) async fn run(self) {
        let mut stop = self.context.stop.clone();
        let (mut complaint, mut unanswered) = (Complaint::default(), Complaint::default());
        let mut rests_next = Instant::now();
        let period = self.runs.poll_interval;
        let mut hangs = false;
        loop {
            self.context.plan_unless(hangs, &self.name, period, LIMIT);
            if stop.sleep(period).await.is_none() {
                break;
            }
            let which = if rests_next <= Instant::now() { Which::All } else { Which::Going };
            let Some(tracked) =
                stop.unless_asked(tokio::time::timeout(LIMIT, self.watcher.track(which))).await
            else {
                break;
            };
            hangs = tracked.is_err();
            match tracked {
                Ok(Ok(report)) => {
                    complaint.over(&self.name);
                    match report.warnings.first() {
                        Some(first) => unanswered.tell(&self.name, first.clone()),
                        None => unanswered.over(&self.name),
                    }
                    if which == Which::All {
                        rests_next = Instant::now() + self.runs.rest_poll_interval;
                    }
                    self.measure(&report);
                    self.context.count_commits(&self.watcher, &self.tables);
                    if let Err(error) = self.count_phases().await {
                        complaint.tell(&self.name, chain(&error));
                    }
                }
                Ok(Err(error)) => complaint.tell(&self.name, chain(&error)),
                Err(_) => complaint.tell(&self.name, "the workspaces did not answer in time".to_owned()),
            }
        }
        self.context.board.removed(&self.name);
    }

    fn measure(&self, report: &FollowReport) {
        let ended = [
            (RunEnd::Succeeded, report.succeeded),
            (RunEnd::Failed, report.failed),
            (RunEnd::Skipped, report.skipped),
        ];
        for (end, runs) in ended {
            (0..runs).for_each(|_| self.context.metrics.run_ended(&self.tables[0], end));
        }
        if report.succeeded + report.skipped > 0 {
            self.stir.notify_one();
        }
    }

    async fn count_phases(&self) -> Result<(), EngineError> {
        let view = self.watcher.engine().last_view().await?;
        let (mut claimed, mut active, mut failed) = (0, 0, 0);
        for job in view.jobs.keys() {
            match view.open_claim(job).map(|claim| &claim.state) {
                Some(ClaimState::Claimed { .. }) => claimed += 1,
                Some(ClaimState::Accepted { .. }) => active += 1,
                Some(ClaimState::Failed { .. }) => failed += 1,
                _ => {}
            }
        }
        let phases = [(RunPhase::Claimed, claimed), (RunPhase::Active, active), (RunPhase::Failed, failed)];
        for (phase, jobs) in phases {
            self.context.metrics.runs(&self.tables[0], phase, jobs);
        }
        Ok(())
    }
}
