//! Deterministic simulation: up to three daemons beside each other, killed at any await point, while upstreams grow, runs
//! end in every way, answers are lost or told twice, the Jobs API refuses everything for a while, people and foreign
//! writers change the tables, and clocks jump.
//!
//! After each commit the ledger is asked (`engine/tests/ledger.rs`): no news lost, no set of news started twice, no
//! count or cursor back, every completed run accounting for exactly what came after the one before it. When faults have
//! ended everything must come to rest, with all that arrived accounted for.
//!
//! A history is its seed. `HEARTBEAT_TEST_CASES` and `HEARTBEAT_TEST_SEED` set how many there are, and the first.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::Workplace;
use heartbeat_core::domain::Domain;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::RunState;
use heartbeat_core::row::{COMPLETED, ControlRow, PROCESSED_NEW_DATA};
use heartbeat_core::state::{ClaimState, SensorState};
use heartbeat_core::steer::Force;

use crate::daemon::watcher::Watcher;
use crate::engine::tests::ports::Port;
use crate::engine::tests::world::{World, at_once};
use crate::engine::{Lane, Which};

/// Histories in CI.
const HISTORIES: u64 = 60;
/// Steps of the scheduler in a history, before it comes to rest.
const STEPS: usize = 6_000;
const MOST_DAEMONS: usize = 3;

/// Source, sensor_id, upstream, job, dependency.
const ROWS: [(&str, &str, &str, &str, &str); 6] = [
    ("trigger_file", "a", "a", "1", "TRUE"),
    ("trigger_file", "b", "b", "1", "FALSE"),
    ("kafka", "p: k", "k", "1", "FALSE"),
    ("trigger_file", "c", "c", "2", "TRUE"),
    ("kafka", "p: l", "l", "2", "TRUE"),
    ("trigger_file", "d", "d", "3", "FALSE"),
];

type Task<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;
type Simulated<'w> = Watcher<Port<'w>, Port<'w>, Port<'w>, Port<'w>, Port<'w>>;

/// A daemon: its tasks, which die together.
struct Daemon<'w>(Vec<Task<'w>>);

impl<'w> Daemon<'w> {
    fn new(world: &'w World) -> Self {
        let workplace = Workplace { domain: Domain::parse("dbc").unwrap(), pass_news: true };
        let workplaces = [SourceKind::Kafka, SourceKind::TriggerFile].map(|kind| (kind, workplace.clone()));
        let port = Port(world);
        let watcher: Arc<Simulated<'w>> = Arc::new(Watcher::new(
            world.engine(),
            port,
            port,
            BTreeMap::from(workplaces),
            Duration::from_secs(1),
        ));
        Self(vec![
            Box::pin(lane(world, Arc::clone(&watcher), SourceKind::TriggerFile)),
            Box::pin(lane(world, Arc::clone(&watcher), SourceKind::Kafka)),
            Box::pin(starts(world, Arc::clone(&watcher))),
            Box::pin(track(world, watcher)),
        ])
    }

    fn step(&mut self, chance: usize) {
        let task = chance % self.0.len();
        let ended = self.0[task].as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(ended, Poll::Pending, "a task of a daemon never ends");
    }
}

async fn lane<'w>(world: &'w World, watcher: Arc<Simulated<'w>>, kind: SourceKind) {
    let lane = Lane::all(kind);
    loop {
        world.pause().await;
        watcher.look("lane", &lane, &Port(world), Duration::from_secs(1)).await.unwrap();
    }
}

/// Decides; calls run beside it, and their outcomes are written down as they come.
async fn starts<'w>(world: &'w World, watcher: Arc<Simulated<'w>>) {
    let mut calls = FuturesUnordered::new();
    loop {
        world.pause().await;
        for call in watcher.decide().await.unwrap().calls {
            let watcher = Arc::clone(&watcher);
            calls.push(async move {
                let _calling = InCall::new(world);
                let outcome = watcher.call(&call).await;
                (call, outcome)
            });
        }
        let mut ended = Vec::new();
        for _ in 0..=world.chance() % 8 {
            world.pause().await;
            while let Poll::Ready(Some(outcome)) = futures::poll!(calls.next()) {
                ended.push(outcome);
            }
        }
        if !ended.is_empty() {
            watcher.record(&ended).await.unwrap();
        }
    }
}

/// While a call is being made no token is forgotten: an hour is not spent between a look at the clock and a post.
struct InCall<'w>(&'w World);

impl<'w> InCall<'w> {
    fn new(world: &'w World) -> Self {
        world.workspace().in_flight += 1;
        Self(world)
    }
}

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.0.workspace().in_flight -= 1;
    }
}

async fn track<'w>(world: &'w World, watcher: Arc<Simulated<'w>>) {
    loop {
        world.pause().await;
        let which = [Which::All, Which::Resting, Which::Going, Which::Going];
        let which = which[usize::from(world.chance()) % which.len()];
        watcher.track(which).await.unwrap();
    }
}

fn row(index: usize) -> ControlRow {
    let (source, id, _, job, flag) = ROWS[index];
    ControlRow {
        sensor_source: Some(source.into()),
        sensor_id: Some(id.into()),
        trigger_job_id: Some(job.into()),
        job_state: Some("UNPAUSED".into()),
        dependency_flag: Some(flag.into()),
        ..ControlRow::default()
    }
}

fn job(number: usize) -> JobId {
    JobId::parse(&number.to_string()).unwrap()
}

fn row_id(index: usize) -> String {
    let (_, id, _, job, _) = ROWS[index];
    format!("{}_{job}", id.replace([' ', ':'], "_"))
}

/// Which faults a history has. Clocks that are wrong and tokens that are forgotten are not in one history: whose run a
/// claim in doubt has is judged by clocks (ARCHITECTURE.md, invariant 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clocks {
    Right,
    Jump,
}

/// What happens around the daemons.
fn happen(world: &World, rng: &mut Rng, clocks: Clocks) {
    let index = rng.usize(..ROWS.len());
    let of_job = job(rng.usize(1..4));
    let what = rng.u8(..30);
    if (8..25).contains(&what) {
        world.ledger().tell(format!("{:.0} event {what}, job {of_job}, row {}", world.now(), ROWS[index].1));
    }
    match what {
        0..=7 => world.arrive(ROWS[index].2),
        8..=14 => end_run(world, rng, &of_job),
        15 => feed(world, index),
        16 => pause(world, index),
        17 => foreign_marks(world, rng, &of_job),
        18 => by_hand(world, clocks, &of_job),
        19 => repair(world, &of_job),
        20 => delete_run(world, &of_job),
        21 => retrigger(world, &of_job),
        22 => late_call(world),
        23 => {
            let storm = !world.workspace().storm;
            world.workspace().storm = storm;
        }
        24 if clocks == Clocks::Jump => {
            let wrong_by = if rng.bool() { 0 } else { rng.i64(-7_200_000..7_200_000) };
            world.wrong_by.store(wrong_by, Ordering::Relaxed);
        }
        24 => forget_tokens(world),
        25..=26 => world.sleep(rng.i64(1..30)),
        _ => world.sleep(0),
    }
    world.clock.fetch_add(rng.i64(0..60_000), Ordering::Relaxed);
}

/// The newest run of a job ends, and perhaps tells it in its last task.
fn end_run(world: &World, rng: &mut Rng, job: &JobId) {
    let how = match rng.u8(..8) {
        0 => RunState::Failed("TIMEDOUT".into()),
        1 => RunState::Skipped("MAXIMUM_CONCURRENT_RUNS_REACHED".into()),
        2 => RunState::Unknown("SOMETHING_NEW".into()),
        _ => RunState::Succeeded,
    };
    let ended = {
        let mut workspace = world.workspace();
        let active = |(of, run): &&mut (JobId, _)| {
            let run: &heartbeat_core::jobs::Run = run;
            of == job && matches!(run.state, RunState::Active | RunState::Unknown(_))
        };
        let Some((_, run)) = workspace.runs.iter_mut().rev().find(active) else { return };
        run.state = how.clone();
        run.run_id
    };
    if how == RunState::Succeeded && rng.bool() {
        at_once(world.engine().complete(job, Some(ended), &Port(world))).unwrap();
    }
}

fn feed(world: &World, index: usize) {
    world.control.edit(|rows| {
        let before = rows.len();
        rows.retain(|fed| fed.sensor_id != row(index).sensor_id);
        if rows.len() == before {
            rows.push(row(index));
        }
    });
}

fn pause(world: &World, index: usize) {
    world.control.edit(|rows| {
        for fed in rows.iter_mut().filter(|fed| fed.sensor_id == row(index).sensor_id) {
            let paused = fed.job_state.as_deref() == Some("PAUSED");
            fed.job_state = Some(if paused { "UNPAUSED" } else { "PAUSED" }.into());
        }
    });
}

/// The original's last task, in its two merges, or one of them. Beside no run of ours it would tell of one by hand, which
/// accounts for everything, and nothing could be held against it here.
fn foreign_marks(world: &World, rng: &mut Rng, job: &JobId) {
    let suffix = format!("_{job}");
    if rng.bool() {
        let states = world.states();
        let mut open =
            states.iter().filter(|(id, _)| id.ends_with(&suffix)).filter_map(|(_, s)| s.open_claim());
        if open.any(|claim| claim.run_id().is_some()) {
            world.sensor.edit(|rows| {
                for row in rows.iter_mut().filter(|row| row.sensor_id.as_deref().unwrap().ends_with(&suffix))
                {
                    row.status = Some(PROCESSED_NEW_DATA.into());
                }
            });
        }
    }
    if rng.bool() {
        world.control.edit(|rows| {
            for row in rows.iter_mut().filter(|row| row.trigger_job_id.as_deref() == Some(job.as_str())) {
                row.status = Some(COMPLETED.into());
            }
        });
    }
}

/// Somebody runs a job by hand after a run that did not succeed.
fn by_hand(world: &World, clocks: Clocks, job: &JobId) {
    let now = world.now();
    let failed = world.states().iter().any(|(id, state)| {
        let of_job = id.ends_with(&format!("_{job}"));
        of_job && matches!(state.claim.as_ref().map(|claim| &claim.state), Some(ClaimState::Failed { .. }))
    });
    if failed && clocks == Clocks::Right {
        world.workspace().new_run(job, now);
    }
}

/// The claimed run that failed is repaired in the workspace, unless its claim has been released since.
fn repair(world: &World, job: &JobId) {
    let states = world.states();
    let claims = states.iter().filter(|(id, _)| id.ends_with(&format!("_{job}")));
    let failed = claims.filter_map(|(_, state)| match state.claim.as_ref()?.state {
        ClaimState::Failed { run_id, .. } => Some(run_id),
        _ => None,
    });
    let failed: Vec<i64> = failed.collect();
    let mut workspace = world.workspace();
    for (_, run) in workspace.runs.iter_mut().filter(|(_, run)| failed.contains(&run.run_id)) {
        if matches!(run.state, RunState::Failed(_)) {
            run.state = RunState::Active;
        }
    }
}

/// Somebody has looked at the run, and that it is not being repaired.
fn retrigger(world: &World, job: &JobId) {
    let goes_on = |(of, run): &(JobId, heartbeat_core::jobs::Run)| {
        of == job && matches!(run.state, RunState::Active | RunState::Unknown(_) | RunState::Succeeded)
    };
    // Also of rows that are not fed at present.
    let states = world.rows().1.into_iter().filter_map(|row| SensorState::of_row(&row).ok()?);
    let open: Vec<i64> = states.filter_map(|state| state.open_claim()?.run_id()).collect();
    let busy = world.workspace().runs.iter().any(|run| goes_on(run) && open.contains(&run.1.run_id));
    if !busy {
        drop(at_once(world.engine().retrigger(job, Force::No, &Port(world))).unwrap());
    }
}

/// A run that failed is deleted.
fn delete_run(world: &World, job: &JobId) {
    let mut workspace = world.workspace();
    let failed = |(of, run): &(JobId, heartbeat_core::jobs::Run)| {
        of == job && matches!(run.state, RunState::Failed(_))
    };
    let Some(place) = workspace.runs.iter().position(failed) else { return };
    let (_, run) = workspace.runs.remove(place);
    let tokens: Vec<String> = workspace
        .started
        .iter()
        .filter(|(_, id)| *id == run.run_id)
        .map(|(token, _)| token.clone())
        .collect();
    workspace.deleted.extend(tokens);
}

/// A call of a process that died arrives, or one arrives a second time.
fn late_call(world: &World) {
    let now = world.now();
    let mut workspace = world.workspace();
    let Some((job, token)) = workspace.on_the_way.pop() else { return };
    if !workspace.deleted.contains(&token) {
        workspace.run_now(&job, &token, now);
    }
}

/// A long time passes in which no daemon was stopped within a call: the workspace forgets its tokens.
fn forget_tokens(world: &World) {
    let mut workspace = world.workspace();
    if workspace.in_flight == 0 {
        world.sleep(90);
        workspace.tokens.clear();
        workspace.on_the_way.clear();
    }
}

/// One history; how often a daemon was killed in it, or what is wrong.
fn live(seed: u64) -> Result<usize, String> {
    let mut rng = Rng::with_seed(seed);
    let clocks = if seed.is_multiple_of(4) { Clocks::Jump } else { Clocks::Right };
    let world = World::new((0..ROWS.len()).map(row).collect());
    world.ledger().watermarks = Some(BTreeMap::new());
    world.set_rng(Some(rng.fork()));
    let mut daemons = vec![Daemon::new(&world)];
    let mut killed = 0;
    for _ in 0..STEPS {
        match rng.u16(..1000) {
            0..60 => happen(&world, &mut rng, clocks),
            60..64 if !daemons.is_empty() => {
                daemons.swap_remove(rng.usize(..daemons.len()));
                killed += 1;
            }
            64..72 if daemons.len() < MOST_DAEMONS => daemons.push(Daemon::new(&world)),
            _ if daemons.is_empty() => daemons.push(Daemon::new(&world)),
            _ => {
                let daemon = rng.usize(..daemons.len());
                daemons[daemon].step(rng.usize(..64));
                world.clock.fetch_add(rng.i64(0..200), Ordering::Relaxed);
            }
        }
        judge(&world)?;
    }
    drop(daemons);
    come_to_rest(&world, &mut rng)?;
    Ok(killed)
}

fn judge(world: &World) -> Result<(), String> {
    let ledger = world.ledger();
    if ledger.broken.is_empty() {
        return Ok(());
    }
    Err(format!("{:#?}\n{:#?}\n{:#?}", ledger.trace, world.workspace().runs, ledger.broken))
}

/// No more faults: one daemon, every run succeeds, people attend to what rests, and upstreams go on as long as hard rows
/// wait for them.
fn come_to_rest(world: &World, rng: &mut Rng) -> Result<(), String> {
    world.set_rng(None);
    world.wrong_by.store(0, Ordering::Relaxed);
    {
        let mut workspace = world.workspace();
        workspace.storm = false;
        workspace.on_the_way.clear();
    }
    world.control.edit(|rows| {
        for index in 0..ROWS.len() {
            if !rows.iter().any(|fed| fed.sensor_id == row(index).sensor_id) {
                rows.push(row(index));
            }
        }
        for row in rows.iter_mut() {
            row.job_state = Some("UNPAUSED".into());
        }
    });
    let mut daemon = Daemon::new(world);
    for round in 0..60 {
        for _ in 0..300 {
            daemon.step(rng.usize(..64));
            world.clock.fetch_add(200, Ordering::Relaxed);
        }
        world.sleep(1);
        world.ledger().judge_runs(&world.workspace());
        judge(world)?;
        for (_, run) in &mut world.workspace().runs {
            if matches!(run.state, RunState::Active | RunState::Unknown(_)) {
                run.state = RunState::Succeeded;
            }
        }
        attend(world, round);
        keep_hard_rows_fed(world);
    }
    let states = world.states();
    let resting: Vec<_> = states
        .iter()
        .filter(|(_, state)| state.has_news())
        .map(|(id, state)| (id, state.news, state.news_done, state.claim.as_ref()))
        .collect();
    if !resting.is_empty() {
        return Err(format!("news that no run accounts for: {resting:?} {:?}", world.statuses()));
    }
    let watermarks = world.ledger().watermarks.clone().unwrap_or_default();
    for (index, (_, _, upstream, _, _)) in ROWS.iter().enumerate() {
        let arrived = world.upstreams.lock().unwrap().get(*upstream).map_or(0, Vec::len) as i64;
        let accounted = watermarks.get(&row_id(index)).copied().unwrap_or(0);
        if arrived != accounted {
            return Err(format!("{upstream}: {arrived} arrived and {accounted} are accounted for"));
        }
    }
    let statuses = world.statuses();
    let at_rest = |status: &String| status == "COMPLETED" || status == "NULL";
    if statuses.iter().all(at_rest) { Ok(()) } else { Err(format!("not at rest: {statuses:?}")) }
}

/// Jobs that rest are started again, and what is held in doubt is completed by hand.
fn attend(world: &World, round: usize) {
    for number in 1..4 {
        let states = world.states();
        let of_job = |id: &String| id.ends_with(&format!("_{number}"));
        let open = states.iter().filter(|(id, _)| of_job(id)).find_map(|(_, state)| state.open_claim());
        match open.map(|claim| &claim.state) {
            Some(ClaimState::Failed { .. }) => retrigger(world, &job(number)),
            Some(ClaimState::Claimed { trouble: Some(trouble) }) if trouble.starts_with("held") => {
                world.ledger().by_hand = true;
                at_once(world.engine().complete(&job(number), None, &Port(world))).unwrap();
                world.ledger().by_hand = false;
            }
            // Refused as often as it is asked, because its run was deleted.
            Some(ClaimState::Claimed { trouble: Some(_) }) if round % 8 == 7 => {
                drop(at_once(world.engine().retrigger(&job(number), Force::Yes, &Port(world))).unwrap());
            }
            None if round >= 20 => {
                drop(at_once(world.engine().retrigger(&job(number), Force::Yes, &Port(world))).unwrap());
            }
            _ => {}
        }
    }
}

fn keep_hard_rows_fed(world: &World) {
    let states = world.states();
    for (index, (_, _, upstream, of, flag)) in ROWS.iter().enumerate() {
        let waits = states.iter().any(|(id, state)| id.ends_with(&format!("_{of}")) && state.has_news());
        if *flag == "TRUE" && waits && !states[&row_id(index)].has_news() {
            world.arrive(upstream);
        }
    }
}

#[test]
fn daemons_lose_nothing_and_start_nothing_twice_whatever_happens() {
    let number =
        |name: &str| std::env::var_os(name).map(|text| text.to_str().unwrap().parse::<u64>().unwrap());
    let first = number("HEARTBEAT_TEST_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 1);
    let histories = number("HEARTBEAT_TEST_CASES").unwrap_or(HISTORIES);
    println!("HEARTBEAT_TEST_SEED={first}, {histories} histories");
    let mut crashes = 0;
    for seed in first..first + histories {
        crashes += live(seed).unwrap_or_else(|broken| panic!("HEARTBEAT_TEST_SEED={seed}: {broken}"));
    }
    println!("{histories} histories, {crashes} crashes");
}
