//! The loop that decides and starts: calls run beside it, and their outcomes are written down as they come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::StartOutcome;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::context::{Complaint, Context, DeltaWatcher};
use crate::engine::{Call, Clock as _, SystemClock};
use crate::error_chain::chain;
use crate::metrics::{SourceLabel, StartResult, TableLabel};

/// How often the loop shows that it lives while nothing happens.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Reading and writing the tables may take this long.
const STORE_LIMIT: Duration = Duration::from_mins(1);

/// Starts the jobs of a pair of tables.
pub(super) struct Starting {
    pub(super) context: Context,
    pub(super) watcher: Arc<DeltaWatcher>,
    /// For logs and health.
    pub(super) name: String,
    pub(super) stir: Arc<Notify>,
    /// The control and the sensor table.
    pub(super) tables: [TableLabel; 2],
    /// Sources by kind, for metrics.
    pub(super) sources: BTreeMap<SourceKind, SourceLabel>,
}

/// When to decide again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// When something happens.
    Stirred,
    /// At a time, too.
    At(Instant),
    /// The tables do not answer: soon.
    Hangs,
}

impl Next {
    fn at(self) -> Option<Instant> {
        match self {
            Self::Stirred => None,
            Self::At(at) => Some(at),
            Self::Hangs => Some(Instant::now() + Duration::from_secs(1)),
        }
    }
}

type Calls = JoinSet<(Call, StartOutcome)>;

impl Starting {
    /// Runs until it is asked to stop; then waits for calls that are on their way, and writes their outcomes down.
    pub(super) async fn run(self) {
        let mut stop = self.context.stop.clone();
        let mut complaint = Complaint::default();
        let mut calls = Calls::new();
        // What a process before this one has left behind is not waited with until a source is looked at.
        let (mut again, mut hangs): (Option<Instant>, bool) = (Some(Instant::now()), false);
        loop {
            self.context.plan_unless(hangs, &self.name, SIGN_OF_LIFE, 2 * STORE_LIMIT);
            let mut ended = Vec::new();
            let decides = tokio::select! {
                biased;
                () = stop.asked() => break,
                Some(call) = calls.join_next() => { ended.push(ended_call(call)); false }
                () = self.stir.notified() => true,
                () = sleep_until(again) => true,
                () = tokio::time::sleep(SIGN_OF_LIFE) => self.has_moved().await,
            };
            while let Some(call) = calls.try_join_next() {
                ended.push(ended_call(call));
            }
            let failed = ended.iter().any(|(_, outcome)| !matches!(outcome, StartOutcome::Accepted(_)));
            let recorded = self.record(&ended, &mut complaint).await;
            // A start that failed is tried again at a time that only a decision knows.
            if decides || failed || hangs {
                let decided = self.decide(&mut calls, &mut complaint).await;
                hangs = decided == Next::Hangs;
                again = decided.at();
            }
            self.context.count_commits(&self.watcher, &self.tables);
            hangs |= recorded == Next::Hangs;
            again = [again, recorded.at()].into_iter().flatten().min();
        }
        self.finish(calls).await;
        self.context.board.removed(&self.name);
        self.context.board.table_removed(&self.name);
    }

    /// When to decide again although nothing has happened.
    async fn decide(&self, calls: &mut Calls, complaint: &mut Complaint) -> Next {
        match tokio::time::timeout(STORE_LIMIT, self.watcher.decide()).await {
            Ok(Ok(decided)) => {
                complaint.over(&self.name);
                self.works(true);
                for call in decided.calls {
                    let watcher = Arc::clone(&self.watcher);
                    calls.spawn(async move {
                        let outcome = watcher.call(&call).await;
                        (call, outcome)
                    });
                }
                decided.again_at.map_or(Next::Stirred, |at| Next::At(instant(at)))
            }
            Ok(Err(error)) => {
                complaint.tell(&self.name, chain(&error));
                self.works(false);
                Next::At(Instant::now() + Duration::from_secs(1))
            }
            Err(_) => self.hangs(complaint),
        }
    }

    async fn record(&self, ended: &[(Call, StartOutcome)], complaint: &mut Complaint) -> Next {
        if ended.is_empty() {
            return Next::Stirred;
        }
        for (call, outcome) in ended {
            self.measure(call, outcome);
        }
        match tokio::time::timeout(STORE_LIMIT, self.watcher.record(ended)).await {
            Ok(Ok(())) => {}
            // The claims stay open: they are found in the table, and asked for again with the same tokens.
            Ok(Err(error)) => {
                complaint.tell(&self.name, chain(&error));
                self.works(false);
                return Next::At(Instant::now() + Duration::from_secs(1));
            }
            Err(_) => return self.hangs(complaint),
        }
        Next::Stirred
    }

    /// Rows may have been steered, or fed, by commands: nobody else sees that between looks that are hours apart.
    async fn has_moved(&self) -> bool {
        let moved = tokio::time::timeout(STORE_LIMIT, self.watcher.has_moved()).await;
        matches!(moved, Ok(Ok(true)))
    }

    /// Readiness knows of tables that can be read and not written.
    fn works(&self, works: bool) {
        self.context.board.table(&self.name, works);
    }

    fn hangs(&self, complaint: &mut Complaint) -> Next {
        complaint.tell(&self.name, "the tables did not answer in time".to_owned());
        Next::Hangs
    }

    fn measure(&self, call: &Call, outcome: &StartOutcome) {
        let metrics = &self.context.metrics;
        let result = match outcome {
            StartOutcome::Accepted(_) => StartResult::Accepted,
            StartOutcome::Refused(why) => {
                tracing::warn!(job_id = %call.job, why, "start was refused");
                StartResult::Refused
            }
            StartOutcome::Unknown(why) => {
                tracing::warn!(job_id = %call.job, why, "whether the job was started is not known");
                StartResult::Unknown
            }
        };
        metrics.start_answered(&self.tables[0], result);
        let source = call.source.filter(|_| call.is_first()).and_then(|kind| self.sources.get(&kind));
        if let (StartOutcome::Accepted(_), Some(source), Some(detected)) = (outcome, source, call.detected_at)
        {
            let now = SystemClock.now();
            let since = |at: Timestamp| now.duration_since(at).try_into().unwrap_or_default();
            metrics.started(source, since(detected), call.arrived_at.map(since));
        }
    }

    /// Calls on their way are waited for as long as the stop allows; what they started is found by their tokens else.
    async fn finish(&self, mut calls: Calls) {
        let mut ended = Vec::new();
        let waits = async {
            while let Some(call) = calls.join_next().await {
                ended.push(ended_call(call));
            }
        };
        let in_time = tokio::time::timeout(self.context.grace / 2, waits).await.is_ok();
        if !in_time {
            tracing::warn!(what = self.name, left = calls.len(), "calls are left to the next daemon");
        }
        self.record(&ended, &mut Complaint::default()).await;
    }
}

/// A call that panics is a fault of ours, and ends the loop with it.
fn ended_call(call: Result<(Call, StartOutcome), tokio::task::JoinError>) -> (Call, StartOutcome) {
    call.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn instant(at: Timestamp) -> Instant {
    let wait: Duration = at.duration_since(SystemClock.now()).try_into().unwrap_or_default();
    Instant::now() + wait
}
