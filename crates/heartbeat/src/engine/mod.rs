//! The engine: loads a snapshot, lets the core decide, carries the decision out, one commit per step.
//!
//! Whatever it finds is either in the two tables or not known: what it keeps between passes only saves reading and
//! parsing what has not changed. A lost race is answered by loading again and deciding again; a write is never
//! repeated as it was. Commits of one engine wait for each other; others may commit at any time.

mod check;
mod complete;
mod follow;
mod lane;
mod notes;
mod prepared;
mod snapshot;
mod start;
mod steer;
mod trigger;

pub use check::{Answers, CheckReport, Looked, RowName};
pub use follow::{FollowReport, Which};
pub use lane::Lane;
pub use start::{Call, Claimed, Outcomes};
pub use trigger::{Failed, Started, TriggerReport};

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex};

use heartbeat_core::position::Position;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::table::{Blobs, Changes, Snapshot, Table};
use jiff::Timestamp;
use tokio::sync::{Mutex, MutexGuard};

use self::prepared::Prepared;
use self::snapshot::Loaded;
use crate::scribe::Scribe;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock, in microseconds: what a Delta timestamp holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// Why a pass could not be carried out. What was committed before it stands, and the next pass goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A table could not be read or written.
    #[error("{table} table")]
    Store {
        /// `control` or `sensor`.
        table: &'static str,
        /// Cause.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// Other writers committed first, time after time.
    #[error("other writers changed the {table} table {ROUNDS} times in a row; try again")]
    Contended {
        /// `control` or `sensor`.
        table: &'static str,
    },
}

/// How often a pass decides anew after lost races. Each loss is somebody else's success.
const ROUNDS: usize = 50;

/// One pair of tables.
#[derive(Debug)]
pub struct Engine<C: Table<ControlRow>, S: Table<SensorRow>, B> {
    control: C,
    sensor: S,
    blobs: B,
    scribe: Arc<Scribe>,
    /// What was read or written last. Whoever commits holds it.
    newest: Mutex<Option<Loaded<C::Backing, S::Backing>>>,
    /// Positions that are stored beside the table, by digest, as far as the last looks needed them.
    fetched: StdMutex<HashMap<String, Position>>,
    /// The questions of the last look of each lane.
    prepared: StdMutex<HashMap<Lane, Arc<Prepared>>>,
    control_commits: Tally,
    sensor_commits: Tally,
    /// How often a version that was known had other rows.
    replaced: AtomicU64,
}

/// Commits to a table.
#[derive(Debug, Default)]
pub struct Tally {
    done: AtomicU64,
    lost: AtomicU64,
    version: AtomicU64,
}

impl Tally {
    /// Commits that were made, and races that were lost, since this was asked last.
    pub fn take(&self) -> (u64, u64) {
        (self.done.swap(0, Ordering::Relaxed), self.lost.swap(0, Ordering::Relaxed))
    }

    /// The newest version that was written or read.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    fn count(&self, done: Option<u64>) {
        match done {
            Some(version) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.seen(version);
            }
            None => drop(self.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }

    fn seen(&self, version: u64) {
        self.version.store(version, Ordering::Relaxed);
    }
}

type Held<'e, C, S> =
    MutexGuard<'e, Option<Loaded<<C as Table<ControlRow>>::Backing, <S as Table<SensorRow>>::Backing>>>;

type LoadedBy<C, S> = Loaded<<C as Table<ControlRow>>::Backing, <S as Table<SensorRow>>::Backing>;

/// What tells the tables at one moment from what they are at another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Of the control table.
    pub control: u64,
    /// Of the sensor table.
    pub sensor: u64,
    /// How often this engine found other rows in a version that it knew.
    replaced: u64,
}

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// An engine over a control and a sensor table; `blobs` lies beside the sensor table.
    pub fn new(control: C, sensor: S, blobs: B, scribe: Arc<Scribe>) -> Self {
        Self {
            control,
            sensor,
            blobs,
            scribe,
            newest: Mutex::default(),
            fetched: StdMutex::default(),
            prepared: StdMutex::default(),
            control_commits: Tally::default(),
            sensor_commits: Tally::default(),
            replaced: AtomicU64::default(),
        }
    }

    /// The control table.
    pub fn control(&self) -> &C {
        &self.control
    }

    /// The sensor table.
    pub fn sensor(&self) -> &S {
        &self.sensor
    }

    /// What lies beside the sensor table.
    pub fn blobs(&self) -> &B {
        &self.blobs
    }

    /// Commits to the control and to the sensor table.
    pub fn commits(&self) -> (&Tally, &Tally) {
        (&self.control_commits, &self.sensor_commits)
    }

    /// Where what happens is noted.
    pub fn scribe(&self) -> &Scribe {
        &self.scribe
    }

    /// Both tables as they are now, with the versions that were read.
    pub async fn view(&self) -> Result<(Arc<View>, Versions), EngineError> {
        let mut held = self.newest.lock().await;
        let loaded = self.load(&mut held).await?;
        let versions = Versions {
            control: loaded.control.version,
            sensor: loaded.sensor.version,
            replaced: self.replaced.load(Ordering::Relaxed),
        };
        self.control_commits.seen(versions.control);
        self.sensor_commits.seen(versions.sensor);
        let view = Arc::clone(&loaded.view);
        *held = Some(loaded);
        Ok((view, versions))
    }

    /// Both tables as they were read last, whatever has become of them since: where that is good enough, for each question
    /// to a store costs money.
    pub async fn last_view(&self) -> Result<Arc<View>, EngineError> {
        if let Some(known) = self.newest.lock().await.as_ref() {
            return Ok(Arc::clone(&known.view));
        }
        Ok(self.view().await?.0)
    }

    /// The newest of both tables; what has not changed is not read again.
    async fn load(&self, held: &mut Held<'_, C, S>) -> Result<LoadedBy<C, S>, EngineError> {
        // One after the other: the control table may lag behind the sensor table, as after a crash, and its commits
        // are made against what was read. A control table that is ahead of the sensor rows would be set back to them.
        let known = held.take();
        let known_control = match &known {
            Some(known) => self
                .control
                .is_current(known.control.version, &known.control.backing)
                .await
                .map_err(store("control"))?,
            None => false,
        };
        let control =
            if known_control { None } else { Some(self.control.load().await.map_err(store("control"))?) };
        let known_sensor = match &known {
            Some(known) => self
                .sensor
                .is_current(known.sensor.version, &known.sensor.backing)
                .await
                .map_err(store("sensor"))?,
            None => false,
        };
        let sensor =
            if known_sensor { None } else { Some(self.sensor.load().await.map_err(store("sensor"))?) };
        match (known, control, sensor) {
            (Some(known), control, sensor) => {
                self.note_replaced("control", known.control.version, &known.view.control, control.as_ref());
                self.note_replaced("sensor", known.sensor.version, &known.view.sensor, sensor.as_ref());
                Ok(known.renewed(control, sensor))
            }
            (None, Some(control), Some(sensor)) => Ok(Loaded::new(control, sensor)),
            // What is not known is not current.
            (None, _, _) => Err(EngineError::Contended { table: "control" }),
        }
    }

    /// Notes that a version has other rows than it had. A writer that does not ask whether an entry of the log is there,
    /// as Spark on S3, replaces ours; what the tables say now is repaired as after a crash.
    fn note_replaced<R: PartialEq, X>(
        &self,
        table: &'static str,
        version: u64,
        rows: &[R],
        read: Option<&Snapshot<R, X>>,
    ) {
        if read.is_some_and(|read| read.version <= version && read.rows != rows) {
            self.replaced.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                table,
                version,
                "another writer replaced a commit, and what it told is lost: let heartbeat be the only writer of its tables \
                 on this store (docs/stores.md)"
            );
        }
    }

    /// Commits changes of the control table against the loaded version; `None` after a lost race.
    async fn commit_control(
        &self,
        loaded: LoadedBy<C, S>,
        changes: Changes<ControlRow>,
        step: &str,
    ) -> Result<Option<LoadedBy<C, S>>, EngineError> {
        if changes.is_empty() {
            return Ok(Some(loaded));
        }
        let (control, rest) = loaded.take_control();
        let control =
            snapshot::commit(&self.control, control, changes, step).await.map_err(store("control"))?;
        self.control_commits.count(control.as_ref().map(|control| control.version));
        Ok(control.map(|control| rest.with_control(control)))
    }

    /// Commits changes of the sensor table against the loaded version; `None` after a lost race.
    async fn commit_sensor(
        &self,
        loaded: LoadedBy<C, S>,
        changes: Changes<SensorRow>,
        step: &str,
    ) -> Result<Option<LoadedBy<C, S>>, EngineError> {
        if changes.is_empty() {
            return Ok(Some(loaded));
        }
        let (sensor, rest) = loaded.take_sensor();
        let sensor = snapshot::commit(&self.sensor, sensor, changes, step).await.map_err(store("sensor"))?;
        self.sensor_commits.count(sensor.as_ref().map(|sensor| sensor.version));
        Ok(sensor.map(|sensor| rest.with_sensor(sensor)))
    }

    /// Writes what the sensor rows say into the control table, deciding anew after lost races.
    async fn project(
        &self,
        held: &mut Held<'_, C, S>,
        mut loaded: LoadedBy<C, S>,
        clock: &impl Clock,
        step: &str,
        points: [&'static str; 2],
    ) -> Result<LoadedBy<C, S>, EngineError> {
        for _ in 0..ROUNDS {
            let changes = heartbeat_core::project::project(&loaded.view, clock.now());
            if changes.is_empty() {
                return Ok(loaded);
            }
            crate::fail_point::reach(points[0]);
            match self.commit_control(loaded, changes, step).await? {
                Some(done) => {
                    crate::fail_point::reach(points[1]);
                    return Ok(done);
                }
                None => loaded = self.load(held).await?,
            }
        }
        Err(EngineError::Contended { table: "control" })
    }
}

/// Points of a projection that repairs what an earlier pass left behind.
const REPAIR: [&str; 2] = ["repair:before_commit", "repair:after_commit"];

fn store<E: Error + Send + Sync + 'static>(table: &'static str) -> impl Fn(E) -> EngineError {
    move |cause| EngineError::Store { table, cause: Box::new(cause) }
}

#[cfg(test)]
pub(crate) mod tests;
