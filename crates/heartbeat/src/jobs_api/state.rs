//! What the stand-in remembers, and how runs come about, wait, run and end.
//!
//! Pure: time comes in as `now`, and what must be done outside (start or kill a command) goes out as [`Effect`].
//! Runs without a command need no timer: [`State::advance`] settles whatever was due by `now`, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::config::StandInConfig;
use super::fault::Fault;
use super::identity::Identity;
use super::job_spec::{JobSpec, RunResult};
use super::record::{Phase, RecordedCall, RunRecord};
use super::vault::Vault;

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
    /// It is over (for finish), not over (for delete), or not over and bad (for repair).
    WrongPhase,
}

/// What a start asks for, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Start {
    pub(super) job_id: i64,
    pub(super) token: Option<String>,
    pub(super) queue: Option<bool>,
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) overriding: Map<String, Value>,
}

/// Why there is no run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartRefusal {
    NoSuchJob,
    TokenOfDeletedRun,
}

/// What a job is doing.
#[derive(Debug, Default)]
struct Job {
    /// Runs that began to run, repairs too.
    begun: usize,
    running: BTreeSet<i64>,
    queued: BTreeSet<i64>,
    /// When runs end by themselves.
    due: HashMap<i64, Timestamp>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) config: StandInConfig,
    pub(super) base_url: String,
    pub(super) faults: Vec<Fault>,
    pub(super) calls: VecDeque<RecordedCall>,
    /// Calls by what they were for.
    pub(super) counts: BTreeMap<&'static str, u64>,
    pub(super) identity: Identity,
    pub(super) vault: Vault,
    runs: BTreeMap<i64, RunRecord>,
    jobs: HashMap<i64, Job>,
    unfinished: BTreeSet<i64>,
    /// Ends that come by themselves, in their order.
    due: BTreeMap<(Timestamp, i64), RunResult>,
    /// Runs that ended, in that order.
    ended: BTreeSet<(Timestamp, i64)>,
    tokens: HashMap<String, i64>,
    recent_starts: VecDeque<Timestamp>,
    next_run_id: i64,
    effects: Vec<Effect>,
}

impl State {
    pub(super) fn new(config: StandInConfig, base_url: String, now: Timestamp) -> Self {
        Self {
            faults: config.faults.clone(),
            identity: Identity::new(&config, &base_url),
            vault: Vault::new(&config.secrets, now),
            config,
            base_url,
            calls: VecDeque::new(),
            counts: BTreeMap::new(),
            runs: BTreeMap::new(),
            jobs: HashMap::new(),
            unfinished: BTreeSet::new(),
            due: BTreeMap::new(),
            ended: BTreeSet::new(),
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

    /// Runs that wait or run, oldest first.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &RunRecord> {
        self.unfinished.iter().filter_map(|run_id| self.runs.get(run_id))
    }

    /// Remembers a call, as long as runs are remembered.
    pub(super) fn record(&mut self, call: RecordedCall) {
        self.calls.push_back(call);
        if self.calls.len() > self.config.keep_runs {
            self.calls.pop_front();
        }
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
        let job = self.jobs.entry(start.job_id).or_default();
        let phase = if job.running.len() < spec.max_concurrent_runs as usize {
            Phase::Running
        } else if !start.queue.unwrap_or(spec.queue) || spec.max_concurrent_runs == 0 {
            Phase::Done(RunResult::Skipped)
        } else if job.queued.len() < spec.queue_size as usize {
            Phase::Queued
        } else {
            Phase::Done(RunResult::QueueFull)
        };
        let run = RunRecord {
            run_id,
            job_id: start.job_id,
            phase,
            idempotency_token: start.token,
            parameters: start.parameters,
            overriding: start.overriding,
            created: now,
            started: None,
            ended: matches!(phase, Phase::Done(_)).then_some(now),
            deleted: false,
            repairs: 0,
        };
        self.runs.insert(run_id, run);
        match phase {
            Phase::Running => self.begin(run_id, now),
            Phase::Queued => {
                self.unfinished.insert(run_id);
                self.jobs.entry(start.job_id).or_default().queued.insert(run_id);
            }
            Phase::Done(_) => self.remember(run_id, now),
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

    /// Lets a run that ended badly run again under its id, whatever the limit of its job.
    pub(super) fn repair(&mut self, run_id: i64, now: Timestamp) -> Result<(), RunRefusal> {
        self.advance(now);
        let phase = self.run(run_id).ok_or(RunRefusal::Missing)?.phase;
        if !matches!(phase, Phase::Done(result) if !result.is_good()) {
            return Err(RunRefusal::WrongPhase);
        }
        if let Some(run) = self.runs.get_mut(&run_id) {
            if let Some(ended) = run.ended.take() {
                self.ended.remove(&(ended, run_id));
            }
            run.repairs += 1;
        }
        self.begin(run_id, now);
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
        while let Some((&(at, run_id), &result)) = self.due.first_key_value()
            && at <= now
        {
            self.end(run_id, result, at);
        }
    }

    /// A run begins to run.
    fn begin(&mut self, run_id: i64, at: Timestamp) {
        let Some(run) = self.runs.get_mut(&run_id) else { return };
        (run.phase, run.started) = (Phase::Running, Some(at));
        let job_id = run.job_id;
        let spec = self.config.jobs.get(&job_id).cloned().unwrap_or_default();
        let job = self.jobs.entry(job_id).or_default();
        job.running.insert(run_id);
        self.unfinished.insert(run_id);
        if spec.command.is_some() {
            self.effects.push(Effect::Start(run_id));
        } else {
            let (takes, result) = spec.plan(job.begun);
            if let Ok(end) = at.checked_add(takes) {
                self.due.insert((end, run_id), result);
                job.due.insert(run_id, end);
            }
        }
        job.begun += 1;
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
        let job = self.jobs.entry(job_id).or_default();
        if let Some(due) = job.due.remove(&run_id) {
            self.due.remove(&(due, run_id));
        }
        job.running.remove(&run_id);
        job.queued.remove(&run_id);
        if job.running.len() < spec.max_concurrent_runs as usize
            && let Some(next) = job.queued.pop_first()
        {
            self.begin(next, at);
        }
        self.remember(run_id, at);
    }

    /// A run has ended: the oldest such make room, with their tokens.
    fn remember(&mut self, run_id: i64, at: Timestamp) {
        self.ended.insert((at, run_id));
        while self.ended.len() > self.config.keep_runs
            && let Some((_, oldest)) = self.ended.pop_first()
        {
            let token = self.runs.remove(&oldest).and_then(|run| run.idempotency_token);
            if let Some(token) = token {
                self.tokens.remove(&token);
            }
        }
    }
}

#[cfg(test)]
mod tests;
