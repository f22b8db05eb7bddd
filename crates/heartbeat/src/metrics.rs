//! What the daemon counts and measures, for Prometheus.
//!
//! Values of labels are words of enums and names from the configuration, never texts of errors. Series of a source or
//! table that is no longer watched are taken off.

mod labels;
mod names;
mod series;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use self::labels::{
    ApiCall, ApiResult, CheckResult, JournalResult, RunEnd, RunPhase, SourceLabel, StartResult, TableLabel,
    TableRole,
};
use crate::jobs::{Answered, Observer};
use crate::sources::kafka::CertificateRole;
use crate::sources::trigger_file::FullListing;
use crate::stores::TrafficCount;

pub use self::names::{METRICS, MetricDoc, MetricKind};
use self::series::{Ages, Counters, Gauges, Histograms, Series};

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a process. Methods are cheap and never wait for anything but each other.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    last_good: Mutex<BTreeMap<SourceLabel, Instant>>,
    checks: Counters,
    check_duration: Histograms,
    check_delay: Histograms,
    missed_ticks: Counters,
    last_good_age: Ages,
    sensors_watched: Gauges,
    sensors_failing: Gauges,
    news: Counters,
    losses: Counters,
    detection_to_start: Histograms,
    arrival_to_start: Histograms,
    certificate_expiry: Gauges,
    store_requests: Counters,
    store_bytes: Counters,
    large_folders: Gauges,
    full_listing_requests: Gauges,
    full_listing_interval: Gauges,
    starts: Counters,
    runs: Gauges,
    completions: Counters,
    commits: Counters,
    commit_conflicts: Counters,
    table_version: Gauges,
    deleted_files: Counters,
    deleted_bytes: Counters,
    journal_entries: Counters,
    jobs_api_calls: Counters,
}

/// One check that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// How it went.
    pub result: CheckResult,
    /// How long it took.
    pub took: Duration,
    /// How much later than planned it began.
    pub delay: Duration,
    /// Planned checks before it that were left out.
    pub missed: u64,
    /// Rows that were looked at, failing ones included.
    pub watched: usize,
    /// Rows that could not be looked at.
    pub failing: usize,
    /// Rows with news.
    pub news: usize,
    /// Stretches of offsets that were gone before they were looked at.
    pub losses: usize,
}

impl Metrics {
    /// Metrics of a process that began at `started`.
    pub fn new(started: Timestamp) -> Self {
        let mut registry = Registry::default();
        let version = vec![(names::BUILD.labels[0], env!("CARGO_PKG_VERSION"))];
        registry.register(series::name(&names::BUILD), names::BUILD.help, Info::new(version));
        let begin = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
        begin.set(started.as_millisecond() as f64 / 1000.0);
        registry.register(series::name(&names::PROCESS_START), names::PROCESS_START.help, begin);
        let page = &mut registry;
        Self {
            last_good: Mutex::default(),
            checks: Series::new(page, &names::CHECKS),
            check_duration: Series::histograms(page, &names::CHECK_DURATION),
            check_delay: Series::histograms(page, &names::CHECK_DELAY),
            missed_ticks: Series::new(page, &names::MISSED_TICKS),
            last_good_age: Series::new(page, &names::LAST_GOOD_CHECK),
            sensors_watched: Series::new(page, &names::SENSORS_WATCHED),
            sensors_failing: Series::new(page, &names::SENSORS_FAILING),
            news: Series::new(page, &names::NEWS),
            losses: Series::new(page, &names::LOSSES),
            detection_to_start: Series::histograms(page, &names::DETECTION_TO_START),
            arrival_to_start: Series::histograms(page, &names::ARRIVAL_TO_START),
            certificate_expiry: Series::new(page, &names::CERTIFICATE_EXPIRY),
            store_requests: Series::new(page, &names::STORE_REQUESTS),
            store_bytes: Series::new(page, &names::STORE_BYTES),
            large_folders: Series::new(page, &names::LARGE_FOLDERS),
            full_listing_requests: Series::new(page, &names::FULL_LISTING_REQUESTS),
            full_listing_interval: Series::new(page, &names::FULL_LISTING_INTERVAL),
            starts: Series::new(page, &names::STARTS),
            runs: Series::new(page, &names::RUNS),
            completions: Series::new(page, &names::COMPLETIONS),
            commits: Series::new(page, &names::COMMITS),
            commit_conflicts: Series::new(page, &names::COMMIT_CONFLICTS),
            table_version: Series::new(page, &names::TABLE_VERSION),
            deleted_files: Series::new(page, &names::DELETED_FILES),
            deleted_bytes: Series::new(page, &names::DELETED_BYTES),
            journal_entries: Series::new(page, &names::JOURNAL_ENTRIES),
            jobs_api_calls: Series::new(page, &names::JOBS_API_CALLS),
            registry,
        }
    }

    /// The page, in the OpenMetrics text format ([`CONTENT_TYPE`]).
    pub fn encode(&self, now: Instant) -> String {
        for (source, at) in self.last_good().iter() {
            let age = now.saturating_duration_since(*at);
            self.last_good_age.with(&source.values()).set(age.as_secs_f64());
        }
        let mut page = String::new();
        // Writing into a text does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut page, &self.registry);
        page
    }

    /// A source is watched from `now` on.
    pub fn source_added(&self, source: &SourceLabel, now: Instant) {
        self.last_good().entry(source.clone()).or_insert(now);
        for result in CheckResult::ALL {
            self.checks.with(&[source.kind(), source.name(), result.as_str()]);
        }
    }

    /// A source is no longer watched: its series go.
    pub fn source_removed(&self, source: &SourceLabel) {
        self.last_good().remove(source);
        for result in CheckResult::ALL {
            self.checks.remove(&[source.kind(), source.name(), result.as_str()]);
        }
        let values = source.values();
        let counted = [&self.missed_ticks, &self.news, &self.losses, &self.store_requests, &self.store_bytes];
        for counters in counted {
            counters.remove(&values);
        }
        for gauges in [
            &self.sensors_watched,
            &self.sensors_failing,
            &self.large_folders,
            &self.full_listing_requests,
            &self.full_listing_interval,
        ] {
            gauges.remove(&values);
        }
        for histograms in
            [&self.check_duration, &self.check_delay, &self.detection_to_start, &self.arrival_to_start]
        {
            histograms.remove(&values);
        }
        self.last_good_age.remove(&values);
        for role in CertificateRole::ALL {
            self.certificate_expiry.remove(&[source.kind(), source.name(), role.as_str()]);
        }
    }

    /// When certificates of a source end.
    pub fn certificates(
        &self,
        source: &SourceLabel,
        ends: impl Iterator<Item = (CertificateRole, Timestamp)>,
    ) {
        let mut first: BTreeMap<CertificateRole, Timestamp> = BTreeMap::new();
        for (role, end) in ends {
            first.entry(role).and_modify(|first| *first = end.min(*first)).or_insert(end);
        }
        for (role, end) in first {
            let series = self.certificate_expiry.with(&[source.kind(), source.name(), role.as_str()]);
            series.set(end.as_second());
        }
    }

    /// What looking at trigger files has cost since the last check, and what full listings cost.
    pub fn listed(&self, source: &SourceLabel, traffic: TrafficCount, full: &[FullListing]) {
        let values = source.values();
        self.store_requests.with(&values).inc_by(traffic.requests);
        self.store_bytes.with(&values).inc_by(traffic.received);
        self.large_folders.with(&values).set(gauge_value(full.len()));
        let requests: u64 = full.iter().map(|listing| listing.requests).sum();
        self.full_listing_requests.with(&values).set(i64::try_from(requests).unwrap_or(i64::MAX));
        let pause = full.iter().map(|listing| listing.pause.as_secs()).max().unwrap_or_default();
        self.full_listing_interval.with(&values).set(i64::try_from(pause).unwrap_or(i64::MAX));
    }

    /// A check ended at `now`.
    pub fn checked(&self, source: &SourceLabel, check: &Check, now: Instant) {
        let values = source.values();
        self.checks.with(&[source.kind(), source.name(), check.result.as_str()]).inc();
        self.check_duration.with(&values).observe(check.took.as_secs_f64());
        self.check_delay.with(&values).observe(check.delay.as_secs_f64());
        self.missed_ticks.with(&values).inc_by(check.missed);
        self.sensors_watched.with(&values).set(gauge_value(check.watched));
        self.sensors_failing.with(&values).set(gauge_value(check.failing));
        self.news.with(&values).inc_by(check.news as u64);
        self.losses.with(&values).inc_by(check.losses as u64);
        if check.result != CheckResult::Failed {
            self.last_good().insert(source.clone(), now);
        }
    }

    /// A job got its run. `since_arrival` where the upstream tells when the news arrived.
    pub fn started(&self, source: &SourceLabel, since_detection: Duration, since_arrival: Option<Duration>) {
        self.detection_to_start.with(&source.values()).observe(since_detection.as_secs_f64());
        if let Some(since_arrival) = since_arrival {
            self.arrival_to_start.with(&source.values()).observe(since_arrival.as_secs_f64());
        }
    }

    /// The answer to a start of a job in `control`.
    pub fn start_answered(&self, control: &TableLabel, result: StartResult) {
        self.starts.with(&[control.name(), result.as_str()]).inc();
    }

    /// How many jobs of `control` are in a phase now.
    pub fn runs(&self, control: &TableLabel, phase: RunPhase, jobs: usize) {
        self.runs.with(&[control.name(), phase.as_str()]).set(gauge_value(jobs));
    }

    /// A run of a job in `control` ended.
    pub fn run_ended(&self, control: &TableLabel, end: RunEnd) {
        self.completions.with(&[control.name(), end.as_str()]).inc();
    }

    /// A table was read at a version.
    pub fn table_read(&self, table: &TableLabel, version: u64) {
        self.table_version.with(&table.values()).set(i64::try_from(version).unwrap_or(i64::MAX));
    }

    /// A version of a table was written.
    pub fn committed(&self, table: &TableLabel, version: u64) {
        self.commits.with(&table.values()).inc();
        self.table_read(table, version);
    }

    /// Entries were appended to a journal, in one commit.
    pub fn appended(&self, journal: &TableLabel) {
        self.commits.with(&journal.values()).inc();
    }

    /// A commit to a table lost to another writer.
    pub fn commit_lost(&self, table: &TableLabel) {
        self.commit_conflicts.with(&table.values()).inc();
    }

    /// Files of a table were deleted.
    pub fn files_deleted(&self, table: &TableLabel, files: u64, bytes: u64) {
        self.deleted_files.with(&table.values()).inc_by(files);
        self.deleted_bytes.with(&table.values()).inc_by(bytes);
    }

    /// A table is no longer watched: its series go.
    pub fn table_removed(&self, table: &TableLabel) {
        let values = table.values();
        for counters in [&self.commits, &self.commit_conflicts, &self.deleted_files, &self.deleted_bytes] {
            counters.remove(&values);
        }
        self.table_version.remove(&values);
        if table.role() == TableRole::Control {
            for it in StartResult::ALL {
                self.starts.remove(&[table.name(), it.as_str()]);
            }
            for it in RunPhase::ALL {
                self.runs.remove(&[table.name(), it.as_str()]);
            }
            for it in RunEnd::ALL {
                self.completions.remove(&[table.name(), it.as_str()]);
            }
        }
    }

    /// Entries of the journal were written or dropped.
    pub fn journal_entries(&self, result: JournalResult, entries: usize) {
        self.journal_entries.with(&[result.as_str()]).inc_by(entries as u64);
    }

    /// A pair of tables is watched: the series whose labels are words begin at 0.
    pub fn tables_added(&self, tables: &[TableLabel]) {
        for table in tables {
            for counters in [&self.commits, &self.commit_conflicts, &self.deleted_files, &self.deleted_bytes]
            {
                counters.with(&table.values());
            }
            if table.role() == TableRole::Control {
                for it in StartResult::ALL {
                    self.starts.with(&[table.name(), it.as_str()]);
                }
                for it in RunPhase::ALL {
                    self.runs.with(&[table.name(), it.as_str()]);
                }
                for it in RunEnd::ALL {
                    self.completions.with(&[table.name(), it.as_str()]);
                }
            }
        }
        for result in [JournalResult::Written, JournalResult::Dropped] {
            self.journal_entries.with(&[result.as_str()]);
        }
    }

    /// One call of the Jobs API, each try by itself.
    pub fn jobs_api_called(&self, call: ApiCall, result: ApiResult) {
        self.jobs_api_calls.with(&[call.as_str(), result.as_str()]).inc();
    }

    fn last_good(&self) -> MutexGuard<'_, BTreeMap<SourceLabel, Instant>> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Metrics {
    fn called(&self, call: &'static str, answered: Answered) {
        let call = match call {
            "run-now" => ApiCall::RunNow,
            "runs/get" => ApiCall::GetRun,
            "runs/list" => ApiCall::ListRuns,
            _ => return,
        };
        let result = match answered {
            Answered::Ok => ApiResult::Ok,
            Answered::Refused => ApiResult::Refused,
            Answered::Throttled => ApiResult::Throttled,
            Answered::No => ApiResult::NoAnswer,
        };
        self.jobs_api_called(call, result);
    }
}

fn gauge_value(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
