//! The Delta store against what every table must do (`heartbeat_core::conformance`).

use heartbeat_core::conformance::all;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Commit, Record, Snapshot, Table};
use heartbeat_delta::{Backing, DeltaRecord, Error};

use crate::support::{TestTable, control, sensor};

/// Keeps the directory for as long as the table; each call is a process of its own, so to speak.
struct Anew<R>(TestTable<R>);

impl<R: DeltaRecord + Record> Table<R> for Anew<R> {
    type Backing = Backing;
    type Error = Error;

    async fn load(&self) -> Result<Snapshot<R, Backing>, Error> {
        self.0.anew().load().await
    }

    async fn is_current(&self, version: u64, backing: &Backing) -> Result<bool, Error> {
        self.0.anew().is_current(version, backing).await
    }

    async fn commit(
        &self,
        base: Snapshot<R, Backing>,
        changes: Changes<R>,
        step: &str,
    ) -> Result<Commit<Snapshot<R, Backing>>, Error> {
        self.0.anew().commit(base, changes, step).await
    }
}

async fn made<R: DeltaRecord>(rows: Vec<R>) -> Anew<R> {
    Anew(TestTable::with_rows(rows).await.0)
}

#[tokio::test]
async fn control_tables_conform() {
    all(made::<ControlRow>, [control("a", 1), control("b", 1), control("a", 2)]).await;
}

#[tokio::test]
async fn sensor_tables_conform() {
    all(made::<SensorRow>, [sensor("a", 1), sensor("b", 1), sensor("a", 2)]).await;
}
