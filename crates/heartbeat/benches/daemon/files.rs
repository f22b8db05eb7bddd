//! Trigger files: one new file among very many, ten thousand folders beside the bare requests, folders of this machine,
//! and the time from a file to its run.

mod series;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use heartbeat::secrets::Secrets;
use heartbeat::sources::trigger_file::{MemoryRuns, NoRuns, TriggerFileSource};
use heartbeat::stores::{Listing, Start, Store};
use heartbeat_core::acon::TriggerFiles;
use heartbeat_core::location::Location;
use heartbeat_core::source::{Answer, Ask, Asset, Since, Source as _};
use jiff::Timestamp;

use self::series::SeriesServer;
use crate::load::Usage;
use crate::support::daemon::{Daemon, sample};
use crate::support::stores::{Servers, fresh, open, options};
use crate::support::wait::until;
use crate::support::yard::{Settings, Yard};

/// The daemon over one folder of an S3 that makes its listings up: requests, bytes and memory of a pass.
pub(crate) async fn one_new_file_among_many() {
    println!("\none new file, S3 listings made up and counted by the server");
    println!("files       baseline  requests idle/new   bytes idle/new      runs written   resident");
    for count in [1_000, 1_000_000, 10_000_000] {
        let server = SeriesServer::start(count).await;
        let yard = Yard::new("{}").await;
        yard.configure(&Settings {
            files_period: "1s".into(),
            triggers: Some(format!(
                "base_trigger_file_location: s3://bucket/base\ntrigger_file_options: {{full_listing_interval: 1h}}\n\
                 storage_options: {{aws_endpoint: '{}', aws_access_key_id: k, aws_secret_access_key: s}}\n",
                server.url
            )),
            acons: vec!["files"],
            ..Settings::default()
        });
        yard.feed("folder t 7 TRUE\n").await;
        let lap = Instant::now();
        yard.run(&["check", "--acon", "files.yaml", "--baseline", "--deadline", "900"]).await;
        let baseline = lap.elapsed();
        let daemon = yard.daemon().await;
        daemon.ready().await;
        // The full listing after the start goes by in parts.
        if count > 1_000 {
            until_within(Duration::from_mins(15), "the first full listing", async || {
                let page = daemon.page("/metrics").await.1;
                let requests = sample(&page, "heartbeat_full_listing_requests", &["source=\"trigger_file\""]);
                requests > 0.0
            })
            .await;
        }
        passes(&daemon, 2).await;
        let before = server.count();
        let idle_passes = passes(&daemon, 10).await;
        let idle = server.count().since(before);
        let before = server.count();
        server.add();
        until_within(Duration::from_mins(1), "the run", async || !yard.workspace.runs().is_empty()).await;
        let new = server.count().since(before);
        let usage = Usage::of(&daemon);
        println!(
            "{count:>10} {:>8.1} s {:>9.1} / {:<8} {:>8} / {:<8} {:>14} {:>9.1} MB",
            baseline.as_secs_f64(),
            idle.requests as f64 / idle_passes as f64,
            new.requests,
            idle.received / idle.requests.max(1),
            new.received,
            "",
            usage.resident_mb
        );
        daemon.stop().await;
    }
}

/// An idle pass beside one bare recursive listing, and one bare request for each folder, by the same client.
pub(crate) async fn ten_thousand_folders() {
    let Some(servers) = Servers::real() else { return };
    let endpoint = servers.get("S3C");
    let pairs = [("aws_endpoint", endpoint), ("aws_access_key_id", "k"), ("aws_secret_access_key", "s")];
    println!("\n10,000 folders on a real S3, medians of 10 in turn");
    println!("files each   idle pass   requests   bare recursive   bare per folder   to the cheaper");
    for each in [1, 5] {
        let location = format!("s3://heartbeat/{}", fresh());
        let store = Arc::new(open(&location, &pairs).await.unwrap());
        let names: Vec<String> = (0..10_000).map(|index| format!("s{index:05}")).collect();
        let puts: Vec<_> = names
            .iter()
            .flat_map(|name| (0..each).map(move |file| format!("{name}/{name}_20260101_0000{file:02}.txt")))
            .map(|path| put(Arc::clone(&store), path))
            .collect();
        stream::iter(puts).buffer_unordered(32).collect::<Vec<()>>().await;
        let mut config = TriggerFiles::at(Location::parse(&location).unwrap());
        config.storage = options(&pairs);
        let source = TriggerFileSource::new(&config, &Arc::new(Secrets::default()), Arc::new(NoRuns));
        let source = source.on(Arc::clone(&store));
        let mut since = vec![Since::Beginning; names.len()];
        look(&source, &names, &mut since).await;
        // Questions are made once for as long as nothing changes.
        let asks = asks(&names, &since);
        let (mut idle, mut recursive, mut single, mut requests) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..10 {
            let before = store.traffic();
            let lap = Instant::now();
            let answers = source.look(&asks, Instant::now() + Duration::from_mins(10)).await;
            idle.push(lap.elapsed());
            assert!(answers.iter().all(|answer| matches!(answer, Ok(Answer::Same))));
            requests = store.traffic().since(before).requests;
            let lap = Instant::now();
            bare_recursive(&store).await;
            recursive.push(lap.elapsed());
            let lap = Instant::now();
            bare_single(&store, &names).await;
            single.push(lap.elapsed());
        }
        let (idle, recursive, single) = (median(idle), median(recursive), median(single));
        println!(
            "{each:>10} {idle:>8.0} ms {requests:>10} {recursive:>13.0} ms {single:>14.0} ms {:>12.2} times",
            idle / recursive.min(single)
        );
    }
}

/// A folder of this machine with a million files.
pub(crate) async fn here() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("t");
    std::fs::create_dir(&folder).unwrap();
    let count = 1_000_000;
    for number in 0..count {
        std::fs::File::create(folder.join(series::name(number))).unwrap();
    }
    let config = TriggerFiles::at(Location::parse(dir.path().to_str().unwrap()).unwrap());
    let source =
        TriggerFileSource::new(&config, &Arc::new(Secrets::default()), Arc::new(MemoryRuns::default()));
    let names = ["t".to_owned()];
    let mut since = vec![Since::Beginning];
    let patient = source.patient();
    let lap = Instant::now();
    while matches!(since[0], Since::Beginning) {
        look(&patient, &names, &mut since).await;
    }
    println!("\nfolder of this machine, {count} files: first look {:.1} s", lap.elapsed().as_secs_f64());
    // Directories that changed a moment ago are read again.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for _ in 0..2 {
        look(&patient, &names, &mut since).await;
    }
    let (mut idle, mut new, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..10 {
        let lap = Instant::now();
        assert_eq!(look(&patient, &names, &mut since).await, 0);
        idle.push(lap.elapsed());
        std::fs::write(folder.join(series::name(count + number)), "Success").unwrap();
        let lap = Instant::now();
        assert_eq!(look(&patient, &names, &mut since).await, 1);
        new.push(lap.elapsed());
        let lap = Instant::now();
        assert!(std::fs::read_dir(&folder).unwrap().count() as u64 > count);
        bare.push(lap.elapsed());
        tokio::time::sleep(Duration::from_millis(1500)).await;
        look(&patient, &names, &mut since).await;
    }
    let (idle, new, bare) = (median(idle), median(new), median(bare));
    println!(
        "idle pass {idle:.3} ms; pass with 1 new {new:.0} ms; bare directory read {bare:.0} ms: {:.2} times",
        new / bare
    );
}

/// From a file that is there to its accepted run, on a real S3.
pub(crate) async fn latency(length: Duration) {
    let Some(servers) = Servers::real() else { return };
    println!("\nfile on S3 to accepted run-now, 300 folders");
    println!("period       events      p50      p99      max   bar p99");
    for (period, seconds) in [("1s", 1.0), ("5s", 5.0)] {
        let pairs = [
            ("aws_endpoint", servers.get("S3C")),
            ("aws_access_key_id", "k"),
            ("aws_secret_access_key", "s"),
        ];
        let location = format!("s3://heartbeat/{}", fresh());
        let store = Arc::new(open(&location, &pairs).await.unwrap());
        let yard = Yard::new("{}").await;
        yard.configure(&Settings {
            files_period: period.into(),
            runs_period: "5s".into(),
            triggers: Some(format!(
                "base_trigger_file_location: {location}\n\
                 storage_options: {{aws_endpoint: '{}', aws_access_key_id: k, aws_secret_access_key: s}}\n",
                servers.get("S3C")
            )),
            acons: vec!["files"],
            ..Settings::default()
        });
        let mut rows = String::new();
        for index in 0..300 {
            writeln!(rows, "folder f{index} {} TRUE", 1000 + index).unwrap();
        }
        yard.feed(&rows).await;
        let daemon = yard.daemon().await;
        daemon.ready().await;
        let count = ((length.as_secs_f64() * 5.0) as usize).min(300);
        let mut arrived = std::collections::HashMap::new();
        let began = Instant::now();
        for index in 0..count {
            let planned = Duration::from_secs_f64((index as f64 + fastrand::f64()) / 5.0);
            tokio::time::sleep_until((began + planned).into()).await;
            put(Arc::clone(&store), format!("f{index}/f{index}_20260101_000000.txt")).await;
            arrived.insert(1000 + index as i64, Timestamp::now());
        }
        until("a run for each file", async || {
            let runs = yard.workspace.runs().len();
            if runs >= count { Ok(()) } else { Err((runs, count)) }
        })
        .await;
        let runs = yard.workspace.runs();
        assert_eq!(runs.len(), count, "each job once");
        let mut took: Vec<f64> =
            runs.iter().map(|run| run.created.duration_since(arrived[&run.job_id]).as_secs_f64()).collect();
        took.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| took[((took.len() as f64 * part) as usize).min(took.len() - 1)];
        println!(
            "{period:>6} {count:>12} {:>6.2} s {:>6.2} s {:>6.2} s {:>7.2} s",
            at(0.5),
            at(0.99),
            at(1.0),
            seconds + 1.0
        );
        daemon.stop().await;
    }
}

async fn put(store: Arc<Store>, path: String) {
    let deadline = Instant::now() + Duration::from_mins(1);
    store.create(&path, Bytes::from_static(b"Success"), deadline).await.unwrap();
}

/// A look at all folders; how many have news.
async fn look(source: &TriggerFileSource, names: &[String], since: &mut [Since]) -> usize {
    let asks = asks(names, since);
    let mut news = 0;
    for (since, answer) in
        since.iter_mut().zip(source.look(&asks, Instant::now() + Duration::from_mins(10)).await)
    {
        if let Answer::Found(found) = answer.unwrap() {
            news += usize::from(found.news.is_some());
            *since = Since::Position(found.position);
        }
    }
    news
}

fn asks(names: &[String], since: &[Since]) -> Arc<[Ask]> {
    let all = names.iter().zip(since);
    all.map(|(name, since)| Ask { asset: Asset::Folder { name: name.clone() }, since: since.clone() })
        .collect()
}

async fn bare_recursive(store: &Store) {
    let mut token: Option<String> = None;
    loop {
        let start = token.as_deref().map_or(Start::Beginning, Start::Token);
        let deadline = Instant::now() + Duration::from_mins(1);
        token = store.list(&Listing { prefix: "", start, limit: 1000 }, deadline).await.unwrap().next;
        if token.is_none() {
            return;
        }
    }
}

async fn bare_single(store: &Store, names: &[String]) {
    let one = async |name: &String| {
        let prefix = format!("{name}/");
        let listing = Listing { prefix: &prefix, start: Start::Beginning, limit: 1000 };
        store.list(&listing, Instant::now() + Duration::from_mins(1)).await.unwrap();
    };
    let requests: Vec<_> = names.iter().map(one).collect();
    stream::iter(requests).buffer_unordered(16).collect::<Vec<()>>().await;
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// Waits for passes to end; how many did.
async fn passes(daemon: &Daemon, count: u64) -> u64 {
    let ended = async || {
        let page = daemon.page("/metrics").await.1;
        sample(&page, "heartbeat_check_duration_seconds_count", &["source=\"trigger_file\""]) as u64
    };
    let first = ended().await;
    loop {
        let passed = ended().await - first;
        if passed >= count {
            return passed;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn until_within(limit: Duration, what: &str, done: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < limit, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
