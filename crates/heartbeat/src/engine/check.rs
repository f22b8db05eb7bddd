//! One detection pass: ask the source, write what it saw (S), mark the rows (C1).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use heartbeat_core::acon::SourceKind;
use heartbeat_core::detect::{Cursor, Mode, Question, Seen, acquire, questions, since_position};
use heartbeat_core::ids::SensorRowId;
use heartbeat_core::position::{Manifest, Position};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::{Sensor, View};
use heartbeat_core::source::{Ask, Asset, Finding, Since, Source};
use heartbeat_core::state::{LARGEST_INLINE, StoredManifest, StoredPosition};
use heartbeat_core::table::{Blobs, Table};
use jiff::Timestamp;

use super::notes::detections;
use super::{Clock, Engine, EngineError, ROUNDS, Versions};
use crate::error_chain::chain;
use crate::fail_point;

/// The rows that one look is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Of this source.
    pub kind: SourceKind,
    /// Products (Kafka) that other lanes look after.
    pub except: BTreeSet<String>,
    /// Where given, these products only.
    pub only: Option<BTreeSet<String>>,
}

impl Lane {
    /// All rows of a source.
    pub fn all(kind: SourceKind) -> Self {
        Self { kind, except: BTreeSet::new(), only: None }
    }

    /// Whether the lane looks after an asset of its source.
    fn has(&self, asset: &Asset) -> bool {
        match asset {
            Asset::Folder { .. } => true,
            Asset::Topic { product, .. } => {
                self.only.as_ref().is_none_or(|only| only.contains(product)) && !self.except.contains(product)
            }
        }
    }

    /// Whether the lane looks after a row.
    fn watches(&self, sensor: &Sensor) -> bool {
        let product = || sensor.id.split(':').next().unwrap_or_default().trim();
        let in_lane = match sensor.source {
            SourceKind::Kafka => {
                self.only.as_ref().is_none_or(|only| only.contains(product()))
                    && !self.except.contains(product())
            }
            _ => true,
        };
        sensor.source == self.kind && sensor.unpaused && in_lane
    }

    /// Whether what is wrong with rows is this lane's to tell: one lane of each source tells it.
    fn tells_problems(&self) -> bool {
        self.only.is_none()
    }
}

/// What a pass looked at.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// One entry per row that was looked at, or could not be.
    pub looked_at: Vec<Looked>,
    /// What people should know although it is no error.
    pub warnings: Vec<String>,
    /// Rows that are looked after: UNPAUSED ones, also while their news waits or their job runs.
    pub watched: usize,
}

/// One row of a pass.
#[derive(Debug)]
pub struct Looked {
    /// Key of the row; `None` where the row has none.
    pub row_id: Option<SensorRowId>,
    /// `sensor_id` as it stands in the table.
    pub sensor_id: String,
    /// The row's job as it stands in the table.
    pub trigger_job_id: String,
    /// What is new; `None` when nothing is.
    pub news: Option<Manifest>,
    /// Why the row could not be looked at, cause by cause.
    pub error: Option<String>,
    /// True where the source gave no answer; false where the row itself has something to mend.
    pub unanswered: bool,
}

/// What a source has answered, to be written into the tables.
#[derive(Debug)]
pub struct Answers {
    lane: Lane,
    mode: Mode,
    began: Timestamp,
    rows: Vec<Answer>,
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
        let deadline = Instant::now() + patience;
        let watched = view.sensors.iter().filter(|sensor| lane.watches(sensor)).count();
        let mut report = CheckReport { watched, ..CheckReport::default() };
        if lane.tells_problems() {
            report.looked_at = problems(&view, lane.kind);
            report.warnings = remarks_on_rows(&view, lane.kind);
        }
        let mut asked = Vec::new();
        let mut asks = Vec::new();
        for question in questions(&view, lane.kind, mode) {
            let sensor = &view.sensors[question.sensor];
            if !lane.has(&question.asset) || resting.contains(&sensor.row_id) {
                continue;
            }
            match self.since(&view, &question, lane.kind).await {
                Ok(since) => {
                    asks.push(Ask { asset: question.asset.clone(), since });
                    asked.push(question);
                }
                Err(problem) => report.looked_at.push(looked(sensor, None, Some(problem))),
            }
        }
        let found = if asks.is_empty() { Vec::new() } else { source.look(&asks, deadline).await };
        let mut answers = Vec::new();
        for ((question, ask), found) in asked.into_iter().zip(&asks).zip(found) {
            let sensor = &view.sensors[question.sensor];
            let answer = match found {
                Err(error) => Err(chain(&error)),
                Ok(Finding { position, news, remarks }) => {
                    for remark in &remarks {
                        self.note_remark(sensor, remark, began);
                    }
                    let remarks = remarks.into_iter().map(|remark| format!("`{}`: {remark}", sensor.id));
                    report.warnings.extend(remarks);
                    let news = news.filter(|manifest| !manifest.is_empty());
                    self.answer(sensor, question.since, &ask.since, position, news.as_ref())
                        .await
                        .map(|answer| (answer, news))
                }
            };
            match answer {
                Err(problem) => {
                    tracing::info!(sensor_id = sensor.id, problem, "row could not be looked at");
                    report.looked_at.push(looked(sensor, None, Some(problem)));
                }
                Ok((answer, news)) => {
                    answers.push(answer);
                    report.looked_at.push(looked(sensor, news, None));
                }
            }
        }
        report
            .looked_at
            .sort_by(|a, b| (&a.sensor_id, &a.trigger_job_id).cmp(&(&b.sensor_id, &b.trigger_job_id)));
        Ok((report, Answers { lane: lane.clone(), mode, began, rows: answers }, versions))
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

    /// The cursor of a question, fetched when it is stored beside the table; or what is wrong with it.
    async fn since(&self, view: &View, question: &Question, kind: SourceKind) -> Result<Since, String> {
        let digest = match &question.since {
            Cursor::Ready(since) => return Ok(since.clone()),
            Cursor::Digest(digest) => digest,
        };
        if let Some(position) = self.fetched(|known| known.get(digest).cloned()) {
            return Ok(since_position(kind, position));
        }
        let mend = "`check --baseline` starts anew from what is there";
        let stored = self.blobs.get(digest).await;
        let bytes = stored
            .map_err(|error| format!("its stored position cannot be read: {}; {mend}", chain(&error)))?
            .ok_or_else(|| {
                format!("its stored position {digest} is missing beside the sensor table; {mend}")
            })?;
        let position = serde_json::from_slice::<Position>(&bytes);
        if let Ok(position) = &position {
            // What no row names any more has been superseded.
            let named = view.digests();
            self.fetched(|known| {
                known.retain(|digest, _| named.contains(digest));
                known.insert(digest.clone(), position.clone());
            });
        }
        position
            .map(|position| since_position(kind, position))
            .map_err(|cause| format!("its stored position {digest} is damaged: {cause}; {mend}"))
    }

    fn fetched<T>(&self, with: impl FnOnce(&mut HashMap<String, Position>) -> T) -> T {
        with(&mut self.fetched.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    async fn answer(
        &self,
        sensor: &Sensor,
        since: Cursor,
        asked: &Since,
        position: Position,
        news: Option<&Manifest>,
    ) -> Result<Answer, String> {
        let manifest = match news {
            Some(news) => Some(self.stored_manifest(news).await?),
            None => None,
        };
        // A position that has not moved is the one that is stored already.
        let same = matches!(asked, Since::Position(cursor) if *cursor == position);
        let position = match sensor.state.acquired.clone().filter(|_| same) {
            Some(stored) => stored,
            None => self.stored_position(position).await?,
        };
        let changes = manifest.is_some() || sensor.state.acquired.as_ref() != Some(&position);
        let changes = changes && (manifest.is_some() || sensor.sensor.is_some() || *asked == Since::Now);
        Ok(Answer { row_id: sensor.row_id.clone(), since, position, manifest, changes })
    }

    /// A position as it is written into a row: in the cell, or beside the table when it is large.
    async fn stored_position(&self, position: Position) -> Result<StoredPosition, String> {
        let json = serde_json::to_vec(&position).unwrap_or_default();
        if json.len() <= LARGEST_INLINE {
            return Ok(position.into());
        }
        self.stored_beside(json, "position").await.map(StoredPosition::Sha256)
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
struct Answer {
    row_id: SensorRowId,
    since: Cursor,
    position: StoredPosition,
    manifest: Option<StoredManifest>,
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
        Some(Seen { sensor: question.sensor, position, news })
    });
    held.collect()
}

/// Rows of this source that would be looked at if nothing were wrong with them.
fn problems(view: &View, kind: SourceKind) -> Vec<Looked> {
    let broken = view
        .sensors
        .iter()
        .filter(|sensor| sensor.source == kind && sensor.unpaused && sensor.is_idle())
        .filter_map(|sensor| {
            let problem = sensor.problem.as_ref()?.to_string();
            Some(Looked { unanswered: false, ..looked(sensor, None, Some(problem)) })
        });
    let unusable = view.unusable.iter().filter_map(|(index, problem)| {
        let row = &view.control[*index];
        let of_this_source = row.sensor_source.as_deref().and_then(SourceKind::parse) == Some(kind);
        of_this_source.then(|| Looked {
            row_id: None,
            sensor_id: row.sensor_id.clone().unwrap_or_default(),
            trigger_job_id: row.trigger_job_id.clone().unwrap_or_default(),
            news: None,
            error: Some(problem.to_string()),
            unanswered: false,
        })
    });
    broken.chain(unusable).collect()
}

fn remarks_on_rows(view: &View, kind: SourceKind) -> Vec<String> {
    let duplicates =
        view.duplicates.iter().map(|index| &view.sensors[*index]).filter(|row| row.source == kind);
    duplicates
        .map(|row| {
            format!(
                "`{}` of job {} stands in the control table more than once; it counts once",
                row.id, row.job
            )
        })
        .collect()
}

fn looked(sensor: &Sensor, news: Option<Manifest>, error: Option<String>) -> Looked {
    Looked {
        row_id: Some(sensor.row_id.clone()),
        sensor_id: sensor.id.clone(),
        trigger_job_id: sensor.job.to_string(),
        news,
        unanswered: error.is_some(),
        error,
    }
}
