//! Positions: how far a source has got, with the identity of the source; and what is new between two of them.
//!
//! News is found by comparing two values. A source that is not the one the cursor was taken from (a topic made
//! again, a moved folder) is a [`Progress::Reset`]: everything in it is looked at from its beginning.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Where a source stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// A Kafka topic.
    Kafka(KafkaPosition),
    /// A folder of trigger files.
    Files(FilesPosition),
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
}

/// Files seen in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesPosition {
    /// URL of the folder.
    pub folder: String,
    /// Paths below the folder, `/` between their parts.
    pub seen: BTreeSet<String>,
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
    /// New files, sorted by path.
    Files(Vec<NewFile>),
}

/// A Kafka topic compared with a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Nothing was written.
    Same,
    /// Offsets moved. Whether the ranges hold records has still to be looked at: transaction markers and
    /// compaction move offsets too.
    Moved(Vec<OffsetRange>),
    /// Another topic under the same name, or another cluster: the cursor means nothing in it.
    Reset,
    /// Ends that lie behind the cursor: a stale answer after a leader election, or a truncated log.
    Behind(Vec<OffsetRange>),
}

impl KafkaPosition {
    /// Compares the ends of a topic with a cursor. A partition that the cursor lacks is new and is read from 0
    /// (its earliest offset, once known). A partition that has gone is no news; topics don't shrink.
    pub fn progress_since(&self, cursor: &Self) -> Progress {
        if self.is_another_topic_than(cursor) {
            return Progress::Reset;
        }
        let mut moved = Vec::new();
        let mut behind = Vec::new();
        for (&partition, &end) in &self.offsets {
            let from = cursor.offsets.get(&partition).copied().unwrap_or(0);
            let range = OffsetRange { partition, from, to: end };
            match end.cmp(&from) {
                std::cmp::Ordering::Greater => moved.push(range),
                std::cmp::Ordering::Less => behind.push(range),
                std::cmp::Ordering::Equal => {}
            }
        }
        match (moved.is_empty(), behind.is_empty()) {
            (_, false) => Progress::Behind(behind),
            (false, true) => Progress::Moved(moved),
            (true, true) => Progress::Same,
        }
    }

    fn is_another_topic_than(&self, cursor: &Self) -> bool {
        let other_id = matches!((&self.topic_id, &cursor.topic_id), (Some(a), Some(b)) if a != b);
        other_id || self.cluster != cursor.cluster || self.topic != cursor.topic
    }
}

impl FilesPosition {
    /// Paths of `listed` that the cursor has not seen; all of them when the cursor is of another folder.
    pub fn unseen<'a>(&self, listed: &'a [NewFile]) -> Vec<&'a NewFile> {
        listed.iter().filter(|file| !self.seen.contains(&file.path)).collect()
    }
}

impl Manifest {
    /// True when nothing is new.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Offsets(ranges) => ranges.is_empty(),
            Self::Files(files) => files.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn topic(offsets: &[(i32, i64)]) -> KafkaPosition {
        KafkaPosition {
            cluster: "c".into(),
            topic: "t".into(),
            topic_id: Some("id".into()),
            offsets: offsets.iter().copied().collect(),
        }
    }

    fn range(partition: i32, from: i64, to: i64) -> OffsetRange {
        OffsetRange { partition, from, to }
    }

    #[rstest]
    #[case::same(&[(0, 5)], &[(0, 5)], Progress::Same)]
    #[case::moved(&[(0, 5), (1, 2)], &[(0, 7), (1, 2)], Progress::Moved(vec![range(0, 5, 7)]))]
    #[case::new_partition(&[(0, 5)], &[(0, 5), (1, 2)], Progress::Moved(vec![range(1, 0, 2)]))]
    #[case::new_partition_is_empty(&[(0, 5)], &[(0, 5), (1, 0)], Progress::Same)]
    #[case::partition_gone(&[(0, 5), (1, 2)], &[(0, 5)], Progress::Same)]
    #[case::behind_wins(&[(0, 5), (1, 2)], &[(0, 4), (1, 9)], Progress::Behind(vec![range(0, 5, 4)]))]
    fn progress(#[case] cursor: &[(i32, i64)], #[case] now: &[(i32, i64)], #[case] expected: Progress) {
        assert_eq!(topic(now).progress_since(&topic(cursor)), expected);
    }

    #[test]
    fn topic_made_again_or_other_cluster_is_reset() {
        let cursor = topic(&[(0, 5)]);
        let again = KafkaPosition { topic_id: Some("other".into()), ..cursor.clone() };
        assert_eq!(again.progress_since(&cursor), Progress::Reset);
        let moved = KafkaPosition { cluster: "d".into(), ..cursor.clone() };
        assert_eq!(moved.progress_since(&cursor), Progress::Reset);
        let old_broker = KafkaPosition { topic_id: None, ..cursor.clone() };
        assert_eq!(old_broker.progress_since(&cursor), Progress::Same);
    }
}
