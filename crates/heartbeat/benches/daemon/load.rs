//! What the parts have in common: rows of a job each, events, and what the kernel tells of a process.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::support::daemon::Daemon;
use crate::support::yard::Yard;

/// Job of the first topic; each further one has the next.
pub(crate) const FIRST_TOPIC_JOB: i64 = 100_000;
/// Job of the first folder.
pub(crate) const FIRST_FOLDER_JOB: i64 = 200_000;

/// One sensor of those that [`feed`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sensor {
    Topic(usize),
    Folder(usize),
}

impl Sensor {
    /// Its job, which has no other sensor.
    pub(crate) fn job(self) -> i64 {
        match self {
            Self::Topic(index) => FIRST_TOPIC_JOB + index as i64,
            Self::Folder(index) => FIRST_FOLDER_JOB + index as i64,
        }
    }

    /// Something arrives; when it was there.
    pub(crate) async fn arrive(self, yard: &Yard) -> Timestamp {
        match self {
            Self::Topic(index) => yard.record(&format!("t{index}")).await,
            Self::Folder(index) => yard.file(&format!("f{index}"), &format!("{}.txt", fastrand::u64(..))),
        }
        Timestamp::now()
    }
}

/// Feeds so many topics and folders, each with a job of its own, and returns them.
pub(crate) async fn feed(yard: &Yard, topics: usize, folders: usize) -> Vec<Sensor> {
    yard.create_topics(&topic_names(topics), 1).await;
    let mut rows = String::new();
    for index in 0..topics {
        writeln!(rows, "topic t{index} {} TRUE", Sensor::Topic(index).job()).unwrap();
    }
    for index in 0..folders {
        writeln!(rows, "folder f{index} {} TRUE", Sensor::Folder(index).job()).unwrap();
    }
    yard.feed(&rows).await;
    (0..topics).map(Sensor::Topic).chain((0..folders).map(Sensor::Folder)).collect()
}

pub(crate) fn topic_names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("t{index}")).collect()
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Anonymous memory in the main memory, in MB.
    pub(crate) anonymous_mb: f64,
    /// All of its memory in the main memory, in MB.
    pub(crate) resident_mb: f64,
    /// Time on a core since it began.
    pub(crate) cpu: Duration,
}

impl Usage {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        let kilobytes = |key: &str| -> f64 {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
        // Behind the name, which may hold blanks; the fields after it begin with the third.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Self {
            anonymous_mb: kilobytes("RssAnon:") / 1024.0,
            resident_mb: kilobytes("VmRSS:") / 1024.0,
            cpu: Duration::from_millis(ticks * 10),
        }
    }
}

/// Mean time of the checks of a source since `before` (sum and count), in milliseconds, and sum and count now.
pub(crate) fn mean_check_ms(page: &str, source: &str, before: (f64, f64)) -> (f64, (f64, f64)) {
    let label = format!("source=\"{source}\"");
    let of = |suffix: &str| {
        crate::support::daemon::sample(page, &format!("heartbeat_check_duration_seconds_{suffix}"), &[&label])
    };
    let now = (of("sum"), of("count"));
    ((now.0 - before.0) / (now.1 - before.1).max(1.0) * 1e3, now)
}
