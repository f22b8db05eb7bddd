//! What a daemon does with one pair of tables, step by step. Each step may be repeated, cut off, or done by another
//! daemon beside this one; what is remembered here only saves work and paces what fails.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::{StartOutcome, Workplace};
use heartbeat_core::decide::{Holds, Selection, WaitReason};
use heartbeat_core::detect::Mode;
use heartbeat_core::ids::{JobId, SensorRowId};
use heartbeat_core::jobs::Jobs;
use heartbeat_core::journal::Event;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::source::Source;
use heartbeat_core::table::{Blobs, Table};
use jiff::{SignedDuration, Timestamp};

use super::pacing::Pacing;
use crate::engine::{
    Call, CheckReport, Clock, Engine, EngineError, FollowReport, Lane, Looked, Versions, Which,
};
use crate::scribe::About;

/// The longest that a row or a job that fails is left alone.
const MOST_WAIT: Duration = Duration::from_mins(5);

/// A claim of another process that is younger than this is its own to call.
const LEAVE_YOUNG_CLAIMS: SignedDuration = SignedDuration::from_secs(15);

/// One pair of tables, and what is remembered of it.
#[derive(Debug)]
pub(crate) struct Watcher<C: Table<ControlRow>, S: Table<SensorRow>, B, J, K> {
    engine: Engine<C, S, B>,
    jobs: J,
    clock: K,
    /// Sources that this daemon looks at: it starts the jobs whose newest news is of one of them.
    workplaces: BTreeMap<SourceKind, Workplace>,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    rows: Pacing<SensorRowId>,
    jobs: Pacing<JobId>,
    /// Why rows cannot be looked at, as it was told last, with the lane that told it.
    failing: HashMap<(String, String), (String, String)>,
    /// Why jobs wait, as it was told last.
    waiting: HashMap<JobId, String>,
    /// Jobs whose call is on its way.
    calling: BTreeSet<JobId>,
    /// What the last decision was made on.
    decided: Option<Versions>,
}

/// What one look found.
#[derive(Debug)]
pub(crate) struct Look {
    /// Row by row; those that are left alone are not in it.
    pub(crate) report: CheckReport,
    /// Rows of the lane that cannot be looked at, those that are left alone too.
    pub(crate) failing: usize,
    /// True when there may be something to start, or to repair: news, or tables that others have changed.
    pub(crate) stirs: bool,
}

/// What was decided.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Calls to make now.
    pub(crate) calls: Vec<Call>,
    /// When to decide again although nothing has happened.
    pub(crate) again_at: Option<Timestamp>,
    /// Number of jobs that wait, by the code of the reason.
    pub(crate) waiting: BTreeMap<&'static str, usize>,
}

impl<C, S, B, J, K> Watcher<C, S, B, J, K>
where
    C: Table<ControlRow>,
    S: Table<SensorRow>,
    B: Blobs,
    J: Jobs,
    K: Clock,
{
    /// A watcher. Rows that fail are left alone for `first_wait` at first.
    pub(crate) fn new(
        engine: Engine<C, S, B>,
        jobs: J,
        clock: K,
        workplaces: BTreeMap<SourceKind, Workplace>,
        first_wait: Duration,
    ) -> Self {
        let memory = Memory {
            rows: Pacing::new(first_wait, MOST_WAIT),
            jobs: Pacing::new(Duration::from_secs(5), MOST_WAIT),
            failing: HashMap::new(),
            waiting: HashMap::new(),
            calling: BTreeSet::new(),
            decided: None,
        };
        Self { engine, jobs, clock, workplaces, memory: Mutex::new(memory) }
    }

    /// The engine over the tables.
    pub(crate) fn engine(&self) -> &Engine<C, S, B> {
        &self.engine
    }

    /// Looks at the rows of a lane, and writes down what is new.
    pub(crate) async fn look(
        &self,
        name: &str,
        lane: &Lane,
        source: &impl Source,
        patience: Duration,
    ) -> Result<Look, EngineError> {
        let now = self.clock.now();
        let resting: HashSet<SensorRowId> =
            self.memory().rows.resting(now).map(|(row, _)| row.clone()).collect();
        let (report, answers, versions) =
            self.engine.look(lane, &resting, source, Mode::Detect, patience, &self.clock).await?;
        let failing = self.remember_failures(name, lane, &report.looked_at, now);
        let changes = answers.change_anything();
        if changes {
            self.engine.take_in(&answers, &self.clock).await?;
        }
        let stirs = changes || self.memory().decided != Some(versions);
        Ok(Look { report, failing, stirs })
    }

    /// Repairs, decides and claims.
    pub(crate) async fn decide(&self) -> Result<Decided, EngineError> {
        let now = self.clock.now();
        let selection = Selection::Sources(self.workplaces.keys().copied().collect());
        let holds = self.holds(now);
        let workplace_of = |kind: SourceKind| self.workplaces[&kind].clone();
        // What changes from here on is decided on the next time.
        let (view, versions) = self.engine.view().await?;
        self.memory().begin_decision(&view, versions);
        drop(view);
        let claimed = self.engine.claim(&selection, &holds, &workplace_of, &self.clock).await?;
        let mut memory = self.memory();
        memory.calling.extend(claimed.calls.iter().map(|call| call.job.clone()));
        let mut decided = Decided { calls: claimed.calls, ..Decided::default() };
        for (_, reason) in &claimed.waiting {
            *decided.waiting.entry(reason.code()).or_default() += 1;
            let again = match reason {
                WaitReason::NotBefore { at } => Some(*at),
                WaitReason::Starting { asked_at } => *asked_at,
                _ => None,
            };
            decided.again_at = [decided.again_at, again].into_iter().flatten().min();
        }
        self.note_waiting(&mut memory, &claimed.waiting, now);
        Ok(decided)
    }

    /// Whether the tables have changed since the last decision.
    pub(crate) async fn has_moved(&self) -> Result<bool, EngineError> {
        let (_, versions) = self.engine.view().await?;
        Ok(self.memory().decided != Some(versions))
    }

    /// Makes a call.
    pub(crate) async fn call(&self, call: &Call) -> StartOutcome {
        self.engine.call(&self.jobs, call, &self.clock).await
    }

    /// Writes down how calls went.
    pub(crate) async fn record(&self, outcomes: &[(Call, StartOutcome)]) -> Result<(), EngineError> {
        let by_token =
            outcomes.iter().map(|(call, outcome)| (call.token().to_owned(), outcome.clone())).collect();
        self.forget_calls(outcomes);
        self.engine.record(&by_token, &self.clock).await
    }

    /// Before the outcomes are written, because that may be given up: the claims are found in the table then, and their
    /// tokens posted again.
    fn forget_calls(&self, outcomes: &[(Call, StartOutcome)]) {
        let now = self.clock.now();
        let mut memory = self.memory();
        for (call, outcome) in outcomes {
            memory.calling.remove(&call.job);
            match outcome {
                StartOutcome::Accepted(_) => drop(memory.jobs.succeeded(&call.job)),
                StartOutcome::Refused(_) | StartOutcome::Unknown(_) => {
                    memory.jobs.failed(&call.job, now, fastrand::f64());
                }
            }
        }
    }

    /// Asks about open runs, and writes down what they tell.
    pub(crate) async fn track(&self, which: Which) -> Result<FollowReport, EngineError> {
        self.engine.follow(&self.jobs, which, &self.clock).await
    }

    fn holds(&self, now: Timestamp) -> Holds {
        let memory = self.memory();
        Holds {
            calling: memory.calling.clone(),
            not_before: memory.jobs.resting(now).map(|(job, until)| (job.clone(), until)).collect(),
            leave_young_claims: LEAVE_YOUNG_CLAIMS,
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Paces rows whose source gave no answer, and notes what begins to fail and what recovers.
    fn remember_failures(&self, name: &str, lane: &Lane, looked_at: &[Looked], now: Timestamp) -> usize {
        let mut memory = self.memory();
        // Where nothing fails there is nothing to recover.
        let all = !memory.failing.is_empty() || !memory.rows.is_empty();
        for looked in looked_at.iter().filter(|looked| all || looked.error.is_some()) {
            let row = &*looked.row;
            let key = (row.sensor_id.clone(), row.trigger_job_id.trim().to_owned());
            let job = JobId::parse(&row.trigger_job_id).ok();
            let about = About {
                source: Some(lane.kind),
                sensor_id: Some(&row.sensor_id),
                job: job.as_ref(),
                run_id: None,
            };
            match (&looked.error, &row.row_id) {
                (Some(error), row_id) => {
                    if let Some(row_id) = row_id.as_ref().filter(|_| looked.unanswered) {
                        memory.rows.failed(row_id, now, fastrand::f64());
                    }
                    if memory.failing.get(&key).map(|(_, told)| told) != Some(error) {
                        tracing::warn!(sensor_id = row.sensor_id, %error, "sensor cannot be looked at");
                        self.engine.scribe().note(now, Event::CheckFailed, about, error, None);
                        memory.failing.insert(key, (name.to_owned(), error.clone()));
                    }
                }
                (None, Some(row_id)) => {
                    let failed = memory.rows.succeeded(row_id);
                    if memory.failing.remove(&key).is_some() || failed {
                        tracing::info!(sensor_id = row.sensor_id, "sensor can be looked at again");
                        self.engine.scribe().note(now, Event::CheckRecovered, about, "answers again", None);
                    }
                }
                (None, None) => {}
            }
        }
        memory.failing.values().filter(|(lane, _)| lane == name).count()
    }

    /// Notes for each job why it waits, when that is another reason than before.
    fn note_waiting(&self, memory: &mut Memory, waiting: &[(JobId, WaitReason)], now: Timestamp) {
        let mut reasons = HashMap::with_capacity(memory.waiting.len());
        for (job, reason) in waiting {
            let is_quiet = matches!(reason, WaitReason::NoNews | WaitReason::Running { .. });
            if is_quiet || matches!(reason, WaitReason::Starting { .. }) {
                continue;
            }
            let code = match reason {
                // When it is tried again changes with each try.
                WaitReason::NotBefore { .. } => reason.code().to_owned(),
                _ => reason.to_string(),
            };
            if memory.waiting.get(job) != Some(&code) {
                let about = About { job: Some(job), ..About::default() };
                let detail = Some(serde_json::json!({"code": reason.code()}).to_string());
                self.engine.scribe().note(now, Event::Waiting, about, reason.to_string(), detail);
            }
            reasons.insert(job.clone(), code);
        }
        memory.waiting = reasons;
    }
}

impl Memory {
    /// Forgets rows that are no longer there.
    fn begin_decision(&mut self, view: &View, versions: Versions) {
        if self.decided == Some(versions) {
            return;
        }
        self.decided = Some(versions);
        if self.rows.is_empty() && self.failing.is_empty() {
            return;
        }
        let rows: HashSet<&str> = view.sensors.iter().map(|sensor| sensor.row_id.as_str()).collect();
        self.rows.retain(|row| rows.contains(row.as_str()));
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let keys: HashSet<(String, String)> = view
            .control
            .iter()
            .map(|row| (text(&row.sensor_id), text(&row.trigger_job_id).trim().to_owned()))
            .collect();
        self.failing.retain(|key, _| keys.contains(key));
    }
}
