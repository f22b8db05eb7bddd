//! `heartbeat retrigger`.

use anyhow::{Result, anyhow};
use heartbeat_core::ids::JobId;
use heartbeat_core::steer::Force;
use serde_json::json;

use super::{Outcome, Session, args, journal, near};
use crate::engine::SystemClock;

pub(super) async fn run(session: &Session, args: &args::Retrigger) -> Result<Outcome> {
    let control = session.locate(&args.tables.control_table)?;
    let sensor = session.locate(&args.tables.sensor_table)?;
    let engine = session.engine(&control, &sensor, "heartbeat retrigger").await?;
    let force = if args.force { Force::Yes } else { Force::No };
    let refusal = match JobId::parse(&args.job) {
        Ok(job) => engine.retrigger(&job, force, &SystemClock).await?.err().map(anyhow::Error::from),
        Err(error) => Some(error.into()),
    };
    if let Some(refusal) = refusal {
        let (view, _) = engine.view().await?;
        // What may have been meant, where there is no such job at all.
        let known = JobId::parse(&args.job).is_ok_and(|job| view.states_of_job(&job).next().is_some());
        return Err(if known {
            refusal
        } else {
            anyhow!("{refusal}; {}", near::meant(&args.job, &view.control))
        });
    }
    let job = args.job.trim();
    journal::write(session, engine.scribe(), &control).await;
    session.printer.data(&json!({"job_id": job, "outcome": "released"}), || {
        format!(
            "job {job} is set to start again: the daemon within seconds, or the next `heartbeat trigger`, starts it for \
             the same news\n"
        )
    })?;
    Ok(Outcome::Good)
}
