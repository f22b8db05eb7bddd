//! Where a scenario is played: two Delta tables, a folder of trigger files, a broker, a Jobs API, and the binary.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::{Output, Stdio};

use bytes::Bytes;
use heartbeat::broker::{Broker, BrokerHandle};
use heartbeat::jobs_api::{
    Fault, FaultKind, FaultTarget, JobSpec, Phase, RunResult, StandIn, StandInConfig, StandInHandle,
    StatusFault,
};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Commit, Snapshot, Table};
use heartbeat_delta::{Backing, DeltaRecord, DeltaTable};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

use super::masked::Times;
use super::story::{Answer, Row, Scenario, Step};

const CONTROL_TABLE: &str = "rec.control";
const SENSOR_TABLE: &str = "rec.sensor";
const PRODUCTS: [&str; 2] = ["sales", "stock"];

/// One scenario's world; all of it is gone when it is dropped.
pub(crate) struct Stage {
    folder: TempDir,
    control: DeltaTable<ControlRow>,
    sensor: DeltaTable<SensorRow>,
    times: Times,
    broker: BrokerHandle,
    api: StandInHandle,
    /// A job id is longer than 64 bits, the most that the stand-in takes for one, as the platform does.
    has_overlong_id: bool,
    calls_seen: usize,
}

/// What is there after a step.
pub(crate) struct Outcome {
    pub(crate) control: Vec<Row>,
    pub(crate) sensor: Vec<Row>,
    /// Bodies of run-now in this step, as they came.
    pub(crate) bodies: Vec<Value>,
    /// The command of the step, if it has one.
    pub(crate) command: Option<Output>,
}

impl Stage {
    /// Puts up the tables as they are before the first step.
    pub(crate) async fn new(scenario: &Scenario) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("trigger")).unwrap();
        let mut times = Times::default();
        let control = scenario.control.iter().map(|row| times.stored(row)).collect();
        let sensor = scenario.sensor.iter().map(|row| times.stored(row)).collect();
        let (broker, api) =
            tokio::join!(Broker::start("127.0.0.1:0"), StandIn::start(endless_runs(scenario)));
        Self {
            control: table(&folder, "control", control).await,
            sensor: table(&folder, "sensor", sensor).await,
            folder,
            times,
            broker: broker.unwrap(),
            api: api.unwrap(),
            has_overlong_id: job_ids(scenario).any(|job| job.parse::<i64>().is_err()),
            calls_seen: 0,
        }
    }

    /// Does a step and tells what is there after it.
    pub(crate) async fn play(&mut self, step: &Step) -> Outcome {
        let command = self.act(step).await;
        self.api.clear_faults();
        let mut fresh = HashSet::new();
        let control = self.control.load().await.unwrap().rows;
        let control = control.iter().map(|row| self.times.shown(row, &mut fresh)).collect();
        let sensor = self.sensor.load().await.unwrap().rows;
        let sensor = sensor.iter().map(|row| self.times.shown(row, &mut fresh)).collect();
        self.times.turn(fresh);
        let calls = self.api.run_now_calls();
        let bodies = calls[self.calls_seen..].iter().map(|call| call.json().unwrap()).collect();
        self.calls_seen = calls.len();
        Outcome { control, sensor, bodies, command }
    }

    async fn act(&mut self, step: &Step) -> Option<Output> {
        match step {
            Step::Feed { csv } => {
                let file = self.file("feed.csv", csv);
                return Some(self.run(&["feed", "--csv", &file, "--control-table", CONTROL_TABLE]).await);
            }
            Step::Check { source } => {
                let acon = self.acon(source);
                return Some(self.run(&["check", "--acon", &acon]).await);
            }
            Step::Trigger { source, answers } => {
                let acon = self.acon(source);
                self.answer(answers);
                return Some(self.run(&["trigger", "--acon", &acon]).await);
            }
            Step::Complete { job_id } => {
                let tables = ["--control-table", CONTROL_TABLE, "--sensor-table", SENSOR_TABLE];
                let told = self.run(&[&["complete", "--job-id", job_id], &tables[..]].concat()).await;
                self.end_runs(job_id);
                return Some(told);
            }
            Step::Set { sensor_id, trigger_job_id, values } => {
                self.edit(sensor_id, trigger_job_id, values).await;
            }
            Step::PutFile { path, body } => {
                let path = self.folder.path().join("trigger").join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, body).unwrap();
            }
            Step::MakeDir { path } => {
                std::fs::create_dir_all(self.folder.path().join("trigger").join(path)).unwrap();
            }
            Step::CreateTopic { topic, partitions } => self.broker.create_topic(topic, *partitions).unwrap(),
            Step::Produce { topic, partition, count } => {
                let records: Vec<Bytes> = (0..*count).map(|n| Bytes::from(format!("record {n}"))).collect();
                self.broker.append(topic, *partition, &records).unwrap();
            }
        }
        None
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command.args(["--output", "json", "--warehouse"]).arg(self.folder.path()).args(arguments);
        command.env_remove("HEARTBEAT_LOG").stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.unwrap()
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The ACON of a source, with the keys of the documented ones.
    fn acon(&self, source: &str) -> String {
        let below = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let mut acon = json!({
            "sensor_source": source,
            "heartbeat_sensor_db_table": CONTROL_TABLE,
            "lakehouse_engine_sensor_db_table": SENSOR_TABLE,
            "domain": self.api.url(),
            "token": "TOKEN",
            "base_checkpoint_location": below("checkpoint"),
        });
        if source.eq_ignore_ascii_case("kafka") {
            let product = json!({
                "kafka_bootstrap_servers_list": self.broker.bootstrap(),
                "kafka_ssl_truststore_location": "", "truststore_pwd_secret_key": "",
                "kafka_ssl_keystore_location": "", "keystore_pwd_secret_key": "",
            });
            acon["data_format"] = json!("kafka");
            acon["options"] = json!({"readChangeFeed": "true"});
            acon["kafka_configs"] = PRODUCTS
                .iter()
                .map(|name| (*name, product.clone()))
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .collect();
            acon["kafka_secret_scope"] = json!("");
        } else {
            let field = |name: &str, kind: &str| json!({"name": name, "type": kind, "nullable": true, "metadata": {}});
            let fields = [field("file_name", "string"), field("file_modification_time", "timestamp")];
            acon["data_format"] = json!("cloudfiles");
            acon["options"] = json!({"cloudFiles.format": "csv"});
            acon["base_trigger_file_location"] = json!(below("trigger"));
            acon["schema_dict"] = json!({"type": "struct", "fields": fields});
        }
        self.file("acon.json", &acon.to_string())
    }

    /// Run-now answers so until the step is over; a gateway's error passes and is met once.
    fn answer(&self, answers: &BTreeMap<String, Answer>) {
        let inject = |job_id, times, code, body: &Value| {
            let kind = StatusFault { code, body: Some(body.clone()), headers: BTreeMap::new() };
            let kind = FaultKind::Status(kind);
            self.api.inject(Fault { on: FaultTarget::RunNow, job_id, times, kind });
        };
        for (job, Answer { status, body }) in answers {
            let times = if *status >= 500 { 1 } else { u32::MAX };
            inject(Some(job.parse().unwrap()), times, *status, body);
        }
        if self.has_overlong_id {
            inject(None, u32::MAX, 200, &json!({"run_id": 1, "number_in_job": 1}));
        }
    }

    /// The task that tells of the completion is the last of its run.
    fn end_runs(&self, job_id: &str) {
        let Ok(job_id) = job_id.parse::<i64>() else { return };
        let runs = self.api.runs().into_iter();
        for run in runs.filter(|run| run.job_id == job_id && run.phase == Phase::Running) {
            assert!(self.api.finish(run.run_id, RunResult::Success));
        }
    }

    async fn edit(&mut self, sensor_id: &str, job: &str, values: &Row) {
        let base = self.control.load().await.unwrap();
        let mut changes = Changes::default();
        for (index, row) in base.rows.iter().enumerate() {
            if row.sensor_id.as_deref() == Some(sensor_id) && row.trigger_job_id.as_deref() == Some(job) {
                let mut row = row.clone();
                self.times.set(&mut row, values);
                changes.update.push((index, row));
            }
        }
        commit(&self.control, base, changes).await;
    }
}

/// Every job of the scenario runs until it is ended by hand.
fn endless_runs(scenario: &Scenario) -> StandInConfig {
    let spec = JobSpec {
        duration: Some(std::time::Duration::from_hours(1)),
        max_concurrent_runs: 1000,
        ..JobSpec::default()
    };
    let jobs = job_ids(scenario).filter_map(|job| job.parse().ok());
    StandInConfig { jobs: jobs.map(|job| (job, spec.clone())).collect(), ..StandInConfig::default() }
}

/// Ids of the jobs that are started at some step.
fn job_ids(scenario: &Scenario) -> impl Iterator<Item = &str> {
    let bodies = scenario.entries().iter().flat_map(|entry| &entry.run_now);
    bodies.filter_map(|body| body["job_id"].as_str())
}

async fn table<R: DeltaRecord>(folder: &TempDir, name: &str, rows: Vec<R>) -> DeltaTable<R> {
    let path: PathBuf = folder.path().join("rec.db").join(name);
    let url = Url::from_directory_path(path).unwrap();
    DeltaTable::<R>::create(&url).await.unwrap();
    let table = DeltaTable::new(&url).unwrap();
    let base = table.load().await.unwrap();
    commit(&table, base, Changes { insert: rows, ..Changes::default() }).await;
    table
}

async fn commit<R: DeltaRecord>(table: &DeltaTable<R>, base: Snapshot<R, Backing>, changes: Changes<R>) {
    let done = table.commit(base, changes, "scenario").await.unwrap();
    assert!(matches!(done, Commit::Done(_)), "nobody else writes between steps");
}
