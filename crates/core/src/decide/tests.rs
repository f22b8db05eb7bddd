use rstest::rstest;

use super::*;
use crate::fixtures::{Scene, job};
use crate::row::{COMPLETED, IN_PROGRESS, NEW_EVENT_AVAILABLE};

fn waiting(scene: &Scene) -> WaitReason {
    let decision = scene.decide();
    assert_eq!(decision.starts, [], "nothing starts");
    decision.waiting[0].1.clone()
}

/// A scene of one job from (flag, status) pairs.
fn scene(rows: &[(&str, Option<&str>)]) -> Scene {
    let mut scene = Scene::default();
    for (index, (flag, status)) in rows.iter().enumerate() {
        let row = scene.hard("trigger_file", &format!("s{index}"), "7");
        row.dependency_flag = Some((*flag).into());
        row.status = status.map(str::to_owned);
    }
    scene
}

const NEW: Option<&str> = Some(NEW_EVENT_AVAILABLE);
const DONE: Option<&str> = Some(COMPLETED);
const RUNS: Option<&str> = Some(IN_PROGRESS);

#[rstest]
#[case::hard(&[("TRUE", NEW)], true)]
#[case::hard_never(&[("TRUE", None)], false)]
#[case::both_hard(&[("TRUE", NEW), ("TRUE", NEW)], true)]
#[case::one_hard_completed(&[("TRUE", NEW), ("TRUE", DONE)], false)]
#[case::one_hard_never(&[("TRUE", NEW), ("TRUE", None)], false)]
#[case::soft_never(&[("TRUE", NEW), ("FALSE", None)], true)]
#[case::soft_alone_cannot_start_a_job_with_a_hard_row(&[("TRUE", DONE), ("FALSE", NEW)], false)]
#[case::hard_row_never_and_soft_news(&[("TRUE", None), ("FALSE", NEW)], false)]
#[case::soft_only(&[("FALSE", NEW), ("FALSE", None)], true)]
#[case::blank_behind_the_flag(&[("TRUE", NEW), ("TRUE ", DONE)], false)]
#[case::flag_in_any_case(&[("true", NEW), ("True", NEW)], true)]
#[case::other_text_is_soft(&[("TRUE", NEW), ("maybe", None)], true)]
#[case::running_job_is_not_started_again(&[("FALSE", NEW), ("FALSE", RUNS)], false)]
fn dependencies(#[case] rows: &[(&str, Option<&str>)], #[case] starts: bool) {
    assert_eq!(!scene(rows).decide().starts.is_empty(), starts);
}

#[test]
fn the_reason_names_the_hard_rows_that_miss() {
    let reason = waiting(&scene(&[("TRUE", NEW), ("TRUE", DONE), ("TRUE", None)]));
    assert_eq!(reason.to_string(), "waits for the hard rows `s1` (COMPLETED), `s2` (never fired)");
}

#[test]
fn a_paused_row_starts_nothing_but_counts_as_a_hard_row() {
    let mut paused = scene(&[("TRUE", NEW)]);
    paused.control[0].job_state = Some("PAUSED".into());
    assert_eq!(waiting(&paused), WaitReason::Paused);
    let mut beside = scene(&[("TRUE", NEW), ("TRUE", NEW)]);
    beside.control[0].job_state = Some("PAUSED".into());
    assert_eq!(beside.decide().starts.len(), 1);
    beside.control[0].status = None;
    assert!(matches!(waiting(&beside), WaitReason::HardRows(_)));
}

#[test]
fn rows_that_are_not_served_never_start_a_job() {
    let mut scene = scene(&[("TRUE", NEW)]);
    scene.control[0].preprocess_query = Some("SELECT 1".into());
    assert!(matches!(waiting(&scene), WaitReason::RowProblems(_)));
    scene.control[0].preprocess_query = None;
    scene.control[0].sensor_source = Some("sap_b4".into());
    assert!(matches!(waiting(&scene), WaitReason::RowProblems(_)));
}

fn two_sources(kafka_changed: i64, files_changed: i64) -> Scene {
    let mut scene = Scene::default();
    for (source, id, changed) in [("Kafka", "p: t", kafka_changed), ("trigger_file", "f", files_changed)] {
        let row = scene.hard(source, id, "7");
        row.status = NEW.map(str::to_owned);
        row.status_change_timestamp = Timestamp::from_second(changed).ok();
    }
    scene
}

#[rstest]
#[case::newest_wins(1, 2, SourceKind::TriggerFile)]
#[case::newest_wins_the_other_way(2, 1, SourceKind::Kafka)]
#[case::tie_by_sensor_id(1, 1, SourceKind::TriggerFile)]
fn anchor_is_the_newest_row_with_news(#[case] kafka: i64, #[case] files: i64, #[case] owner: SourceKind) {
    let scene = two_sources(kafka, files);
    for kind in [SourceKind::Kafka, SourceKind::TriggerFile] {
        let selection = Selection::Sources([kind].into());
        let decision = decide(&scene.view(), &selection, &Holds::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(decision.starts.len(), usize::from(kind == owner), "{kind}");
    }
    assert_eq!(scene.decide().starts[0].source, owner);
}

#[test]
fn rows_without_news_and_paused_rows_are_no_anchor() {
    let mut scene = two_sources(1, 2);
    scene.control[1].dependency_flag = Some("FALSE".into());
    scene.control[1].job_state = Some("PAUSED".into());
    assert_eq!(scene.decide().starts[0].source, SourceKind::Kafka);
    scene.control[1].job_state = Some("UNPAUSED".into());
    scene.control[1].status = None;
    assert_eq!(scene.decide().starts[0].source, SourceKind::Kafka);
}

#[test]
fn a_hard_row_that_makes_no_sense_still_holds_its_job() {
    let mut scene = scene(&[("TRUE", NEW), ("TRUE", None)]);
    scene.control[1].sensor_source = None;
    assert!(matches!(waiting(&scene), WaitReason::HardRows(_)));
    scene.control[1].dependency_flag = Some("FALSE".into());
    assert_eq!(scene.decide().starts.len(), 1);
}

#[test]
fn duplicates_start_their_job_once() {
    let mut scene = scene(&[("TRUE", NEW)]);
    scene.control.push(scene.control[0].clone());
    let starts = scene.decide().starts;
    assert_eq!((starts.len(), starts[0].rows.len()), (1, 1));
}

#[test]
fn a_claim_without_a_run_is_adopted_and_doubted_when_old() {
    let mut scene = scene(&[("TRUE", NEW)]);
    scene.claim_starts();
    let adoption = &scene.decide().adoptions[0];
    assert_eq!((adoption.job.clone(), adoption.in_doubt), (job("7"), false));
    scene.clock += 3700;
    assert!(scene.decide().adoptions[0].in_doubt);
}
