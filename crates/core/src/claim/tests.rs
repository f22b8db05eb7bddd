use super::*;
use crate::detect::Mode;
use crate::fixtures::{Scene, files, job};
use crate::row::{COMPLETED, ControlRow, IN_PROGRESS, NEW_EVENT_AVAILABLE};

fn ids() -> TableIds {
    TableIds { control: "c".into(), sensor: "s".into() }
}

fn marked(view: &View) -> Vec<crate::follow::Followed> {
    crate::follow::followed(view).into_iter().filter(|run| run.marked).collect()
}

fn two_hard_rows() -> Scene {
    let mut scene = Scene::default();
    scene.hard("trigger_file", "a", "7");
    scene.hard("trigger_file", "b", "7");
    scene
}

#[test]
fn token_is_fixed_for_ever() {
    let start = Start {
        job: job("7"),
        source: crate::acon::SourceKind::Kafka,
        anchor: "p: t".into(),
        rows: [("p__t_7".to_owned(), 3), ("a_7".to_owned(), 1)].into(),
        born: BTreeMap::new(),
        first_claimed: None,
        attempt: 1,
    };
    let token = token(&ids(), &start);
    assert_eq!(
        token, "7508acbf0ae8138d57241b95f2a1715d48af2e1f9c2a04908a74b4f03fc2cf4d",
        "changing this starts every claimed job a second time"
    );
}

#[test]
fn token_changes_with_the_news_and_the_attempt_only() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    let start = scene.decide().starts[0].clone();
    let first = token(&ids(), &start);
    assert_eq!(first.len(), 64);
    let other_anchor = Start { anchor: "b".into(), source: crate::acon::SourceKind::Kafka, ..start.clone() };
    assert_eq!(token(&ids(), &other_anchor), first);
    assert_ne!(token(&ids(), &Start { attempt: 2, ..start.clone() }), first);
    let more = Start { rows: [("a_7".to_owned(), 2)].into(), ..start };
    assert_ne!(token(&ids(), &more), first);
}

#[test]
fn one_round_of_the_lifecycle() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE, "NULL"]);
    assert!(scene.trigger(1).is_empty());
    scene.fire(1, &["y"]);
    assert_eq!(scene.trigger(11), [job("7")]);
    assert_eq!(scene.statuses(), [IN_PROGRESS, IN_PROGRESS]);
    assert!(scene.trigger(12).is_empty(), "a running job is not started again");
    assert_eq!(scene.complete("7"), Completion::Claimed);
    assert_eq!(scene.statuses(), [COMPLETED, COMPLETED]);
    let states: Vec<_> = scene.view().sensors.iter().map(|s| s.state.clone()).collect();
    assert!(
        states.iter().all(|state| !state.has_news() && state.claim.as_ref().unwrap().run_id() == Some(11))
    );
}

#[test]
fn news_of_a_row_that_fired_while_the_job_ran_is_kept() {
    let mut scene = two_hard_rows();
    scene.control[1].dependency_flag = Some("FALSE".into());
    scene.fire(0, &["x"]);
    scene.trigger(11);
    scene.hard("trigger_file", "added", "7");
    scene.fire(2, &["z"]);
    assert_eq!(scene.statuses(), [IN_PROGRESS, IN_PROGRESS, NEW_EVENT_AVAILABLE]);
    assert_eq!(scene.complete("7"), Completion::Claimed);
    assert_eq!(scene.statuses(), [COMPLETED, COMPLETED, NEW_EVENT_AVAILABLE]);
}

#[test]
fn completion_faster_than_the_answer_of_run_now() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    let token = scene.claim_starts()[&job("7")].clone();
    assert_eq!(scene.complete("7"), Completion::Claimed);
    scene.record(&token, StartOutcome::Accepted(11));
    scene.project();
    assert_eq!(scene.statuses(), [COMPLETED, COMPLETED]);
    assert!(scene.trigger(12).is_empty());
}

#[test]
fn a_refused_start_is_free_again_and_keeps_its_token() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    let token = scene.claim_starts()[&job("7")].clone();
    scene.record(&token, StartOutcome::Refused("403".into()));
    scene.project();
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE, NEW_EVENT_AVAILABLE]);
    assert_eq!(scene.claim_starts()[&job("7")], token);
    scene.record(&token, StartOutcome::Accepted(11));
    scene.project();
    assert_eq!(scene.statuses(), [IN_PROGRESS, IN_PROGRESS]);
}

#[test]
fn run_by_hand_accounts_for_all_acquired_news() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    assert_eq!(scene.complete("7"), Completion::ByHand);
    assert_eq!(scene.statuses(), [COMPLETED, COMPLETED]);
    assert_eq!(scene.sensor.len(), 1, "a row without news gets no sensor row");
    assert!(!scene.view().sensors[0].state.has_news());
}

#[test]
fn completion_by_hand_that_was_cut_off_is_finished_not_started() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.complete_sensor("7", None);
    scene.project();
    assert_eq!(scene.statuses(), [COMPLETED, COMPLETED]);
    assert!(scene.trigger(1).is_empty());
}

#[test]
fn completion_told_again_for_the_same_run_takes_no_later_news() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.trigger(11);
    scene.complete("7");
    scene.fire(0, &["x", "later"]);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::DoneBefore);
    assert!(scene.view().sensors[0].state.has_news());
}

#[test]
fn unknown_job_completes_nothing() {
    assert_eq!(two_hard_rows().complete("99"), Completion::UnknownJob);
}

#[test]
fn news_marked_by_others_is_claimed_with_a_proper_sensor_row() {
    let mut scene = two_hard_rows();
    for row in &mut scene.control {
        row.status = Some(NEW_EVENT_AVAILABLE.into());
        row.asset_description = Some("my asset".into());
    }
    assert_eq!(scene.trigger(11), [job("7")]);
    assert_eq!(scene.sensor[0].assets, Some(vec!["my_asset_7".to_owned()]));
    assert_eq!(scene.sensor[0].status.as_deref(), Some(ACQUIRED_NEW_DATA));
    scene.complete("7");
    assert_eq!(scene.statuses(), [COMPLETED, COMPLETED]);
    assert_eq!(scene.sensor[1].status.as_deref(), Some(PROCESSED_NEW_DATA));
    for (row, sensor) in scene.control.iter_mut().zip(&mut scene.sensor) {
        row.status = Some(NEW_EVENT_AVAILABLE.into());
        sensor.status = Some(ACQUIRED_NEW_DATA.into());
    }
    assert_eq!(scene.trigger(12), [job("7")], "fired by the original a second time");
}

#[test]
fn completion_that_was_cut_off_before_in_progress_was_written_is_finished_not_started() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.claim_starts();
    assert_eq!(scene.complete_sensor("7", None), Completion::Claimed);
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE; 2]);
    assert_eq!(scene.decide().starts, []);
    scene.project();
    assert_eq!(scene.statuses(), [COMPLETED; 2]);
}

#[test]
fn foreign_completion_beside_an_open_claim_is_to_be_settled() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.trigger(11);
    assert!(marked(&scene.view()).is_empty());
    for row in &mut scene.control {
        row.status = Some(COMPLETED.into());
    }
    let view = scene.view();
    assert_eq!(marked(&view)[0].run_id, 11);
    assert!(crate::detect::questions(&view, crate::acon::SourceKind::TriggerFile, Mode::Detect).is_empty());
    scene.complete("7");
    assert!(marked(&scene.view()).is_empty());
}

#[test]
fn a_soft_row_that_fires_between_claim_and_run_is_not_lost() {
    let mut scene = two_hard_rows();
    scene.control[1].dependency_flag = Some("FALSE".into());
    scene.fire(0, &["x"]);
    let token = scene.claim_starts()[&job("7")].clone();
    scene.see(1, &files(&["y"]), true);
    scene.project();
    scene.record(&token, StartOutcome::Accepted(11));
    scene.project();
    assert_eq!(scene.statuses(), [IN_PROGRESS, IN_PROGRESS]);
    scene.complete("7");
    assert_eq!(scene.statuses(), [COMPLETED, NEW_EVENT_AVAILABLE]);
}

#[test]
fn completion_told_again_after_every_row_fired_anew_takes_no_later_news() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.trigger(11);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::Claimed);
    scene.project();
    scene.fire(0, &["x", "later"]);
    scene.fire(1, &["y", "later"]);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::DoneBefore, "before the next claim");
    scene.trigger(12);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::DoneBefore, "while the next run goes on");
    assert!(scene.view().sensors.iter().all(|sensor| sensor.state.has_news()));
    assert_eq!(scene.complete_sensor("7", Some(12)), Completion::Claimed);
}

#[test]
fn another_run_completes_the_claim_of_one_that_failed() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.trigger(11);
    assert_eq!(scene.complete_sensor("7", Some(99)), Completion::Claimed);
}

#[test]
fn run_that_is_accepted_after_a_run_by_hand_has_completed_its_claim_accounts_for_nothing_more() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    let token = scene.claim_starts()[&job("7")].clone();
    assert_eq!(scene.complete_sensor("7", Some(99)), Completion::Claimed);
    scene.project();
    scene.record(&token, StartOutcome::Accepted(11));
    scene.fire(0, &["x", "later"]);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::DoneBefore);
    assert!(scene.view().sensors[0].state.has_news());
}

/// Two passes post one token: the first is refused, the second accepted, and only later written down.
#[test]
fn a_refused_claim_is_claimed_again_as_it_was_whatever_fired_since() {
    let mut scene = two_hard_rows();
    scene.control[1].dependency_flag = Some("FALSE".into());
    scene.fire(0, &["x"]);
    let token = scene.claim_starts()[&job("7")].clone();
    scene.record(&token, StartOutcome::Refused("403".into()));
    scene.fire(1, &["y"]);
    assert_eq!(scene.claim_starts()[&job("7")], token, "the other pass may have a run of it");
    scene.record(&token, StartOutcome::Accepted(11));
    scene.project();
    scene.complete("7");
    assert_eq!(scene.statuses(), [COMPLETED, NEW_EVENT_AVAILABLE]);
}

#[test]
fn rows_deleted_while_their_run_goes_on_keep_their_claim_open() {
    let mut scene = two_hard_rows();
    for row in &mut scene.control {
        row.dependency_flag = Some("FALSE".into());
    }
    scene.fire(0, &["x"]);
    scene.trigger(11);
    scene.control.remove(0);
    scene.control[0].status = None;
    scene.fire(0, &["y"]);
    assert!(scene.trigger(12).is_empty(), "run 11 goes on");
    assert_eq!(scene.complete("7"), Completion::Claimed);
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE], "run 11 began before this news");
    assert_eq!(scene.trigger(12), [job("7")]);
}

#[test]
fn completion_told_again_after_its_rows_were_deleted_takes_no_later_news() {
    let mut scene = two_hard_rows();
    scene.control[1].dependency_flag = Some("FALSE".into());
    scene.fire(0, &["x"]);
    scene.trigger(11);
    scene.control.remove(0);
    scene.control[0].status = None;
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::Claimed);
    scene.fire(0, &["y"]);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::DoneBefore);
}

#[test]
fn rows_are_not_left_in_progress_when_the_claimed_one_was_fed_anew() {
    let mut scene = two_hard_rows();
    scene.control[1].dependency_flag = Some("FALSE".into());
    scene.fire(0, &["x"]);
    scene.trigger(11);
    let deleted = scene.control.remove(0);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::Claimed);
    scene.control.push(ControlRow { status: None, ..deleted });
    scene.fire(1, &["x", "later"]);
    assert_eq!(scene.statuses(), [COMPLETED, NEW_EVENT_AVAILABLE]);
}

#[test]
fn completion_of_a_run_whose_token_was_refused_to_another_pass_takes_no_later_news() {
    let mut scene = two_hard_rows();
    scene.control[1].dependency_flag = Some("FALSE".into());
    scene.fire(0, &["x"]);
    let token = scene.claim_starts()[&job("7")].clone();
    scene.record(&token, StartOutcome::Refused("403".into()));
    scene.fire(1, &["y"]);
    assert_eq!(scene.complete_sensor("7", Some(11)), Completion::Claimed);
    scene.project();
    assert_eq!(scene.statuses(), [COMPLETED, NEW_EVENT_AVAILABLE]);
}

#[test]
fn a_row_deleted_while_its_run_went_on_and_fed_again_blocks_nothing() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.trigger(11);
    let deleted = scene.control.remove(0);
    scene.complete("7");
    scene.control.push(ControlRow { status: None, ..deleted.clone() });
    scene.fire(0, &["y", "z"]);
    scene.fire(1, &["x", "z"]);
    assert_eq!(scene.trigger(12), [job("7")]);
    scene.control.clear();
    scene.control.push(ControlRow { status: None, ..deleted });
    let view = scene.view();
    assert_eq!(marked(&view)[0].run_id, 12, "its run is asked how it ended");
}

#[test]
fn claim_closes_although_its_row_got_a_problem_while_the_job_ran() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.trigger(11);
    scene.control[0].preprocess_query = Some("SELECT 1".into());
    assert_eq!(scene.complete("7"), Completion::Claimed);
    assert_eq!(scene.statuses(), [COMPLETED; 2]);
    assert!(marked(&scene.view()).is_empty());
    assert!(scene.view().open_claim(&job("7")).is_none());
}

#[test]
fn run_by_hand_that_tells_twice_takes_no_news_in_between() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    assert_eq!(scene.complete_sensor("7", Some(50)), Completion::ByHand);
    scene.project();
    assert_eq!(scene.complete_sensor("7", Some(51)), Completion::ByHand, "another run, nothing new");
    scene.fire(0, &["x", "later"]);
    assert_eq!(scene.complete_sensor("7", Some(51)), Completion::DoneBefore);
    assert!(scene.view().sensors[0].state.has_news());
}

#[test]
fn run_that_completes_the_claim_of_another_is_remembered() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    scene.trigger(11);
    assert_eq!(scene.complete_sensor("7", Some(99)), Completion::Claimed);
    scene.project();
    scene.fire(0, &["x", "later"]);
    for run in [11, 99] {
        assert_eq!(scene.complete_sensor("7", Some(run)), Completion::DoneBefore);
    }
}

#[test]
fn news_that_the_original_s_last_task_has_processed_by_hand_does_not_come_back() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    for (row, sensor) in scene.control.iter_mut().zip(&mut scene.sensor) {
        sensor.status = Some(PROCESSED_NEW_DATA.into());
        row.status = Some(COMPLETED.into());
    }
    scene.project();
    assert_eq!(scene.statuses(), [COMPLETED; 2]);
    assert!(scene.trigger(1).is_empty());
    scene.fire(0, &["x", "later"]);
    assert_eq!(scene.statuses()[0], NEW_EVENT_AVAILABLE);
}

#[test]
fn one_refusal_tells_nothing_about_the_other_call_with_its_token() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    let token = scene.claim_starts()[&job("7")].clone();
    scene.adopt();
    let refused = || StartOutcome::Refused("403".into());
    let unknown = || StartOutcome::Unknown("no answer".into());
    for outcomes in [[refused(), unknown()], [unknown(), refused()]] {
        let mut raced = scene.clone();
        for outcome in outcomes {
            raced.record(&token, outcome);
        }
        assert!(raced.view().open_claim(&job("7")).is_some(), "a run may exist");
    }
}

#[test]
fn refused_claim_is_as_old_as_its_token_when_it_is_claimed_again() {
    let mut scene = two_hard_rows();
    scene.fire(0, &["x"]);
    scene.fire(1, &["y"]);
    let token = scene.claim_starts()[&job("7")].clone();
    let first = scene.view().open_claim(&job("7")).unwrap().at;
    scene.record(&token, StartOutcome::Refused("403".into()));
    scene.clock += 4000;
    scene.claim_starts();
    assert_eq!(scene.view().open_claim(&job("7")).unwrap().at, first);
    assert!(scene.decide().adoptions[0].in_doubt);
}
