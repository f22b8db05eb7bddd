//! The pages of a daemon.

use std::collections::BTreeMap;

use crate::support::daemon::sample;
use crate::support::wait::until;
use crate::support::yard::{Settings, Yard};

/// Every name in the reference, with its kind.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let page = include_str!("../../../../../docs/reference/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let named = rows.map(|row| {
        let (name, rest) = row.split_once("` | ").unwrap();
        (name, rest.split(' ').next().unwrap())
    });
    named.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_the_documented_ones_and_count_what_happened() {
    let yard = Yard::new("jobs: {21: {}, 22: {}}").await;
    yard.create_topics(&["t".into()], 1).await;
    yard.feed("topic t 21 TRUE\nfolder x 22 TRUE").await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    for round in 1..=2 {
        yard.record("t").await;
        yard.file("x", &format!("{round}.txt"));
        for job in [21, 22] {
            yard.runs_end(job, round, &daemon).await;
            yard.status(job, "COMPLETED", &daemon).await;
        }
    }
    daemon.metric_reaches("heartbeat_journal_entries_total", &["result=\"written\""], 8.0).await;
    daemon.metric_reaches("heartbeat_completions_total", &["outcome=\"succeeded\""], 4.0).await;
    let page = daemon.page("/metrics").await.1;
    // The embedded broker has no certificate.
    let rare =
        ["heartbeat_commit_conflicts_total", "heartbeat_maintenance_deleted", "heartbeat_certificate_expiry"];
    for (name, kind) in
        documented().into_iter().filter(|(name, _)| !rare.iter().any(|rare| name.starts_with(rare)))
    {
        // A counter's samples end in `_total`, its type does not.
        let family = if kind == "counter" { name.trim_end_matches("_total") } else { name };
        let family = if kind == "info" { family.trim_end_matches("_info") } else { family };
        assert!(page.contains(&format!("# TYPE {family} {kind}")), "{name}: {page}");
    }
    let is = |name: &str, labels: &[&str], value: f64| {
        let got = sample(&page, name, labels);
        assert!((got - value).abs() < 0.1, "{name} {labels:?} is {got}, not {value}: {page}");
    };
    let at_least = |name: &str, labels: &[&str], least: f64| {
        let got = sample(&page, name, labels);
        assert!(got >= least, "{name} {labels:?} is {got}: {page}");
    };
    for source in ["source=\"kafka\"", "source=\"trigger_file\""] {
        at_least("heartbeat_checks_total", &[source, "result=\"ok\""], 3.0);
        is("heartbeat_checks_total", &[source, "result=\"failed\""], 0.0);
        at_least("heartbeat_check_duration_seconds_count", &[source], 3.0);
        at_least("heartbeat_check_delay_seconds_count", &[source], 3.0);
        assert!(sample(&page, "heartbeat_last_good_check_age_seconds", &[source]) < 60.0, "{page}");
        is("heartbeat_sensors_failing", &[source], 0.0);
        is("heartbeat_news_total", &[source], 2.0);
        is("heartbeat_detection_to_start_seconds_count", &[source], 2.0);
    }
    is("heartbeat_arrival_to_start_seconds_count", &["source=\"trigger_file\""], 2.0);
    is("heartbeat_starts_total", &["result=\"accepted\""], 4.0);
    is("heartbeat_starts_total", &["result=\"refused\""], 0.0);
    is("heartbeat_completions_total", &["outcome=\"succeeded\""], 4.0);
    is("heartbeat_journal_entries_total", &["result=\"dropped\""], 0.0);
    is("heartbeat_jobs_api_calls_total", &["call=\"run_now\"", "result=\"ok\""], 4.0);
    // The rest are questions about runs, of one or of many.
    at_least("heartbeat_jobs_api_calls_total", &["result=\"ok\""], 5.0);
    at_least("heartbeat_commits_total", &["role=\"control\""], 4.0);
    at_least("heartbeat_commits_total", &["role=\"sensor\""], 4.0);
    at_least("heartbeat_commits_total", &["role=\"journal\""], 1.0);
    let log = yard.table_dir("control").join("_delta_log");
    let versions = std::fs::read_dir(log).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_str().unwrap().rsplit('.').next() == Some("json")
    });
    is("heartbeat_table_version", &["role=\"control\""], versions.count() as f64 - 1.0);
    assert_eq!(daemon.json("/readyz").await.1["status"], "ready");
    assert_eq!(daemon.json("/healthz").await.1["status"], "ok");
    daemon.stop().await;
}

/// A commit that hangs in the opening, as on a mount whose server is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_that_hangs_makes_the_daemon_unhealthy_and_does_not_keep_it_from_ending() {
    let yard = Yard::new("{}").await;
    yard.configure(&Settings { acons: vec!["files"], entry: ", deadline: 1s", ..Settings::default() });
    yard.feed("folder x 21 TRUE").await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    assert_eq!(daemon.page("/healthz").await.0, 200);
    let log = yard.table_dir("control").join("_delta_log");
    let next = std::fs::read_dir(&log).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_str().unwrap().rsplit('.').next() == Some("json")
    });
    let pipe = log.join(format!("{:020}.json", next.count()));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let body = until("an unhealthy daemon", async || match daemon.page("/healthz").await {
        (503, body) => Ok(body),
        (_, body) => Err((body, daemon.log().text())),
    })
    .await;
    assert!(body.contains("\"name\":\"files\""), "{body}");
    daemon.logs("overdue", 1).await;
    daemon.stop().await;
}
