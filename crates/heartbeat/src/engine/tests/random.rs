//! Random histories: engines side by side, killed at any outside effect, calls that arrive late, answers that are
//! lost, feeds and foreign writers in between. Nothing may be lost and nothing start twice.
//!
//! `HEARTBEAT_TEST_CASES` and `HEARTBEAT_TEST_SEED` set their number and the seed.

use std::time::Duration;

use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::Workplace;
use heartbeat_core::decide::Selection;
use heartbeat_core::detect::Mode;
use heartbeat_core::domain::Domain;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::RunState;
use heartbeat_core::row::{COMPLETED, ControlRow, PROCESSED_NEW_DATA};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::ports::Port;
use super::world::{Process, World, side_by_side};

/// Runs in CI, in about 10 s on two cores.
const CASES: u32 = 350;

/// Source, sensor_id, upstream, job, dependency.
const ROWS: [(&str, &str, &str, &str, &str); 6] = [
    ("trigger_file", "a", "a", "1", "TRUE"),
    ("trigger_file", "b", "b", "1", "FALSE"),
    ("kafka", "p: k", "k", "1", "FALSE"),
    ("trigger_file", "c", "c", "2", "TRUE"),
    ("kafka", "p: l", "l", "2", "TRUE"),
    ("trigger_file", "d", "d", "3", "FALSE"),
];

/// What a process does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Check {
        kafka: bool,
    },
    Trigger {
        kafka: Option<bool>,
    },
    /// The newest run of a job ends well and tells it, with its id or without.
    Complete {
        job: u8,
        told: bool,
    },
    /// The newest run that ended well tells it once more.
    CompleteAgain {
        job: u8,
    },
    /// A row is deleted, or fed anew.
    Feed {
        row: usize,
    },
    Pause {
        row: usize,
    },
    /// The original's completion: control rows, sensor rows, or both.
    Foreign {
        job: u8,
        tables: u8,
    },
    Fail {
        job: u8,
    },
    LateCall,
}

#[derive(Clone)]
struct Step {
    arrives: Vec<usize>,
    minutes: i64,
    forgets_tokens: bool,
    /// Acts side by side, each killed after so many steps.
    acts: Vec<(Act, Option<u8>)>,
    chance: Vec<u8>,
}

/// One line per step, in a failure that proptest prints.
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { arrives, minutes, forgets_tokens, acts, chance } = self;
        let end = chance.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let forgets = if *forgets_tokens { ", tokens forgotten" } else { "" };
        write!(
            f,
            "{arrives:?} arrives, {minutes} min{forgets}, {acts:?}, chance {:?}",
            format_args!("{:?}", &chance[..end])
        )
    }
}

fn act() -> impl Strategy<Value = Act> {
    let job = 1..4_u8;
    prop_oneof![
        6 => any::<bool>().prop_map(|kafka| Act::Check { kafka }),
        8 => proptest::option::of(any::<bool>()).prop_map(|kafka| Act::Trigger { kafka }),
        5 => (job.clone(), weighted_bool()).prop_map(|(job, told)| Act::Complete { job, told }),
        2 => job.clone().prop_map(|job| Act::CompleteAgain { job }),
        2 => (0..ROWS.len()).prop_map(|row| Act::Feed { row }),
        1 => (0..ROWS.len()).prop_map(|row| Act::Pause { row }),
        1 => (job.clone(), 1..4_u8).prop_map(|(job, tables)| Act::Foreign { job, tables }),
        1 => job.prop_map(|job| Act::Fail { job }),
        1 => Just(Act::LateCall),
    ]
}

fn weighted_bool() -> impl Strategy<Value = bool> {
    prop_oneof![9 => Just(true), 1 => Just(false)]
}

fn step() -> impl Strategy<Value = Step> {
    let minutes = prop_oneof![8 => Just(10_i64), 1 => Just(90)];
    let acts = vec((act(), weighted(0.25, 0..24_u8)), 1..4);
    (vec(0..ROWS.len(), 0..3), minutes, any::<bool>(), acts, vec(any::<u8>(), 0..120)).prop_map(
        |(arrives, minutes, forgets, acts, chance)| Step {
            arrives,
            minutes,
            forgets_tokens: forgets && minutes > 60,
            acts,
            chance,
        },
    )
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

fn job(number: u8) -> JobId {
    JobId::parse(&number.to_string()).unwrap()
}

fn kind(kafka: bool) -> SourceKind {
    if kafka { SourceKind::Kafka } else { SourceKind::TriggerFile }
}

async fn carry_out(world: &World, act: Act) {
    let (engine, port) = (world.engine(), Port(world));
    world.pause().await;
    match act {
        Act::Check { kafka } => {
            let patience = Duration::from_secs(1);
            engine.check(kind(kafka), &port, Mode::Detect, patience, &port).await.map(drop).unwrap();
        }
        Act::Trigger { kafka } => {
            let selection = kafka.map_or(Selection::All, |kafka| Selection::Sources([kind(kafka)].into()));
            let domain = |_| Workplace { domain: Domain::parse("dbc").unwrap(), pass_news: false };
            engine.trigger(&port, &selection, &domain, &port).await.map(drop).unwrap();
        }
        Act::Complete { job: number, told } => {
            if let Some(run_id) = world.end_run(&job(number), &RunState::Succeeded) {
                if !told {
                    world.ledger().by_hand = true;
                    world.workspace().nameless.push(run_id);
                }
                if !told || !world.workspace().nameless.contains(&run_id) {
                    engine.complete(&job(number), told.then_some(run_id), &port).await.map(drop).unwrap();
                }
            }
        }
        Act::CompleteAgain { job: number } => {
            let told = {
                let workspace = world.workspace();
                let ended = |(of, run): &&(JobId, _)| {
                    let run: &heartbeat_core::jobs::Run = run;
                    *of == job(number) && run.state == RunState::Succeeded
                };
                workspace.runs.iter().rev().find(ended).map(|(_, run)| run.run_id)
            };
            if told.is_some_and(|run_id| !world.workspace().nameless.contains(&run_id)) {
                engine.complete(&job(number), told, &port).await.map(drop).unwrap();
            }
        }
        Act::Fail { job: number } => {
            world.end_run(&job(number), &RunState::Failed("by chance".into()));
        }
        Act::Feed { row: index } => world.control.edit(|rows| {
            let before = rows.len();
            rows.retain(|fed| fed.sensor_id != row(index).sensor_id);
            if rows.len() == before {
                rows.push(row(index));
            }
        }),
        Act::Pause { row: index } => world.control.edit(|rows| {
            for fed in rows.iter_mut().filter(|fed| fed.sensor_id == row(index).sensor_id) {
                let paused = fed.job_state.as_deref() == Some("PAUSED");
                fed.job_state = Some(if paused { "UNPAUSED" } else { "PAUSED" }.into());
            }
        }),
        Act::Foreign { job: number, tables } => foreign_completion(world, &job(number), tables).await,
        Act::LateCall => {
            let (now, call) = (world.now(), world.workspace().on_the_way.pop());
            if let Some((job, token)) = call {
                world.workspace().run_now(&job, &token, now);
            }
        }
    }
}

async fn foreign_completion(world: &World, job: &JobId, tables: u8) {
    if tables & 1 == 1 {
        let suffix = format!("_{job}");
        world.sensor.edit(|rows| {
            for row in rows.iter_mut().filter(|row| row.sensor_id.as_deref().unwrap().ends_with(&suffix)) {
                row.status = Some(PROCESSED_NEW_DATA.into());
            }
        });
    }
    world.pause().await;
    if tables & 2 == 2 {
        world.control.edit(|rows| {
            for row in rows.iter_mut().filter(|row| row.trigger_job_id.as_deref() == Some(job.as_str())) {
                row.status = Some(COMPLETED.into());
            }
        });
    }
}

fn follow(steps: &[Step]) -> Result<(), TestCaseError> {
    let world = World::new((0..ROWS.len()).map(row).collect());
    for step in steps {
        step.arrives.iter().for_each(|index| world.arrive(ROWS[*index].2));
        world.sleep(step.minutes);
        if step.forgets_tokens {
            let mut workspace = world.workspace();
            workspace.tokens.clear();
            workspace.on_the_way.clear();
        }
        world.set_chance(&step.chance);
        let processes = step.acts.iter().map(|(act, lives)| Process {
            future: Box::pin(carry_out(&world, *act)),
            lives: lives.map(usize::from),
        });
        side_by_side(&world, processes.collect());
        world.ledger().by_hand = false;
        world.ledger().judge_runs(&world.workspace());
        prop_assert!(world.ledger().broken.is_empty(), "{:#?}", world.ledger().broken);
    }
    come_to_rest(&world)
}

/// Without faults: all rows are fed and unpaused, upstreams go on as long as hard rows wait for them.
fn come_to_rest(world: &World) -> Result<(), TestCaseError> {
    world.set_chance(&[]);
    world.workspace().on_the_way.clear();
    let calm =
        |act| side_by_side(world, vec![Process { future: Box::pin(carry_out(world, act)), lives: None }]);
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
    for round in 0..12 {
        world.sleep(10);
        for act in [
            Act::Check { kafka: false },
            Act::Check { kafka: true },
            Act::Trigger { kafka: None },
            Act::Trigger { kafka: None },
        ] {
            calm(act);
        }
        for number in 1..4 {
            // After a failed run, or where a run is held in doubt, people complete the job.
            let told = round % 4 != 3;
            let open = world.states().values().any(|state| {
                state
                    .open_claim()
                    .is_some_and(|claim| claim.rows.keys().any(|id| id.ends_with(&format!("_{number}"))))
            });
            if told || open {
                calm(Act::Complete { job: number, told });
            }
        }
        for (index, (_, _, upstream, of, flag)) in ROWS.iter().enumerate() {
            let states = world.states();
            let waits = |state: &heartbeat_core::state::SensorState| state.has_news();
            let job_waits = states.iter().any(|(id, state)| id.ends_with(&format!("_{of}")) && waits(state));
            let id = row(index).sensor_id.unwrap().replace([' ', ':'], "_");
            if *flag == "TRUE" && job_waits && !states[&format!("{id}_{of}")].has_news() {
                world.arrive(upstream);
            }
        }
        world.ledger().by_hand = false;
        world.ledger().judge_runs(&world.workspace());
        prop_assert!(world.ledger().broken.is_empty(), "at rest: {:#?}", world.ledger().broken);
    }
    calm(Act::Check { kafka: false });
    calm(Act::Check { kafka: true });
    let resting: Vec<_> = world.states().into_iter().filter(|(_, state)| state.has_news()).collect();
    prop_assert!(resting.is_empty(), "news that no run accounts for: {resting:#?} {:?}", world.statuses());
    Ok(())
}

#[test]
fn nothing_is_lost_and_nothing_starts_twice_whatever_happens() {
    let number =
        |name: &str| std::env::var_os(name).map(|text| text.to_str().unwrap().parse::<u64>().unwrap());
    let seed = number("HEARTBEAT_TEST_SEED").unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0);
    println!("HEARTBEAT_TEST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let cases = number("HEARTBEAT_TEST_CASES").map_or(CASES, |cases| cases as u32);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    if let Err(error) = runner.run(&vec(step(), 1..16), |steps| follow(&steps)) {
        let error = format!("{error:#}");
        panic!("HEARTBEAT_TEST_SEED={seed}: {error}");
    }
}
