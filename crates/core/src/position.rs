//! Positions: how far a source has got, with the identity of the source; and what is new between two of them.
//!
//! News is found by comparing two values. A source that is not the one the cursor was taken from (a topic made
//! again, a moved folder) is looked at from its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::files::Run;

/// Where a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// A Kafka topic.
    Kafka(KafkaPosition),
    /// Several Kafka topics that one row is about.
    Topics(TopicsPosition),
    /// A folder of trigger files.
    Files(FilesPosition),
}

/// Where several topics stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicsPosition {
    /// By name.
    pub topics: BTreeMap<String, KafkaPosition>,
}

/// End offsets of a topic. An offset is the next one to read (Kafka's log end), never the last one read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaPosition {
    /// Cluster id as the brokers tell it.
    pub cluster: String,
    /// Name of the topic.
    pub topic: String,
    /// Topic id (KIP-516); a topic that was deleted and made again has another. Brokers before 2.8 have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<String>,
    /// Next offset by partition.
    pub offsets: BTreeMap<i32, i64>,
    /// Leader epoch by partition when the offset was told (KIP-320): tells a log that was cut off and written anew from
    /// one that went on. Brokers before 2.1 tell none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub epochs: BTreeMap<i32, i32>,
}

/// Files seen in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesPosition {
    /// URL of the folder.
    pub folder: String,
    /// Paths below the folder, `/` between their parts: all of a small folder, of a large one the last.
    pub seen: BTreeSet<String>,
    /// Paths that were seen and are gone, with the time when that was noticed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<String, Timestamp>,
    /// The others, in files beside the table; their stretches are disjoint and in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Run>,
}

/// Offsets `from..to` of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    /// Partition of the topic.
    pub partition: i32,
    /// First offset of the range.
    pub from: i64,
    /// First offset behind the range.
    pub to: i64,
}

/// One new trigger file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// Path below the sensor's folder.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// What tells this content from another under the same path, as the store gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Last modification, as the store tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<jiff::Timestamp>,
}

/// What exactly is new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manifest {
    /// Offset ranges that hold at least one record, by partition.
    Offsets(Vec<OffsetRange>),
    /// The same of several topics, by name.
    Topics(BTreeMap<String, Vec<OffsetRange>>),
    /// New files, sorted by path.
    Files(Vec<NewFile>),
    /// More new files than are listed.
    ManyFiles(ManyFiles),
}

/// Very many new files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManyFiles {
    /// How many.
    pub count: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// The first of them.
    pub first: Vec<NewFile>,
}

/// More new files than this are counted instead of listed.
pub const MOST_LISTED: usize = 10_000;

/// Of files that are counted, so many are listed all the same.
const LISTED_OF_MANY: usize = 100;

/// Offsets that were gone before they were looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Name of the topic.
    pub topic: String,
    /// Partition of it; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// First offset that is gone.
    pub from: i64,
    /// First offset behind what is gone; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Why.
    pub cause: LossCause,
}

/// Why offsets are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// Retention or DeleteRecords passed them.
    Expired,
    /// The log was cut off and written anew, as after the election of a leader that lagged behind.
    Rewound,
    /// The topic was deleted and made again.
    MadeAgain,
    /// The topic, or the partition, is no longer there.
    Gone,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, from, to, cause } = self;
        write!(f, "topic `{topic}`")?;
        if let Some(partition) = partition {
            write!(f, " partition {partition}")?;
        }
        match to {
            Some(to) => write!(f, ": offsets {from}..{to} ")?,
            None if *from > 0 => write!(f, ": offsets from {from} on ")?,
            None => f.write_str(": offsets that were not yet looked at ")?,
        }
        f.write_str(match cause {
            LossCause::Expired => "expired before they were looked at (retention or DeleteRecords)",
            LossCause::Rewound => {
                "were cut off, and the log is written anew from there (unclean leader election)"
            }
            LossCause::MadeAgain => "are gone: the topic was deleted and made again",
            LossCause::Gone => "are gone: it was deleted",
        })
    }
}

impl KafkaPosition {
    /// True when the cursor means nothing here: another topic under the same name, or another cluster.
    pub fn is_another_topic_than(&self, cursor: &Self) -> bool {
        let other_id = matches!((&self.topic_id, &cursor.topic_id), (Some(a), Some(b)) if a != b);
        other_id || self.cluster != cursor.cluster || self.topic != cursor.topic
    }
}

/// Gathers new files in bounded memory.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    files: Vec<NewFile>,
    count: u64,
    bytes: u64,
}

impl Gathered {
    /// Adds one.
    pub fn push(&mut self, file: NewFile) {
        self.count += 1;
        self.bytes += file.size;
        if self.files.len() < MOST_LISTED {
            self.files.push(file);
        }
    }

    /// Takes in what else was gathered.
    pub fn add(&mut self, other: Self) {
        let unlisted = other.count - other.files.len() as u64;
        let listed_bytes: u64 = other.files.iter().map(|file| file.size).sum();
        self.count += unlisted;
        self.bytes += other.bytes - listed_bytes;
        for file in other.files {
            self.push(file);
        }
    }

    /// True when nothing is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What is new; `None` when nothing is.
    pub fn manifest(self) -> Option<Manifest> {
        let Self { mut files, count, bytes } = self;
        if count > files.len() as u64 {
            files.truncate(LISTED_OF_MANY);
            return Some(Manifest::ManyFiles(ManyFiles { count, bytes, first: files }));
        }
        files.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        (!files.is_empty()).then_some(Manifest::Files(files))
    }
}

impl Manifest {
    /// True when nothing is new.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Offsets(ranges) => ranges.is_empty(),
            Self::Topics(topics) => topics.values().all(Vec::is_empty),
            Self::Files(files) => files.is_empty(),
            Self::ManyFiles(many) => many.count == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_made_again_or_other_cluster_is_another_one() {
        let cursor = KafkaPosition {
            cluster: "c".into(),
            topic: "t".into(),
            topic_id: Some("id".into()),
            offsets: [(0, 5)].into(),
            epochs: BTreeMap::new(),
        };
        let again = KafkaPosition { topic_id: Some("other".into()), ..cursor.clone() };
        assert!(again.is_another_topic_than(&cursor));
        let moved = KafkaPosition { cluster: "d".into(), ..cursor.clone() };
        assert!(moved.is_another_topic_than(&cursor));
        let old_broker = KafkaPosition { topic_id: None, ..cursor.clone() };
        assert!(!old_broker.is_another_topic_than(&cursor));
    }

    #[test]
    fn losses_read_as_sentences() {
        let mut loss =
            Loss { topic: "t".into(), partition: Some(2), from: 5, to: Some(9), cause: LossCause::Expired };
        let text = "topic `t` partition 2: offsets 5..9 expired before they were looked at (retention or DeleteRecords)";
        assert_eq!(loss.to_string(), text);
        loss = Loss { partition: None, from: 0, to: None, cause: LossCause::MadeAgain, ..loss };
        let text =
            "topic `t`: offsets that were not yet looked at are gone: the topic was deleted and made again";
        assert_eq!(loss.to_string(), text);
    }
}
