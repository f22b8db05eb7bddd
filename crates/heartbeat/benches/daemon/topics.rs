//! Ten thousand topics: what a pass costs beside the bare requests, on a real cluster and on the embedded broker.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use heartbeat::broker::Broker;
use kafka_protocol::records::Compression;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::bare::{Bare, leaders_of};
use crate::load::Usage;
use crate::support::daemon::{Daemon, sample};
use crate::support::kafka::Client;
use crate::support::yard::{Settings, Yard, fresh_record};

/// What makes this program be a broker: topics and partitions of each.
const BROKER: &str = "HEARTBEAT_BENCH_BROKER";

/// Is a broker until stdin ends, if that is wanted.
pub(crate) async fn be_a_broker() -> bool {
    let Ok(text) = std::env::var(BROKER) else { return false };
    let (topics, partitions) = text.split_once('x').unwrap();
    let broker = Broker::start("127.0.0.1:0").await.unwrap();
    for topic in names(topics.parse().unwrap()) {
        broker.create_topic(&topic, partitions.parse().unwrap()).unwrap();
    }
    println!("{}", broker.bootstrap());
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await.unwrap().unwrap();
    true
}

/// On the real brokers that the variable names; `topics` of three partitions.
pub(crate) async fn on_real_brokers(variable: &str, topics: usize) {
    let Ok(bootstrap) = std::env::var(variable) else {
        println!("\nno real brokers: {variable} is unset");
        return;
    };
    measure("real brokers", &bootstrap, topics, 3).await;
}

/// On the embedded broker, in a process of its own.
pub(crate) async fn on_the_stand_in(topics: usize, partitions: i32) {
    let (_process, bootstrap) = stand_in(topics, partitions).await;
    measure("embedded broker", &bootstrap, topics, partitions).await;
}

async fn stand_in(topics: usize, partitions: i32) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(BROKER, format!("{topics}x{partitions}")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    (process, lines.next_line().await.unwrap().unwrap())
}

fn names(topics: usize) -> Vec<String> {
    (0..topics).map(|index| format!("bench-{index:05}")).collect()
}

async fn measure(what: &str, bootstrap: &str, topics: usize, partitions: i32) {
    let names = names(topics);
    let began = Instant::now();
    let mut bare = Bare::over(bootstrap, &names, partitions).await;
    println!(
        "\n{what}: {topics} topics x {partitions} partitions, {} leader(s), there after {:.0} s",
        bare.leaders(),
        began.elapsed().as_secs_f64()
    );
    let yard = Yard::new("{}").await;
    yard.configure(&Settings {
        kafka_period: "1s".into(),
        other_cluster: Some(bootstrap.to_owned()),
        acons: vec!["kafka"],
        ..Settings::default()
    });
    let mut rows = String::new();
    for (index, name) in names.iter().enumerate() {
        writeln!(rows, "other {name} {} TRUE", 100_000 + index).unwrap();
    }
    yard.feed(&rows).await;
    let check = ["check", "--acon", "kafka.yaml", "--deadline", "120"];
    let lap = Instant::now();
    yard.run(&[&check[..], &["--baseline"]].concat()).await;
    println!("check --baseline          {:>7.0} ms", lap.elapsed().as_secs_f64() * 1e3);
    let mut checks = Vec::new();
    let mut peak = 0.0;
    for _ in 0..5 {
        let lap = Instant::now();
        peak = f64::max(peak, checked(&yard, &check).await);
        checks.push(lap.elapsed().as_secs_f64());
    }
    println!(
        "check, idle, with start   {:>7.0} ms  (median of 5), {peak:.0} MB",
        median(checks.into_iter()) * 1e3
    );

    let mut alone: Vec<Duration> = Vec::new();
    for _ in 0..30 {
        alone.push(bare.ask().await);
    }
    let daemon = yard.daemon().await;
    daemon.ready().await;
    // The first look describes all topics; it may not have been counted yet.
    let begun = passes(&daemon, 2).await;
    println!("first passes              {:>7.1} ms", begun.iter().copied().fold(0.0, f64::max) * 1e3);
    let first = Usage::of(&daemon);
    let lap = Instant::now();
    let idle = passes(&daemon, 30).await;
    let last = Usage::of(&daemon);
    let cpu = last.cpu.saturating_sub(first.cpu).as_secs_f64() / lap.elapsed().as_secs_f64();
    for _ in 0..30 {
        alone.push(bare.ask().await);
    }
    let (bare_ms, idle_ms) =
        (median(alone.iter().map(Duration::as_secs_f64)) * 1e3, median(idle.iter().copied()) * 1e3);
    println!("bare ListOffsets          {bare_ms:>7.1} ms  (median of 60, before and after)");
    println!(
        "idle pass                 {idle_ms:>7.1} ms  (median of {}), {:.2} times",
        idle.len(),
        idle_ms / bare_ms
    );
    println!("slowest idle pass         {:>7.1} ms", idle.iter().copied().fold(0.0, f64::max) * 1e3);
    println!("CPU of one core           {:>7.1} %", cpu * 100.0);
    println!("resident memory           {:>7.1} MB, anonymous {:.1} MB", last.resident_mb, last.anonymous_mb);
    news(bootstrap, &names, &daemon).await;
    daemon.stop().await;
}

/// Runs a command; its peak memory in MB, where GNU time is there.
async fn checked(yard: &Yard, arguments: &[&str]) -> f64 {
    let mut command = Command::new("/usr/bin/time");
    command.args(["-q", "-f", "%M", env!("CARGO_BIN_EXE_heartbeat")]).args(arguments);
    let command = command.current_dir(yard.path()).env("HEARTBEAT_WAREHOUSE", "warehouse");
    let Ok(output) = command.stdin(Stdio::null()).output().await else {
        yard.run(arguments).await;
        return f64::NAN;
    };
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().last().and_then(|line| line.trim().parse::<f64>().ok()).map_or(f64::NAN, |kb| kb / 1024.0)
}

/// A hundred topics have news at once.
async fn news(bootstrap: &str, names: &[String], daemon: &Daemon) {
    let count = names.len().min(100);
    let some: Vec<String> = names.iter().step_by(names.len() / count).take(count).cloned().collect();
    let mut clients: std::collections::HashMap<String, Client> = std::collections::HashMap::new();
    for (topic, leader) in some.iter().zip(leaders_of(bootstrap, &some).await) {
        if !clients.contains_key(&leader) {
            clients.insert(leader.clone(), Client::connect(&leader).await);
        }
        clients[&leader].produce(topic, 0, &[fresh_record()], Compression::None).await;
    }
    let passes = passes(daemon, 6).await;
    println!(
        "pass with news in {count}     {:>7.1} ms  (the slowest of the next {}; the records may fall into two)",
        passes.iter().copied().fold(0.0, f64::max) * 1e3,
        passes.len()
    );
}

/// How long each of the next passes takes, in seconds.
async fn passes(daemon: &Daemon, count: usize) -> Vec<f64> {
    let of = |page: &str, suffix: &str| {
        sample(page, &format!("heartbeat_check_duration_seconds_{suffix}"), &["source=\"kafka\""])
    };
    let mut page = daemon.page("/metrics").await.1;
    let (mut sum, mut passed) = (of(&page, "sum"), of(&page, "count"));
    let mut passes = Vec::new();
    while passes.len() < count {
        tokio::time::sleep(Duration::from_millis(100)).await;
        page = daemon.page("/metrics").await.1;
        let (now, counted) = (of(&page, "sum"), of(&page, "count"));
        if counted > passed {
            passes.push((now - sum) / (counted - passed));
            (sum, passed) = (now, counted);
        }
    }
    passes
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
