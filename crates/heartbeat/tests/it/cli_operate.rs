//! The commands that explain and steer: why, history, pause, resume, retrigger, and the journal behind them.

use std::process::{Child, Command, Stdio};

use heartbeat::jobs_api::{JobSpec, RunResult, StandIn, StandInConfig, StandInHandle};
use serde_json::{Value, json};

use crate::support::project::{CONTROL, Project, SENSOR};
use crate::support::wait::until;

const CHECK: [&str; 3] = ["check", "--acon", "files.yaml"];
const TRIGGER: [&str; 3] = ["trigger", "--acon", "files.yaml"];
const TABLES: [&str; 4] = ["--control-table", CONTROL, "--sensor-table", SENSOR];
const OF_CONTROL: [&str; 2] = ["--control-table", CONTROL];

/// A workspace whose runs go on until they are ended.
async fn workspace() -> StandInHandle {
    let spec = JobSpec { duration: Some(std::time::Duration::from_hours(1)), ..JobSpec::default() };
    let jobs = [(7, spec.clone()), (8, spec)].into();
    StandIn::start(StandInConfig { jobs, ..StandInConfig::default() }).await.unwrap()
}

/// Job 7 with two hard sensors, one of which has a file, and job 8 with a folder that is not there.
fn project(domain: &str) -> Project {
    let project = Project::new();
    project.feed(&[
        "trigger_file,first,streaming,a,,,7,my_report,UNPAUSED,TRUE",
        "trigger_file,second,streaming,b,,,7,my_report,UNPAUSED,TRUE",
        "trigger_file,gone,streaming,c,,,8,my_loader,UNPAUSED,TRUE",
    ]);
    project.files_acon(domain);
    project.write("triggers/first/one.txt", "Success");
    std::fs::create_dir_all(project.path().join("triggers/second")).unwrap();
    project
}

fn why(project: &Project, job: &str) -> Value {
    project.json(&[&["why", job], &TABLES[..]].concat())
}

fn history(project: &Project, more: &[&str]) -> Vec<Value> {
    let told = project.json(&[&["history"], &OF_CONTROL[..], more].concat());
    told["entries"].as_array().unwrap().clone()
}

fn events(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}

/// A daemon that is killed when it is dropped.
struct Daemon(Child);

impl Daemon {
    fn start(project: &Project) -> Self {
        project.write(
            "heartbeat.yaml",
            "warehouse: warehouse\nacons: [{path: files.yaml, poll_interval: 100ms}]\nserver: {listen: 'off'}\n\
             runs: {poll_interval: 100ms, rest_poll_interval: 100ms}\njournal: {flush_interval: 100ms}\n",
        );
        let mut daemon = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        daemon.args(["run", "--config", "heartbeat.yaml"]).current_dir(project.path()).stderr(Stdio::null());
        Self(daemon.spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_tells_the_whole_life_of_a_job() {
    let workspace = workspace().await;
    let project = project(&workspace.url());
    project.run(&CHECK);
    let waits = why(&project, "7");
    assert_eq!(waits["waits"]["code"], "hard_rows", "{waits}");
    assert!(waits["waits"]["reason"].as_str().unwrap().contains("`second`"), "{waits}");
    assert_eq!(waits["rows"][0]["manifest"], "new file one.txt");
    assert_eq!((&waits["job_name"], &waits["claim"]), (&json!("my_report"), &Value::Null));
    project.write("triggers/second/two.txt", "Success");
    project.run(&CHECK);
    assert_eq!(why(&project, "7")["waits"]["code"], "ready");
    project.good(&TRIGGER);
    let run = workspace.runs()[0].run_id;
    let running = why(&project, "7");
    assert_eq!((&running["waits"]["code"], &running["claim"]["run_id"]), (&json!("running"), &json!(run)));
    project.refused(&[&["retrigger", "7"], &TABLES[..]].concat(), &["goes on", "--force"]);

    assert!(workspace.finish(run, RunResult::Failed));
    let daemon = Daemon::start(&project);
    until("the end of the run in the journal", async || {
        let told = history(&project, &["--job-id", "7"]);
        let has_ended = events(&told).contains(&"run_state");
        has_ended.then_some(()).ok_or(told)
    })
    .await;
    drop(daemon);
    let rests = project.good(&[&["why", "7"], &TABLES[..]].concat()).out;
    let command = format!("heartbeat retrigger 7 --control-table {CONTROL} --sensor-table {SENSOR}");
    assert!(rests.contains("rests: run") && rests.contains(&command), "{rests}");
    let rested = why(&project, "7");
    assert_eq!(
        (&rested["waits"]["code"], &rested["claim"]["state"]),
        (&json!("run_failed"), &json!("failed"))
    );
    assert!(rested["waits"]["since"].is_string(), "{rested}");
    let status = project.good(&[&["status"], &TABLES[..]].concat()).out;
    assert!(status.contains("rests: run"), "{status}");

    project.good(&[&["retrigger", "7"], &TABLES[..]].concat());
    assert_eq!(why(&project, "7")["claim"]["state"], "released");
    project.good(&TRIGGER);
    assert_eq!(workspace.runs().len(), 2);
    project.good(&[&["complete", "--job-id", "7"], &TABLES[..]].concat());
    let told = history(&project, &["--job-id", "7"]);
    let life: Vec<&str> = events(&told).into_iter().filter(|event| *event != "waiting").collect();
    assert_eq!(
        life,
        [
            "fed",
            "fed",
            "detected",
            "detected",
            "claimed",
            "started",
            "run_state",
            "retriggered",
            "claimed",
            "started",
            "completed"
        ]
    );
    let claimed = told.iter().find(|entry| entry["event"] == "claimed").unwrap();
    assert!(claimed["detail"].as_str().unwrap().contains("one.txt"), "{claimed}");
    let writers: Vec<&str> = told.iter().map(|entry| entry["writer"].as_str().unwrap()).collect();
    for command in ["feed@", "check@", "trigger@", "run@", "retrigger@", "complete@"] {
        assert!(
            writers.iter().any(|writer| writer.starts_with(&format!("heartbeat {command}"))),
            "{writers:?}"
        );
    }
    assert_eq!(why(&project, "7")["waits"]["code"], "no_news");
    workspace.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_job_starts_nothing_until_it_is_resumed() {
    let workspace = workspace().await;
    let project = project(&workspace.url());
    project.write("triggers/second/two.txt", "Success");
    let pause = [&["pause"], &OF_CONTROL[..], &["--job-id", "7"]].concat();
    let paused = project.json(&pause);
    let row = |id: &str, changed: bool| json!({"sensor_id": id, "trigger_job_id": "7", "changed": changed});
    assert_eq!(paused, json!({"job_state": "PAUSED", "rows": [row("first", true), row("second", true)]}));
    let before = project.files();
    assert!(project.good(&pause).out.contains("nothing to change"));
    assert_eq!(project.files(), before);
    assert_eq!(project.json(&CHECK)["looked_at"].as_array().unwrap().len(), 1, "job 8 only");
    assert_eq!(project.json(&TRIGGER)["waiting"][0]["code"], "paused");
    let told = why(&project, "7");
    assert!(told["waits"]["since"].is_string(), "{told}");
    assert_eq!(told["next"]["command"], format!("heartbeat resume --control-table {CONTROL} --job-id 7"));

    project.good(&[&["resume"], &OF_CONTROL[..], &["--sensor-id", "first"]].concat());
    project.run(&CHECK);
    let told = why(&project, "7");
    let resume = format!("heartbeat resume --control-table {CONTROL} --job-id 7 --sensor-id 'second'");
    assert_eq!(told["next"]["command"], resume, "{told}");
    project.good(&[&["resume"], &OF_CONTROL[..], &["--job-id", "7", "--sensor-id", "second"]].concat());
    project.run(&CHECK);
    project.good(&TRIGGER);
    assert_eq!(workspace.runs().len(), 1);
    let told = history(&project, &["--sensor-id", "second"]);
    assert_eq!(events(&told), ["fed", "paused", "resumed", "detected"]);
    workspace.stop().await;
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let project = project("127.0.0.1");
    project.refused(&[&["pause"], &OF_CONTROL[..]].concat(), &["--job-id", "--sensor-id"]);
    project.refused(&[&["pause"], &OF_CONTROL[..], &["--job-id", "x"]].concat(), &["--job-id", "digits"]);
    let other = [&["pause"], &OF_CONTROL[..], &["--job-id", "9"]].concat();
    project.refused(&other, &["no row for job 9", "lists its 2 job(s)"]);
    let sensor = [&["resume"], &OF_CONTROL[..], &["--sensor-id", "firs"]].concat();
    project.refused(&sensor, &["no sensor_id `firs`", "`first`"]);
    let both = [&["resume"], &OF_CONTROL[..], &["--sensor-id", "gone", "--job-id", "7"]].concat();
    project.refused(&both, &["job 7 has no row `gone`", "`first`, `second`"]);
    for command in ["why", "retrigger"] {
        project.refused(&[&[command, "my_report"], &TABLES[..]].concat(), &["did you mean 7 (my_report)?"]);
        project.refused(&[&[command, "77"], &TABLES[..]].concat(), &["job 77"]);
    }
    project.refused(&[&["retrigger", "7"], &TABLES[..]].concat(), &["no run that did not succeed"]);
    project.refused(&["history", "--control-table", "db.nothing"], &["no Delta table"]);
    let since = [&["history"], &OF_CONTROL[..], &["--since", "monday"]].concat();
    project.refused(&since, &["`monday`"]);
}

#[test]
fn a_row_that_cannot_be_looked_at_is_told_once_and_when_it_recovers() {
    let project = project("127.0.0.1");
    assert_eq!(project.run(&CHECK).code, Some(1));
    let before = project.files();
    assert_eq!(project.run(&CHECK).code, Some(1));
    assert_eq!(project.files(), before, "what is told already is not told again");
    let status = project.good(&[&["status"], &TABLES[..]].concat()).out;
    assert!(status.contains("cannot be looked at since 2"), "{status}");
    let told = why(&project, "8");
    let error = told["rows"][0]["failing"]["error"].as_str().unwrap();
    assert!(error.contains("does not exist"), "{told}");
    assert!(told["next"]["what"].as_str().unwrap().contains("1 of 1 row(s) cannot be looked at"), "{told}");

    std::fs::create_dir_all(project.path().join("triggers/gone")).unwrap();
    project.good(&CHECK);
    let before = project.files();
    project.good(&CHECK);
    assert_eq!(project.files(), before, "an idle pass writes nothing");
    assert_eq!(why(&project, "8")["rows"][0]["failing"], Value::Null);
    assert_eq!(events(&history(&project, &["--job-id", "8"])), ["fed", "check_failed", "check_recovered"]);
}

#[test]
fn many_rows_that_fail_at_once_are_told_once_and_recover() {
    const ROWS: usize = 2_100;
    let project = project("127.0.0.1");
    let rows: Vec<String> =
        (0..ROWS).map(|row| format!("trigger_file,s{row},streaming,a,,,7,n,UNPAUSED,TRUE")).collect();
    project.feed(&rows.iter().map(String::as_str).collect::<Vec<_>>());
    let told = || history(&project, &["--limit", "100000"]).len();
    project.run(&CHECK);
    let before = told();
    project.run(&CHECK);
    assert_eq!(told(), before);
    for row in 0..ROWS {
        std::fs::create_dir(project.path().join(format!("triggers/s{row}"))).unwrap();
    }
    project.good(&CHECK);
    assert_eq!(told(), before + ROWS);
}

#[test]
fn a_feed_is_in_the_journal_with_its_rows() {
    let project = project("127.0.0.1");
    project.feed(&[
        "trigger_file,first,streaming,a,,,7,my_report,PAUSED,TRUE",
        "trigger_file,second,streaming,b,,,7,my_report,UNPAUSED,TRUE",
    ]);
    let told = history(&project, &["--limit", "3"]);
    let messages: Vec<&str> = told.iter().map(|entry| entry["message"].as_str().unwrap()).collect();
    let summary = "fed from feed.csv: 0 inserted, 1 updated, 1 deleted";
    assert_eq!(messages, [summary, "deleted", "job_state `UNPAUSED` -> `PAUSED`"]);
    let before = project.files();
    project.good(&["feed", "--csv", "feed.csv", "--control-table", CONTROL]);
    assert_eq!(project.files(), before, "a feed that changes nothing is not told");
    assert_eq!(history(&project, &["--since", "2999-01-01T00:00:00Z"]), Vec::<Value>::new());
    assert_eq!(history(&project, &["--since", "1h"]).len(), 7);
}

#[test]
fn without_a_journal_everything_goes_on() {
    let project = project("127.0.0.1");
    let journal = project.path().join("warehouse/db.db/control_journal");
    std::fs::remove_dir_all(&journal).unwrap();
    assert_eq!(why(&project, "7")["journal"], json!([]));
    let empty = project.good(&[&["history"], &OF_CONTROL[..]].concat());
    assert!(empty.err.contains("no entry"), "{empty:?}");
    std::fs::write(&journal, "in the way").unwrap();
    let looked = project.run(&CHECK);
    assert!(looked.out.contains("1 with news") && looked.err.contains("warning: the journal"), "{looked:?}");
    project.good(&[&["status"], &TABLES[..]].concat());
    let paused = project.good(&[&["pause"], &OF_CONTROL[..], &["--job-id", "8"]].concat());
    assert!(paused.err.contains("everything else was done"), "{paused:?}");
    assert_eq!(why(&project, "8")["waits"]["code"], "paused");
}
