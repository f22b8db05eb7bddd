//! Starting a job again by hand.

use heartbeat_core::ids::JobId;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::steer::{Force, NotRetriggered, retrigger};
use heartbeat_core::table::{Blobs, Table};

use super::{Clock, Engine, EngineError, REPAIR, ROUNDS};

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// Sets a job to start again after a run that did not succeed; the next pass starts it.
    pub async fn retrigger(
        &self,
        job: &JobId,
        force: Force,
        clock: &impl Clock,
    ) -> Result<Result<(), NotRetriggered>, EngineError> {
        let mut held = self.newest.lock().await;
        for _ in 0..ROUNDS {
            let loaded = self.load(&mut held).await?;
            let changes = match retrigger(&loaded.view, job, force) {
                Ok(changes) => changes,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let run_id = loaded.view.open_claim(job).and_then(heartbeat_core::state::Claim::run_id);
            let Some(loaded) = self.commit_sensor(loaded, changes, "retrigger").await? else { continue };
            self.note_retrigger(job, run_id, clock.now());
            *held = Some(self.project(&mut held, loaded, clock, "retrigger", REPAIR).await?);
            return Ok(Ok(()));
        }
        Err(EngineError::Contended { table: "sensor" })
    }
}
