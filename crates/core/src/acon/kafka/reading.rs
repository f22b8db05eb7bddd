//! What a row reads: which topics, from where on, and which records count.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::keys::KeyDoc;
use super::super::{Report, keys};
use super::options::{Given, Options};

/// Which records of which topics count, from where on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ReadOptions {
    /// Which records count.
    pub isolation: Isolation,
    /// Which topics the product's rows are about.
    pub topics: Topics,
    /// Where a row begins that was never looked at.
    pub starting: Starting,
    /// Whether a row stops at offsets that were gone before they were looked at, instead of going on behind them.
    pub fail_on_data_loss: bool,
}

/// Which records count as news (Kafka's consumer setting `isolation.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Isolation {
    /// The end is the high watermark. Records of a transaction are news as soon as they are written, unless the
    /// transaction is known to be aborted: Spark's default, and all the original can do.
    #[default]
    ReadUncommitted,
    /// The end is the last stable offset: a transaction is news once it is committed.
    ReadCommitted,
}

impl Isolation {
    /// The number that stands for it in Kafka's requests (KIP-98).
    pub fn wire_level(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// Which topics the rows of a product are about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Topics {
    /// What the row's `sensor_id` names behind the product: a topic, or several with commas between them.
    #[default]
    OfRow,
    /// `subscribe`: these.
    Listed(BTreeSet<String>),
    /// `subscribePattern`: all whose name has a match of this regular expression somewhere, internal ones left out.
    Matching(String),
    /// `assign`: these partitions.
    Assigned(BTreeMap<String, BTreeSet<i32>>),
}

/// Where a row begins that was never looked at. Partitions that are added later are always read from their beginning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Starting {
    /// At the first offset that is there: all the original can do.
    #[default]
    Earliest,
    /// At the end: what is there is no news.
    Latest,
    /// At these offsets, by topic and partition.
    Offsets(BTreeMap<String, BTreeMap<i32, StartingOffset>>),
    /// At the first record of this time or later.
    Times {
        /// For partitions that `by_partition` does not name, in milliseconds since the epoch.
        all: Option<i64>,
        /// By topic and partition, in milliseconds since the epoch.
        by_partition: BTreeMap<String, BTreeMap<i32, i64>>,
        /// What a partition without such a record does.
        otherwise: NoRecord,
    },
}

/// One partition's entry in `startingOffsets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StartingOffset {
    /// -2.
    Earliest,
    /// -1.
    Latest,
    /// This one, 0 or more.
    At(i64),
}

/// `startingOffsetsByTimestampStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum NoRecord {
    /// The row cannot be looked at.
    #[default]
    Error,
    /// The partition begins at its end.
    Latest,
}

/// The options that are read here, for the reference page.
pub(super) const DOCS: [KeyDoc; 9] = [
    keys::used(
        "isolation.level",
        "",
        "`read_uncommitted` (default) or `read_committed`: a transaction is news once it is committed.",
    ),
    keys::used(
        "subscribe",
        "",
        "Topics, with commas between them, for all rows of the product. Default: what the row's `sensor_id` names.",
    ),
    keys::used(
        "subscribePattern",
        "",
        "Regular expression: all topics whose name has a match. Topics that appear later are read from their beginning.",
    ),
    keys::used("assign", "", "JSON such as `{\"topic\": [0, 1]}`: these partitions only."),
    keys::used(
        "startingOffsets",
        "",
        "`earliest` (default, as the original), `latest`, or JSON such as `{\"topic\": {\"0\": 23, \"1\": -2}}` (-2 earliest, -1 latest). Only for rows that were never looked at.",
    ),
    keys::used(
        "startingTimestamp",
        "",
        "Milliseconds since 1970: rows that were never looked at begin with the first record of that time or later. Wins over `startingOffsetsByTimestamp`, and that over `startingOffsets`.",
    ),
    keys::used("startingOffsetsByTimestamp", "", "JSON such as `{\"topic\": {\"0\": 1700000000000}}`."),
    keys::used(
        "startingOffsetsByTimestampStrategy",
        "",
        "What a partition without such a record does: `error` (default), or `latest`.",
    ),
    keys::used(
        "failOnDataLoss",
        "",
        "`true`: a row whose unread offsets are gone stops until `check --baseline`. Default `false`: the loss is recorded with its offsets, and the row goes on.",
    ),
];

/// Takes the options that say what is read.
pub(super) fn read(options: &mut Options, report: &mut Report) -> ReadOptions {
    ReadOptions {
        isolation: read_isolation(options, report),
        topics: read_topics(options, report),
        starting: read_starting(options, report),
        fail_on_data_loss: options.take_bool("failondataloss", report).unwrap_or_default(),
    }
}

fn read_isolation(options: &mut Options, report: &mut Report) -> Isolation {
    let Some((path, level)) = options.take_text("isolation.level", report) else {
        return Isolation::default();
    };
    match level.to_ascii_lowercase().as_str() {
        "read_uncommitted" => Isolation::ReadUncommitted,
        "read_committed" => Isolation::ReadCommitted,
        _ => {
            report.error(path, "must be `read_uncommitted` or `read_committed`");
            Isolation::default()
        }
    }
}

fn read_topics(options: &mut Options, report: &mut Report) -> Topics {
    let given: Vec<(&str, Given)> = ["subscribe", "subscribepattern", "assign"]
        .into_iter()
        .filter_map(|name| Some((name, options.take(name)?)))
        .collect();
    if let [_, (_, second), ..] = given.as_slice() {
        report.error(&second.path, "only one of `subscribe`, `subscribePattern` and `assign` can be given");
        return Topics::default();
    }
    let Some((name, given)) = given.first() else { return Topics::default() };
    match *name {
        "subscribe" => {
            let Some(text) = given.text(report) else { return Topics::default() };
            let topics = topics_of(&text);
            if topics.is_empty() {
                report.error(&given.path, "names no topic");
            }
            Topics::Listed(topics)
        }
        "subscribepattern" => {
            let Some(pattern) = given.text(report) else { return Topics::default() };
            if let Err(problem) = fancy_regex::Regex::new(&pattern) {
                report.error(&given.path, format!("is no regular expression: {problem}"));
            }
            Topics::Matching(pattern)
        }
        _ => read_assigned(given, report),
    }
}

fn read_assigned(given: &Given, report: &mut Report) -> Topics {
    let Some(map) = given.mapping(report) else { return Topics::default() };
    let mut assigned = BTreeMap::new();
    for (topic, partitions) in map {
        let numbers: Option<BTreeSet<i32>> = partitions
            .as_array()
            .and_then(|list| list.iter().map(partition_of).collect())
            .filter(|numbers: &BTreeSet<i32>| !numbers.is_empty());
        match numbers {
            Some(numbers) => drop(assigned.insert(topic, numbers)),
            None => report
                .error(format!("{}.{topic}", given.path), "must be a list of partitions, such as [0, 1]"),
        }
    }
    if assigned.is_empty() {
        report.error(&given.path, "names no partition");
    }
    Topics::Assigned(assigned)
}

fn read_starting(options: &mut Options, report: &mut Report) -> Starting {
    let (timestamp, by_timestamp) =
        (options.take("startingtimestamp"), options.take("startingoffsetsbytimestamp"));
    let otherwise = read_no_record(options, report);
    let offsets = options.take("startingoffsets");
    let all = timestamp.as_ref().and_then(|given| {
        let time = given.text(report)?.parse().ok().filter(|time| *time >= 0);
        if time.is_none() {
            report.error(&given.path, "must be milliseconds since 1970");
        }
        time
    });
    if all.is_some() {
        return Starting::Times { all, by_partition: BTreeMap::new(), otherwise };
    }
    if let Some(given) = by_timestamp {
        let by_partition =
            by_partition(&given, "milliseconds since 1970", report, |time| (time >= 0).then_some(time));
        return Starting::Times { all: None, by_partition, otherwise };
    }
    offsets.map_or_else(Starting::default, |given| read_offsets(&given, report))
}

fn read_no_record(options: &mut Options, report: &mut Report) -> NoRecord {
    let Some((path, text)) = options.take_text("startingoffsetsbytimestampstrategy", report) else {
        return NoRecord::default();
    };
    match text.to_ascii_lowercase().as_str() {
        "error" => NoRecord::Error,
        "latest" => NoRecord::Latest,
        _ => {
            report.error(path, "must be `error` or `latest`");
            NoRecord::default()
        }
    }
}

fn read_offsets(given: &Given, report: &mut Report) -> Starting {
    match given.value.as_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
        Some("earliest") => return Starting::Earliest,
        Some("latest") => return Starting::Latest,
        _ => {}
    }
    if given.value.as_str().is_some_and(|text| !text.trim_start().starts_with('{')) {
        report.error(&given.path, "must be `earliest`, `latest`, or JSON of offsets by topic and partition");
        return Starting::default();
    }
    Starting::Offsets(by_partition(given, "an offset, -1 or -2", report, |offset| match offset {
        -2 => Some(StartingOffset::Earliest),
        -1 => Some(StartingOffset::Latest),
        offset => (offset >= 0).then_some(StartingOffset::At(offset)),
    }))
}

/// `{"topic": {"0": 23}}`.
fn by_partition<T>(
    given: &Given,
    what: &str,
    report: &mut Report,
    judge: impl Fn(i64) -> Option<T>,
) -> BTreeMap<String, BTreeMap<i32, T>> {
    let mut topics = BTreeMap::new();
    for (topic, partitions) in given.mapping(report).unwrap_or_default() {
        let path = format!("{}.{topic}", given.path);
        let Value::Object(partitions) = partitions else {
            report.error(path, "must be a mapping of partitions");
            continue;
        };
        let mut own = BTreeMap::new();
        for (partition, value) in partitions {
            let number = partition.trim().parse::<i32>().ok().filter(|number| *number >= 0);
            match (number, value.as_i64().and_then(&judge)) {
                (Some(number), Some(value)) => drop(own.insert(number, value)),
                _ => report.error(
                    format!("{path}.{partition}"),
                    format!("must be the number of a partition with {what}"),
                ),
            }
        }
        topics.insert(topic, own);
    }
    topics
}

fn partition_of(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).filter(|number| *number >= 0)
}

/// Topics with commas between them, as Spark splits `subscribe`.
pub fn topics_of(text: &str) -> BTreeSet<String> {
    text.split(',').map(str::trim).filter(|topic| !topic.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
