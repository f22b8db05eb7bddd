//! `heartbeat init`.

use anyhow::{Result, bail};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_delta::{DeltaTable, Init};
use serde_json::json;

use super::args::Tables;
use super::{Outcome, Session, table_url};

pub(super) async fn run(session: &Session, tables: &Tables) -> Result<Outcome> {
    let control = table_url(&session.locate(&tables.control_table)?)?;
    let sensor = table_url(&session.locate(&tables.sensor_table)?)?;
    if control == sensor {
        bail!("--sensor-table names the control table; give each table its own name");
    }
    let control_init = DeltaTable::<ControlRow>::create(&control).await?;
    let sensor_init = DeltaTable::<SensorRow>::create(&sensor).await?;
    let created = |init: Init| init == Init::Created;
    let document = json!({
        "control_table": {"url": control.as_str(), "created": created(control_init)},
        "sensor_table": {"url": sensor.as_str(), "created": created(sensor_init)},
    });
    session.printer.data(&document, || {
        let line = |name: &str, url: &str, init: Init| {
            let what = if created(init) { "created" } else { "is there already" };
            format!("{name} table {what}: {url}\n")
        };
        line("control", control.as_str(), control_init) + &line("sensor", sensor.as_str(), sensor_init)
    })?;
    Ok(Outcome::Good)
}
