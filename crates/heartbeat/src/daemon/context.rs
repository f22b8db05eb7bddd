//! What all tasks of a daemon share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_delta::{DeltaBlobs, DeltaTable};

use heartbeat_core::row::{ControlRow, SensorRow};

use super::stop::Stop;
use super::watcher::Watcher;
use crate::engine::SystemClock;
use crate::metrics::{Metrics, TableLabel};
use crate::server::{Board, Plan, TickKind};
use crate::sources::kafka::Clusters;
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
    /// Connections to Kafka, one set per cluster and credentials.
    pub(super) clusters: Arc<Clusters>,
}

impl Context {
    /// Commits since this was asked last, and the versions that the tables have.
    pub(super) fn count_commits(&self, watcher: &DeltaWatcher, tables: &[TableLabel; 2]) {
        let (control, sensor) = watcher.engine().commits();
        for (label, tally) in tables.iter().zip([control, sensor]) {
            let (done, lost) = tally.take();
            self.metrics.table_read(label, tally.version());
            (0..done).for_each(|_| self.metrics.committed(label, tally.version()));
            (0..lost).for_each(|_| self.metrics.commit_lost(label));
        }
    }

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

/// Complaints that come again and again, told when they begin, now and then when they change, and then once a minute.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<Told>);

#[derive(Debug)]
struct Told {
    error: String,
    at: Instant,
    since: Instant,
}

const TELL_AGAIN: Duration = Duration::from_mins(1);
/// Another text may be the same trouble, with the name of another file in it.
const TELL_CHANGED: Duration = Duration::from_secs(10);
/// What fails for so long makes the daemon unhealthy.
const LASTS: Duration = Duration::from_mins(2);

impl Complaint {
    /// Logs an error of `what` unless that was just done.
    pub(super) fn tell(&mut self, what: &str, error: String) {
        let now = Instant::now();
        let since = self.0.as_ref().map_or(now, |told| told.since);
        let quiet = |told: &Told| if told.error == error { TELL_AGAIN } else { TELL_CHANGED };
        let was_just_told = self.0.as_ref().is_some_and(|told| told.at.elapsed() < quiet(told));
        if !was_just_told {
            tracing::error!(what, error, "failed, is tried again");
            self.0 = Some(Told { error, at: now, since });
        }
    }

    /// Whether it has failed for long, without a success.
    pub(super) fn lasts(&self) -> bool {
        self.0.as_ref().is_some_and(|told| told.since.elapsed() > LASTS)
    }

    /// All is well again.
    pub(super) fn over(&mut self, what: &str) {
        if self.0.take().is_some() {
            tracing::info!(what, "works again");
        }
    }
}
