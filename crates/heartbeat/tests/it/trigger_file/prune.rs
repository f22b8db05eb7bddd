//! `trigger-file prune`.

use std::fs::File;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;

const PRUNE: [&str; 6] = ["trigger-file", "prune", "--acon", "files.yaml", "--older-than", "30d"];

/// Writes a trigger file of so many days ago.
fn drop_file(project: &Project, path: &str, days: u64) {
    project.write(path, "Success");
    let file = File::options().write(true).open(project.path().join(path)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_hours(days * 24)).unwrap();
}

#[test]
fn file_goes_when_it_is_old_and_every_job_has_processed_it() {
    let project = with_rows(&[("my_trigger", "7", "UNPAUSED"), ("my_trigger", "8", "UNPAUSED")]);
    let folder = project.path().join("triggers/my_trigger");
    drop_file(&project, "triggers/my_trigger/old.txt", 40);
    drop_file(&project, "triggers/my_trigger/young.txt", 20);
    drop_file(&project, "triggers/my_trigger/_hidden.txt", 40);
    drop_file(&project, "triggers/without_a_row/old.txt", 40);
    drop_file(&project, "triggers/old.txt", 40);
    for age in ["soon", "59m"] {
        project.refused(&[&PRUNE[..5], &[age]].concat(), &["length of time of at least 1h"]);
    }
    let untouched = |what: &str| {
        let before = project.files();
        let told = project.good(&PRUNE).out;
        assert!(told.ends_with("0 files (0 bytes) deleted\n"), "{what}: {told}");
        assert_eq!(project.files(), before, "{what}");
    };
    untouched("nobody has looked");
    project.good(&CHECK);
    untouched("no run has accounted for anything");
    complete(&project, "7");
    untouched("one of two jobs has yet to process it");
    complete(&project, "8");

    let before = project.files();
    let would = project.json(&[&PRUNE[..], &["--dry-run"]].concat());
    assert_eq!(project.files(), before);
    let told = project.run(&[&PRUNE[..], &["--dry-run", "-v"]].concat());
    assert!(told.err.contains("would be deleted") && told.err.contains("my_trigger/old.txt"), "{told:?}");
    let done = project.json(&PRUNE);
    assert_eq!((&would["dry_run"], &done["dry_run"]), (&json!(true), &json!(false)));
    assert_eq!(
        (&would["files"], &would["bytes"], &would["folders"]),
        (&json!(1), &json!(7), &done["folders"])
    );
    let of_folder = &done["folders"][0];
    assert_eq!((&of_folder["paths"], &of_folder["jobs"]), (&json!(["old.txt"]), &json!(["7", "8"])));
    assert_eq!(of_folder["kept"], json!({"young": 1, "not_processed": 0}));
    assert_eq!(names(&folder), ["_hidden.txt", "young.txt"]);
    assert!(project.path().join("triggers/old.txt").exists());
    assert!(project.path().join("triggers/without_a_row/old.txt").exists());

    assert_eq!(news(&project.json(&CHECK)), [("7".into(), vec![]), ("8".into(), vec![])].into());
    drop_file(&project, "triggers/my_trigger/next.txt", 0);
    let found = news(&project.json(&CHECK));
    assert_eq!((&found["7"], &found["8"]), (&vec!["next.txt".to_owned()], &vec!["next.txt".to_owned()]));
}

#[test]
fn file_that_a_paused_row_has_yet_to_process_stays() {
    let project = with_rows(&[("my_trigger", "7", "UNPAUSED"), ("my_trigger", "8", "PAUSED")]);
    drop_file(&project, "triggers/my_trigger/old.txt", 40);
    project.good(&CHECK);
    complete(&project, "7");
    let told = project.json(&PRUNE);
    assert_eq!((&told["files"], &told["folders"][0]["kept"]["not_processed"]), (&json!(0), &json!(1)));
    project.good(&["resume", "--job-id", "8", "--control-table", CONTROL]);
    assert_eq!(news(&project.json(&CHECK))["8"], ["old.txt"]);
}

#[test]
fn row_that_cannot_be_read_keeps_its_folder_and_the_others_go_on() {
    let project =
        with_rows(&[("large", "7", "UNPAUSED"), ("small", "8", "UNPAUSED"), ("missing", "9", "PAUSED")]);
    for number in 0..200 {
        drop_file(&project, &format!("triggers/large/large_20260101_{number:06}.txt"), 40);
    }
    drop_file(&project, "triggers/small/old.txt", 40);
    project.good(&CHECK);
    complete(&project, "7");
    complete(&project, "8");
    let is_position = |(path, bytes): &(String, Vec<u8>)| {
        path.contains("/_heartbeat/positions/") && String::from_utf8_lossy(bytes).contains("seen")
    };
    let (path, position) = project.files().into_iter().find(is_position).unwrap();
    std::fs::remove_file(&path).unwrap();
    let told = project.run(&PRUNE);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.err.contains("left alone, the row of job 7") && told.err.contains("is missing"), "{told:?}");
    assert!(told.out.ends_with("1 files (7 bytes) deleted\n"), "{told:?}");
    assert_eq!(names(&project.path().join("triggers/large")).len(), 200);
    std::fs::write(&path, position).unwrap();
    assert_eq!(project.json(&PRUNE)["files"], 200);
    assert_eq!(names(&project.path().join("triggers/large")), Vec::<String>::new());
    assert_eq!(news(&project.json(&CHECK))["7"], Vec::<String>::new());
}

#[test]
fn what_was_processed_elsewhere_is_not_processed_here() {
    let project = with_rows(&[("my_trigger", "7", "UNPAUSED")]);
    drop_file(&project, "triggers/my_trigger/old.txt", 40);
    project.good(&CHECK);
    complete(&project, "7");
    drop_file(&project, "moved/my_trigger/old.txt", 40);
    let acon = std::fs::read_to_string(project.path().join("files.yaml")).unwrap();
    project.write("files.yaml", &acon.replace(": triggers\n", ": moved\n"));
    assert_eq!(project.json(&PRUNE)["files"], 0);
    assert_eq!(news(&project.json(&CHECK))["7"], ["old.txt"]);
}

#[test]
fn rows_of_all_tables_that_are_given_have_a_say() {
    let project = with_rows(&[("my_trigger", "7", "UNPAUSED")]);
    drop_file(&project, "triggers/my_trigger/old.txt", 40);
    project.good(&CHECK);
    complete(&project, "7");
    let acon = std::fs::read_to_string(project.path().join("files.yaml")).unwrap();
    let base = format!("file://{}/./triggers/", project.path().display());
    let other = acon.replace(CONTROL, "db.control_b").replace(SENSOR, "db.sensor_b");
    project.write("other.yaml", &other.replace(": triggers\n", &format!(": {base}\n")));
    let both = [&PRUNE[..4], &["other.yaml"], &PRUNE[4..]].concat();
    project.refused(&both, &["left alone", "no Delta table"]);
    project.good(&["init", "--control-table", "db.control_b", "--sensor-table", "db.sensor_b"]);
    project.good(&["feed", "--csv", "feed.csv", "--control-table", "db.control_b"]);
    let told = project.json(&both);
    assert_eq!((&told["files"], told["folders"].as_array().unwrap().len()), (&json!(0), 1), "{told}");
    assert_eq!(project.json(&PRUNE)["files"], 1);
}

#[test]
fn acon_of_kafka_is_refused() {
    let project = Project::bare();
    project.write(
        "files.yaml",
        "sensor_source: kafka\ndata_format: kafka\nheartbeat_sensor_db_table: db.c\n\
         lakehouse_engine_sensor_db_table: db.s\ndomain: 127.0.0.1\ntoken: t\nkafka_configs:\n  p:\n    \
         kafka_bootstrap_servers_list: 127.0.0.1:1\n",
    );
    project.refused(&PRUNE, &["an ACON of kafka has no trigger files"]);
}
