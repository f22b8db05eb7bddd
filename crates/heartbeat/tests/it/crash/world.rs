//! One warehouse, one workspace, and the binary.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use heartbeat::jobs_api::{
    Fault, FaultKind, FaultTarget, Phase, RunResult, StandIn, StandInConfig, StandInHandle,
};
use heartbeat_core::row::{COMPLETED, ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Commit, Table};
use heartbeat_delta::{DeltaRecord, DeltaTable};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use url::Url;

use crate::support::wait::until;

const SIGKILL: i32 = 9;
const TABLES: &str = "--control-table c --sensor-table s";
const HEADER: &str = "sensor_source,sensor_id,sensor_read_type,asset_description,upstream_key,preprocess_query,\
                      trigger_job_id,trigger_job_name,job_state,dependency_flag\n";

/// Serves the workspaces of all histories.
pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Tables, trigger files and a workspace of its own.
pub(super) struct World {
    dir: TempDir,
    pub(super) workspace: StandInHandle,
}

/// What a history leaves behind; times, tokens, run ids and folders are masked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) rows: Vec<String>,
    /// Number of runs by job.
    pub(super) runs: BTreeMap<i64, usize>,
}

impl World {
    /// `jobs` is a jobs file; `{complete}` stands for the completion of a job.
    pub(super) fn new(jobs: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let exe = env!("CARGO_BIN_EXE_heartbeat");
        let here = dir.path().display();
        let complete = format!("cd '{here}' && '{exe}' complete {TABLES} > /dev/null");
        let config = StandInConfig::parse(&jobs.replace("{complete}", &complete), "jobs").unwrap();
        let workspace = RUNTIME.block_on(StandIn::start(config)).unwrap();
        let base = dir.path().join("triggers");
        std::fs::create_dir(&base).unwrap();
        let rest = format!("base_trigger_file_location: {}\n", base.display());
        let world = Self { dir, workspace };
        world.acon("files", "trigger_file", "cloudfiles", &rest);
        world
    }

    /// Writes an ACON for the tables and the workspace.
    pub(super) fn acon(&self, name: &str, source: &str, data_format: &str, rest: &str) {
        let text = format!(
            "sensor_source: {source}\ndata_format: {data_format}\nheartbeat_sensor_db_table: c\n\
             lakehouse_engine_sensor_db_table: s\ndomain: {}\ntoken: secret\n{rest}",
            self.workspace.url()
        );
        std::fs::write(self.dir.path().join(format!("{name}.yaml")), text).unwrap();
    }

    /// Writes the feed; the folders of its rows are there.
    pub(super) fn csv(&self, rows: &str) {
        std::fs::write(self.dir.path().join("rows.csv"), format!("{HEADER}{rows}")).unwrap();
        for row in rows.lines().filter(|row| row.starts_with("trigger_file")) {
            let sensor = row.split(',').nth(1).unwrap();
            std::fs::create_dir_all(self.dir.path().join("triggers").join(sensor)).unwrap();
        }
    }

    /// Trigger files arrive: `<sensor>/<name>`.
    pub(super) fn files(&self, paths: &[&str]) {
        for path in paths {
            std::fs::write(self.dir.path().join("triggers").join(path), "Success").unwrap();
        }
    }

    fn command(&self, line: &str) -> Command {
        let line = line.replace("{tables}", TABLES).replace("{control}", "--control-table c");
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env_remove("HEARTBEAT_WAREHOUSE")
            .env_remove("HEARTBEAT_FAIL_POINT")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command and doesn't wait for it.
    pub(super) fn start(&self, line: &str) -> Child {
        self.command(line).spawn().unwrap()
    }

    /// Runs a command, which must go well.
    pub(super) fn good(&self, line: &str) {
        went_well(line, &self.command(line).output().unwrap());
    }

    /// Runs a command, which must die at a fail point.
    pub(super) fn killed(&self, point: &str, line: &str) {
        let output = self.command(line).env("HEARTBEAT_FAIL_POINT", point).output().unwrap();
        assert_eq!(
            output.status.signal(),
            Some(SIGKILL),
            "`{line}` never reached {point}: {}",
            text(&output)
        );
    }

    pub(super) fn next_answer_is_late(&self, job_id: i64) {
        self.fault(job_id, FaultKind::Delay(Duration::from_millis(500)));
    }

    pub(super) fn next_answer_is_lost(&self, job_id: i64) {
        self.fault(job_id, FaultKind::DropAfter);
    }

    fn fault(&self, job_id: i64, kind: FaultKind) {
        self.workspace.inject(Fault { job_id: Some(job_id), ..Fault::once(FaultTarget::RunNow, kind) });
    }

    /// Waits until a job has runs and all of them have ended by themselves.
    pub(super) fn runs_end(&self, job_id: i64) {
        RUNTIME.block_on(until("the end of the runs", async || {
            let runs = self.workspace.runs();
            let of_job: Vec<_> = runs.iter().filter(|run| run.job_id == job_id).collect();
            let ended = !of_job.is_empty() && of_job.iter().all(|run| run.ended.is_some());
            if ended { Ok(()) } else { Err(format!("{of_job:?}")) }
        }));
    }

    /// The one run of a job that goes on ends well; its id.
    pub(super) fn end_run(&self, job_id: i64) -> i64 {
        let runs = self.workspace.runs();
        let mut active = runs.iter().filter(|run| run.job_id == job_id && run.phase == Phase::Running);
        let run_id = active.next().unwrap_or_else(|| panic!("job {job_id} has no run")).run_id;
        assert!(active.next().is_none(), "job {job_id} has two runs at a time");
        assert!(self.workspace.finish(run_id, RunResult::Success));
        run_id
    }

    fn table<R: DeltaRecord>(&self, name: &str) -> DeltaTable<R> {
        let path = self.dir.path().join("warehouse").join(name);
        DeltaTable::new(&Url::from_directory_path(path).unwrap()).unwrap()
    }

    /// Another writer marks rows of a job as completed in the control table.
    pub(super) fn mark_completed(&self, job: &str, sensor: Option<&str>) {
        let table = self.table::<ControlRow>("c");
        RUNTIME.block_on(async {
            let base = table.load().await.unwrap();
            let mut changes = Changes::default();
            for (index, row) in base.rows.iter().enumerate() {
                let of_sensor = sensor.is_none_or(|sensor| row.sensor_id.as_deref() == Some(sensor));
                if of_sensor && row.trigger_job_id.as_deref() == Some(job) {
                    changes
                        .update
                        .push((index, ControlRow { status: Some(COMPLETED.into()), ..row.clone() }));
                }
            }
            let commit = table.commit(base, changes, "by somebody else").await.unwrap();
            assert!(matches!(commit, Commit::Done(_)));
        });
    }

    pub(super) fn runs(&self) -> BTreeMap<i64, usize> {
        let mut runs = BTreeMap::new();
        for run in self.workspace.runs() {
            *runs.entry(run.job_id).or_default() += 1;
        }
        runs
    }

    pub(super) fn picture(&self) -> Picture {
        let (control, sensor) = RUNTIME.block_on(async {
            let control = self.table::<ControlRow>("c").load().await.unwrap().rows;
            let sensor = self.table::<SensorRow>("s").load().await.unwrap().rows;
            (control, sensor)
        });
        let mut rows: Vec<String> = control.iter().map(masked_control).collect();
        rows.extend(sensor.iter().map(masked_sensor));
        rows.sort();
        Picture { rows, runs: self.runs() }
    }
}

/// Waits for a command, which must have gone well.
pub(super) fn went_well_at_last(line: &str, child: Child) {
    went_well(line, &child.wait_with_output().unwrap());
}

fn went_well(line: &str, output: &Output) {
    assert!(output.status.success(), "`{line}` ended with {}: {}", output.status, text(output));
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn masked_control(row: &ControlRow) -> String {
    let stamp = |time: Option<_>| if time.is_some() { "then" } else { "never" };
    // A completion that is faster than K2 leaves no start behind; whether it is, is for the machine to decide.
    let started =
        if row.trigger_job_id.as_deref() == Some("13") { "?" } else { stamp(row.job_start_timestamp) };
    let stamps = [
        stamp(row.latest_event_fetched_timestamp),
        stamp(row.status_change_timestamp),
        started,
        stamp(row.job_end_timestamp),
    ];
    let plain = ControlRow {
        latest_event_fetched_timestamp: None,
        status_change_timestamp: None,
        job_start_timestamp: None,
        job_end_timestamp: None,
        ..row.clone()
    };
    format!("control {stamps:?} {plain:?}")
}

fn masked_sensor(row: &SensorRow) -> String {
    let mut state: Value = serde_json::from_str(row.upstream_value.as_deref().unwrap()).unwrap();
    mask(&mut state);
    let plain = SensorRow { status_change_timestamp: None, upstream_value: None, ..row.clone() };
    format!("sensor {plain:?} {state}")
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // Whoever carries on what a killed process began says so.
            members.remove("adopted");
            for (key, member) in members {
                if matches!(
                    key.as_str(),
                    "token"
                        | "at"
                        | "run_id"
                        | "last_run"
                        | "folder"
                        | "born"
                        | "domain"
                        | "etag"
                        | "modified"
                ) {
                    *member = Value::from("*");
                } else {
                    mask(member);
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(mask),
        _ => {}
    }
}
