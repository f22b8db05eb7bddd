use crate::claim::StartOutcome;
use crate::fixtures::{Scene, files, job};
use crate::row::{COMPLETED, IN_PROGRESS, NEW_EVENT_AVAILABLE};

/// One hard, one soft that never fires, one paused row of a job.
fn scene() -> Scene {
    let mut scene = Scene::default();
    scene.hard("trigger_file", "a", "7");
    scene.soft("trigger_file", "b", "7");
    scene.soft("trigger_file", "c", "7").job_state = Some("PAUSED".into());
    scene
}

#[test]
fn crash_after_s_is_repaired_by_c1() {
    let mut scene = scene();
    scene.see(0, &files(&["x"]), true);
    scene.project();
    assert_eq!(scene.statuses(), [NEW_EVENT_AVAILABLE, "NULL", "NULL"]);
    let row = &scene.control[0];
    assert_eq!(row.latest_event_fetched_timestamp, scene.sensor[0].status_change_timestamp);
}

#[test]
fn crash_after_k2_is_repaired_by_c2_on_all_rows() {
    let mut scene = scene();
    scene.fire(0, &["x"]);
    let token = scene.claim_starts()[&job("7")].clone();
    scene.record(&token, StartOutcome::Accepted(1));
    scene.project();
    assert_eq!(scene.statuses(), [IN_PROGRESS; 3]);
    assert!(scene.control.iter().all(|row| row.job_start_timestamp.is_some()));
}

#[test]
fn crash_after_d1_is_repaired_by_d2() {
    let mut scene = scene();
    scene.fire(0, &["x"]);
    scene.trigger(1);
    scene.complete_sensor("7", None);
    scene.project();
    assert_eq!(scene.statuses(), [COMPLETED; 3]);
    assert!(scene.control.iter().all(|row| row.job_end_timestamp.is_some()));
}

#[test]
fn a_projected_table_is_left_alone() {
    let mut scene = scene();
    for step in 0..4 {
        match step {
            0 => scene.fire(0, &["x"]),
            1 => drop(scene.trigger(1)),
            2 => drop(scene.complete("7")),
            _ => {}
        }
        let before = scene.control.clone();
        scene.project();
        assert_eq!(scene.control, before, "after step {step}");
    }
}

#[test]
fn news_of_a_paused_row_waits_until_it_is_unpaused() {
    let mut scene = scene();
    scene.see(2, &files(&["x"]), true);
    scene.project();
    assert_eq!(scene.statuses()[2], "NULL");
    scene.control[2].job_state = Some("UNPAUSED".into());
    scene.project();
    assert_eq!(scene.statuses()[2], NEW_EVENT_AVAILABLE);
}

#[test]
fn a_row_marked_by_hand_after_a_completed_claim_is_set_back_and_starts_nothing() {
    let mut scene = scene();
    scene.fire(0, &["x"]);
    scene.trigger(1);
    scene.complete("7");
    scene.control[0].status = Some(NEW_EVENT_AVAILABLE.into());
    assert!(scene.trigger(2).is_empty());
    scene.project();
    assert_eq!(scene.statuses(), [COMPLETED; 3]);
    scene.fire(0, &["x", "y"]);
    assert_eq!(scene.trigger(3), [job("7")], "its next news starts it");
}
