//! How long a table keeps what it no longer needs. Pure.
//!
//! Readers and slow writers need old files for a while: the log entries and the data files of versions that are
//! gone stay for a minimum of time whatever happens. Beyond it they stay up to a maximum, for looking back, as
//! long as they fit a budget; what is oldest goes first.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::log_dir::LogFile;

/// Milliseconds that a commit is given at least between a file and its entry: an hour.
const IN_FLIGHT: i64 = 3_600_000;

/// How long a table keeps what it no longer needs.
///
/// The table's own properties `delta.logRetentionDuration` and `delta.deletedFileRetentionDuration` take the
/// place of `max_age` where they are set. Budgets and minima hold all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The longest that log entries and data files of old versions are kept. Default: 7 days.
    pub max_age: Duration,
    /// Data files are kept this long after they were removed or written. A reader may take this long to
    /// read a version, a writer to commit; clocks of writers must differ by much less. Default: 1 hour.
    pub min_age: Duration,
    /// Log entries are kept this long. Default: 10 minutes.
    pub min_log_age: Duration,
    /// Bytes that old versions may take, log and data files together. Default: 256 MiB.
    pub max_bytes: u64,
    /// Entries that the log may have; who opens a table on a local disk pays for each. Default: 2,500.
    pub max_entries: usize,
    /// Time from one listing of the table's directory to the next. Default: 1 minute.
    pub every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            max_age: Duration::from_hours(7 * 24),
            min_age: Duration::from_hours(1),
            min_log_age: Duration::from_mins(10),
            max_bytes: 256 * 1024 * 1024,
            max_entries: 2_500,
            every: Duration::from_mins(1),
        }
    }
}

/// The retention of one table at one time; times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// Log files older than this are expired.
    log_expired: i64,
    /// Log files younger than this stay.
    log_young: i64,
    /// Data files that are garbage since before this are expired.
    files_expired: i64,
    /// Data files that are garbage since after this stay.
    pub(crate) files_young: i64,
    /// Milliseconds that a commit may be under way between a file and its entry.
    pub(crate) in_flight: i64,
    /// Whether the log may be cleaned at all.
    clean_log: bool,
    max_bytes: u64,
    max_entries: usize,
}

impl Cuts {
    /// What a retention means for a table with these properties now.
    pub(crate) fn new(keep: &Retention, properties: &HashMap<String, String>, now: Timestamp) -> Self {
        let before = |age: Duration| {
            now.as_millisecond().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
        };
        let age = |key: &str| properties.get(key).and_then(|text| interval(text)).unwrap_or(keep.max_age);
        let is = |key: &str, value: &str| {
            properties.get(key).is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        let protected = properties
            .get("delta.requireCheckpointProtectionBeforeVersion")
            .is_some_and(|version| version != "0");
        let (files_young, log_young) = (before(keep.min_age), before(keep.min_log_age));
        Self {
            log_expired: before(age("delta.logRetentionDuration")).min(log_young),
            log_young,
            files_expired: before(age("delta.deletedFileRetentionDuration")).min(files_young),
            files_young,
            in_flight: (now.as_millisecond() - files_young).max(IN_FLIGHT),
            clean_log: !protected && !is("delta.enableExpiredLogCleanup", "false"),
            max_bytes: keep.max_bytes,
            max_entries: keep.max_entries,
        }
    }

    /// The version that the log may begin with: all its files below go. `newest` is the version of the newest
    /// checkpoint that is known to be readable.
    ///
    /// It always is the version of a checkpoint that is older than the minimum: whoever began to read since
    /// then began with it or a later one.
    pub(crate) fn log_start(&self, files: &[LogMeta], newest: u64) -> Option<u64> {
        if !self.clean_log {
            return None;
        }
        let wanted = self.expired(files).max(self.over_budget(files));
        let is_start = |file: &&LogMeta| {
            let LogFile::Checkpoint(version) = file.file else { return false };
            version <= newest && version <= wanted && file.millis <= self.log_young
        };
        let start = files.iter().filter(is_start).map(|file| file.file.version()).max()?;
        files.iter().any(|file| file.file.version() < start).then_some(start)
    }

    /// Versions below are expired.
    fn expired(&self, files: &[LogMeta]) -> u64 {
        let expired = files.iter().filter(|file| file.millis <= self.log_expired);
        expired.map(|file| file.file.version() + 1).max().unwrap_or(0)
    }

    /// Versions below do not fit: the log may have a quarter of all bytes.
    fn over_budget(&self, files: &[LogMeta]) -> u64 {
        let mut newest_first: Vec<&LogMeta> = files.iter().collect();
        newest_first.sort_by_key(|file| std::cmp::Reverse(file.file.version()));
        let (mut bytes, mut entries) = (0, 0);
        for file in newest_first {
            bytes += file.size;
            entries += usize::from(matches!(file.file, LogFile::Entry(_)));
            if entries > self.max_entries || bytes > self.max_bytes / 4 {
                return file.file.version() + 1;
            }
        }
        0
    }

    /// Which garbage goes, oldest first: all that is expired or belongs to nobody, and what does not fit beside
    /// `log_bytes`. Nothing that is young.
    pub(crate) fn doomed(&self, garbage: &[Garbage], log_bytes: u64) -> Vec<usize> {
        let mut oldest_first: Vec<usize> = (0..garbage.len()).collect();
        oldest_first.sort_by_key(|index| garbage[*index].since);
        let mut bytes: u64 = garbage.iter().map(|file| file.size).sum();
        let budget = self.max_bytes.saturating_sub(log_bytes);
        oldest_first.retain(|index| {
            let file = &garbage[*index];
            let goes = file.since <= self.files_young
                && (file.since <= self.files_expired || file.orphan || bytes > budget);
            if goes {
                bytes -= file.size;
            }
            goes
        });
        oldest_first
    }
}

/// A file of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogMeta {
    pub(crate) file: LogFile,
    /// When it was written.
    pub(crate) millis: i64,
    pub(crate) size: u64,
}

/// A file that the current version does not have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Garbage {
    pub(crate) size: u64,
    /// Since when nobody needs it who begins to read: when it was removed, and not before it was written.
    pub(crate) since: i64,
    /// No version that can still be read ever had it.
    pub(crate) orphan: bool,
}

/// The length of an interval as Spark writes it: `interval 1 week 2 days`.
fn interval(text: &str) -> Option<Duration> {
    let text = text.to_ascii_lowercase();
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "interval").collect();
    let mut total = Duration::ZERO;
    for pair in words.chunks(2) {
        let [count, unit] = pair else { return None };
        let count: u64 = count.parse().ok()?;
        let unit = match unit.trim_end_matches('s') {
            "week" => Duration::from_hours(7 * 24),
            "day" => Duration::from_hours(24),
            "hour" => Duration::from_hours(1),
            "minute" => Duration::from_mins(1),
            "second" => Duration::from_secs(1),
            "millisecond" => Duration::from_millis(1),
            "microsecond" => Duration::from_micros(1),
            "nanosecond" => Duration::from_nanos(1),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(u32::try_from(count).ok()?)?)?;
    }
    (!words.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_000 * HOUR;

    fn cuts(keep: &Retention, properties: &[(&str, &str)]) -> Cuts {
        let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Cuts::new(keep, &properties.collect(), Timestamp::from_millisecond(NOW).unwrap())
    }

    /// Versions 0 to 99, ten minutes apart, the last now; checkpoints at 20, 40, 60 and 80.
    fn log() -> Vec<LogMeta> {
        let millis = |version: u64| NOW - (99 - version as i64) * HOUR / 6;
        let entry = |version| LogMeta { file: LogFile::Entry(version), millis: millis(version), size: 10 };
        let checkpoint =
            |version| LogMeta { file: LogFile::Checkpoint(version), millis: millis(version) + 1, size: 100 };
        (0..100).map(entry).chain((1..5).map(|fifth| checkpoint(fifth * 20))).collect()
    }

    #[rstest]
    #[case::all_is_young(Retention::default(), &[], None)]
    #[case::expired(Retention { max_age: Duration::from_hours(5), ..Retention::default() }, &[], Some(60))]
    #[case::the_table_says_how_long(Retention::default(), &[("delta.logRetentionDuration", "interval 5 hours")], Some(60))]
    #[case::the_table_says_longer(
        Retention { max_age: Duration::from_hours(5), ..Retention::default() },
        &[("delta.logRetentionDuration", "interval 1 week")], None
    )]
    #[case::too_many(Retention { max_entries: 45, ..Retention::default() }, &[], Some(40))]
    #[case::a_count_needs_no_age(Retention { max_entries: 1, ..Retention::default() }, &[], Some(80))]
    #[case::too_many_but_young(
        Retention { max_entries: 1, min_log_age: Duration::from_hours(9), ..Retention::default() }, &[], Some(40)
    )]
    #[case::too_large(Retention { max_bytes: 4 * 500, ..Retention::default() }, &[], Some(60))]
    #[case::cleanup_is_off(
        Retention { max_entries: 1, ..Retention::default() }, &[("delta.enableExpiredLogCleanup", "false")], None
    )]
    #[case::history_is_protected(
        Retention { max_entries: 1, ..Retention::default() },
        &[("delta.requireCheckpointProtectionBeforeVersion", "7")], None
    )]
    fn where_a_log_begins(
        #[case] keep: Retention,
        #[case] properties: &[(&str, &str)],
        #[case] expected: Option<u64>,
    ) {
        assert_eq!(cuts(&keep, properties).log_start(&log(), 80), expected);
    }

    #[test]
    fn a_log_begins_with_a_checkpoint_that_can_be_read_and_is_not_young() {
        let all = Retention { max_entries: 0, ..Retention::default() };
        assert_eq!(cuts(&all, &[]).log_start(&log(), 70), Some(60));
        assert_eq!(cuts(&all, &[]).log_start(&log(), 19), None);
        let mut young = log();
        for file in &mut young {
            if file.file == LogFile::Checkpoint(80) {
                file.millis = NOW;
            }
        }
        assert_eq!(cuts(&all, &[]).log_start(&young, 80), Some(60));
        let cleaned: Vec<LogMeta> = log().into_iter().filter(|file| file.file.version() >= 80).collect();
        assert_eq!(cuts(&all, &[]).log_start(&cleaned, 80), None, "nothing is left to clean");
    }

    fn garbage(hours: i64, size: u64) -> Garbage {
        Garbage { size, since: NOW - hours * HOUR, orphan: false }
    }

    #[rstest]
    #[case::young(&[garbage(0, 1 << 40)], &[])]
    #[case::kept_for_looking_back(&[garbage(24, 10)], &[])]
    #[case::expired(&[garbage(24, 10), garbage(169, 10), garbage(168, 10)], &[1, 2])]
    #[case::over_budget(&[garbage(2, 600), garbage(4, 600), garbage(0, 600), garbage(3, 600)], &[1, 3, 0])]
    #[case::just_in_budget(&[garbage(2, 500), garbage(3, 400)], &[])]
    #[case::orphan(&[Garbage { orphan: true, ..garbage(2, 1) }, Garbage { orphan: true, ..garbage(0, 1) }], &[0])]
    fn which_files_go(#[case] files: &[Garbage], #[case] expected: &[usize]) {
        let keep = Retention { max_bytes: 1_000, ..Retention::default() };
        assert_eq!(cuts(&keep, &[]).doomed(files, 100), expected);
    }

    #[test]
    fn a_table_that_keeps_removed_files_for_no_time_still_keeps_them_for_the_minimum() {
        let none = cuts(&Retention::default(), &[("delta.deletedFileRetentionDuration", "interval 0 hours")]);
        assert_eq!(none.doomed(&[garbage(0, 1), garbage(1, 1)], 0), [1]);
    }

    #[rstest]
    #[case("interval 7 days", Some(7 * 24 * 3_600))]
    #[case("INTERVAL 1 WEEK", Some(7 * 24 * 3_600))]
    #[case("interval 1 day 2 hours 3 minutes 4 seconds", Some(93_784))]
    #[case("30 days", Some(30 * 24 * 3_600))]
    #[case("interval 1 month", None)]
    #[case("interval", None)]
    #[case("interval days", None)]
    #[case("", None)]
    fn intervals(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(interval(text), seconds.map(Duration::from_secs));
    }
}
