//! `heartbeat init`.

use anyhow::{Result, bail};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_delta::Init;
use serde_json::json;

use super::args::Tables;
use super::{Outcome, Session};

pub(super) async fn run(session: &Session, tables: &Tables) -> Result<Outcome> {
    let control = session.place(&session.locate(&tables.control_table)?).await?;
    let sensor = session.place(&session.locate(&tables.sensor_table)?).await?;
    if control.url() == sensor.url() {
        bail!("--sensor-table names the control table; give each table its own name");
    }
    let control_init = control.table::<ControlRow>()?.init().await?;
    let sensor_init = sensor.table::<SensorRow>()?.init().await?;
    let (control, sensor) = (control.url(), sensor.url());
    let created = |init: Init| init == Init::Created;
    let document = json!({
        "control_table": {"url": control, "created": created(control_init)},
        "sensor_table": {"url": sensor, "created": created(sensor_init)},
    });
    session.printer.data(&document, || {
        let line = |name: &str, url: &str, init: Init| {
            let what = if created(init) { "created" } else { "is there already" };
            format!("{name} table {what}: {url}\n")
        };
        line("control", control, control_init) + &line("sensor", sensor, sensor_init)
    })?;
    Ok(Outcome::Good)
}
