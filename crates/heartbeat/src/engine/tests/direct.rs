//! Single cases: how many commits a pass makes, lost races, claims in doubt, large positions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::{Completion, Workplace};
use heartbeat_core::decide::Selection;
use heartbeat_core::detect::Mode;
use heartbeat_core::domain::Domain;
use heartbeat_core::ids::JobId;
use heartbeat_core::jobs::RunState;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::source::{self, Ask, Source, SourceError};
use heartbeat_core::state::{ClaimState, StoredPosition};
use jiff::Timestamp;

use super::ports::Port;
use super::world::{Answer, Process, World, at_once, side_by_side};
use crate::engine::{CheckReport, TriggerReport};

fn row(id: &str, job: &str) -> ControlRow {
    ControlRow {
        sensor_source: Some("trigger_file".into()),
        sensor_id: Some(id.into()),
        trigger_job_id: Some(job.into()),
        job_state: Some("UNPAUSED".into()),
        dependency_flag: Some("TRUE".into()),
        ..ControlRow::default()
    }
}

fn job(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

async fn check(world: &World) -> CheckReport {
    let (port, patience) = (Port(world), Duration::from_secs(1));
    world.engine().check(SourceKind::TriggerFile, &port, Mode::Detect, patience, &port).await.unwrap()
}

async fn trigger(world: &World) -> TriggerReport {
    let (port, domain) =
        (Port(world), |_| Workplace { domain: Domain::parse("dbc").unwrap(), pass_news: false });
    world.engine().trigger(&port, &Selection::All, &domain, &port).await.unwrap()
}

fn complete(world: &World, id: &str, run_id: Option<i64>) -> Completion {
    at_once(world.engine().complete(&job(id), run_id, &Port(world))).unwrap()
}

/// One row with news, and a start whose call ends like this.
fn claimed(answer: Answer) -> World {
    let world = World::new(vec![row("a", "7")]);
    world.arrive("a");
    at_once(check(&world));
    world.workspace().script.push_back(answer);
    at_once(trigger(&world));
    world
}

fn runs_and_calls(world: &World) -> (usize, usize) {
    let workspace = world.workspace();
    (workspace.runs_of("7"), workspace.calls)
}

fn claim_state(world: &World) -> ClaimState {
    world.states()["a_7"].claim.clone().unwrap().state
}

#[test]
fn fifty_jobs_are_one_commit_per_table_and_step() {
    let world = World::new((1..=50).map(|job| row(&format!("s{job}"), &job.to_string())).collect());
    (1..=50).for_each(|sensor| world.arrive(&format!("s{sensor}")));
    at_once(check(&world));
    assert_eq!(world.commits(), [1, 1], "C1 and S");
    assert_eq!(at_once(trigger(&world)).started.len(), 50);
    assert_eq!(world.commits(), [2, 3], "C2, and K and K2");
    assert_eq!(complete(&world, "7", None), Completion::Claimed);
    assert_eq!(world.commits(), [3, 4], "D2 and D1");
}

#[test]
fn idle_passes_write_nothing() {
    let world = claimed(Answer::Told);
    let idle = |world: &World| {
        let before = world.commits();
        at_once(check(world));
        at_once(trigger(world));
        assert_eq!(world.commits(), before);
    };
    idle(&world);
    world.end_run(&job("7"), &RunState::Succeeded);
    complete(&world, "7", Some(1000));
    idle(&world);
    complete(&world, "7", Some(1000));
    idle(&World::new(vec![row("never", "8")]));
}

#[test]
fn a_race_that_is_lost_is_decided_anew() {
    let world = World::new(vec![row("a", "7")]);
    world.arrive("a");
    at_once(check(&world));
    let both = || Process {
        future: Box::pin(async {
            trigger(&world).await;
        }),
        lives: None,
    };
    // Step by step in turn: both load before either commits.
    world.set_chance(&[0, 1].repeat(200));
    side_by_side(&world, vec![both(), both()]);
    assert_eq!(world.workspace().runs_of("7"), 1);
    assert_eq!(world.statuses(), ["IN_PROGRESS"]);
    assert_eq!(claim_state(&world), ClaimState::Accepted { run_id: 1000 });
}

/// A source beside which somebody else commits to the sensor table while it is being looked at.
struct Disturbed<'w> {
    world: &'w World,
    looks: AtomicUsize,
}

impl Source for Disturbed<'_> {
    async fn look(&self, asks: &Arc<[Ask]>, deadline: Instant) -> Vec<Result<source::Answer, SourceError>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let answers = Port(self.world).look(asks, deadline).await;
        let other = SensorRow { sensor_id: Some("other_9".into()), ..SensorRow::default() };
        self.world.sensor.edit(|rows| rows.push(other));
        answers
    }
}

#[test]
fn answers_are_kept_when_the_race_for_their_commit_is_lost() {
    let world = World::new(vec![row("a", "7")]);
    world.arrive("a");
    let source = Disturbed { world: &world, looks: AtomicUsize::new(0) };
    let pass = async {
        let (port, patience) = (Port(&world), Duration::from_secs(1));
        world.engine().check(SourceKind::TriggerFile, &source, Mode::Detect, patience, &port).await.unwrap()
    };
    assert_eq!(at_once(pass).news(), 1);
    assert_eq!(world.statuses(), ["NEW_EVENT_AVAILABLE"]);
    assert_eq!(
        source.looks.load(Ordering::Relaxed),
        1,
        "a slow source is not asked again for each lost race"
    );
}

#[test]
fn a_refused_start_is_made_again_and_an_adopted_one_stays_open_when_refused() {
    let world = claimed(Answer::Refused);
    assert!(matches!(claim_state(&world), ClaimState::Refused { .. }));
    assert_eq!(at_once(trigger(&world)).started.len(), 1);

    let world = claimed(Answer::NeverArrived);
    world.workspace().script.push_back(Answer::Refused);
    let report = at_once(trigger(&world));
    assert!(report.failed[0].reason.contains("an earlier call may have started it"));
    assert!(matches!(claim_state(&world), ClaimState::Claimed { trouble: Some(_) }));
    assert_eq!(at_once(trigger(&world)).started.len(), 1);
    assert_eq!(world.workspace().runs_of("7"), 1);
}

#[test]
fn an_answer_that_was_lost_is_asked_for_with_the_same_token() {
    let world = claimed(Answer::Lost);
    assert_eq!(at_once(trigger(&world)).started[0].run_id, 1000);
    assert_eq!(runs_and_calls(&world), (1, 2));
}

#[test]
fn a_claim_in_doubt_without_runs_is_posted_again() {
    let world = claimed(Answer::NeverArrived);
    world.sleep(61);
    assert_eq!(at_once(trigger(&world)).started.len(), 1);
    assert_eq!(world.workspace().runs_of("7"), 1);
}

#[test]
fn a_claim_in_doubt_takes_a_run_that_began_after_it() {
    let world = claimed(Answer::Lost);
    world.workspace().tokens.clear();
    world.sleep(61);
    assert_eq!(at_once(trigger(&world)).started[0].run_id, 1000);
    assert_eq!(runs_and_calls(&world), (1, 1), "nothing was posted");
}

/// The claim of a run that seems to have begun shortly before it.
fn claimed_within_the_skew() -> World {
    let world = claimed(Answer::Lost);
    let mut workspace = world.workspace();
    workspace.tokens.clear();
    let claimed = world.states()["a_7"].claim.clone().unwrap().at;
    workspace.runs[0].1.started = claimed.checked_sub(jiff::SignedDuration::from_mins(2)).ok();
    drop(workspace);
    world
}

#[test]
fn a_claim_in_doubt_is_held_when_a_run_began_within_the_clocks_skew() {
    let world = claimed_within_the_skew();
    world.sleep(61);
    let report = at_once(trigger(&world));
    assert!(report.failed[0].reason.starts_with("held: run 1000"));
    assert_eq!(world.workspace().calls, 1);
    assert_eq!(complete(&world, "7", None), Completion::Claimed);
    assert_eq!(world.statuses(), ["COMPLETED"]);
}

#[test]
fn a_claim_from_the_future_is_in_doubt_and_never_posted_beside_a_run() {
    let world = claimed(Answer::Lost);
    world.workspace().tokens.clear();
    world.workspace().runs[0].1.started = Timestamp::from_millisecond(1_767_225_600_000 - 60_000).ok();
    world.sleep(-600);
    world.workspace().runs[0].1.started = Some(world.now());
    assert!(at_once(trigger(&world)).failed[0].reason.starts_with("held"));
    assert_eq!(world.workspace().calls, 1);
}

#[test]
fn a_sensor_row_that_was_deleted_starts_a_new_run_for_new_news() {
    let world = claimed(Answer::Told);
    world.end_run(&job("7"), &RunState::Succeeded);
    complete(&world, "7", Some(1000));
    world.sensor.edit(Vec::clear);
    world.arrive("a");
    at_once(check(&world));
    assert_eq!(world.states()["a_7"].news, 1, "counts from the beginning again");
    assert_eq!(at_once(trigger(&world)).started[0].run_id, 1001, "its token is another one");
}

#[test]
fn a_large_position_goes_to_a_file_and_is_read_back() {
    let world = World::new(vec![row("a", "7"), row("b", "8")]);
    (0..900).for_each(|_| world.arrive("a"));
    at_once(check(&world));
    assert!(matches!(world.states()["a_7"].acquired, Some(StoredPosition::Sha256(_))));
    at_once(trigger(&world));
    complete(&world, "7", None);
    assert_eq!(at_once(check(&world)).news(), 0, "read back");
    world.arrive("a");
    world.arrive("b");
    world.blobs.lock().unwrap().clear();
    let report = at_once(check(&world));
    assert_eq!((report.errors(), report.news()), (1, 1), "a missing file is that row's error");
    assert!(report.looked_at[0].error.as_ref().unwrap().contains("is missing beside the sensor table"));
}
