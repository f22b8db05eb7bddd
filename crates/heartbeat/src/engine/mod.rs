//! The engine: loads a snapshot, lets the core decide, carries the decision out, one commit per step.
//!
//! It holds no state between passes. Whatever it finds is either in the two tables or not known. A lost race is
//! answered by loading again and deciding again; a write is never repeated as it was.

mod check;
mod complete;
mod trigger;

pub use check::{CheckReport, Looked};
pub use trigger::{Failed, Started, TriggerReport};

use std::error::Error;

use heartbeat_core::ids::JobId;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::table::{Blobs, Changes, Commit, Record, Snapshot, Table};
use jiff::Timestamp;

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
pub struct Engine<C, S, B> {
    control: C,
    sensor: S,
    blobs: B,
}

/// Both tables at one moment, as far as the engine is concerned.
struct Loaded<C, S> {
    control: Snapshot<ControlRow, C>,
    sensor: Snapshot<SensorRow, S>,
}

impl<C, S> Loaded<C, S> {
    fn view(&self) -> View<'_> {
        View::new(&self.control.rows, &self.sensor.rows)
    }
}

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// An engine over a control and a sensor table; `blobs` lies beside the sensor table.
    pub fn new(control: C, sensor: S, blobs: B) -> Self {
        Self { control, sensor, blobs }
    }

    async fn load(&self) -> Result<Loaded<C::Backing, S::Backing>, EngineError> {
        // One after the other: the control table may lag behind the sensor table, as after a crash, and its commits
        // are made against what was read. A control table that is ahead of the sensor rows would be set back to them.
        let control = self.control.load().await.map_err(store("control"))?;
        let sensor = self.sensor.load().await.map_err(store("sensor"))?;
        Ok(Loaded { control, sensor })
    }

    /// Both tables, for a command that only shows them.
    pub async fn rows(&self) -> Result<(Vec<ControlRow>, Vec<SensorRow>), EngineError> {
        let loaded = self.load().await?;
        Ok((loaded.control.rows, loaded.sensor.rows))
    }

    /// Commits changes of the control table against the loaded version; false after a lost race.
    async fn commit_control(
        &self,
        loaded: Loaded<C::Backing, S::Backing>,
        changes: Changes<ControlRow>,
        step: &str,
    ) -> Result<Option<Loaded<C::Backing, S::Backing>>, EngineError> {
        let Loaded { control, sensor } = loaded;
        let control = commit(&self.control, control, changes, step).await.map_err(store("control"))?;
        Ok(control.map(|control| Loaded { control, sensor }))
    }

    /// Commits changes of the sensor table against the loaded version; `None` after a lost race.
    async fn commit_sensor(
        &self,
        loaded: Loaded<C::Backing, S::Backing>,
        changes: Changes<SensorRow>,
        step: &str,
    ) -> Result<Option<Loaded<C::Backing, S::Backing>>, EngineError> {
        let Loaded { control, sensor } = loaded;
        let sensor = commit(&self.sensor, sensor, changes, step).await.map_err(store("sensor"))?;
        Ok(sensor.map(|sensor| Loaded { control, sensor }))
    }

    /// Writes what the sensor rows say into the control table, deciding anew after lost races.
    async fn project(
        &self,
        mut loaded: Loaded<C::Backing, S::Backing>,
        clock: &impl Clock,
        step: &str,
        points: [&'static str; 2],
    ) -> Result<Loaded<C::Backing, S::Backing>, EngineError> {
        for _ in 0..ROUNDS {
            let changes = heartbeat_core::project::project(&loaded.view(), clock.now());
            if changes.is_empty() {
                return Ok(loaded);
            }
            crate::fail_point::reach(points[0]);
            match self.commit_control(loaded, changes, step).await? {
                Some(done) => {
                    crate::fail_point::reach(points[1]);
                    return Ok(done);
                }
                None => loaded = self.load().await?,
            }
        }
        Err(EngineError::Contended { table: "control" })
    }
}

/// Points of a projection that repairs what an earlier pass left behind.
const REPAIR: [&str; 2] = ["repair:before_commit", "repair:after_commit"];

async fn commit<R: Record, T: Table<R>>(
    table: &T,
    base: Snapshot<R, T::Backing>,
    changes: Changes<R>,
    step: &str,
) -> Result<Option<Snapshot<R, T::Backing>>, T::Error> {
    let version = base.version;
    match table.commit(base, changes, step).await? {
        Commit::Done(next) => Ok(Some(next)),
        Commit::Conflict => {
            tracing::debug!(step, version, "lost the race for a commit, deciding anew");
            Ok(None)
        }
    }
}

fn store<E: Error + Send + Sync + 'static>(table: &'static str) -> impl Fn(E) -> EngineError {
    move |cause| EngineError::Store { table, cause: Box::new(cause) }
}

/// Names a job in messages.
fn name_of(job: &JobId) -> String {
    format!("job {job}")
}

#[cfg(test)]
mod tests;
