//! Steering by hand: pause, resume, retrigger.

use heartbeat_core::ids::JobId;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::steer::{Force, JobState, NotRetriggered, Rows, retrigger, set_job_state};
use heartbeat_core::table::{Blobs, Table};

use super::{Clock, Engine, EngineError, REPAIR, ROUNDS};

/// The rows that were meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Steered {
    /// `sensor_id` and job of each row that was meant, as they stand in the table.
    pub rows: Vec<(String, String)>,
    /// How many of them changed.
    pub changed: usize,
}

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// Pauses or resumes rows, in one commit.
    pub async fn set_job_state(
        &self,
        which: &Rows,
        state: JobState,
        clock: &impl Clock,
    ) -> Result<Steered, EngineError> {
        let mut held = self.newest.lock().await;
        for _ in 0..ROUNDS {
            let loaded = self.load(&mut held).await?;
            let rows = std::sync::Arc::clone(&loaded.view.control);
            let (meant, changes) = set_job_state(&rows, which, state);
            let changed: Vec<ControlRow> = changes.update.iter().map(|(_, row)| row.clone()).collect();
            let Some(loaded) = self.commit_control(loaded, changes, state.as_str()).await? else { continue };
            *held = Some(loaded);
            self.note_job_state(&changed, state, clock.now());
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let key = |index: &usize| (text(&rows[*index].sensor_id), text(&rows[*index].trigger_job_id));
            return Ok(Steered { rows: meant.iter().map(key).collect(), changed: changed.len() });
        }
        Err(EngineError::Contended { table: "control" })
    }

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
