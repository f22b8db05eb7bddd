use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn state(jobs: &str) -> State {
    let config = StandInConfig::parse(jobs, "test").unwrap();
    State::new(config, "http://h".to_owned(), at(0))
}

fn start(job_id: i64, token: &str) -> Start {
    let token = (!token.is_empty()).then(|| token.to_owned());
    Start { job_id, token, ..Start::default() }
}

fn phases(state: &State) -> Vec<Phase> {
    state.runs().map(|run| run.phase).collect()
}

const DONE: Phase = Phase::Done(RunResult::Success);
const SKIPPED: Phase = Phase::Done(RunResult::Skipped);

#[test]
fn one_token_is_one_run_until_it_is_deleted_and_an_error_then() {
    let mut state = state("{}");
    let first = state.start(start(1, "t"), at(1)).unwrap();
    assert_eq!(state.start(start(1, "t"), at(2)), Ok(first));
    assert_ne!(state.start(start(1, "u"), at(2)), Ok(first));
    assert_eq!(state.delete(first, at(3)), Ok(()));
    assert_eq!(state.start(start(1, "t"), at(4)), Err(StartRefusal::TokenOfDeletedRun));
    assert_eq!(state.run(first), None);
    assert_eq!(state.delete(first, at(5)), Err(RunRefusal::Missing));
    assert_eq!(first.to_string().len(), 15);
}

#[test]
fn strict_knows_only_the_listed_jobs() {
    let mut state = state("jobs: {1: {}}");
    assert!(state.start(start(1, ""), at(0)).is_ok());
    assert_eq!(state.start(start(2, ""), at(0)), Err(StartRefusal::NoSuchJob));
}

#[test]
fn a_run_takes_its_duration_and_ends_with_its_result() {
    let mut state = state("jobs: {1: {duration: 5s, result: FAILED}, 2: {duration: 5s, timeout_seconds: 2}}");
    let (one, two) = (state.start(start(1, ""), at(0)).unwrap(), state.start(start(2, ""), at(0)).unwrap());
    state.advance(at(4));
    assert_eq!(phases(&state), [Phase::Running, Phase::Done(RunResult::TimedOut)]);
    assert_eq!(state.run(two).unwrap().ended, Some(at(2)));
    state.advance(at(9));
    assert_eq!(state.run(one).unwrap().phase, Phase::Done(RunResult::Failed));
    assert_eq!(state.run(one).unwrap().ended, Some(at(5)));
}

#[test]
fn beyond_the_limit_a_run_is_skipped_or_waits() {
    let mut skips = state("jobs: {1: {duration: 5s}}");
    for second in [0, 1, 6] {
        skips.start(start(1, ""), at(second)).unwrap();
    }
    assert_eq!(phases(&skips), [DONE, SKIPPED, Phase::Running]);

    let mut waits = state("jobs: {1: {duration: 5s, queue: true}}");
    for _ in 0..3 {
        waits.start(start(1, ""), at(0)).unwrap();
    }
    assert_eq!(phases(&waits), [Phase::Running, Phase::Queued, Phase::Queued]);
    waits.advance(at(11));
    assert_eq!(phases(&waits), [DONE, DONE, Phase::Running]);
    let starts: Vec<_> = waits.runs().map(|run| run.started).collect();
    assert_eq!(starts, [Some(at(0)), Some(at(5)), Some(at(10))]);

    let mut never = state("jobs: {1: {max_concurrent_runs: 0, queue: true}}");
    never.start(start(1, ""), at(0)).unwrap();
    assert_eq!(phases(&never), [SKIPPED]);
}

#[test]
fn one_start_may_override_the_queue() {
    let mut state = state("jobs: {1: {duration: 5s}}");
    state.start(start(1, ""), at(0)).unwrap();
    state.start(Start { queue: Some(true), ..start(1, "") }, at(0)).unwrap();
    assert_eq!(phases(&state), [Phase::Running, Phase::Queued]);
}

#[test]
fn commands_are_started_killed_and_queued_by_effects() {
    let mut state = state("jobs: {1: {command: x, queue: true}}");
    let one = state.start(start(1, ""), at(0)).unwrap();
    let two = state.start(start(1, ""), at(0)).unwrap();
    assert_eq!(state.take_effects(), [Effect::Start(one)]);
    state.advance(at(1000));
    assert_eq!(phases(&state), [Phase::Running, Phase::Queued]);
    assert_eq!(state.finish(one, RunResult::Canceled, at(1001)), Ok(()));
    assert_eq!(state.take_effects(), [Effect::Kill(one), Effect::Start(two)]);
    assert_eq!(state.finish(one, RunResult::Success, at(1002)), Err(RunRefusal::WrongPhase));
    assert_eq!(state.delete(two, at(1002)), Err(RunRefusal::WrongPhase));
    assert_eq!(state.finish(5, RunResult::Success, at(1002)), Err(RunRefusal::Missing));
}

#[test]
fn a_cancelled_run_that_waited_leaves_the_running_one_alone() {
    let mut state = state("jobs: {1: {duration: 1h, queue: true}}");
    let runs: Vec<_> = (0..3).map(|_| state.start(start(1, ""), at(0)).unwrap()).collect();
    state.finish(runs[1], RunResult::Canceled, at(1)).unwrap();
    assert_eq!(phases(&state), [Phase::Running, Phase::Done(RunResult::Canceled), Phase::Queued]);
}

#[test]
fn the_rate_limit_slides() {
    let mut state = state("rate_limit: 2");
    let admitted = [0, 500, 900, 1000, 1400, 1500]
        .map(|millis| state.admit(at(0) + jiff::SignedDuration::from_millis(millis)));
    assert_eq!(admitted, [true, true, false, true, false, true]);
}

#[test]
fn runs_end_in_turn_and_a_repair_takes_the_next_turn_under_its_id() {
    let mut state = state("jobs: {1: {duration: 5s, results: [FAILED, SUCCESS]}}");
    let run = state.start(start(1, "t"), at(0)).unwrap();
    state.advance(at(5));
    assert_eq!(phases(&state), [Phase::Done(RunResult::Failed)]);
    assert_eq!(state.repair(run, at(6)), Ok(()));
    assert_eq!(state.repair(run, at(7)), Err(RunRefusal::WrongPhase));
    let repaired = state.run(run).unwrap();
    assert_eq!((repaired.phase, repaired.ended, repaired.repairs), (Phase::Running, None, 1));
    assert_eq!(state.start(start(1, "t"), at(8)), Ok(run));
    state.advance(at(11));
    assert_eq!(phases(&state), [DONE]);
    assert_eq!(state.repair(run, at(12)), Err(RunRefusal::WrongPhase));
    assert_eq!(state.repair(7, at(12)), Err(RunRefusal::Missing));
}

#[test]
fn a_full_queue_skips() {
    let mut state = state("jobs: {1: {duration: 5s, queue: true, queue_size: 1}}");
    for _ in 0..3 {
        state.start(start(1, ""), at(0)).unwrap();
    }
    assert_eq!(phases(&state), [Phase::Running, Phase::Queued, Phase::Done(RunResult::QueueFull)]);
}

#[test]
fn only_so_many_ended_runs_are_remembered_and_their_tokens_go_with_them() {
    let mut state = state("{keep_runs: 3, jobs: {1: {max_concurrent_runs: 9}, 2: {duration: 1h}}}");
    let active = state.start(start(2, "active"), at(0)).unwrap();
    let first = state.start(start(1, "t0"), at(1)).unwrap();
    for n in 1..4 {
        state.start(start(1, &format!("t{n}")), at(1 + n)).unwrap();
    }
    state.advance(at(9));
    assert_eq!((state.runs().count(), state.run(first)), (4, None));
    assert_eq!(state.start(start(2, "active"), at(9)), Ok(active));
    assert!(state.start(start(1, "t0"), at(9)).is_ok_and(|run_id| run_id != first));
    // Repaired, the oldest is no ended run for a while.
    state.finish(active, RunResult::Failed, at(10)).unwrap();
    state.repair(active, at(11)).unwrap();
    for n in 4..9 {
        state.start(start(1, &format!("t{n}")), at(12)).unwrap();
    }
    state.advance(at(13));
    assert_eq!(state.run(active).unwrap().phase, Phase::Running);
    assert_eq!(state.runs().count(), 4);
}
