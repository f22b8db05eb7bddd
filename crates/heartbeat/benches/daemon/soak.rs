//! A long time, made short: 1,000 sensors whose periods are a tenth or less of the usual ones, events that flow, runs that
//! end. Memory, tables and the time of a pass must stay as they are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::load::{Sensor, Usage, feed, mean_check_ms, topic_names};
use crate::support::daemon::{Daemon, sample};
use crate::support::yard::{Settings, Yard};

const EACH: usize = 500;
/// A workspace takes twenty starts a second, and the client asks for no more.
const EVENTS_PER_SECOND: f64 = 15.0;
const LINES: u32 = 12;

pub(crate) async fn thousand_sensors(length: Duration) {
    let yard = Arc::new(Yard::new("{}").await);
    yard.configure(&Settings {
        kafka_period: "100ms".into(),
        files_period: "200ms".into(),
        runs_period: "300ms".into(),
        rest: "maintenance: {interval: 5s, keep: 1m, keep_bytes: 64MiB}\n",
        ..Settings::default()
    });
    let sensors = feed(&yard, EACH, EACH).await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    let ends = Arc::new(AtomicBool::new(false));
    let events = Arc::new(AtomicUsize::new(0));
    let flow = tokio::spawn(flow(Arc::clone(&yard), sensors, Arc::clone(&ends), Arc::clone(&events)));

    println!(
        "\nsoak, {} sensors, periods 100 ms and 200 ms instead of 1 s and 5 s, {} s",
        2 * EACH,
        length.as_secs()
    );
    println!(
        "   time  events    runs   passes  anonymous  kafka pass  files pass  versions (c/s)  log files  table files    bytes   CPU"
    );
    let began = Instant::now();
    let mut last = Line::begin(&daemon).await;
    for line in 1..=LINES {
        tokio::time::sleep_until((began + length * line / LINES).into()).await;
        last = last.next(&yard, &daemon, began.elapsed(), events.load(Ordering::Relaxed)).await;
    }
    ends.store(true, Ordering::Relaxed);
    flow.await.unwrap();
    daemon.stop().await;
    yard.delete_topics(&topic_names(EACH)).await;
}

async fn flow(yard: Arc<Yard>, sensors: Vec<Sensor>, ends: Arc<AtomicBool>, events: Arc<AtomicUsize>) {
    let mut planned = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        planned += Duration::from_secs_f64(fastrand::f64() * 2.0 / EVENTS_PER_SECOND);
        tokio::time::sleep_until(planned.into()).await;
        sensors[fastrand::usize(..sensors.len())].arrive(&yard).await;
        events.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one line of the table begins with: totals at the end of the line before.
struct Line {
    kafka: (f64, f64),
    files: (f64, f64),
    cpu: Duration,
    at: Instant,
}

impl Line {
    async fn begin(daemon: &Daemon) -> Self {
        let page = daemon.page("/metrics").await.1;
        Self {
            kafka: mean_check_ms(&page, "kafka", (0.0, 0.0)).1,
            files: mean_check_ms(&page, "trigger_file", (0.0, 0.0)).1,
            cpu: Usage::of(daemon).cpu,
            at: Instant::now(),
        }
    }

    async fn next(self, yard: &Yard, daemon: &Daemon, time: Duration, events: usize) -> Self {
        let page = daemon.page("/metrics").await.1;
        let (kafka_ms, kafka) = mean_check_ms(&page, "kafka", self.kafka);
        let (files_ms, files) = mean_check_ms(&page, "trigger_file", self.files);
        let usage = Usage::of(daemon);
        let at = Instant::now();
        let cpu = usage.cpu.saturating_sub(self.cpu).as_secs_f64() / (at - self.at).as_secs_f64();
        let version = |role| sample(&page, "heartbeat_table_version", &[&format!("role=\"{role}\"")]);
        let warehouse = yard.path().join("warehouse");
        let (mut log_files, mut table_files, mut bytes) = (0, 0, 0);
        each_file(&warehouse, &mut |path, size| {
            bytes += size;
            let is_log = path.components().any(|part| part.as_os_str() == "_delta_log");
            *(if is_log { &mut log_files } else { &mut table_files }) += 1;
        });
        println!(
            "{:>5.0} s {events:>7} {:>7.0} {:>8.0} {:>7.1} MB {kafka_ms:>8.1} ms {files_ms:>8.1} ms {:>15} {log_files:>10} {table_files:>12} {:>5.1} MB {:>4.0} %",
            time.as_secs_f64(),
            sample(&page, "heartbeat_starts_total", &["result=\"accepted\""]),
            kafka.1 + files.1,
            usage.anonymous_mb,
            format!("{:.0}/{:.0}", version("control"), version("sensor")),
            bytes as f64 / 1e6,
            cpu * 100.0,
        );
        Self { kafka, files, cpu: usage.cpu, at }
    }
}

/// Files come and go meanwhile.
fn each_file(folder: &Path, seen: &mut impl FnMut(&Path, u64)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => each_file(&entry.path(), seen),
            Ok(metadata) => seen(&entry.path(), metadata.len()),
            Err(_) => {}
        }
    }
}
