use std::collections::{BTreeMap, BTreeSet};

use heartbeat_core::acon::SourceKind;

use super::*;

fn source(name: &str) -> SourceLabel {
    SourceLabel::new(SourceKind::Kafka, name)
}

fn check(result: CheckResult) -> Check {
    Check {
        result,
        took: Duration::from_millis(30),
        delay: Duration::from_millis(2),
        missed: 3,
        watched: 10,
        failing: 4,
        news: 2,
        losses: 1,
    }
}

/// Every method once.
fn used(now: Instant) -> Metrics {
    let metrics = Metrics::new("2026-06-01T00:00:00Z".parse().unwrap());
    let control = TableLabel::new("db.control", TableRole::Control);
    metrics.source_added(&source("kafka"), now);
    metrics.checked(&source("kafka"), &check(CheckResult::Partly), now);
    metrics.started(&source("kafka"), Duration::from_millis(700), Some(Duration::from_secs(2)));
    let ends = [(CertificateRole::Client, Timestamp::MAX), (CertificateRole::Client, Timestamp::UNIX_EPOCH)];
    metrics.certificates(&source("kafka"), ends.into_iter());
    let listing = |requests, pause| FullListing {
        folder: "t".to_owned(),
        requests,
        files: requests * 1000,
        took: Duration::from_secs(1),
        pause: Duration::from_secs(pause),
    };
    let traffic = TrafficCount { requests: 3, received: 900 };
    metrics.listed(&source("kafka"), traffic, &[listing(5, 20), listing(7, 10)]);
    metrics.start_answered(&control, StartResult::Accepted);
    metrics.runs(&control, RunPhase::Active, 7);
    metrics.run_ended(&control, RunEnd::Succeeded);
    metrics.committed(&control, 41);
    metrics.commit_lost(&control);
    metrics.files_deleted(&control, 5, 1024);
    metrics.journal_entries(JournalResult::Written, 12);
    metrics.jobs_api_called(ApiCall::RunNow, ApiResult::Throttled);
    metrics
}

/// The samples of a page by name and labels, and the type of each metric; panics where it is no OpenMetrics text.
fn parse(page: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut samples, mut types) = (BTreeMap::new(), BTreeMap::new());
    let body = page.strip_suffix("# EOF\n").expect("ends with EOF");
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(types.insert(name.to_owned(), kind.to_owned()), None, "{line}");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = series.split('{').next().unwrap();
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
            assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
            assert_eq!(samples.insert(series.to_owned(), value.parse().unwrap()), None, "{line}");
        }
    }
    (samples, types)
}

#[test]
fn every_documented_metric_is_served_and_no_other() {
    let now = Instant::now();
    let (samples, types) = parse(&used(now).encode(now));
    let documented: BTreeSet<&str> = METRICS.iter().map(|doc| series::name(doc)).collect();
    assert_eq!(types.keys().map(String::as_str).collect::<BTreeSet<_>>(), documented);
    for doc in &METRICS {
        let kind = match doc.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
            MetricKind::Info => "info",
        };
        assert_eq!(types[series::name(doc)], kind, "{}", doc.name);
        let sample = match doc.kind {
            MetricKind::Histogram => format!("{}_count", doc.name),
            _ => doc.name.to_owned(),
        };
        let labels: Vec<String> = doc.labels.iter().map(|label| format!("{label}=\"")).collect();
        let found = samples.keys().any(|series| {
            series.split('{').next() == Some(&sample) && labels.iter().all(|label| series.contains(label))
        });
        assert!(found, "{sample} with {labels:?}");
    }
}

#[test]
fn values_are_those_that_were_told() {
    let begin = Instant::now();
    let metrics = used(begin);
    let (samples, _) = parse(&metrics.encode(begin + Duration::from_secs(90)));
    for (series, value) in [
        ("process_start_time_seconds", 1_780_272_000.0),
        ("heartbeat_checks_total{source=\"kafka\",acon=\"kafka\",result=\"partly\"}", 1.0),
        ("heartbeat_checks_total{source=\"kafka\",acon=\"kafka\",result=\"failed\"}", 0.0),
        ("heartbeat_missed_ticks_total{source=\"kafka\",acon=\"kafka\"}", 3.0),
        ("heartbeat_data_losses_total{source=\"kafka\",acon=\"kafka\"}", 1.0),
        ("heartbeat_sensors_failing{source=\"kafka\",acon=\"kafka\"}", 4.0),
        ("heartbeat_last_good_check_age_seconds{source=\"kafka\",acon=\"kafka\"}", 90.0),
        ("heartbeat_arrival_to_start_seconds_sum{source=\"kafka\",acon=\"kafka\"}", 2.0),
        ("heartbeat_store_received_bytes_total{source=\"kafka\",acon=\"kafka\"}", 900.0),
        ("heartbeat_large_folders{source=\"kafka\",acon=\"kafka\"}", 2.0),
        ("heartbeat_full_listing_requests{source=\"kafka\",acon=\"kafka\"}", 12.0),
        ("heartbeat_full_listing_interval_seconds{source=\"kafka\",acon=\"kafka\"}", 20.0),
        ("heartbeat_runs{table=\"db.control\",state=\"active\"}", 7.0),
        ("heartbeat_table_version{table=\"db.control\",role=\"control\"}", 41.0),
        ("heartbeat_maintenance_deleted_bytes_total{table=\"db.control\",role=\"control\"}", 1024.0),
        ("heartbeat_journal_entries_total{result=\"written\"}", 12.0),
        ("heartbeat_jobs_api_calls_total{call=\"run_now\",result=\"throttled\"}", 1.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn a_check_that_failed_is_no_good_one() {
    let begin = Instant::now();
    let metrics = used(begin);
    metrics.checked(&source("kafka"), &check(CheckResult::Failed), begin + Duration::from_secs(50));
    let (samples, _) = parse(&metrics.encode(begin + Duration::from_mins(1)));
    let series = "heartbeat_last_good_check_age_seconds{source=\"kafka\",acon=\"kafka\"}";
    assert_eq!(samples.get(series), Some(&60.0));
}

#[test]
fn series_of_what_is_gone_are_gone() {
    let now = Instant::now();
    let metrics = used(now);
    metrics.source_added(&source("other"), now);
    metrics.source_removed(&source("kafka"));
    metrics.table_removed(&TableLabel::new("db.control", TableRole::Control));
    let page = metrics.encode(now);
    assert!(!page.contains("acon=\"kafka\""), "{page}");
    assert!(!page.contains("db.control"), "{page}");
    assert!(page.contains("acon=\"other\""), "{page}");
}

#[test]
fn odd_names_are_escaped() {
    let now = Instant::now();
    let metrics = Metrics::new(Timestamp::UNIX_EPOCH);
    metrics.source_added(&source("a\"b\\c\nd"), now);
    assert!(metrics.encode(now).contains(r#"acon="a\"b\\c\nd""#));
}
