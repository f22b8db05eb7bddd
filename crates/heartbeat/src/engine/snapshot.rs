//! Both tables at one moment, joined once, as far as the engine is concerned.

use std::sync::Arc;

use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::table::{Changes, Commit, Record, Snapshot, Table};

/// A snapshot of each table. The rows are in the view.
#[derive(Debug, Clone)]
pub(super) struct Loaded<C, S> {
    pub(super) control: Stamp<C>,
    pub(super) sensor: Stamp<S>,
    pub(super) view: Arc<View>,
}

/// A snapshot without its rows.
#[derive(Debug, Clone)]
pub(super) struct Stamp<B> {
    pub(super) table_id: String,
    pub(super) version: u64,
    pub(super) backing: B,
}

/// What stays of [`Loaded`] while one of its tables is being committed to: the other table, and the view, by which the
/// next one is made.
pub(super) struct Rest<B> {
    other: Stamp<B>,
    view: Arc<View>,
}

impl<C, S> Loaded<C, S> {
    pub(super) fn new(control: Snapshot<ControlRow, C>, sensor: Snapshot<SensorRow, S>) -> Self {
        let (control, control_rows) = Stamp::of(control);
        let (sensor, sensor_rows) = Stamp::of(sensor);
        Self { control, sensor, view: Arc::new(View::new(control_rows, sensor_rows)) }
    }

    /// With what was read anew.
    pub(super) fn renewed(
        self,
        control: Option<Snapshot<ControlRow, C>>,
        sensor: Option<Snapshot<SensorRow, S>>,
    ) -> Self {
        if control.is_none() && sensor.is_none() {
            return self;
        }
        let (control, control_rows) =
            control.map_or_else(|| (self.control, Arc::clone(&self.view.control)), Stamp::of);
        let (sensor, sensor_rows) =
            sensor.map_or_else(|| (self.sensor, Arc::clone(&self.view.sensor)), Stamp::of);
        let view = self.view.renewed(control_rows, sensor_rows);
        Self { control, sensor, view: Arc::new(view) }
    }

    /// The control table's snapshot, to commit against, and the rest.
    pub(super) fn take_control(self) -> (Snapshot<ControlRow, C>, Rest<S>) {
        let (control, view) = match Arc::try_unwrap(self.view) {
            // Nobody else looks at the rows: they are moved.
            Ok(mut view) => (std::mem::take(&mut view.control), Arc::new(view)),
            Err(shared) => (Arc::clone(&shared.control), shared),
        };
        (self.control.with(control), Rest { other: self.sensor, view })
    }

    /// The sensor table's snapshot, to commit against, and the rest. The rows are copied: what has not changed in them
    /// need not be read again.
    pub(super) fn take_sensor(self) -> (Snapshot<SensorRow, S>, Rest<C>) {
        let sensor = Arc::clone(&self.view.sensor);
        (self.sensor.with(sensor), Rest { other: self.control, view: self.view })
    }
}

impl<S> Rest<S> {
    pub(super) fn with_control<C>(self, control: Snapshot<ControlRow, C>) -> Loaded<C, S> {
        let (control, rows) = Stamp::of(control);
        let view = self.view.renewed(rows, Arc::clone(&self.view.sensor));
        Loaded { control, sensor: self.other, view: Arc::new(view) }
    }
}

impl<C> Rest<C> {
    pub(super) fn with_sensor<S>(self, sensor: Snapshot<SensorRow, S>) -> Loaded<C, S> {
        let (sensor, rows) = Stamp::of(sensor);
        let view = self.view.renewed(Arc::clone(&self.view.control), rows);
        Loaded { control: self.other, sensor, view: Arc::new(view) }
    }
}

impl<B> Stamp<B> {
    fn of<R>(snapshot: Snapshot<R, B>) -> (Self, Arc<Vec<R>>) {
        let Snapshot { table_id, version, rows, backing } = snapshot;
        (Self { table_id, version, backing }, Arc::new(rows))
    }

    /// Rows that nobody else looks at are moved.
    fn with<R: Clone>(self, rows: Arc<Vec<R>>) -> Snapshot<R, B> {
        let Self { table_id, version, backing } = self;
        Snapshot { table_id, version, rows: Arc::unwrap_or_clone(rows), backing }
    }
}

/// Commits; `None` after a lost race.
pub(super) async fn commit<R: Record, T: Table<R>>(
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
