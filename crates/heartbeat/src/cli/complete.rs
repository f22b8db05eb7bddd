//! `heartbeat complete`.

use anyhow::{Context, Result};
use heartbeat_core::claim::Completion;
use heartbeat_core::ids::JobId;
use serde_json::json;

use super::{Outcome, Session, args, journal};
use crate::engine::SystemClock;

pub(super) async fn run(session: &Session, args: &args::Complete) -> Result<Outcome> {
    let job = JobId::parse(&args.job_id).context("--job-id")?;
    let control = session.locate(&args.tables.control_table)?;
    let sensor = session.locate(&args.tables.sensor_table)?;
    let engine = session.engine(&control, &sensor, "heartbeat complete").await?;
    let completion = engine.complete(&job, args.run_id, &SystemClock).await?;
    journal::write(session, engine.scribe(), &control).await;
    let (code, words) = match completion {
        Completion::UnknownJob => ("unknown_job", "is not in the control table; nothing to do"),
        Completion::Claimed => ("completed", "completed; its sources are watched again"),
        Completion::DoneBefore => ("completed_before", "was completed before"),
        Completion::ByHand => {
            ("completed_by_hand", "completed; it was run by hand, all news so far is accounted for")
        }
    };
    let document = json!({"job_id": job, "outcome": code});
    session.printer.data(&document, || format!("job {job} {words}\n"))?;
    Ok(Outcome::Good)
}
