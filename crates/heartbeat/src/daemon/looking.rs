//! The loop of one lane: wait for the planned time, look, say what was found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::schedule::{LONGEST_SLEEP, Tick};
use jiff::Timestamp;
use tokio::sync::Notify;

use super::context::{Complaint, Context, DeltaWatcher};
use super::lanes::LaneConfig;
use super::watcher::Look;
use crate::engine::{Clock as _, EngineError, SystemClock};
use crate::error_chain::chain;
use crate::metrics::{Check, CheckResult, SourceLabel, TableLabel};
use crate::secrets::Secrets;
use crate::server::{Plan, TickKind};
use crate::sources::{self, AnySource, trigger_file::Beside};
use crate::stores::TrafficCount;

/// Reading and writing the tables beside a look may take this long.
const STORE_LIMIT: Duration = Duration::from_mins(1);

/// One lane of a pair of tables.
pub(super) struct Looking {
    pub(super) context: Context,
    pub(super) watcher: Arc<DeltaWatcher>,
    pub(super) config: LaneConfig,
    /// Of the lane's ACON.
    pub(super) secrets: Arc<Secrets>,
    /// Wakes the decision.
    pub(super) stir: Arc<Notify>,
    /// The control and the sensor table.
    pub(super) tables: [TableLabel; 2],
    /// Name of the control table, for health.
    pub(super) control: String,
}

impl Looking {
    /// Runs until it is asked to stop.
    pub(super) async fn run(self) {
        let runs = Arc::new(Beside(self.watcher.engine().blobs().clone()));
        let source = sources::build(&self.config.source, &self.context.clusters, &self.secrets, runs);
        let label = SourceLabel::new(self.config.lane.kind, self.config.name.clone());
        self.context.metrics.source_added(&label, Instant::now());
        let mut complaint = Complaint::default();
        let (mut last, mut hangs) = (None, false);
        let mut traffic = TrafficCount::default();
        let mut stop = self.context.stop.clone();
        while let Some(tick) = self.wait(last, hangs).await {
            let began = Instant::now();
            let delay = SystemClock.now().duration_since(tick.at).try_into().unwrap_or_default();
            let Some(looked) = stop.unless_asked(self.look(&source)).await else { break };
            hangs = looked.is_none() || complaint.lasts();
            let looked = looked.unwrap_or_else(|| Err(hang()));
            if !hangs {
                self.context.board.ended(&self.config.name);
            }
            self.context.board.table(&self.control, looked.is_ok());
            let check = judge(&looked, began.elapsed(), delay, tick.missed);
            self.context.metrics.checked(&label, &check, Instant::now());
            let ends = source.certificate_ends();
            self.context.metrics.certificates(&label, ends.iter().map(|end| (end.role, end.not_after)));
            if let AnySource::TriggerFile(source) = &source {
                let count = source.traffic().await;
                self.context.metrics.listed(&label, count.since(traffic), &source.full_listings());
                traffic = count;
            }
            match looked {
                Ok(look) => {
                    complaint.over(&self.config.name);
                    for remark in &look.report.warnings {
                        tracing::debug!(source = self.config.name, remark, "remark of a source");
                    }
                    self.context.count_commits(&self.watcher, &self.tables);
                    if look.stirs {
                        self.stir.notify_one();
                    }
                }
                Err(why) => complaint.tell(&self.config.name, why),
            }
            last = Some(tick.at);
        }
        self.context.board.removed(&self.config.name);
        self.context.metrics.source_removed(&label);
    }

    /// Waits for the next planned time; `None` when the lane is to stop first. A clock that jumps meanwhile moves it.
    async fn wait(&self, last: Option<Timestamp>, hangs: bool) -> Option<Tick> {
        let mut stop = self.context.stop.clone();
        let schedule = &self.config.schedule;
        let mut tick = schedule.next(last, SystemClock.now());
        loop {
            let now = SystemClock.now();
            let wait: Duration = tick.at.duration_since(now).try_into().unwrap_or_default();
            let plan = Plan {
                kind: TickKind::Source,
                planned: Instant::now() + wait,
                period: schedule.period(),
                deadline: self.config.deadline,
            };
            // A look that never ended stays overdue until one does: each try is given up in time.
            if !hangs {
                self.context.board.planned(&self.config.name, plan, Instant::now());
            }
            if wait.is_zero() {
                return Some(tick);
            }
            stop.sleep(wait.min(LONGEST_SLEEP)).await?;
            tick.at = schedule.revised(tick.at, last, SystemClock.now());
        }
    }

    /// `None` when the tables did not answer.
    async fn look(&self, source: &AnySource) -> Option<Result<Look, String>> {
        let deadline = self.config.deadline;
        let look = self.watcher.look(&self.config.name, &self.config.lane, source, deadline);
        match tokio::time::timeout(deadline + STORE_LIMIT, look).await {
            Ok(looked) => Some(looked.map_err(|error: EngineError| chain(&error))),
            Err(_) => None,
        }
    }
}

fn hang() -> String {
    format!("the tables did not answer within {} s", STORE_LIMIT.as_secs())
}

fn judge(looked: &Result<Look, String>, took: Duration, delay: Duration, missed: u64) -> Check {
    let (result, watched, failing, news, losses) = match looked {
        Err(_) => (CheckResult::Failed, 0, 0, 0, 0),
        Ok(look) => {
            let (rows, failed) = (look.report.looked_at.len(), look.report.errors());
            let result = match (rows, look.failing) {
                (_, 0) => CheckResult::Ok,
                (rows, _) if rows == failed => CheckResult::Failed,
                _ => CheckResult::Partly,
            };
            (result, look.report.watched, look.failing, look.report.news(), look.report.losses)
        }
    };
    Check { result, took, delay, missed, watched, failing, news, losses }
}
