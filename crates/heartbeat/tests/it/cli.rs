//! The commands as a user meets them: bad input, exit codes, documents.

use heartbeat::jobs_api::{Fault, FaultKind, FaultTarget, StandIn, StandInConfig, StandInHandle};
use rstest::rstest;
use serde_json::json;

use crate::support::project::{CONTROL, HEADER, Project, SENSOR};

const CHECK: [&str; 3] = ["check", "--acon", "files.yaml"];
const TRIGGER: [&str; 3] = ["trigger", "--acon", "files.yaml"];

/// One hard sensor of job 7 with a file in its folder.
fn one_sensor(domain: &str) -> Project {
    let project = Project::new();
    project.feed(&["trigger_file,my_trigger,streaming,a,,,7,n,UNPAUSED,TRUE"]);
    project.files_acon(domain);
    project.write("triggers/my_trigger/first.txt", "Success");
    project
}

async fn workspace() -> StandInHandle {
    StandIn::start(StandInConfig::default()).await.unwrap()
}

#[rstest]
#[case::broken_yaml("a: [", &["files.yaml", "is no YAML"])]
#[case::no_mapping("- 1\n", &["must be a mapping"])]
#[case::wrong_types("sensor_source: 1\ndomain: [x]\ntoken: {}\n", &["sensor_source: must be a text", "domain: must be", "token: must be"])]
#[case::nothing("", &["files.yaml"])]
#[case::other_store("base_trigger_file_location: ftp://b/t\nsensor_source: trigger_file\n", &["`ftp:` locations"])]
fn bad_acon_is_refused_with_its_mistakes(#[case] text: &str, #[case] words: &[&str]) {
    let project = one_sensor("127.0.0.1");
    project.write("files.yaml", text);
    project.refused(&CHECK, words);
    project.refused(&TRIGGER, words);
    project.refused(&["validate", "--acon", "files.yaml"], words);
}

#[test]
fn every_mistake_of_every_acon_is_told_at_once() {
    let project = one_sensor("127.0.0.1");
    project.write("other.json", "{\"sensor_source\": \"ftp\"}");
    project.write("files.yaml", "sensor_source: trigger_file\n");
    let words = [
        "`ftp` is not a source",
        "base_trigger_file_location: is required",
        "other.json: domain: is required",
    ];
    project.refused(&["check", "--acon", "files.yaml", "other.json", "missing.yaml"], &words);
    project.refused(&["check", "--acon", "missing.yaml"], &["missing.yaml", "cannot be read"]);
}

#[test]
fn missing_and_damaged_tables_are_named() {
    let project = Project::bare();
    project.files_acon("127.0.0.1");
    project.refused(&CHECK, &["no Delta table", "db.db/control", "heartbeat init"]);
    project.refused(&["status", "--control-table", CONTROL], &["no Delta table"]);
    project.good(&["init", "--control-table", CONTROL, "--sensor-table", SENSOR]);
    let log = "warehouse/db.db/control/_delta_log/00000000000000000000.json";
    project.write(log, "{\"half");
    project.refused(&CHECK, &["db.db/control", "damaged"]);
    project.refused(
        &["complete", "--job-id", "7", "--control-table", CONTROL, "--sensor-table", SENSOR],
        &["damaged"],
    );
}

#[test]
fn table_that_lost_a_data_file_is_damaged() {
    let project = one_sensor("127.0.0.1");
    let data = project.files().into_iter().find(|(path, _)| path.ends_with(".parquet")).unwrap().0;
    std::fs::remove_file(data).unwrap();
    project.refused(&CHECK, &["damaged", ".parquet"]);
}

#[test]
fn init_over_another_table_is_refused_with_the_columns() {
    let project = Project::new();
    let again = project.json(&["init", "--control-table", CONTROL, "--sensor-table", SENSOR]);
    assert_eq!(again["control_table"]["created"], false);
    project.refused(&["init", "--control-table", SENSOR, "--sensor-table", CONTROL], &["trigger_job_id"]);
}

#[test]
fn bad_feed_changes_nothing_and_names_every_line() {
    let project = one_sensor("127.0.0.1");
    project.write(
        "bad.csv",
        &format!(
            "{HEADER}\nkafka,topic,streaming,a,,,7,n,UNPAUSED,TRUE\nftp,x,batch,a,,,x,n,UNPAUSED,TRUE\n"
        ),
    );
    let words =
        ["bad.csv: line 2, sensor_id", "bad.csv: line 3, sensor_source", "bad.csv: line 3, trigger_job_id"];
    project.refused(&["feed", "--csv", "bad.csv", "--control-table", CONTROL], &words);
    project.write("empty.csv", &format!("{HEADER}\n"));
    project.refused(&["feed", "--csv", "empty.csv", "--control-table", CONTROL], &["--allow-empty"]);
    project.refused(&["feed", "--csv", "no.csv", "--control-table", CONTROL], &["no.csv", "cannot be read"]);
    std::fs::write(project.path().join("latin.csv"), b"sensor_source\xe4").unwrap();
    project.refused(&["feed", "--csv", "latin.csv", "--control-table", CONTROL], &["UTF-8"]);
}

#[test]
fn feed_dry_run_shows_the_diff_and_writes_nothing() {
    let project = one_sensor("127.0.0.1");
    project.write(
        "next.csv",
        &format!(
            "{HEADER}\ntrigger_file,my_trigger,streaming,b,,,7,n,UNPAUSED,TRUE\n\
             trigger_file,other,streaming,a,,,8,n,PAUSED,FALSE\n"
        ),
    );
    let before = project.files();
    let diff = project.json(&["feed", "--csv", "next.csv", "--control-table", CONTROL, "--dry-run"]);
    assert_eq!(project.files(), before);
    assert_eq!(diff["inserted"], json!([{"sensor_id": "other", "trigger_job_id": "8"}]));
    let change = json!({"column": "asset_description", "from": "a", "to": "b"});
    assert_eq!(diff["updated"][0]["changes"], json!([change]));
    project.good(&["feed", "--csv", "next.csv", "--control-table", CONTROL]);
    assert_eq!(project.json(&["feed", "--csv", "next.csv", "--control-table", CONTROL])["unchanged"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[rstest]
#[case::html(FaultKind::Html)]
#[case::redirect(FaultKind::Redirect)]
#[case::no_run_id(FaultKind::NoRunId)]
async fn answer_that_is_none_fails_the_start_and_keeps_the_news(#[case] kind: FaultKind) {
    let workspace = workspace().await;
    workspace.inject(Fault::once(FaultTarget::RunNow, kind));
    let project = one_sensor(&workspace.url());
    project.good(&CHECK);
    let failed = project.run(&TRIGGER);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(!failed.out.contains("secret-token") && !failed.err.contains("secret-token"));
    assert_eq!(project.statuses()[0].1, "NEW_EVENT_AVAILABLE");
    let told = project.good(&["status", "--control-table", CONTROL, "--sensor-table", SENSOR]).out;
    assert!(told.contains("the next trigger"), "{told}");
    project.good(&TRIGGER);
    assert_eq!(project.statuses()[0].1, "IN_PROGRESS");
    assert_eq!(workspace.runs().len(), 1);
    workspace.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_have_their_documented_shape() {
    let workspace = workspace().await;
    let project = one_sensor(&workspace.url());
    let looked = project.json(&CHECK);
    let row = &looked["looked_at"][0];
    assert_eq!((&row["sensor_id"], &row["trigger_job_id"]), (&json!("my_trigger"), &json!("7")));
    assert_eq!((&row["news"], &row["error"]), (&json!(true), &json!(null)));
    assert_eq!(row["manifest"]["files"][0]["path"], "first.txt");
    let plan = project.json(&["trigger", "--acon", "files.yaml", "--dry-run"]);
    assert_eq!(plan["starts"][0]["anchor"]["sensor_id"], "my_trigger");
    assert_eq!(workspace.runs().len(), 0);
    let started = project.json(&TRIGGER);
    let run = workspace.runs()[0].run_id;
    assert_eq!(started, json!({"started": [{"job_id": "7", "run_id": run}], "waiting": [], "failed": []}));
    let waiting = project.json(&TRIGGER);
    assert_eq!(waiting["waiting"][0]["code"], "running");
    let complete = ["complete", "--job-id", "7", "--control-table", CONTROL, "--sensor-table", SENSOR];
    assert_eq!(project.json(&complete), json!({"job_id": "7", "outcome": "completed"}));
    let status = project.json(&["status", "--control-table", CONTROL]);
    assert_eq!(status["rows"][0].as_object().unwrap().len(), 16);
    assert_eq!(status["rows"][0]["reason"], "watched: waits for news");
    workspace.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_now_is_the_original_s_call_with_a_token() {
    let workspace = workspace().await;
    let project = one_sensor(&workspace.url());
    project.good(&CHECK);
    project.good(&TRIGGER);
    let call = &workspace.run_now_calls()[0];
    assert_eq!(call.path, "/api/2.1/jobs/run-now");
    let mut body = call.json().unwrap();
    let token = body.as_object_mut().unwrap().remove("idempotency_token").unwrap();
    assert_eq!(token.as_str().unwrap().len(), 64);
    assert_eq!(body, json!({"job_id": "7", "notebook_params": {"msg": "triggered via heartbeat sensor"}}));
    workspace.stop().await;
}

#[test]
fn baseline_makes_what_is_there_no_news() {
    let project = one_sensor("127.0.0.1");
    project.good(&["check", "--acon", "files.yaml", "--baseline"]);
    assert_eq!(project.json(&CHECK)["looked_at"][0]["news"], false);
    project.write("triggers/my_trigger/second.txt", "Success");
    assert_eq!(project.json(&CHECK)["looked_at"][0]["manifest"]["files"][0]["path"], "second.txt");
}

#[test]
fn row_with_a_query_is_an_error_of_its_own_and_never_a_start() {
    let project = one_sensor("127.0.0.1");
    project.feed(&[
        "trigger_file,my_trigger,streaming,a,,,7,n,UNPAUSED,TRUE",
        "trigger_file,filtered,streaming,a,,SELECT 1,8,n,UNPAUSED,TRUE",
    ]);
    project.write("triggers/filtered/first.txt", "Success");
    let done = project.run(&CHECK);
    assert_eq!(done.code, Some(1));
    assert!(done.out.contains("preprocess_query is not served yet"), "{done:?}");
    let statuses = project.statuses();
    assert_eq!(statuses[0], ("filtered".into(), "NULL".into()));
    assert_eq!(statuses[1], ("my_trigger".into(), "NEW_EVENT_AVAILABLE".into()));
}

#[test]
fn idle_pass_writes_nothing() {
    let project = one_sensor("127.0.0.1");
    project.good(&["check", "--acon", "files.yaml", "--baseline"]);
    let before = project.files();
    project.good(&CHECK);
    project.good(&TRIGGER);
    assert_eq!(project.files(), before);
}

#[test]
fn large_folder_is_remembered_beside_the_table() {
    let project = one_sensor("127.0.0.1");
    for number in 0..200 {
        project.write(&format!("triggers/my_trigger/my_trigger_20260101_{number:06}.txt"), "Success");
    }
    project.good(&CHECK);
    let beside = |(path, _): &(String, Vec<u8>)| path.contains("/_heartbeat/positions/");
    let (positions, news): (Vec<_>, Vec<_>) = project
        .files()
        .into_iter()
        .filter(beside)
        .partition(|(_, bytes)| String::from_utf8_lossy(bytes).contains("seen"));
    assert_eq!((positions.len(), news.len()), (1, 1));
    project.good(&["complete", "--job-id", "7", "--control-table", CONTROL, "--sensor-table", SENSOR]);
    assert_eq!(project.json(&CHECK)["looked_at"][0]["news"], false);
    std::fs::remove_file(&positions[0].0).unwrap();
    let lost = project.json(&CHECK);
    assert!(lost["looked_at"][0]["error"].as_str().unwrap().contains("missing"), "{lost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validate_connect_tells_what_is_missing_and_writes_nothing() {
    let workspace = StandIn::start(StandInConfig {
        token: Some(heartbeat::jobs::Token::parse("another").unwrap()),
        ..StandInConfig::default()
    })
    .await
    .unwrap();
    let project = one_sensor(&workspace.url());
    project.feed(&[
        "trigger_file,my_trigger,streaming,a,,,7,n,UNPAUSED,TRUE",
        "trigger_file,no_folder,streaming,a,,,8,n,UNPAUSED,TRUE",
    ]);
    project.good(&["validate", "--acon", "files.yaml"]);
    let words = ["domain, token", "Invalid access token", "sensor `no_folder`", "does not exist"];
    project.refused(&["validate", "--acon", "files.yaml", "--connect"], &words);
    std::fs::remove_dir_all(project.path().join("warehouse/db.db/sensor")).unwrap();
    project
        .refused(&["validate", "--acon", "files.yaml", "--connect"], &["lakehouse_engine_sensor_db_table"]);
    workspace.stop().await;
}

#[test]
fn usage_errors_are_exit_code_1_and_help_is_0() {
    let project = Project::bare();
    project.refused(&["chek"], &["check"]);
    project.refused(&["check"], &["--acon"]);
    project
        .refused(&["complete", "--job-id", "x", "--control-table", "a", "--sensor-table", "b"], &["digits"]);
    for command in [
        "init",
        "feed",
        "check",
        "trigger",
        "complete",
        "run",
        "status",
        "why",
        "history",
        "pause",
        "resume",
        "retrigger",
        "validate",
        "jobs-api",
        "demo",
    ] {
        let help = project.good(&[command, "--help"]).out;
        assert!(help.contains("Example"), "{command} has no example");
    }
    assert!(project.good(&["completions", "bash"]).out.contains("heartbeat"));
}

#[test]
fn demo_runs_to_its_end_and_can_be_repeated() {
    let project = Project::bare();
    for _ in 0..2 {
        let told = project.good(&["demo", "--dir", "demo"]).out;
        assert!(told.contains("3 calls of run-now, 2 runs"), "{told}");
        assert_eq!(told.matches(" succeeded\n").count(), 2, "{told}");
    }
    project.write("mine/x.txt", "");
    project.refused(&["demo", "--dir", "mine"], &["something else"]);
}
