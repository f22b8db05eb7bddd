//! What lies behind the ports: two tables, upstreams, a workspace, a clock; and where chance comes from.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use heartbeat_core::claim::StartOutcome;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::{Run, RunState};
use heartbeat_core::memory::MemoryTable;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::state::SensorState;
use heartbeat_core::table::Table;
use jiff::Timestamp;

use super::ledger::Ledger;
use super::ports::Port;
use crate::engine::Engine;
use crate::scribe::Scribe;

pub(crate) struct World {
    pub(crate) control: MemoryTable<ControlRow>,
    pub(crate) sensor: MemoryTable<SensorRow>,
    /// Commits so far, of the control and of the sensor table.
    pub(crate) commits: [AtomicUsize; 2],
    /// Upstreams by name, with the names of what arrived.
    pub(crate) upstreams: Mutex<BTreeMap<String, Vec<String>>>,
    pub(crate) workspace: Mutex<Workspace>,
    pub(crate) blobs: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) ledger: Mutex<Ledger>,
    /// Milliseconds; each look at the clock is a step.
    pub(crate) clock: AtomicI64,
    /// Milliseconds by which the clock of our side is wrong.
    pub(crate) wrong_by: AtomicI64,
    chance: Mutex<VecDeque<u8>>,
    /// Where chance comes from when there is none prepared.
    rng: Mutex<Option<fastrand::Rng>>,
}

#[derive(Debug, Default)]
pub(crate) struct Workspace {
    pub(crate) runs: Vec<(JobId, Run)>,
    made: i64,
    /// What the API remembers.
    pub(crate) tokens: HashMap<String, i64>,
    /// Every run with the token that started it.
    pub(crate) started: Vec<(String, i64)>,
    /// Runs that told their completion without their id, and so never tell it with one.
    pub(crate) nameless: Vec<i64>,
    pub(crate) calls: usize,
    /// What the next calls do; by chance when there is none.
    pub(crate) script: VecDeque<Answer>,
    /// Tokens whose run was deleted: refused.
    pub(crate) deleted: HashSet<String>,
    /// Every call is refused, and nothing can be asked.
    pub(crate) storm: bool,
    /// Calls that are on their way from processes that live.
    pub(crate) in_flight: usize,
    /// Calls that were sent by a process that died; they may still arrive.
    pub(crate) on_the_way: Vec<(JobId, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Told,
    Lost,
    NeverArrived,
    Refused,
}

impl World {
    pub(crate) fn new(rows: Vec<ControlRow>) -> Self {
        Self {
            control: MemoryTable::new("control", rows),
            sensor: MemoryTable::new("sensor", Vec::new()),
            commits: Default::default(),
            upstreams: Mutex::default(),
            workspace: Mutex::default(),
            blobs: Mutex::default(),
            ledger: Mutex::default(),
            clock: AtomicI64::new(1_767_225_600_000),
            wrong_by: AtomicI64::new(0),
            chance: Mutex::default(),
            rng: Mutex::default(),
        }
    }

    pub(crate) fn engine(&self) -> Engine<Port<'_>, Port<'_>, Port<'_>> {
        Engine::new(Port(self), Port(self), Port(self), Scribe::new("test").into())
    }

    pub(crate) fn workspace(&self) -> MutexGuard<'_, Workspace> {
        self.workspace.lock().unwrap()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn arrive(&self, upstream: &str) {
        let mut upstreams = self.upstreams.lock().unwrap();
        let arrived = upstreams.entry(upstream.to_owned()).or_default();
        let name = format!("{:03}", arrived.len());
        arrived.push(name);
    }

    pub(crate) fn sleep(&self, minutes: i64) {
        self.clock.fetch_add(minutes * 60_000, Ordering::Relaxed);
    }

    /// The time of the workspace, and ours unless our clock is wrong.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.fetch_add(1, Ordering::Relaxed)).unwrap()
    }

    /// The time by our clock.
    pub(crate) fn our_now(&self) -> Timestamp {
        let wrong_by = self.wrong_by.load(Ordering::Relaxed);
        Timestamp::from_millisecond(self.clock.fetch_add(1, Ordering::Relaxed) + wrong_by).unwrap()
    }

    pub(crate) fn commits(&self) -> [usize; 2] {
        [0, 1].map(|table| self.commits[table].load(Ordering::Relaxed))
    }

    /// 0 when there is no more chance.
    pub(crate) fn chance(&self) -> u8 {
        let prepared = self.chance.lock().unwrap().pop_front();
        prepared.unwrap_or_else(|| self.rng.lock().unwrap().as_mut().map_or(0, |rng| rng.u8(..)))
    }

    /// From now on chance comes from a seed, or is over.
    pub(crate) fn set_rng(&self, rng: Option<fastrand::Rng>) {
        *self.rng.lock().unwrap() = rng;
    }

    pub(crate) fn set_chance(&self, bytes: &[u8]) {
        *self.chance.lock().unwrap() = bytes.iter().copied().collect();
    }

    /// Lets others go first, once or more.
    pub(crate) async fn pause(&self) {
        for _ in 0..=self.chance() % 3 {
            yield_once().await;
        }
    }

    pub(crate) fn rows(&self) -> (Vec<ControlRow>, Vec<SensorRow>) {
        (at_once(self.control.load()).unwrap().rows, at_once(self.sensor.load()).unwrap().rows)
    }

    pub(crate) fn states(&self) -> BTreeMap<String, SensorState> {
        let (control, sensor) = self.rows();
        let view = View::new(control, sensor);
        view.sensors
            .iter()
            .map(|sensor| (sensor.row_id.to_string(), SensorState::clone(&sensor.state)))
            .collect()
    }

    pub(crate) fn statuses(&self) -> Vec<String> {
        self.rows().0.iter().map(|row| row.status.clone().unwrap_or("NULL".to_owned())).collect()
    }

    /// Ends the run of a job that goes on; the newest run of the job.
    pub(crate) fn end_run(&self, job: &JobId, how: &RunState) -> Option<i64> {
        let mut workspace = self.workspace();
        let (_, run) = workspace.runs.iter_mut().rev().find(|(of, _)| of == job)?;
        // A failed run that is repaired keeps its id.
        if run.state != RunState::Succeeded {
            run.state = how.clone();
        }
        Some(run.run_id)
    }
}

impl Workspace {
    pub(crate) fn run_now(&mut self, job: &JobId, token: &str, now: Timestamp) -> i64 {
        if let Some(run_id) = self.tokens.get(token) {
            return *run_id;
        }
        let run_id = self.new_run(job, now);
        self.tokens.insert(token.to_owned(), run_id);
        self.started.push((token.to_owned(), run_id));
        run_id
    }

    /// A run that no token started: by hand.
    pub(crate) fn new_run(&mut self, job: &JobId, now: Timestamp) -> i64 {
        let run_id = 1000 + self.made;
        self.made += 1;
        self.runs
            .push((job.clone(), Run { run_id, started: Some(now), state: RunState::Active, page: None }));
        run_id
    }

    pub(crate) fn runs_of(&self, job: &str) -> usize {
        self.runs.iter().filter(|(of, _)| of.as_str() == job).count()
    }

    pub(crate) fn answer(&mut self, chance: u8) -> Answer {
        self.script.pop_front().unwrap_or(match chance % 10 {
            7 => Answer::Lost,
            8 => Answer::NeverArrived,
            9 => Answer::Refused,
            _ => Answer::Told,
        })
    }
}

impl Answer {
    pub(crate) fn outcome(self, run_id: Option<i64>) -> StartOutcome {
        match (self, run_id) {
            (Self::Told, Some(run_id)) => StartOutcome::Accepted(run_id),
            (Self::Refused, _) => StartOutcome::Refused("403".to_owned()),
            _ => StartOutcome::Unknown("no answer".to_owned()),
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(move |context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs a future to its end, alone.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("does not end");
}

/// A process: what it does, and after how many steps it is killed.
pub(crate) struct Process<'w> {
    pub(crate) future: Pin<Box<dyn Future<Output = ()> + 'w>>,
    pub(crate) lives: Option<usize>,
}

/// Runs processes side by side, step by step as chance wants it, until each has ended or is killed.
pub(crate) fn side_by_side(world: &World, mut processes: Vec<Process<'_>>) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if processes.is_empty() {
            return;
        }
        let index = usize::from(world.chance()) % processes.len();
        let process = &mut processes[index];
        let killed = process.lives == Some(0);
        process.lives = process.lives.map(|lives| lives.saturating_sub(1));
        if killed || process.future.as_mut().poll(&mut context).is_ready() {
            processes.swap_remove(index);
        }
    }
    panic!("a process does not end");
}
