//! What goes on beside a daemon: feeds, other daemons, brokers that are gone.

use std::collections::BTreeMap;

use heartbeat::broker::Broker;
use tokio::net::TcpListener;

use crate::support::kafka::Client;
use crate::support::wait::until;
use crate::support::yard::{Settings, Yard, fresh_record, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feed_counts_at_once() {
    let yard = Yard::new("jobs: {21: {}, 22: {}, 23: {}}").await;
    yard.feed("folder x 21 TRUE").await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    yard.create_topics(&["t".into()], 1).await;
    yard.feed("folder y 22 TRUE\ntopic t 23 TRUE").await;
    std::fs::create_dir_all(yard.path().join("triggers/x")).unwrap();
    yard.file("x", "1.txt");
    yard.file("y", "1.txt");
    yard.record("t").await;
    yard.runs_end(22, 1, &daemon).await;
    yard.runs_end(23, 1, &daemon).await;
    assert_eq!(yard.runs(21), [], "its row is gone");
    daemon.stop().await;
}

/// As Spark does on S3, which does not ask whether an entry of the log is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_that_another_writer_replaces_is_told_and_made_good() {
    let yard = Yard::new("jobs: {21: {}}").await;
    yard.feed("folder x 21 TRUE\nfolder y 21 TRUE").await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    yard.file("x", "1.txt");
    let statuses = async || {
        let rows = yard.control().await.into_iter();
        rows.map(|row| (row.sensor_id.unwrap_or_default(), row.status)).collect::<BTreeMap<_, _>>()
    };
    let has_news = async || match statuses().await.get("x") {
        Some(Some(status)) if status == "NEW_EVENT_AVAILABLE" => Ok(()),
        other => Err((other.cloned(), daemon.log().text())),
    };
    until("news of x", has_news).await;
    let log = yard.table_dir("control").join("_delta_log");
    let entries = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
    let newest = entries.filter(|path| path.extension().is_some_and(|end| end == "json")).max().unwrap();
    let draft = yard.path().join("foreign.json");
    std::fs::write(&draft, r#"{"commitInfo":{"timestamp":1,"operation":"UPDATE","operationParameters":{}}}"#)
        .unwrap();
    std::fs::rename(&draft, &newest).unwrap();
    until("the daemon to tell of it", async || {
        let text = daemon.log().text();
        if text.contains("another writer replaced a commit") { Ok(()) } else { Err(text) }
    })
    .await;
    until("news of x once more", has_news).await;
    yard.file("y", "1.txt");
    yard.runs_end(21, 1, &daemon).await;
    let run = &yard.runs(21)[0];
    assert_eq!(told(run).len(), 2, "both rows' news: {run:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_start_each_job_once() {
    const JOBS: usize = 8;
    const ROUNDS: usize = 4;
    let yard = Yard::new("{}").await;
    let topics: Vec<String> = (0..JOBS).map(|index| format!("t{index}")).collect();
    yard.create_topics(&topics, 1).await;
    let rows =
        (0..JOBS).map(|index| format!("topic t{index} {0} TRUE\nfolder f{index} {0} FALSE\n", 100 + index));
    yard.feed(&rows.collect::<String>()).await;
    let daemons = [yard.daemon().await, yard.daemon().await];
    for round in 0..ROUNDS {
        for index in 0..JOBS {
            yard.record(&format!("t{index}")).await;
        }
        for index in 0..JOBS {
            let job = 100 + index as i64;
            yard.runs_end(job, round + 1, &daemons[0]).await;
            yard.status(job, "COMPLETED", &daemons[1]).await;
            let run = &yard.runs(job)[round];
            assert_eq!(told(run)[&yard.sensor_id(&format!("t{index}"))], [format!("0 {round}")]);
        }
    }
    for daemon in daemons {
        daemon.stop().await;
    }
    assert_eq!(yard.workspace.runs().len(), JOBS * ROUNDS);
    let text = "watches db.control no longer";
    let ends = yard.journal(None).await.into_iter().filter(|entry| entry.message == text);
    assert_eq!(ends.count(), 2, "both have written their part of the journal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_that_hangs_delays_no_other_one_and_no_folder() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung = silent.local_addr().unwrap().to_string();
    let yard = Yard::new("{}").await;
    yard.configure(&Settings {
        entry: ", deadline: 60s",
        other_cluster: Some(hung.clone()),
        ..Settings::default()
    });
    yard.create_topics(&["t".into()], 1).await;
    yard.feed("topic t 21 TRUE\nfolder x 22 TRUE\nother o 23 TRUE").await;
    let daemon = yard.daemon().await;
    // Somebody waits for its answer.
    let _waiting = silent.accept().await.unwrap();
    for round in 1..=3 {
        yard.record("t").await;
        yard.file("x", &format!("{round}.txt"));
        yard.runs_end(21, round, &daemon).await;
        yard.runs_end(22, round, &daemon).await;
    }
    // The first cluster by name has the name of the ACON.
    let name = if hung < yard.bootstrap { "kafka".to_owned() } else { format!("kafka at {hung}") };
    let label = format!("acon=\"{name}\"");
    assert!(daemon.page("/metrics").await.1.contains(&label));
    let checks = daemon.metric("heartbeat_checks_total", &[&label]).await;
    assert!(checks < 0.5, "it still waits for the cluster that hangs");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_that_is_down_is_told_once_and_found_again() {
    let broker = Broker::start("127.0.0.1:0").await.unwrap();
    let address = broker.bootstrap();
    broker.stop();
    let yard = Yard::new("{}").await;
    yard.configure(&Settings { other_cluster: Some(address.clone()), ..Settings::default() });
    yard.create_topics(&["t".into()], 1).await;
    yard.feed("topic t 21 TRUE\nfolder x 22 TRUE\nother o 23 TRUE").await;
    let daemon = yard.daemon().await;
    yard.record("t").await;
    yard.file("x", "1.txt");
    yard.runs_end(21, 1, &daemon).await;
    yard.runs_end(22, 1, &daemon).await;
    daemon.metric_reaches("heartbeat_sensors_failing", &["source=\"kafka\""], 1.0).await;
    assert_eq!(daemon.page("/healthz").await.0, 200, "a broker that is down is no fault of the daemon");

    let _broker = Broker::start(&address).await.unwrap();
    let client = Client::connect(&address).await;
    client.create_topic("o", 1).await;
    client.produce("o", 0, &[fresh_record()], kafka_protocol::records::Compression::None).await;
    yard.runs_end(23, 1, &daemon).await;
    until("no row that fails", async || {
        let failing = daemon.metric("heartbeat_sensors_failing", &[]).await;
        if failing < 0.5 { Ok(()) } else { Err((failing, daemon.log().text())) }
    })
    .await;
    daemon.stop().await;
    let events: Vec<String> = yard.journal(Some(23)).await.into_iter().map(|entry| entry.event).collect();
    let count = |word: &str| events.iter().filter(|event| *event == word).count();
    assert!(count("check_failed") >= 1 && count("check_failed") <= 3, "{events:?}");
    assert_eq!(count("check_recovered"), 1, "{events:?}");
}
