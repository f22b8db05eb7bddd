//! The figures that are promised, measured on this machine: whole commands of the release binary, start-up included.
//!
//! `scripts/bench` runs it. Kafka is the embedded broker, or a real one with `HEARTBEAT_TEST_KAFKA=host:port`.
//! A bench prints; it never fails because a machine is slow.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a bench stops at the first surprise and prints"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heartbeat::broker::Broker;
use heartbeat::jobs_api::{StandIn, StandInConfig};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Commit, Table};
use heartbeat_delta::DeltaTable;
use kafka_protocol::records::Compression;
use tempfile::TempDir;
use url::Url;

#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod support;

const CONTROL: &str = "bench.control";
const SENSOR: &str = "bench.sensor";
const HEADER: &str = "sensor_source,sensor_id,sensor_read_type,asset_description,upstream_key,preprocess_query,\
                      trigger_job_id,trigger_job_name,job_state,dependency_flag\n";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    println!("bar                                             median      min      max   memory");
    idle_trigger_folders();
    idle_kafka().await;
    start_fifty_jobs().await;
    fifty_thousand_rows().await;
}

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        bench.run(&["init", "--control-table", CONTROL, "--sensor-table", SENSOR]);
        bench
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn feed(&self, rows: &str) {
        std::fs::write(self.path().join("feed.csv"), format!("{HEADER}{rows}")).unwrap();
        self.run(&["feed", "--csv", "feed.csv", "--control-table", CONTROL]);
    }

    fn acon(&self, name: &str, rest: &str) {
        let text = format!(
            "heartbeat_sensor_db_table: {CONTROL}\nlakehouse_engine_sensor_db_table: {SENSOR}\ntoken: t\n{rest}"
        );
        std::fs::write(self.path().join(name), text).unwrap();
    }

    /// Wall time and, where GNU time is there, peak memory in MB.
    fn run(&self, args: &[&str]) -> (Duration, Option<u64>) {
        let memory = self.path().join("memory");
        let has_time = Path::new("/usr/bin/time").exists();
        let mut command = if has_time {
            let mut command = Command::new("/usr/bin/time");
            command.args(["-q", "-f", "%M", "-o"]).arg(&memory).arg(env!("CARGO_BIN_EXE_heartbeat"));
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_heartbeat"))
        };
        let began = Instant::now();
        let output = command
            .args(args)
            .current_dir(self.path())
            .env("HEARTBEAT_WAREHOUSE", "warehouse")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let took = began.elapsed();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let peak =
            has_time.then(|| std::fs::read_to_string(memory).unwrap().trim().parse::<u64>().unwrap() / 1024);
        (took, peak)
    }

    fn measure(&self, what: &str, runs: usize, args: &[&str], before: impl Fn()) {
        let mut times = Vec::new();
        let mut peak = None;
        for _ in 0..runs {
            before();
            let (took, memory) = self.run(args);
            times.push(took);
            peak = peak.max(memory);
        }
        report(what, &mut times, peak);
    }
}

fn report(what: &str, times: &mut [Duration], peak: Option<u64>) {
    times.sort_unstable();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let (median, min, max) = (times[times.len() / 2], times[0], times[times.len() - 1]);
    let memory = peak.map_or_else(|| "-".to_owned(), |mb| format!("{mb} MB"));
    println!("{what:44} {:>9} {:>9} {:>9} {memory:>7}", ms(median), ms(min), ms(max));
}

fn rows(source: &str, id: impl Fn(usize) -> String, count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let id = id(number);
        writeln!(text, "{source},{id},streaming,asset {number},,,{},job,UNPAUSED,TRUE", 1000 + number)
            .unwrap();
        text
    })
}

fn trigger_file_acon(bench: &Bench, domain: &str) {
    bench.acon(
        "acon.yaml",
        &format!(
            "sensor_source: trigger_file\ndata_format: cloudfiles\ndomain: {domain}\n\
             base_trigger_file_location: triggers\n"
        ),
    );
}

fn drop_files(bench: &Bench, count: usize, name: &str) {
    for number in 0..count {
        let folder = bench.path().join("triggers").join(format!("t{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), "Success").unwrap();
    }
}

fn idle_trigger_folders() {
    let bench = Bench::new();
    bench.feed(&rows("trigger_file", |number| format!("t{number}"), 50));
    trigger_file_acon(&bench, "127.0.0.1");
    drop_files(&bench, 50, "first.txt");
    let check = ["check", "--acon", "acon.yaml"];
    bench.run(&["check", "--acon", "acon.yaml", "--baseline"]);
    bench.measure("idle check, 50 trigger folders", 21, &check, || {});
}

async fn idle_kafka() {
    let bench = Bench::new();
    let real = std::env::var("HEARTBEAT_TEST_KAFKA").ok();
    let embedded = Broker::start("127.0.0.1:0").await.unwrap();
    let (bootstrap, broker) = match &real {
        Some(address) => (address.clone(), "real"),
        None => (embedded.bootstrap(), "embedded"),
    };
    let run = std::process::id();
    let topics: Vec<String> = (0..50).map(|number| format!("bench-{run}-{number}")).collect();
    let client = support::kafka::Client::connect(&bootstrap).await;
    client.create_topics(&topics, 3, &[]).await;
    for topic in &topics {
        client.produce(topic, 0, &[(None, Some("x"), 0)], Compression::None).await;
    }
    bench.feed(&rows("kafka", |number| format!("p: {}", topics[number]), 50));
    bench.acon(
        "acon.yaml",
        &format!(
            "sensor_source: kafka\ndata_format: kafka\ndomain: 127.0.0.1\nkafka_configs:\n  p:\n    \
             kafka_bootstrap_servers_list: {bootstrap}\n"
        ),
    );
    bench.run(&["check", "--acon", "acon.yaml", "--baseline"]);
    let what = format!("idle check, 50 topics x 3, {broker} broker");
    bench.measure(&what, 21, &["check", "--acon", "acon.yaml"], || {});
    client.delete_topics(&topics).await;
}

/// The main path for 50 jobs: news in every row, 50 starts, one completion.
async fn start_fifty_jobs() {
    let mut steps: [(&str, Vec<Duration>, Option<u64>); 3] = [
        ("check, 50 rows that all have news", Vec::new(), None),
        ("trigger, 50 jobs (API limit 20 a second)", Vec::new(), None),
        ("complete, one of 50 jobs", Vec::new(), None),
    ];
    let complete = ["complete", "--job-id", "1007", "--control-table", CONTROL, "--sensor-table", SENSOR];
    for _ in 0..5 {
        let workspace = StandIn::start(StandInConfig::default()).await.unwrap();
        let bench = Bench::new();
        bench.feed(&rows("trigger_file", |number| format!("t{number}"), 50));
        trigger_file_acon(&bench, &workspace.url());
        drop_files(&bench, 50, "first.txt");
        let commands: [&[&str]; 3] =
            [&["check", "--acon", "acon.yaml"], &["trigger", "--acon", "acon.yaml"], &complete];
        for ((_, times, peak), command) in steps.iter_mut().zip(commands) {
            let (took, memory) = tokio::task::block_in_place(|| bench.run(command));
            times.push(took);
            *peak = (*peak).max(memory);
        }
        assert_eq!(workspace.runs().len(), 50);
        workspace.stop().await;
    }
    for (what, mut times, peak) in steps {
        report(what, &mut times, peak);
    }
}

async fn fifty_thousand_rows() {
    let bench = Bench::new();
    bench.feed(&rows("trigger_file", |number| format!("t{number}"), 50_000));
    let status = ["status", "--control-table", CONTROL];
    bench.measure("status, 50,000 rows", 11, &status, || {});
    bench.measure(
        "status --output json, 50,000 rows",
        5,
        &[&status[..], &["--output", "json"]].concat(),
        || {},
    );
    let control = warehouse(&bench, "control");
    let mut written = Vec::new();
    for number in 0..5 {
        let before = bytes_below(&control);
        change_one_row(&control, number * 9_999).await;
        written.push(bytes_below(&control) - before);
    }
    written.sort_unstable();
    let kb = |bytes: u64| bytes / 1000;
    println!(
        "one row changed of 50,000: {} kB written (median of {}, most {} kB)",
        kb(written[written.len() / 2]),
        written.len(),
        kb(written[written.len() - 1])
    );
    let sensor =
        DeltaTable::<SensorRow>::new(&Url::from_directory_path(warehouse(&bench, "sensor")).unwrap())
            .unwrap();
    let states = sensor_states();
    let base = sensor.load().await.unwrap();
    assert!(matches!(sensor.commit(base, states, "bench").await.unwrap(), Commit::Done(_)));
    let both = ["status", "--control-table", CONTROL, "--sensor-table", SENSOR];
    bench.measure("status with 50,000 sensor rows", 11, &both, || {});
    drop_files(&bench, 1, "x.txt");
}

/// Sensor rows as a year of Kafka sensors leaves them: a position of ten partitions and a claim that is done.
fn sensor_states() -> Changes<SensorRow> {
    let offsets: String = (0..10).fold(String::new(), |mut text, partition| {
        let comma = if partition > 0 { "," } else { "" };
        write!(text, "{comma}\"{partition}\":{}", 1_000_000 + partition * 7919).unwrap();
        text
    });
    let row = |number: usize| {
        let id = format!("t{number}_{}", 1000 + number);
        let state = format!(
            "{{\"news\":17,\"news_done\":17,\"acquired\":{{\"kafka\":{{\"cluster\":\"abc\",\"topic\":\"t\",\"topic_id\":\
             \"0c8e2f58-31f9-4b5e-9c70-3a3d2a5b7d11\",\"offsets\":{{{offsets}}}}}}},\"claim\":{{\"token\":\"{number:064x}\",\
             \"attempt\":1,\"domain\":\"https://dbc\",\"rows\":{{\"{id}\":17}},\"at\":\"2026-01-02T03:04:05Z\",\"state\":\
             {{\"done\":{{\"run_id\":123456789012345}}}}}}}}"
        );
        SensorRow {
            sensor_id: Some(id),
            assets: Some(vec![format!("asset_{number}")]),
            status: Some("PROCESSED_NEW_DATA".into()),
            upstream_key: Some("heartbeat/1".into()),
            upstream_value: Some(state),
            ..SensorRow::default()
        }
    };
    Changes { insert: (0..50_000).map(row).collect(), ..Changes::default() }
}

fn warehouse(bench: &Bench, table: &str) -> PathBuf {
    bench.path().join("warehouse/bench.db").join(table)
}

async fn change_one_row(table: &Path, index: usize) {
    let table = DeltaTable::<ControlRow>::new(&Url::from_directory_path(table).unwrap()).unwrap();
    let base = table.load().await.unwrap();
    let row = ControlRow { status: Some("NEW_EVENT_AVAILABLE".into()), ..base.rows[index].clone() };
    let changes = Changes { update: vec![(index, row)], ..Changes::default() };
    assert!(matches!(table.commit(base, changes, "bench").await.unwrap(), Commit::Done(_)));
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() }
        })
        .sum()
}
