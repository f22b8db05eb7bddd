//! Record batches of partitions: the Fetch request, built and judged.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::Isolation;
use super::batches::Aborted;
use super::connection::Supported;
use super::error::Code;

/// v4 has the isolation level and the aborted transactions (KIP-98), v13 names topics by id (KIP-516).
pub(super) const FETCH: Supported = Supported { name: "Fetch", min: 4, max: 16 };

/// Brokers wait this long for a remote tier (KIP-405). Local data is answered at once: no minimum is asked for.
const MAX_WAIT_MS: i32 = 500;

/// One stretch of a partition to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch<'a> {
    pub(super) topic: &'a str,
    /// Nil if unknown; then only versions below 13 can ask.
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    pub(super) epoch: i32,
    pub(super) from: i64,
    pub(super) max_bytes: i32,
}

/// A partition's answer.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    /// Where readers of committed records end now.
    pub(super) last_stable: i64,
    /// Batches from the one that holds `from` on; the last one may be cut off.
    pub(super) log: Bytes,
    /// Aborted transactions that reach into the log; only with [`Isolation::ReadCommitted`].
    pub(super) aborted: Vec<Aborted>,
}

/// The newest version that can name all topics.
pub(super) fn fetch_version(negotiated: i16, stretches: &[Stretch<'_>]) -> i16 {
    if stretches.iter().any(|stretch| stretch.topic_id.is_nil()) { negotiated.min(12) } else { negotiated }
}

/// One request for all stretches to one leader, outside of any fetch session. No partition may be in it twice.
pub(super) fn build_fetch(stretches: &[Stretch<'_>], isolation: Isolation) -> FetchRequest {
    let topics = stretches
        .chunk_by(|a, b| a.topic == b.topic)
        .map(|run| {
            let partitions = run.iter().map(|stretch| {
                FetchPartition::default()
                    .with_partition(stretch.partition)
                    .with_current_leader_epoch(stretch.epoch)
                    .with_fetch_offset(stretch.from)
                    .with_partition_max_bytes(stretch.max_bytes)
            });
            FetchTopic::default()
                .with_topic(TopicName(StrBytes::from_string(run[0].topic.to_owned())))
                .with_topic_id(run[0].topic_id)
                .with_partitions(partitions.collect())
        })
        .collect();
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(MAX_WAIT_MS)
        .with_min_bytes(0)
        .with_max_bytes(stretches.iter().fold(0_i32, |sum, stretch| sum.saturating_add(stretch.max_bytes)))
        .with_isolation_level(isolation.wire_level())
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// Holds the answer against the question: every stretch answered exactly once, and no other. Answers are in the
/// order of the stretches.
pub(super) fn judge_fetch(
    stretches: &[Stretch<'_>],
    version: i16,
    response: FetchResponse,
) -> Result<Vec<Result<Fetched, Code>>, String> {
    if let Err(code) = Code::check(response.error_code) {
        return Ok(vec![Err(code); stretches.len()]);
    }
    let by_id = version >= 13;
    let key = |name: &str, id: Uuid, partition: i32| {
        (if by_id { id.to_string() } else { name.to_owned() }, partition)
    };
    let mut open: HashMap<(String, i32), usize> = HashMap::with_capacity(stretches.len());
    for (index, stretch) in stretches.iter().enumerate() {
        open.insert(key(stretch.topic, stretch.topic_id, stretch.partition), index);
    }
    let mut answers: Vec<Option<Result<Fetched, Code>>> = vec![None; stretches.len()];
    for topic in response.responses {
        for partition in topic.partitions {
            let key = key(topic.topic.as_str(), topic.topic_id, partition.partition_index);
            let Some(index) = open.remove(&key) else {
                return Err(format!("records nobody asked for, of topic {} partition {}", key.0, key.1));
            };
            answers[index] = Some(judge_partition(partition));
        }
    }
    let answered: Option<Vec<_>> = answers.into_iter().collect();
    answered.ok_or_else(|| "not all partitions that were asked for".to_owned())
}

fn judge_partition(partition: PartitionData) -> Result<Fetched, Code> {
    Code::check(partition.error_code)?;
    let aborted = partition.aborted_transactions.unwrap_or_default();
    let aborted = aborted
        .iter()
        .map(|transaction| Aborted {
            producer_id: transaction.producer_id.0,
            first_offset: transaction.first_offset,
        })
        .collect();
    Ok(Fetched {
        last_stable: partition.last_stable_offset,
        log: partition.records.unwrap_or_default(),
        aborted,
    })
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;
    use kafka_protocol::messages::fetch_response::FetchableTopicResponse;

    use super::*;

    fn stretch(topic: &str, partition: i32) -> Stretch<'_> {
        Stretch { topic, topic_id: Uuid::from_u128(7), partition, epoch: 0, from: 5, max_bytes: 100 }
    }

    fn answered(partition: i32, error_code: i16) -> PartitionData {
        PartitionData::default().with_partition_index(partition).with_error_code(error_code)
    }

    fn response(partitions: Vec<PartitionData>) -> FetchResponse {
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str("a")))
            .with_partitions(partitions);
        FetchResponse::default().with_responses(vec![topic])
    }

    #[test]
    fn topics_without_id_are_asked_for_by_name() {
        let mut unknown = stretch("a", 0);
        assert_eq!(fetch_version(16, &[unknown]), 16);
        unknown.topic_id = Uuid::nil();
        assert_eq!(fetch_version(16, &[unknown]), 12);
        assert_eq!(fetch_version(10, &[unknown]), 10);
    }

    #[test]
    fn each_partition_has_its_own_answer() {
        let out_of_range = ResponseError::OffsetOutOfRange.code();
        let asked = [stretch("a", 0), stretch("a", 1)];
        let answers =
            judge_fetch(&asked, 12, response(vec![answered(1, 0), answered(0, out_of_range)])).unwrap();
        assert_eq!(answers[0].as_ref().unwrap_err(), &Code::OFFSET_OUT_OF_RANGE);
        assert!(answers[1].is_ok());
    }

    #[test]
    fn answers_to_another_question_are_refused() {
        let asked = [stretch("a", 0)];
        for wrong in [vec![], vec![answered(1, 0)], vec![answered(0, 0), answered(0, 0)]] {
            assert!(judge_fetch(&asked, 12, response(wrong)).is_err());
        }
        assert!(judge_fetch(&asked, 13, response(vec![answered(0, 0)])).is_err(), "of another topic id");
    }
}
