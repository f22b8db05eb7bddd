//! What the stand-in remembers, and how runs come about, wait, run and end.
//!
//! Pure: time comes in as `now`, and what must be done outside (start or kill a command) goes out as [`Effect`].
//! Runs without a command need no timer: [`State::advance`] settles whatever was due by `now`, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::config::{JobSpec, RunResult, StandInConfig};
use super::fault::Fault;
use super::record::{Phase, RecordedCall, RunRecord};

/// Something to be done outside the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Start the command of this run.
    Start(i64),
    /// Kill the command of this run, if it still runs.
    Kill(i64),
}

/// Why a run was not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum RunRefusal {
    Missing,
    /// It is over (for finish) or not over (for delete).
    WrongPhase,
}

/// What a start asks for, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Start {
    pub(super) job_id: i64,
    pub(super) token: Option<String>,
    pub(super) queue: Option<bool>,
    pub(super) notebook_params: BTreeMap<String, String>,
    pub(super) overriding: Map<String, Value>,
}

/// Why there is no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartRefusal {
    NoSuchJob,
    TokenOfDeletedRun,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) config: StandInConfig,
    pub(super) base_url: String,
    pub(super) faults: Vec<Fault>,
    pub(super) calls: Vec<RecordedCall>,
    runs: BTreeMap<i64, RunRecord>,
    unfinished: BTreeSet<i64>,
    tokens: HashMap<String, i64>,
    recent_starts: VecDeque<Timestamp>,
    next_run_id: i64,
    effects: Vec<Effect>,
}

impl State {
    pub(super) fn new(config: StandInConfig, base_url: String, now: Timestamp) -> Self {
        Self {
            faults: config.faults.clone(),
            config,
            base_url,
            calls: Vec::new(),
            runs: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            tokens: HashMap::new(),
            recent_starts: VecDeque::new(),
            // 15 digits, and not those of an earlier stand-in on the same port.
            next_run_id: now.as_millisecond() * 100,
            effects: Vec::new(),
        }
    }

    /// What must be done outside since the last call.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn spec(&self, job_id: i64) -> JobSpec {
        self.config.jobs.get(&job_id).cloned().unwrap_or_default()
    }

    /// A run that is not deleted.
    pub(super) fn run(&self, run_id: i64) -> Option<&RunRecord> {
        self.runs.get(&run_id).filter(|run| !run.deleted)
    }

    /// All runs, deleted ones too, oldest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &RunRecord> {
        self.runs.values()
    }

    /// Whether one more start keeps within the limit; counts it if so.
    pub(super) fn admit(&mut self, now: Timestamp) -> bool {
        let Some(limit) = self.config.rate_limit else { return true };
        let second = jiff::SignedDuration::from_secs(1);
        while self.recent_starts.front().is_some_and(|at| now.duration_since(*at) >= second) {
            self.recent_starts.pop_front();
        }
        let room = self.recent_starts.len() < limit as usize;
        if room {
            self.recent_starts.push_back(now);
        }
        room
    }

    /// Makes a run, or finds the one that has the token.
    pub(super) fn start(&mut self, start: Start, now: Timestamp) -> Result<i64, StartRefusal> {
        self.advance(now);
        if let Some(run_id) = start.token.as_ref().and_then(|token| self.tokens.get(token)) {
            return self.run(*run_id).map(|run| run.run_id).ok_or(StartRefusal::TokenOfDeletedRun);
        }
        if self.config.strict && !self.config.jobs.contains_key(&start.job_id) {
            return Err(StartRefusal::NoSuchJob);
        }
        let spec = self.spec(start.job_id);
        let run_id = self.next_run_id;
        self.next_run_id += 1;
        if let Some(token) = &start.token {
            self.tokens.insert(token.clone(), run_id);
        }
        let phase = if self.running(start.job_id) < spec.max_concurrent_runs as usize {
            Phase::Running
        } else if start.queue.unwrap_or(spec.queue) && spec.max_concurrent_runs > 0 {
            Phase::Queued
        } else {
            Phase::Done(RunResult::Skipped)
        };
        let run = RunRecord {
            run_id,
            job_id: start.job_id,
            phase,
            idempotency_token: start.token,
            notebook_params: start.notebook_params,
            overriding: start.overriding,
            created: now,
            started: (phase == Phase::Running).then_some(now),
            ended: matches!(phase, Phase::Done(_)).then_some(now),
            deleted: false,
        };
        self.runs.insert(run_id, run);
        if !matches!(phase, Phase::Done(_)) {
            self.unfinished.insert(run_id);
        }
        if phase == Phase::Running && spec.command.is_some() {
            self.effects.push(Effect::Start(run_id));
        }
        Ok(run_id)
    }

    /// Ends a run with a result; a queued one of the job takes its place.
    pub(super) fn finish(
        &mut self,
        run_id: i64,
        result: RunResult,
        now: Timestamp,
    ) -> Result<(), RunRefusal> {
        self.advance(now);
        self.run(run_id).ok_or(RunRefusal::Missing)?;
        if !self.unfinished.contains(&run_id) {
            return Err(RunRefusal::WrongPhase);
        }
        self.end(run_id, result, now);
        Ok(())
    }

    /// Forgets a run that is over; its token stays taken.
    pub(super) fn delete(&mut self, run_id: i64, now: Timestamp) -> Result<(), RunRefusal> {
        self.advance(now);
        self.run(run_id).ok_or(RunRefusal::Missing)?;
        if self.unfinished.contains(&run_id) {
            return Err(RunRefusal::WrongPhase);
        }
        if let Some(run) = self.runs.get_mut(&run_id) {
            run.deleted = true;
        }
        Ok(())
    }

    /// Ends what was due by `now` and starts what waited for it.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((at, run_id, result)) = self.next_due().filter(|(at, ..)| *at <= now) {
            self.end(run_id, result, at);
        }
    }

    fn next_due(&self) -> Option<(Timestamp, i64, RunResult)> {
        self.unfinished
            .iter()
            .filter_map(|run_id| self.due(&self.runs[run_id]))
            .min_by_key(|(at, id, _)| (*at, *id))
    }

    /// When and how a running run without a command ends by itself.
    fn due(&self, run: &RunRecord) -> Option<(Timestamp, i64, RunResult)> {
        let started = run.started?;
        let spec = self.spec(run.job_id);
        if spec.command.is_some() {
            return None;
        }
        let takes = spec.duration.unwrap_or_default();
        let timeout = Duration::from_secs(spec.timeout_seconds.into());
        let (takes, result) = if !timeout.is_zero() && takes > timeout {
            (timeout, RunResult::TimedOut)
        } else {
            (takes, spec.result.unwrap_or(RunResult::Success))
        };
        started.checked_add(takes).ok().map(|at| (at, run.run_id, result))
    }

    fn running(&self, job_id: i64) -> usize {
        let running = |run: &&RunRecord| run.job_id == job_id && run.phase == Phase::Running;
        self.unfinished.iter().map(|run_id| &self.runs[run_id]).filter(running).count()
    }

    fn end(&mut self, run_id: i64, result: RunResult, at: Timestamp) {
        self.unfinished.remove(&run_id);
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        (run.phase, run.ended) = (Phase::Done(result), Some(at));
        let job_id = run.job_id;
        let spec = self.spec(job_id);
        if spec.command.is_some() {
            self.effects.push(Effect::Kill(run_id));
        }
        let waits = |run_id: &&i64| {
            let run = &self.runs[*run_id];
            run.job_id == job_id && run.phase == Phase::Queued
        };
        let next = self.unfinished.iter().find(waits).copied();
        let Some(next) = next.filter(|_| self.running(job_id) < spec.max_concurrent_runs as usize) else {
            return;
        };
        if let Some(run) = self.runs.get_mut(&next) {
            (run.phase, run.started) = (Phase::Running, Some(at));
        }
        if spec.command.is_some() {
            self.effects.push(Effect::Start(next));
        }
    }
}

#[cfg(test)]
mod tests;
