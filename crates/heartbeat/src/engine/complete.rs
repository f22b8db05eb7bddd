//! Completion of a job: account for the news (D1), mark the rows (D2).

use heartbeat_core::claim::{Completion, complete};
use heartbeat_core::ids::JobId;
use heartbeat_core::project::{Completed, complete_job, project};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Blobs, Table};

use super::{Clock, Engine, EngineError, ROUNDS};
use crate::fail_point;

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// What the last task of a job tells. `run_id` makes telling it twice harmless.
    pub async fn complete(
        &self,
        job: &JobId,
        run_id: Option<i64>,
        clock: &impl Clock,
    ) -> Result<Completion, EngineError> {
        let mut held = self.newest.lock().await;
        for _ in 0..ROUNDS {
            let loaded = self.load(&mut held).await?;
            let now = clock.now();
            let (completion, changes) = complete(&loaded.view, job, run_id, now);
            fail_point::reach("complete:before_d1");
            let Some(mut loaded) = self.commit_sensor(loaded, changes, "D1").await? else { continue };
            fail_point::reach("complete:after_d1");
            self.note_completion(job, run_id, completion, now);
            for _ in 0..ROUNDS {
                let view = &loaded.view;
                let changes = match completion {
                    // Others have written D2 meanwhile, and started the job again.
                    _ if view.open_claim(job).is_some() => project(view, clock.now()),
                    Completion::UnknownJob => return Ok(completion),
                    Completion::DoneBefore => project(view, clock.now()),
                    Completion::Claimed => complete_job(view, job, Completed::Claimed, clock.now()),
                    Completion::ByHand => complete_job(view, job, Completed::ByHand, clock.now()),
                };
                match self.commit_control(loaded, changes, "D2").await? {
                    Some(done) => {
                        fail_point::reach("complete:after_d2");
                        *held = Some(done);
                        return Ok(completion);
                    }
                    None => loaded = self.load(&mut held).await?,
                }
            }
            return Err(EngineError::Contended { table: "control" });
        }
        Err(EngineError::Contended { table: "sensor" })
    }
}
