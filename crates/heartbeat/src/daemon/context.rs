//! What all tasks of a daemon share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_delta::{DeltaBlobs, DeltaTable};

use heartbeat_core::row::{ControlRow, SensorRow};

use super::stop::Stop;
use super::watcher::Watcher;
use crate::engine::SystemClock;
use crate::metrics::Metrics;
use crate::server::{Board, Plan, TickKind};
use crate::workspaces::Workspaces;

/// A watcher over Delta tables and real workspaces.
pub(super) type DeltaWatcher =
    Watcher<DeltaTable<ControlRow>, DeltaTable<SensorRow>, DeltaBlobs, Arc<Workspaces>, SystemClock>;

/// What all tasks of a daemon share.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) metrics: Arc<Metrics>,
    pub(super) board: Arc<Board>,
    pub(super) stop: Stop,
    /// How long steps that have begun may take to end after a stop.
    pub(super) grace: Duration,
}

impl Context {
    /// Says when a task that is no source works next, and how long that may take. What did not end in time last is not
    /// planned anew: it stays overdue until something ends.
    pub(super) fn plan_unless(&self, hangs: bool, name: &str, period: Duration, deadline: Duration) {
        if !hangs {
            self.plan(name, period, period, deadline);
        }
    }

    /// Says when a task that is no source works next, and how long that may take.
    pub(super) fn plan(&self, name: &str, wait: Duration, period: Duration, deadline: Duration) {
        let now = Instant::now();
        self.board.planned(name, Plan { kind: TickKind::Task, planned: now + wait, period, deadline }, now);
    }
}

/// Complaints that come again and again, told when they begin or change, and then once a minute.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<(String, Instant)>);

const TELL_AGAIN: Duration = Duration::from_mins(1);

impl Complaint {
    /// Logs an error of `what` unless that was just done.
    pub(super) fn tell(&mut self, what: &str, error: String) {
        let is_old = self.0.as_ref().is_some_and(|(told, at)| *told == error && at.elapsed() < TELL_AGAIN);
        if !is_old {
            tracing::error!(what, error, "failed, is tried again");
            self.0 = Some((error, Instant::now()));
        }
    }

    /// All is well again.
    pub(super) fn over(&mut self, what: &str) {
        if self.0.take().is_some() {
            tracing::info!(what, "works again");
        }
    }
}
