//! One detection pass: ask the source, write what it saw (S), mark the rows (C1).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::acon::SourceKind;
use heartbeat_core::detect::{Cursor, Mode, Question, Seen, acquire, cursor, questions};
use heartbeat_core::ids::SensorRowId;
use heartbeat_core::position::{Manifest, Position};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::{Sensor, View};
use heartbeat_core::source::{Answer, Finding, Since, Source};
use heartbeat_core::state::{FolderBeside, LARGEST_INLINE, StoredManifest, StoredPosition};
use heartbeat_core::table::{Blobs, Table};
use jiff::Timestamp;

use super::lane::Lane;
use super::notes::detections;
use super::{Clock, Engine, EngineError, ROUNDS, Versions};
use crate::error_chain::chain;
use crate::fail_point;

/// What a pass looked at.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// One entry per row that was looked at, or could not be.
    pub looked_at: Vec<Looked>,
    /// What people should know although it is no error.
    pub warnings: Vec<String>,
    /// Rows that are looked after: UNPAUSED ones, also while their news waits or their job runs.
    pub watched: usize,
    /// Stretches of offsets that were gone before they were looked at.
    pub losses: usize,
}

/// One row of a pass.
#[derive(Debug)]
pub struct Looked {
    /// Which row.
    pub row: Arc<RowName>,
    /// What is new; `None` when nothing is.
    pub news: Option<Manifest>,
    /// Why the row could not be looked at, cause by cause.
    pub error: Option<String>,
    /// True where the source gave no answer; false where the row itself has something to mend.
    pub unanswered: bool,
}

/// A row, as people know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowName {
    /// `sensor_id` as it stands in the table.
    pub sensor_id: String,
    /// The row's job as it stands in the table.
    pub trigger_job_id: String,
    /// Key of the row; `None` where the row has none.
    pub row_id: Option<SensorRowId>,
}

/// What a source has answered, to be written into the tables.
#[derive(Debug)]
pub struct Answers {
    lane: Lane,
    mode: Mode,
    began: Timestamp,
    rows: Vec<Acquisition>,
}

impl Answers {
    /// Whether any answer says more than the tables do already.
    pub fn change_anything(&self) -> bool {
        self.rows.iter().any(|answer| answer.changes)
    }
}

impl CheckReport {
    /// Number of rows that could not be looked at.
    pub fn errors(&self) -> usize {
        self.looked_at.iter().filter(|row| row.error.is_some()).count()
    }

    /// Number of rows with news.
    pub fn news(&self) -> usize {
        self.looked_at.iter().filter(|row| row.news.is_some()).count()
    }
}

impl<C, S, B> Engine<C, S, B>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
{
    /// One detection pass over the rows of `kind`. The source has `patience` for its answers.
    pub async fn check(
        &self,
        kind: SourceKind,
        source: &impl Source,
        mode: Mode,
        patience: Duration,
        clock: &impl Clock,
    ) -> Result<CheckReport, EngineError> {
        let lane = Lane::all(kind);
        let (report, answers, _) = self.look(&lane, &HashSet::new(), source, mode, patience, clock).await?;
        self.take_in(&answers, clock).await?;
        Ok(report)
    }

    /// Asks the source about the rows of a lane but those in `resting`. Nothing is written.
    pub async fn look(
        &self,
        lane: &Lane,
        resting: &HashSet<SensorRowId>,
        source: &impl Source,
        mode: Mode,
        patience: Duration,
        clock: &impl Clock,
    ) -> Result<(CheckReport, Answers, Versions), EngineError> {
        let (view, versions) = self.view().await?;
        let began = clock.now();
        let prepared = self.prepared(&view, lane, resting, mode, source.minds_absent()).await;
        if let Some(absent) = prepared.absent() {
            source.absent(absent);
        }
        let mut report = prepared.report();
        let asks = prepared.asks();
        let deadline = Instant::now() + patience;
        let found = if asks.is_empty() { Vec::new() } else { source.look(asks, deadline).await };
        let mut rows = Vec::new();
        for ((asked, ask), found) in prepared.asked().iter().zip(asks.iter()).zip(found) {
            let sensor = &view.sensors[asked.sensor];
            let answer = match found {
                Ok(Answer::Same) => {
                    report.looked_at.push(Looked::quiet(&asked.row));
                    continue;
                }
                Err(error) => Err(chain(&error)),
                Ok(Answer::Found(found)) => {
                    self.tell(sensor, &found, began, &mut report);
                    let news = found.news.clone().filter(|manifest| !manifest.is_empty());
                    let since = cursor(&view, asked.sensor, mode);
                    self.acquisition(sensor, since, &ask.since, *found).await.map(|row| (row, news))
                }
            };
            match answer {
                Err(problem) => {
                    tracing::info!(sensor_id = sensor.id, problem, "row could not be looked at");
                    report.looked_at.push(Looked::failed(&asked.row, problem));
                }
                Ok((row, news)) => {
                    rows.push(row);
                    report.looked_at.push(Looked { news, ..Looked::quiet(&asked.row) });
                }
            }
        }
        report.looked_at.sort_by(|a, b| a.row.cmp(&b.row));
        Ok((report, Answers { lane: lane.clone(), mode, began, rows }, versions))
    }

    /// Writes what a source answered (S), and marks the rows (C1).
    pub async fn take_in(&self, answers: &Answers, clock: &impl Clock) -> Result<(), EngineError> {
        let mut held = self.newest.lock().await;
        let mut loaded = self.load(&mut held).await?;
        for _ in 0..ROUNDS {
            let seen = still_asked(&loaded.view, answers);
            let changes = acquire(&loaded.view, &seen, answers.mode, answers.began);
            let acquires = !changes.is_empty();
            if acquires {
                fail_point::reach("check:before_s");
            }
            let noted = detections(&loaded.view, &seen);
            let Some(committed) = self.commit_sensor(loaded, changes, "S").await? else {
                loaded = self.load(&mut held).await?;
                continue;
            };
            let points = if acquires {
                fail_point::reach("check:after_s");
                self.note_detections(&noted, answers.began);
                ["check:after_s", "check:after_c1"]
            } else {
                super::REPAIR
            };
            *held = Some(self.project(&mut held, committed, clock, "C1", points).await?);
            return Ok(());
        }
        Err(EngineError::Contended { table: "sensor" })
    }

    /// What people should know of what was found.
    fn tell(&self, sensor: &Sensor, found: &Finding, at: Timestamp, report: &mut CheckReport) {
        for loss in &found.losses {
            tracing::warn!(sensor_id = sensor.id, %loss, "data was lost");
            self.note_loss(sensor, loss, at);
            report.warnings.push(format!("`{}`: {loss}", sensor.id));
        }
        for remark in &found.remarks {
            self.note_remark(sensor, remark, at);
            report.warnings.push(format!("`{}`: {remark}", sensor.id));
        }
        report.losses += found.losses.len();
    }

    async fn acquisition(
        &self,
        sensor: &Sensor,
        since: Cursor,
        asked: &Since,
        found: Finding,
    ) -> Result<Acquisition, String> {
        let Finding { position, news, keep, .. } = found;
        let manifest = match news.filter(|manifest| !manifest.is_empty()) {
            Some(news) => Some(self.stored_manifest(&news).await?),
            None => None,
        };
        // A position that has not moved is the one that is stored already.
        let same = matches!(asked, Since::Position(cursor) if *cursor == position);
        let position = match sensor.state.acquired.clone().filter(|_| same) {
            Some(stored) => stored,
            None => self.stored_position(position).await?,
        };
        let moved = sensor.state.acquired.as_ref() != Some(&position);
        let is_kept = keep || sensor.sensor.is_some() || *asked == Since::Now;
        let changes = manifest.is_some() || (moved && is_kept);
        Ok(Acquisition { row_id: sensor.row_id.clone(), since, position, manifest, keep, changes })
    }

    /// A position as it is written into a row: in the cell, or beside the table when it is large.
    async fn stored_position(&self, position: Position) -> Result<StoredPosition, String> {
        let json = serde_json::to_vec(&position).unwrap_or_default();
        if json.len() <= LARGEST_INLINE {
            return Ok(position.into());
        }
        let runs: Vec<String> = match &position {
            Position::Files(folder) => folder.runs.iter().map(|run| run.sha256.clone()).collect(),
            Position::Kafka(_) | Position::Topics(_) => Vec::new(),
        };
        let sha256 = self.stored_beside(json, "position").await?;
        Ok(if runs.is_empty() {
            StoredPosition::Sha256(sha256)
        } else {
            StoredPosition::Folder(FolderBeside { sha256, runs })
        })
    }

    async fn stored_manifest(&self, manifest: &Manifest) -> Result<StoredManifest, String> {
        let json = serde_json::to_vec(manifest).unwrap_or_default();
        if json.len() <= LARGEST_INLINE {
            return Ok(manifest.clone().into());
        }
        self.stored_beside(json, "news").await.map(StoredManifest::Sha256)
    }

    async fn stored_beside(&self, json: Vec<u8>, what: &str) -> Result<String, String> {
        let digest = self.blobs.put(json).await;
        digest.map_err(|error| format!("its {what} cannot be stored: {}", chain(&error)))
    }
}

/// What a source has answered about a row, by the row and the cursor that were asked with.
#[derive(Debug)]
struct Acquisition {
    row_id: SensorRowId,
    since: Cursor,
    position: StoredPosition,
    manifest: Option<StoredManifest>,
    keep: bool,
    changes: bool,
}

/// The answers that hold for a newer snapshot too: the row is still watched, and from where it was asked. Looking again
/// after each lost race would let one slow source keep all rows from ever being written.
fn still_asked(view: &View, answers: &Answers) -> Vec<Seen> {
    let Answers { lane, mode, rows: answers, .. } = answers;
    if !answers.iter().any(|answer| answer.changes) {
        return Vec::new();
    }
    let open: HashMap<&SensorRowId, Question> = questions(view, lane.kind, *mode)
        .into_iter()
        .map(|question| (&view.sensors[question.sensor].row_id, question))
        .collect();
    let held = answers.iter().filter_map(|answer| {
        let question = open.get(&answer.row_id).filter(|question| question.since == answer.since)?;
        let (position, news) = (answer.position.clone(), answer.manifest.clone());
        Some(Seen { sensor: question.sensor, position, news, keep: answer.keep })
    });
    held.collect()
}

impl Looked {
    /// A row without anything to tell.
    pub(super) fn quiet(row: &Arc<RowName>) -> Self {
        Self { row: Arc::clone(row), news: None, error: None, unanswered: false }
    }

    /// A row that its source did not answer about.
    pub(super) fn failed(row: &Arc<RowName>, problem: String) -> Self {
        Self { error: Some(problem), unanswered: true, ..Self::quiet(row) }
    }
}

impl RowName {
    pub(super) fn of(sensor: &Sensor) -> Arc<Self> {
        Arc::new(Self {
            sensor_id: sensor.id.clone(),
            trigger_job_id: sensor.job.to_string(),
            row_id: Some(sensor.row_id.clone()),
        })
    }
}
