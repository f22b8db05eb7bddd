//! One detection pass: ask the source, write what it saw (S), mark the rows (C1).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use heartbeat_core::acon::SourceKind;
use heartbeat_core::detect::{Cursor, Mode, Question, Seen, acquire, questions, since_position};
use heartbeat_core::ids::SensorRowId;
use heartbeat_core::position::{Manifest, Position};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::{Sensor, View};
use heartbeat_core::source::{Ask, Finding, Since, Source};
use heartbeat_core::state::{LARGEST_INLINE_POSITION, StoredPosition};
use heartbeat_core::table::{Blobs, Table};

use super::{Clock, Engine, EngineError, ROUNDS};
use crate::error_chain::chain;
use crate::fail_point;

/// What a pass looked at.
#[derive(Debug, Default)]
pub struct CheckReport {
    /// One entry per row that was looked at, or could not be.
    pub looked_at: Vec<Looked>,
    /// What people should know although it is no error.
    pub warnings: Vec<String>,
}

/// One row of a pass.
#[derive(Debug)]
pub struct Looked {
    /// `sensor_id` as it stands in the table.
    pub sensor_id: String,
    /// The row's job as it stands in the table.
    pub trigger_job_id: String,
    /// What is new; `None` when nothing is.
    pub news: Option<Manifest>,
    /// Why the row could not be looked at, cause by cause.
    pub error: Option<String>,
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
        let mut loaded = self.load().await?;
        let began = clock.now();
        let deadline = Instant::now() + patience;
        let (report, answers) = self.look(&loaded.view(), kind, source, mode, deadline).await?;
        for _ in 0..ROUNDS {
            let view = loaded.view();
            let changes = acquire(&view, &still_asked(&view, kind, mode, &answers), mode, began);
            let acquires = !changes.is_empty();
            if acquires {
                fail_point::reach("check:before_s");
            }
            let Some(committed) = self.commit_sensor(loaded, changes, "S").await? else {
                loaded = self.load().await?;
                continue;
            };
            let points = if acquires {
                fail_point::reach("check:after_s");
                ["check:after_s", "check:after_c1"]
            } else {
                super::REPAIR
            };
            self.project(committed, clock, "C1", points).await?;
            return Ok(report);
        }
        Err(EngineError::Contended { table: "sensor" })
    }

    async fn look(
        &self,
        view: &View<'_>,
        kind: SourceKind,
        source: &impl Source,
        mode: Mode,
        deadline: Instant,
    ) -> Result<(CheckReport, Vec<Answer>), EngineError> {
        let mut report =
            CheckReport { looked_at: problems(view, kind), warnings: remarks_on_rows(view, kind) };
        let mut asked = Vec::new();
        let mut asks = Vec::new();
        for question in questions(view, kind, mode) {
            match self.since(&question, kind).await {
                Ok(since) => {
                    asks.push(Ask { asset: question.asset.clone(), since });
                    asked.push(question);
                }
                Err(problem) => {
                    report.looked_at.push(looked(&view.sensors[question.sensor], None, Some(problem)));
                }
            }
        }
        let found = if asks.is_empty() { Vec::new() } else { source.look(&asks, deadline).await };
        let mut answers = Vec::new();
        for ((question, ask), found) in asked.into_iter().zip(&asks).zip(found) {
            let sensor = &view.sensors[question.sensor];
            let answer = match found {
                Err(error) => Err(chain(&error)),
                Ok(Finding { position, news, remarks }) => {
                    let remarks = remarks.into_iter().map(|remark| format!("`{}`: {remark}", sensor.id));
                    report.warnings.extend(remarks);
                    let news = news.filter(|manifest| !manifest.is_empty());
                    self.stored(sensor, &ask.since, position).await.map(|position| (position, news))
                }
            };
            match answer {
                Err(problem) => {
                    tracing::info!(sensor_id = sensor.id, problem, "row could not be looked at");
                    report.looked_at.push(looked(sensor, None, Some(problem)));
                }
                Ok((position, news)) => {
                    answers.push(Answer {
                        row_id: sensor.row_id.clone(),
                        since: question.since,
                        position,
                        news: news.is_some(),
                    });
                    report.looked_at.push(looked(sensor, news, None));
                }
            }
        }
        report
            .looked_at
            .sort_by(|a, b| (&a.sensor_id, &a.trigger_job_id).cmp(&(&b.sensor_id, &b.trigger_job_id)));
        Ok((report, answers))
    }

    /// The cursor of a question, fetched when it is stored beside the table; or what is wrong with it.
    async fn since(&self, question: &Question, kind: SourceKind) -> Result<Since, String> {
        let digest = match &question.since {
            Cursor::Ready(since) => return Ok(since.clone()),
            Cursor::Digest(digest) => digest,
        };
        let mend = "`check --baseline` starts anew from what is there";
        let stored = self.blobs.get(digest).await;
        let bytes = stored
            .map_err(|error| format!("its stored position cannot be read: {}; {mend}", chain(&error)))?
            .ok_or_else(|| {
                format!("its stored position {digest} is missing beside the sensor table; {mend}")
            })?;
        serde_json::from_slice::<Position>(&bytes)
            .map(|position| since_position(kind, position))
            .map_err(|cause| format!("its stored position {digest} is damaged: {cause}; {mend}"))
    }

    /// A position as it is written into a row: in the cell, or beside the table when it is large. A position that has
    /// not moved is the one that is stored already.
    async fn stored(
        &self,
        sensor: &Sensor,
        asked: &Since,
        position: Position,
    ) -> Result<StoredPosition, String> {
        if let (Since::Position(cursor), Some(stored)) = (asked, &sensor.state.acquired)
            && *cursor == position
        {
            return Ok(stored.clone());
        }
        let json = serde_json::to_vec(&position).unwrap_or_default();
        if json.len() <= LARGEST_INLINE_POSITION {
            return Ok(position.into());
        }
        let digest = self.blobs.put(json).await;
        digest
            .map(StoredPosition::Sha256)
            .map_err(|error| format!("its position cannot be stored: {}", chain(&error)))
    }
}

/// What a source has answered, by the row and the cursor that were asked with.
struct Answer {
    row_id: SensorRowId,
    since: Cursor,
    position: StoredPosition,
    news: bool,
}

/// The answers that hold for a newer snapshot too: the row is still watched, and from where it was asked. Looking again
/// after each lost race would let one slow source keep all rows from ever being written.
fn still_asked(view: &View<'_>, kind: SourceKind, mode: Mode, answers: &[Answer]) -> Vec<Seen> {
    let open: HashMap<&SensorRowId, Question> = questions(view, kind, mode)
        .into_iter()
        .map(|question| (&view.sensors[question.sensor].row_id, question))
        .collect();
    let held = answers.iter().filter_map(|answer| {
        let question = open.get(&answer.row_id).filter(|question| question.since == answer.since)?;
        Some(Seen { sensor: question.sensor, position: answer.position.clone(), news: answer.news })
    });
    held.collect()
}

/// Rows of this source that would be looked at if nothing were wrong with them.
fn problems(view: &View<'_>, kind: SourceKind) -> Vec<Looked> {
    let broken = view
        .sensors
        .iter()
        .filter(|sensor| sensor.source == kind && sensor.unpaused && sensor.is_idle())
        .filter_map(|sensor| Some(looked(sensor, None, Some(sensor.problem.as_ref()?.to_string()))));
    let unusable = view.unusable.iter().filter_map(|(index, problem)| {
        let row = &view.control[*index];
        let of_this_source = row.sensor_source.as_deref().and_then(SourceKind::parse) == Some(kind);
        of_this_source.then(|| Looked {
            sensor_id: row.sensor_id.clone().unwrap_or_default(),
            trigger_job_id: row.trigger_job_id.clone().unwrap_or_default(),
            news: None,
            error: Some(problem.to_string()),
        })
    });
    broken.chain(unusable).collect()
}

fn remarks_on_rows(view: &View<'_>, kind: SourceKind) -> Vec<String> {
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
    Looked { sensor_id: sensor.id.clone(), trigger_job_id: sensor.job.to_string(), news, error }
}
