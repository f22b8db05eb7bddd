//! A place where daemons work: two tables, folders of trigger files, topics, and a workspace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use heartbeat::broker::{Broker, BrokerHandle};
use heartbeat::jobs_api::{Phase, RunRecord, StandIn, StandInConfig, StandInHandle};
use heartbeat_core::journal::{Entry, Filter, Journal as _};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::Table as _;
use heartbeat_delta::{DeltaJournal, DeltaRecord, DeltaTable};
use jiff::Timestamp;
use kafka_protocol::records::Compression;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

use super::daemon::{self, Daemon};
use super::kafka::{Client, Plain};
use super::wait::until;

pub(crate) const CONTROL: &str = "db.control";
pub(crate) const SENSOR: &str = "db.sensor";
const HEADER: &str = "sensor_source,sensor_id,sensor_read_type,asset_description,upstream_key,preprocess_query,\
                      trigger_job_id,trigger_job_name,job_state,dependency_flag\n";

/// The place. Its broker is the real one where `HEARTBEAT_TEST_KAFKA` gives one, else an embedded one.
pub(crate) struct Yard {
    dir: TempDir,
    pub(crate) workspace: StandInHandle,
    pub(crate) kafka: Client,
    pub(crate) bootstrap: String,
    _embedded: Option<BrokerHandle>,
    prefix: String,
}

/// How the daemons of a yard are configured.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) kafka_period: String,
    pub(crate) files_period: String,
    pub(crate) runs_period: String,
    /// Part of a period by which sources are moved.
    pub(crate) jitter: f64,
    pub(crate) pass_news: bool,
    /// Brokers of another product, `other`.
    pub(crate) other_cluster: Option<String>,
    /// Which of the two ACONs, by file name.
    pub(crate) acons: Vec<&'static str>,
    /// Lines of the ACON that say where the trigger files lie; `None`: on this machine.
    pub(crate) triggers: Option<String>,
    /// Further keys of an ACON's entry.
    pub(crate) entry: &'static str,
    /// Further lines of `heartbeat.yaml`.
    pub(crate) rest: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kafka_period: "100ms".into(),
            files_period: "100ms".into(),
            runs_period: "100ms".into(),
            jitter: 0.0,
            pass_news: true,
            other_cluster: None,
            triggers: None,
            acons: vec!["kafka", "files"],
            entry: "",
            rest: "",
        }
    }
}

impl Yard {
    /// Empty tables, the usual configuration, and a workspace of these jobs.
    pub(crate) async fn new(jobs: &str) -> Self {
        let workspace = StandIn::start(StandInConfig::parse(jobs, "jobs").unwrap()).await.unwrap();
        let (bootstrap, embedded) = if let Some(address) = real_broker() {
            (address, None)
        } else {
            let broker = Broker::start("127.0.0.1:0").await.unwrap();
            (broker.bootstrap(), Some(broker))
        };
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("triggers")).unwrap();
        let yard = Self {
            dir,
            workspace,
            kafka: Client::connect(&bootstrap).await,
            bootstrap,
            _embedded: embedded,
            prefix: format!("hb-{}-", uuid::Uuid::new_v4().simple()),
        };
        yard.run(&["init", "--control-table", CONTROL, "--sensor-table", SENSOR]).await;
        yard.configure(&Settings::default());
        yard
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes `heartbeat.yaml` and its ACONs.
    pub(crate) fn configure(&self, settings: &Settings) {
        let Settings { kafka_period, files_period, runs_period, jitter, pass_news, entry, rest, .. } =
            settings;
        let tables =
            format!("heartbeat_sensor_db_table: {CONTROL}\nlakehouse_engine_sensor_db_table: {SENSOR}\n");
        let common =
            format!("{tables}domain: {}\ntoken: secret\npass_news: {pass_news}\n", self.workspace.url());
        let product = |(name, brokers): (&str, &String)| {
            format!("  {name}:\n    kafka_bootstrap_servers_list: {brokers}\n")
        };
        let others = settings.other_cluster.iter().map(|brokers| ("other", brokers));
        let products: String = [("sales", &self.bootstrap)].into_iter().chain(others).map(product).collect();
        let kafka = format!("sensor_source: kafka\ndata_format: kafka\n{common}kafka_configs:\n{products}");
        let here = || format!("base_trigger_file_location: {}\n", self.path().join("triggers").display());
        let triggers = settings.triggers.clone().unwrap_or_else(here);
        let files = format!("sensor_source: trigger_file\ndata_format: cloudfiles\n{common}{triggers}");
        self.write("kafka.yaml", &kafka);
        self.write("files.yaml", &files);
        let mut text = String::from("warehouse: warehouse\nacons:\n");
        for acon in &settings.acons {
            let period = if *acon == "kafka" { kafka_period } else { files_period };
            writeln!(text, "  - {{path: {acon}.yaml, poll_interval: {period}, jitter: {jitter}{entry}}}")
                .unwrap();
        }
        write!(
            text,
            "runs: {{poll_interval: {runs_period}, rest_poll_interval: {runs_period}}}\n\
             server: {{listen: \"127.0.0.1:0\"}}\njournal: {{flush_interval: 200ms}}\n{rest}"
        )
        .unwrap();
        self.write("heartbeat.yaml", &text);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// The whole name of a topic of this yard.
    pub(crate) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) async fn create_topics(&self, names: &[String], partitions: i32) {
        let topics: Vec<String> = names.iter().map(|name| self.topic(name)).collect();
        for some in topics.chunks(100) {
            self.kafka.create_topics(some, partitions, &[]).await;
        }
    }

    pub(crate) async fn delete_topics(&self, names: &[String]) {
        let topics: Vec<String> = names.iter().map(|name| self.topic(name)).collect();
        self.kafka.delete_topics(&topics).await;
    }

    /// Appends a record to partition 0 of a topic.
    pub(crate) async fn record(&self, topic: &str) {
        self.kafka.produce(&self.topic(topic), 0, &[fresh_record()], Compression::None).await;
    }

    /// Appends a record to a partition of a topic; its offset. Nobody else may write to it.
    pub(crate) async fn record_in(&self, topic: &str, partition: i32) -> i64 {
        let topic = self.topic(topic);
        self.kafka.produce(&topic, partition, &[fresh_record()], Compression::None).await;
        self.kafka.end_offset(&topic, partition).await - 1
    }

    /// A trigger file arrives, whole.
    pub(crate) fn file(&self, sensor: &str, name: &str) {
        let folder = self.folder(sensor);
        let hidden = folder.join(format!(".{name}"));
        std::fs::write(&hidden, "Success").unwrap();
        std::fs::rename(hidden, folder.join(name)).unwrap();
    }

    /// `sensor_id` of a topic, which begins with `t`, or a folder.
    pub(crate) fn sensor_id(&self, asset: &str) -> String {
        if asset.starts_with('t') { format!("sales: {}", self.topic(asset)) } else { asset.to_owned() }
    }

    /// What [`Self::sensor_id`] was made of.
    pub(crate) fn asset(&self, sensor_id: &str) -> String {
        sensor_id
            .strip_prefix(&self.sensor_id("t"))
            .map_or_else(|| sensor_id.to_owned(), |rest| format!("t{rest}"))
    }

    /// Somebody starts a job in the workspace.
    pub(crate) async fn run_by_hand(&self, job: i64) {
        let client = reqwest::Client::new();
        let call = client.post(format!("{}/api/2.1/jobs/run-now", self.workspace.url())).bearer_auth("hand");
        let answer = call.json(&serde_json::json!({"job_id": job})).send().await;
        if let Ok(answer) = answer {
            assert!(answer.status().as_u16() != 404, "{answer:?}");
        }
    }

    fn folder(&self, sensor: &str) -> PathBuf {
        self.path().join("triggers").join(sensor)
    }

    /// Feeds rows: `topic NAME JOB FLAG`, `other NAME JOB FLAG` (a topic of the other cluster) or `folder NAME JOB FLAG`,
    /// one a line. Folders are made.
    pub(crate) async fn feed(&self, rows: &str) {
        let mut csv = HEADER.to_owned();
        for row in rows.lines().filter(|row| !row.trim().is_empty()) {
            let parts: Vec<&str> = row.split_whitespace().collect();
            let [kind, name, job, flag] = parts[..] else { panic!("`{row}` has not four parts") };
            let (source, id) = match kind {
                "topic" => ("kafka", format!("sales: {}", self.topic(name))),
                "other" => ("kafka", format!("other: {name}")),
                _ => {
                    std::fs::create_dir_all(self.folder(name)).unwrap();
                    ("trigger_file", name.to_owned())
                }
            };
            writeln!(csv, "{source},{id},batch,upstream {name},,,{job},job {job},UNPAUSED,{flag}").unwrap();
        }
        self.write("rows.csv", &csv);
        self.run(&["feed", "--csv", "rows.csv", "--control-table", CONTROL]).await;
    }

    /// Runs a command, which must go well; its stdout.
    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command.args(arguments).current_dir(self.path()).env("HEARTBEAT_WAREHOUSE", "warehouse");
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Starts a daemon.
    pub(crate) async fn daemon(&self) -> Daemon {
        Daemon::start(daemon::command(self.path())).await
    }

    /// Where a table lies: `control`, `sensor` or `control_journal`.
    pub(crate) fn table_dir(&self, name: &str) -> PathBuf {
        self.path().join("warehouse/db.db").join(name)
    }

    fn table_url(&self, name: &str) -> Url {
        Url::from_directory_path(self.table_dir(name)).unwrap()
    }

    async fn rows<R: DeltaRecord>(&self, name: &str) -> Vec<R> {
        DeltaTable::<R>::new(&self.table_url(name)).unwrap().load().await.unwrap().rows
    }

    pub(crate) async fn control(&self) -> Vec<ControlRow> {
        self.rows("control").await
    }

    pub(crate) async fn sensor(&self) -> Vec<SensorRow> {
        self.rows("sensor").await
    }

    /// Everything that the journal tells of a job, oldest first.
    pub(crate) async fn journal(&self, job: Option<i64>) -> Vec<Entry> {
        let journal = DeltaJournal::new(&self.table_url("control_journal")).unwrap();
        let filter = Filter { job: job.map(|job| job.to_string()), ..Filter::default() };
        let mut entries = journal.newest(&filter, 100_000).await.unwrap();
        entries.reverse();
        entries
    }

    /// Runs of a job, oldest first.
    pub(crate) fn runs(&self, job: i64) -> Vec<RunRecord> {
        self.workspace.runs().into_iter().filter(|run| run.job_id == job).collect()
    }

    /// Waits for so many runs of a job, each of which has ended.
    pub(crate) async fn runs_end(&self, job: i64, count: usize, daemon: &Daemon) {
        until(&format!("{count} ended runs of job {job}"), async || {
            let runs = self.runs(job);
            let ended = runs.iter().filter(|run| matches!(run.phase, Phase::Done(_))).count();
            if runs.len() >= count && ended == runs.len() { Ok(()) } else { Err((runs, daemon.log().text())) }
        })
        .await;
        assert_eq!(self.runs(job).len(), count, "{}", daemon.log().text());
    }

    /// Waits until all rows of a job have a status.
    pub(crate) async fn status(&self, job: i64, status: &str, daemon: &Daemon) {
        until(&format!("status {status} of job {job}"), async || {
            let rows = self.control().await;
            let of_job = rows.iter().filter(|row| row.trigger_job_id == Some(job.to_string()));
            let all: Vec<_> = of_job.map(|row| row.status.clone().unwrap_or_default()).collect();
            let is_so = !all.is_empty() && all.iter().all(|one| one == status);
            if is_so { Ok(()) } else { Err((all, daemon.log().text())) }
        })
        .await;
    }
}

/// What a run was told that it is to account for: file paths by folder, and `partition offset` by topic.
pub(crate) fn told(run: &RunRecord) -> BTreeMap<String, Vec<String>> {
    let text = run.parameters.get("heartbeat_news").unwrap_or_else(|| panic!("nothing is told: {run:?}"));
    let news: Value = serde_json::from_str(text).unwrap();
    assert_eq!(news["format"], "heartbeat.news/1", "{news}");
    let mut told = BTreeMap::new();
    for row in news["rows"].as_array().unwrap() {
        let id = row["sensor_id"].as_str().unwrap().to_owned();
        let list: Vec<String> = if let Some(files) = row["files"].as_array() {
            files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
        } else {
            let ranges = row["offsets"].as_array().unwrap_or_else(|| panic!("neither: {row}"));
            let of = |range: &Value| {
                let (from, to) = (range["from"].as_i64().unwrap(), range["to"].as_i64().unwrap());
                let partition = range["partition"].clone();
                (from..to).map(move |offset| format!("{partition} {offset}"))
            };
            ranges.iter().flat_map(of).collect()
        };
        told.insert(id, list);
    }
    told
}

/// A record of this moment: older ones may be gone at once, for their retention is over.
pub(crate) fn fresh_record() -> Plain {
    (None, Some("x"), Timestamp::now().as_millisecond())
}

#[expect(clippy::disallowed_methods, reason = "the gate of the real broker")]
fn real_broker() -> Option<String> {
    std::env::var("HEARTBEAT_TEST_KAFKA").ok().filter(|address| !address.is_empty())
}
