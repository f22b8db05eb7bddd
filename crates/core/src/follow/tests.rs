use rstest::rstest;

use super::*;
use crate::fixtures::{Scene, files, job};
use crate::row::{COMPLETED, IN_PROGRESS, NEW_EVENT_AVAILABLE};
use crate::steer::{Force, NotRetriggered, retrigger};

/// A hard row with news and a soft one without; the job has run 11.
fn started() -> Scene {
    let mut scene = Scene::default();
    scene.hard("trigger_file", "a", "7");
    scene.soft("trigger_file", "b", "7");
    scene.fire(0, &["x"]);
    assert_eq!(scene.trigger(11), [job("7")]);
    scene
}

fn run(run_id: i64, state: RunState, started: i64) -> Run {
    Run { run_id, started: Some(Timestamp::from_second(started).unwrap()), state, page: None }
}

fn failed(why: &str) -> RunState {
    RunState::Failed(why.to_owned())
}

/// Tells what the workspace says of the open claim, and projects.
fn told(scene: &mut Scene, run: Option<Run>, success: Option<i64>) {
    let now = Timestamp::from_second(scene.clock).unwrap();
    let token = followed(&scene.view())[0].token.clone();
    scene.sensor = tell(&scene.view(), &[(token, Told { run, success })].into(), now).apply(&scene.sensor);
    scene.project();
}

fn claim_state(scene: &Scene) -> ClaimState {
    scene.view().sensors[0].state.claim.clone().unwrap().state
}

#[test]
fn success_accounts_for_what_was_claimed_and_no_more() {
    let mut scene = started();
    scene.see(1, &files(&["late"]), true);
    told(&mut scene, Some(run(11, RunState::Succeeded, 9)), None);
    assert_eq!(scene.statuses(), [COMPLETED, NEW_EVENT_AVAILABLE], "what arrived meanwhile fires next");
    assert_eq!(claim_state(&scene), ClaimState::Done { run_id: Some(11) });
    assert!(scene.control[0].job_end_timestamp.is_some());
}

#[rstest]
#[case::active(Some(run(11, RunState::Active, 9)))]
#[case::not_known(Some(run(11, RunState::Unknown("NEW".into()), 9)))]
#[case::another_run(Some(run(12, RunState::Succeeded, 9)))]
fn what_does_not_end_the_claimed_run_changes_nothing(#[case] answer: Option<Run>) {
    let mut scene = started();
    told(&mut scene, answer, None);
    assert_eq!(claim_state(&scene), ClaimState::Accepted { run_id: 11 });
    assert_eq!(scene.statuses(), [IN_PROGRESS; 2]);
}

#[rstest]
#[case::failed(Some(run(11, failed("TIMEDOUT"), 9)), "TIMEDOUT")]
#[case::deleted(None, "the run was deleted")]
fn job_rests_after_a_run_that_did_not_succeed(#[case] answer: Option<Run>, #[case] reason: &str) {
    let mut scene = started();
    told(&mut scene, answer, None);
    assert_eq!(claim_state(&scene), ClaimState::Failed { run_id: 11, reason: reason.into() });
    assert_eq!(scene.statuses(), [IN_PROGRESS; 2]);
    scene.fire(1, &["more"]);
    assert!(scene.trigger(12).is_empty());
    // By hand, and then what arrived meanwhile.
    told(&mut scene, Some(run(11, failed("TIMEDOUT"), 9)), Some(50));
    assert_eq!(claim_state(&scene), ClaimState::Done { run_id: Some(50) });
    assert_eq!(scene.statuses(), [COMPLETED, NEW_EVENT_AVAILABLE]);
    scene.fire(0, &["x", "y"]);
    assert_eq!(scene.trigger(13), [job("7")]);
}

#[test]
fn repaired_run_goes_on_and_succeeds_under_its_own_id() {
    let mut scene = started();
    told(&mut scene, Some(run(11, failed("FAILED"), 9)), None);
    told(&mut scene, Some(run(11, RunState::Active, 9)), None);
    assert_eq!(claim_state(&scene), ClaimState::Accepted { run_id: 11 });
    told(&mut scene, Some(run(11, RunState::Succeeded, 9)), None);
    assert_eq!(scene.statuses(), [COMPLETED; 2]);
}

#[test]
fn skipped_run_leaves_the_news_and_the_next_attempt_has_another_token() {
    let mut scene = started();
    let first = scene.view().sensors[0].state.claim.clone().unwrap();
    told(&mut scene, Some(run(11, RunState::Skipped("MAX".into()), 9)), None);
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE, "NULL"], "as before the start");
    assert!(scene.claim_starts().is_empty(), "the next attempt waits a while");
    assert!(matches!(scene.decide().waiting[0].1, crate::decide::WaitReason::NotBefore { .. }));
    scene.clock += 15;
    let tokens = scene.claim_starts();
    assert_ne!(tokens[&job("7")], first.token);
    assert_eq!(scene.view().sensors[0].state.claim.as_ref().unwrap().attempt, 2);
}

#[test]
fn row_that_had_completed_before_a_skipped_run_is_completed_again() {
    let mut scene = started();
    told(&mut scene, Some(run(11, RunState::Succeeded, 9)), None);
    scene.fire(0, &["x", "y"]);
    scene.trigger(12);
    told(&mut scene, Some(run(12, RunState::Skipped("MAX".into()), 9)), None);
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE, COMPLETED]);
}

#[test]
fn retrigger_is_for_runs_that_did_not_succeed() {
    let mut scene = started();
    let refused = |scene: &Scene, id: &str| retrigger(&scene.view(), &job(id), Force::No).unwrap_err();
    assert_eq!(refused(&scene, "8"), NotRetriggered::UnknownJob(job("8")));
    assert_eq!(refused(&scene, "7"), NotRetriggered::Running { job: job("7"), run_id: 11 });
    told(&mut scene, Some(run(11, failed("FAILED"), 9)), None);
    scene.sensor = retrigger(&scene.view(), &job("7"), Force::No).unwrap().apply(&scene.sensor);
    scene.project();
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE, "NULL"]);
    assert_eq!(scene.trigger(12), [job("7")]);
    assert_eq!(scene.view().sensors[0].state.claim.as_ref().unwrap().attempt, 2);
    told(&mut scene, Some(run(12, RunState::Succeeded, 20)), None);
    assert_eq!(refused(&scene, "7"), NotRetriggered::NothingClaimed(job("7")));
}

#[test]
fn later_success_is_by_the_workspaces_clock() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut claimed = followed(&started().view()).remove(0);
    claimed.claimed_at = at(500);
    let bad = run(11, failed("x"), 100);
    let runs = vec![run(10, RunState::Succeeded, 99), bad.clone(), run(12, RunState::Succeeded, 101)];
    assert_eq!(later_success(runs.clone(), &claimed), Some(12), "the claim's clock does not matter");
    assert_eq!(later_success(runs[..2].to_vec(), &claimed), None);
    assert_eq!(later_success(vec![bad, run(12, RunState::Active, 101)], &claimed), None);
    claimed.claimed_at = at(50);
    let gone = [runs[0].clone(), runs[2].clone()];
    assert_eq!(later_success(gone.to_vec(), &claimed), Some(12), "the failed one is gone");
    claimed.earlier_runs = [12].into();
    assert_eq!(later_success(gone.to_vec(), &claimed), None, "both are known to be earlier");
}
