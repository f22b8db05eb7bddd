//! What the engine notes for the journal. Notes follow commits; no decision reads them.

use std::collections::BTreeMap;

use heartbeat_core::claim::{Completion, StartOutcome};
use heartbeat_core::detect::Seen;
use heartbeat_core::follow::{Followed, Told};
use heartbeat_core::ids::JobId;
use heartbeat_core::journal::Event;
use heartbeat_core::position::Loss;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::{Sensor, View};
use heartbeat_core::state::{Claim, ClaimState, Release, StoredManifest};
use heartbeat_core::table::Table;
use jiff::Timestamp;

use super::{Call, Engine};
use crate::scribe::About;

impl<C: Table<ControlRow>, S: Table<SensorRow>, B> Engine<C, S, B> {
    pub(super) fn note_detections(&self, detections: &[(Sensor, StoredManifest)], at: Timestamp) {
        for (sensor, manifest) in detections {
            let detail = serde_json::to_string(manifest).ok();
            self.scribe.note(at, Event::Detected, about(sensor), describe(manifest), detail);
        }
    }

    pub(super) fn note_remark(&self, sensor: &Sensor, remark: &str, at: Timestamp) {
        self.scribe.note(at, Event::Remarked, about(sensor), remark, None);
    }

    pub(super) fn note_loss(&self, sensor: &Sensor, loss: &Loss, at: Timestamp) {
        let detail = serde_json::to_string(loss).ok();
        self.scribe.note(at, Event::DataLost, about(sensor), loss.to_string(), detail);
    }

    pub(super) fn note_claims(&self, view: &View, claims: &[(JobId, Claim)], at: Timestamp) {
        for (job, claim) in claims {
            let rows = view.of_job(job).filter(|sensor| claim.rows.contains_key(sensor.row_id.as_str()));
            let rows: Vec<_> = rows
                .map(|sensor| {
                    serde_json::json!({
                        "sensor_source": sensor.source.as_str(), "sensor_id": sensor.id,
                        "news": claim.rows.get(sensor.row_id.as_str()), "manifest": sensor.state.manifest,
                    })
                })
                .collect();
            let message =
                format!("to be started for news of {} row(s), attempt {}", rows.len(), claim.attempt);
            let detail = serde_json::json!({"token": claim.token, "domain": claim.domain, "rows": rows});
            let about = About { job: Some(job), ..About::default() };
            self.scribe.note(at, Event::Claimed, about, message, Some(detail.to_string()));
        }
    }

    pub(super) fn note_outcome(&self, call: &Call, outcome: &StartOutcome, at: Timestamp) {
        let about = About { job: Some(&call.job), ..About::default() };
        let detail =
            Some(serde_json::json!({"token": call.token(), "domain": call.claim.domain}).to_string());
        match outcome {
            StartOutcome::Accepted(run_id) => {
                let about = About { run_id: Some(*run_id), ..about };
                self.scribe.note(at, Event::Started, about, format!("started as run {run_id}"), detail);
            }
            StartOutcome::Refused(why) => {
                self.scribe.note(at, Event::StartFailed, about, format!("refused: {why}"), detail);
            }
            StartOutcome::Unknown(why) => {
                self.scribe.note(at, Event::StartFailed, about, format!("not known: {why}"), detail);
            }
        }
    }

    pub(super) fn note_unknown_state(&self, run: &Followed, state: &str, at: Timestamp) {
        let about = About { job: Some(&run.job), run_id: Some(run.run_id), ..About::default() };
        let key = format!("run {} {state}", run.run_id);
        let message = format!("in a state that is not known, `{state}`: taken as still running");
        if self.scribe.note_once(key, at, Event::RunState, about, &message) {
            tracing::warn!(job_id = %run.job, run_id = run.run_id, state, "run is in a state that is not known");
        }
    }

    /// The claims that the answers have moved on.
    pub(super) fn note_followed(
        &self,
        before: &[(JobId, Claim)],
        after: &View,
        told: &BTreeMap<String, Told>,
        at: Timestamp,
    ) {
        for (job, old) in before {
            let claims = after.states_of_job(job).filter_map(|state| state.claim.as_ref());
            let Some(new) = claims.filter(|new| new.token == old.token).find(|new| new.state != old.state)
            else {
                continue;
            };
            let about = About { job: Some(job), run_id: new.run_id(), ..About::default() };
            let run = told.get(&old.token).and_then(|told| told.run.as_ref());
            let page = run.and_then(|run| run.page.clone());
            let detail = page.map(|page| serde_json::json!({"run_page_url": page}).to_string());
            let (event, message) = match &new.state {
                ClaimState::Done { run_id } => {
                    let by = run_id.map_or_else(String::new, |run_id| format!("run {run_id} "));
                    (Event::Completed, format!("{by}succeeded; its news is accounted for"))
                }
                ClaimState::Failed { reason, .. } => {
                    (Event::RunState, format!("did not succeed, the job rests: {reason}"))
                }
                ClaimState::Released { why: Release::Skipped { reason, .. }, .. } => {
                    (Event::RunState, format!("never ran, the news stays: {reason}"))
                }
                _ => (Event::RunState, "goes on".to_owned()),
            };
            self.scribe.note(at, event, about, message, detail);
        }
    }

    pub(super) fn note_completion(
        &self,
        job: &JobId,
        run_id: Option<i64>,
        completion: Completion,
        at: Timestamp,
    ) {
        let message = match completion {
            Completion::Claimed => "its last task told that it succeeded; the claimed news is accounted for",
            Completion::ByHand => "a run by hand told that it succeeded; all news so far is accounted for",
            Completion::UnknownJob | Completion::DoneBefore => return,
        };
        let about = About { job: Some(job), run_id, ..About::default() };
        self.scribe.note(at, Event::Completed, about, message, None);
    }

    pub(super) fn note_retrigger(&self, job: &JobId, run_id: Option<i64>, at: Timestamp) {
        let about = About { job: Some(job), run_id, ..About::default() };
        self.scribe.note(at, Event::Retriggered, about, "set to start again by hand", None);
    }
}

/// The rows with news, to be noted once that is committed.
pub(super) fn detections(view: &View, seen: &[Seen]) -> Vec<(Sensor, StoredManifest)> {
    let with_news =
        seen.iter().filter_map(|seen| Some((view.sensors[seen.sensor].clone(), seen.news.clone()?)));
    with_news.collect()
}

fn about(sensor: &Sensor) -> About<'_> {
    About { source: Some(sensor.source), sensor_id: Some(&sensor.id), job: Some(&sensor.job), run_id: None }
}

fn describe(manifest: &StoredManifest) -> String {
    match manifest {
        StoredManifest::Offsets(ranges) => format!("news in {} partition(s)", ranges.len()),
        StoredManifest::Topics(topics) => format!("news in {} topic(s)", topics.len()),
        StoredManifest::Files(files) => match files.as_slice() {
            [file] => format!("new file {}", file.path),
            files => format!("{} new files", files.len()),
        },
        StoredManifest::ManyFiles(many) => format!("{} new files", many.count),
        StoredManifest::Sha256(digest) => format!("news, listed beside the sensor table as {digest}"),
    }
}
