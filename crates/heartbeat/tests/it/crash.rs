//! Guarantee 1, by force: the binary is killed with SIGKILL at every named point, processes race each other,
//! and answers of the Jobs API are lost; the tables and the runs must be those of an undisturbed history.

mod races;
mod story;
mod world;

use std::collections::VecDeque;
use std::sync::Mutex;

use heartbeat::fail_point::NAMES;

use self::story::{Disturbance, Then, play};
use self::world::{Picture, World};

/// How many histories run side by side.
const WORKERS: usize = 6;

/// The command of the history at which a point is reached.
fn command_of(point: &str) -> &'static str {
    match point {
        "settle:after_d1" => "trigger settles",
        "repair:before_commit" | "repair:after_commit" => "check repairs",
        _ => match point.split_once(':').map(|(command, _)| command) {
            Some("check") => "first check",
            Some("trigger") => "first trigger",
            Some("complete") => "first complete",
            Some("feed") => "second feed",
            other => panic!("no command of the history is known to reach {point} ({other:?})"),
        },
    }
}

/// What was told and died before its first commit was never told: only telling it again makes it so.
fn must_be_told_again(point: &str) -> bool {
    matches!(point, "complete:before_d1" | "feed:before_commit")
}

fn every_disturbance() -> Vec<Disturbance> {
    let mut cases = Vec::new();
    for point in NAMES {
        for then in [Then::Again, Then::GoesOn] {
            if then == Then::GoesOn && must_be_told_again(point) {
                continue;
            }
            for answers_lost in [false, true] {
                if !answers_lost || point.starts_with("trigger:") {
                    cases.push(Disturbance { point, command: command_of(point), then, answers_lost });
                }
            }
        }
    }
    // The completion by hand, and the second of two jobs' starts.
    for (point, command) in [
        ("complete:after_d1", "complete by hand"),
        ("complete:after_d2", "complete by hand"),
        ("trigger:after_k", "second trigger"),
        ("trigger:after_r", "second trigger"),
        ("check:after_s", "second check"),
    ] {
        for then in [Then::Again, Then::GoesOn] {
            cases.push(Disturbance { point, command, then, answers_lost: false });
        }
    }
    cases
}

fn picture(disturbance: Option<Disturbance>) -> Picture {
    let world = World::new(story::JOBS);
    play(&world, disturbance);
    world.picture()
}

#[test]
fn a_kill_at_any_point_changes_neither_tables_nor_runs() {
    let expected = picture(None);
    assert_eq!(expected.runs, [(11, 3), (12, 2), (13, 1)].into());
    let cases = every_disturbance();
    let count = cases.len();
    let queue = Mutex::new(VecDeque::from(cases));
    let next = || queue.lock().unwrap().pop_front();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let seen = picture(Some(case));
                    pretty_eq(&seen, &expected, &case);
                }
            });
        }
    });
    println!("{count} histories with a kill, each against the undisturbed one");
}

fn pretty_eq(seen: &Picture, expected: &Picture, case: &Disturbance) {
    assert_eq!(seen.runs, expected.runs, "runs by job, {case:?}");
    for (seen, expected) in seen.rows.iter().zip(&expected.rows) {
        assert_eq!(seen, expected, "{case:?}");
    }
    assert_eq!(seen.rows.len(), expected.rows.len(), "{case:?}");
}
