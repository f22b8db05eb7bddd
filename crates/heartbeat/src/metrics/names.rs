//! Every metric: its name, labels and meaning. Nothing else names one; the reference page is made from this.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows while the process lives.
    Counter,
    /// A present value.
    Gauge,
    /// A distribution, in seconds.
    Histogram,
    /// Constant labels.
    Info,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDoc {
    /// Name as it is served; a histogram adds `_bucket`, `_sum` and `_count`.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// Keys of its labels.
    pub labels: &'static [&'static str],
    /// One sentence, without the full stop.
    pub help: &'static str,
}

/// Kind of upstream, and the name of the source in the configuration.
const OF_SOURCE: &[&str] = &["source", "acon"];
const OF_TABLE: &[&str] = &["table", "role"];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> MetricDoc {
    MetricDoc { name, kind: MetricKind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> MetricDoc {
    MetricDoc { name, kind: MetricKind::Gauge, labels, help }
}

const fn seconds(name: &'static str, help: &'static str) -> MetricDoc {
    MetricDoc { name, kind: MetricKind::Histogram, labels: OF_SOURCE, help }
}

pub(super) const BUILD: MetricDoc = MetricDoc {
    name: "heartbeat_build_info",
    kind: MetricKind::Info,
    labels: &["version"],
    help: "Version of the binary; always 1",
};
pub(super) const PROCESS_START: MetricDoc =
    gauge("process_start_time_seconds", &[], "When the process began, in seconds since 1970");

pub(super) const CHECKS: MetricDoc = counter(
    "heartbeat_checks_total",
    &["source", "acon", "result"],
    "Checks that ended: `ok`, `partly` when some rows could not be looked at, `failed` when none could",
);
pub(super) const CHECK_DURATION: MetricDoc =
    seconds("heartbeat_check_duration_seconds", "How long a check took");
pub(super) const CHECK_DELAY: MetricDoc =
    seconds("heartbeat_check_delay_seconds", "How much later than planned a check began");
pub(super) const MISSED_TICKS: MetricDoc = counter(
    "heartbeat_missed_ticks_total",
    OF_SOURCE,
    "Planned checks that were left out because an earlier one went on or the clock jumped",
);
pub(super) const LAST_GOOD_CHECK: MetricDoc = gauge(
    "heartbeat_last_good_check_age_seconds",
    OF_SOURCE,
    "Time since the last check that reached at least one row or had none to look at; before the first one, since the source is known",
);
pub(super) const SENSORS_WATCHED: MetricDoc =
    gauge("heartbeat_sensors_watched", OF_SOURCE, "Rows that the last check looked at");
pub(super) const SENSORS_FAILING: MetricDoc =
    gauge("heartbeat_sensors_failing", OF_SOURCE, "Rows that the last check could not look at");
pub(super) const NEWS: MetricDoc =
    counter("heartbeat_news_total", OF_SOURCE, "Rows that were found to have news");
pub(super) const LOSSES: MetricDoc = counter(
    "heartbeat_data_losses_total",
    OF_SOURCE,
    "Stretches of offsets that were gone before they were looked at; the journal tells which",
);
pub(super) const DETECTION_TO_START: MetricDoc = seconds(
    "heartbeat_detection_to_start_seconds",
    "From the detection of the newest news to the answer of the Jobs API with a run",
);
pub(super) const ARRIVAL_TO_START: MetricDoc = seconds(
    "heartbeat_arrival_to_start_seconds",
    "From the arrival of the newest news, where the upstream tells it, to the answer of the Jobs API with a run",
);

pub(super) const CERTIFICATE_EXPIRY: MetricDoc = gauge(
    "heartbeat_certificate_expiry_timestamp_seconds",
    &["source", "acon", "role"],
    "When the first certificate ends, in seconds since 1970: `client` what is shown to brokers, `trusted` by a truststore, `broker` shown by one",
);

pub(super) const STORE_REQUESTS: MetricDoc = counter(
    "heartbeat_store_requests_total",
    OF_SOURCE,
    "Requests to the store of the trigger files, repeated ones too; none for this machine's folders",
);
pub(super) const STORE_BYTES: MetricDoc =
    counter("heartbeat_store_received_bytes_total", OF_SOURCE, "Bytes of the answers to them");
pub(super) const LARGE_FOLDERS: MetricDoc = gauge(
    "heartbeat_large_folders",
    OF_SOURCE,
    "Folders of trigger files that are listed whole now and then only, because they hold many",
);
pub(super) const FULL_LISTING_REQUESTS: MetricDoc = gauge(
    "heartbeat_full_listing_requests",
    OF_SOURCE,
    "Requests that the last full listings of these folders took together",
);
pub(super) const FULL_LISTING_INTERVAL: MetricDoc = gauge(
    "heartbeat_full_listing_interval_seconds",
    OF_SOURCE,
    "Longest pause between full listings of such a folder: a file whose name does not sort behind the newest is found after at most this",
);

pub(super) const STARTS: MetricDoc = counter(
    "heartbeat_starts_total",
    &["table", "result"],
    "Starts of jobs by control table: `accepted`, `refused`, or `unknown` when no answer came",
);
pub(super) const RUNS: MetricDoc = gauge(
    "heartbeat_runs",
    &["table", "state"],
    "Jobs by control table: `claimed` without a run yet, `active`, or `failed` and waiting for a success",
);
pub(super) const COMPLETIONS: MetricDoc = counter(
    "heartbeat_completions_total",
    &["table", "outcome"],
    "Runs that ended by control table: `succeeded`, `failed`, or `skipped` when they never ran",
);

pub(super) const COMMITS: MetricDoc = counter(
    "heartbeat_commits_total",
    OF_TABLE,
    "Versions written; role is `control`, `sensor` or `journal`",
);
pub(super) const COMMIT_CONFLICTS: MetricDoc = counter(
    "heartbeat_commit_conflicts_total",
    OF_TABLE,
    "Commits that lost to another writer and were decided anew",
);
pub(super) const TABLE_VERSION: MetricDoc =
    gauge("heartbeat_table_version", OF_TABLE, "Newest version that was read or written");
pub(super) const DELETED_FILES: MetricDoc = counter(
    "heartbeat_maintenance_deleted_files_total",
    OF_TABLE,
    "Files that no version needs any more and that were deleted",
);
pub(super) const DELETED_BYTES: MetricDoc =
    counter("heartbeat_maintenance_deleted_bytes_total", OF_TABLE, "Bytes of the deleted files");

pub(super) const JOURNAL_ENTRIES: MetricDoc = counter(
    "heartbeat_journal_entries_total",
    &["result"],
    "Entries of the journal: `written`, or `dropped` because it could not be written for too long",
);
pub(super) const JOBS_API_CALLS: MetricDoc = counter(
    "heartbeat_jobs_api_calls_total",
    &["call", "result"],
    "Calls of the Jobs API (`run_now`, `get_run`, `list_runs`): `ok`, `refused`, `throttled`, or `no_answer`",
);

/// Every metric that is served.
pub const METRICS: [MetricDoc; 29] = [
    BUILD,
    PROCESS_START,
    CHECKS,
    CHECK_DURATION,
    CHECK_DELAY,
    MISSED_TICKS,
    LAST_GOOD_CHECK,
    SENSORS_WATCHED,
    SENSORS_FAILING,
    NEWS,
    LOSSES,
    DETECTION_TO_START,
    ARRIVAL_TO_START,
    CERTIFICATE_EXPIRY,
    STORE_REQUESTS,
    STORE_BYTES,
    LARGE_FOLDERS,
    FULL_LISTING_REQUESTS,
    FULL_LISTING_INTERVAL,
    STARTS,
    RUNS,
    COMPLETIONS,
    COMMITS,
    COMMIT_CONFLICTS,
    TABLE_VERSION,
    DELETED_FILES,
    DELETED_BYTES,
    JOURNAL_ENTRIES,
    JOBS_API_CALLS,
];
