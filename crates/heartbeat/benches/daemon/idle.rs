//! What a daemon costs while nothing happens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::load::{Usage, feed, mean_check_ms, topic_names};
use crate::support::daemon::{Daemon, command};
use crate::support::yard::{CONTROL, Settings, Yard};

fn usual() -> Settings {
    Settings {
        kafka_period: "1s".into(),
        files_period: "5s".into(),
        runs_period: "5s".into(),
        jitter: 0.1,
        ..Settings::default()
    }
}

/// 50 topics and 50 folders that have had news once.
pub(crate) async fn hundred_sensors(length: Duration) {
    let yard = Yard::new("{}").await;
    yard.configure(&usual());
    let sensors = feed(&yard, 50, 50).await;
    let daemon = yard.daemon().await;
    for sensor in &sensors {
        sensor.arrive(&yard).await;
    }
    for sensor in &sensors {
        yard.runs_end(sensor.job(), 1, &daemon).await;
    }
    yard.status(sensors[99].job(), "COMPLETED", &daemon).await;
    daemon.stop().await;

    let daemon = yard.daemon().await;
    daemon.ready().await;
    let (first, began) = (Usage::of(&daemon), Instant::now());
    tokio::time::sleep(length).await;
    let last = Usage::of(&daemon);
    let cpu = last.cpu.saturating_sub(first.cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("\nidle, 100 sensors, after {} s", length.as_secs());
    println!(
        "anonymous memory  {:>7.1} MB   bar 30 MB   {}",
        last.anonymous_mb,
        verdict(last.anonymous_mb <= 30.0)
    );
    println!("resident memory   {:>7.1} MB", last.resident_mb);
    println!("CPU of one core   {:>7.2} %    bar 1 %     {}", cpu * 100.0, verdict(cpu < 0.01));
    daemon.stop().await;
    yard.delete_topics(&topic_names(50)).await;
}

/// From the start of the process to the end of the first look at every source.
pub(crate) async fn start_over_ten_thousand_rows() {
    let yard = Yard::new("{}").await;
    yard.configure(&Settings { acons: vec!["files"], ..usual() });
    feed(&yard, 0, 10_000).await;
    println!("\nstart to first check, 10,000 rows");
    let mut begun = Vec::new();
    for what in ["never looked at", "looked at before", "looked at before", "looked at before"] {
        let began = Instant::now();
        let daemon = Daemon::start(command(yard.path())).await;
        let served = began.elapsed();
        daemon.ready().await;
        let took = began.elapsed();
        println!(
            "{what:18} pages after {:>5.0} ms, first check ended after {:>5.0} ms",
            ms(served),
            ms(took)
        );
        begun.push(took);
        daemon.stop().await;
        if begun.len() == 1 {
            yard.run(&["check", "--acon", "files.yaml", "--baseline"]).await;
        }
    }
    let worst = begun.iter().max().unwrap();
    println!("worst {:.0} ms, bar 1000 ms   {}", ms(*worst), verdict(*worst <= Duration::from_secs(1)));
}

/// 50,000 rows, and passes that find nothing.
pub(crate) async fn passes_that_write_nothing() {
    let yard = Yard::new("{}").await;
    yard.configure(&Settings {
        acons: vec!["files"],
        files_period: "1s".into(),
        entry: ", deadline: 60s",
        rest: "maintenance: {interval: 1s}\n",
        ..usual()
    });
    feed(&yard, 0, 50_000).await;
    yard.run(&["check", "--acon", "files.yaml", "--baseline"]).await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    daemon.metric_reaches("heartbeat_journal_entries_total", &["result=\"written\""], 1.0).await;
    let passes = daemon.metric("heartbeat_checks_total", &[]).await;
    // What the start itself had to tidy up is done with two more passes.
    daemon.metric_reaches("heartbeat_checks_total", &[], passes + 2.0).await;
    let before = listing(&yard.path().join("warehouse"));
    let page = daemon.page("/metrics").await.1;
    let (_, checks) = mean_check_ms(&page, "trigger_file", (0.0, 0.0));
    let usage = Usage::of(&daemon);
    let began = Instant::now();
    daemon.metric_reaches("heartbeat_checks_total", &[], checks.1 + 20.0).await;
    let after = listing(&yard.path().join("warehouse"));
    let page = daemon.page("/metrics").await.1;
    let (mean, now) = mean_check_ms(&page, "trigger_file", checks);
    let last = Usage::of(&daemon);
    let cpu = last.cpu.saturating_sub(usage.cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("\nidle, 50,000 rows of {CONTROL}, {:.0} passes of {mean:.0} ms", now.1 - checks.1);
    println!("files in the warehouse: {}, changed: {}", after.len(), changed(&before, &after).len());
    for path in changed(&before, &after).iter().take(5) {
        println!("  {}", path.display());
    }
    println!("{}", verdict(before == after));
    println!("CPU {:.1} % of one core, anonymous {:.1} MB", cpu * 100.0, last.anonymous_mb);
    daemon.stop().await;
}

type Listing = BTreeMap<PathBuf, (u64, SystemTime)>;

fn listing(folder: &Path) -> Listing {
    let mut all = Listing::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let metadata = entry.metadata().unwrap();
        all.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            all.extend(listing(&entry.path()));
        }
    }
    all
}

fn changed(before: &Listing, after: &Listing) -> Vec<PathBuf> {
    let paths = before.keys().chain(after.keys());
    let mut changed: Vec<PathBuf> =
        paths.filter(|path| before.get(*path) != after.get(*path)).cloned().collect();
    changed.sort();
    changed.dedup();
    changed
}

fn verdict(held: bool) -> &'static str {
    if held { "held" } else { "MISSED" }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
