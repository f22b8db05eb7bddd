//! Offsets of partitions: the ListOffsets request, built and judged.

use heartbeat_core::position::KafkaPosition;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Isolation;
use super::asked::Open;
use super::connection::Supported;
use super::error::Code;

/// v2 has the isolation level (KIP-98), v4 the leader epoch (KIP-320).
pub(super) const LIST_OFFSETS: Supported = Supported { name: "ListOffsets", min: 2, max: 10 };

/// Which offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// The end for readers of the given isolation level: the high watermark, or the last stable offset.
    End(Isolation),
    /// The first offset that can still be read.
    Earliest,
    /// The first offset whose record is of this time or later, in milliseconds since the epoch.
    Time(i64),
}

/// One partition's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Question<'a> {
    /// Name of the topic.
    pub(super) topic: &'a str,
    /// Partition of it.
    pub(super) partition: i32,
    /// Which offset.
    pub(super) at: At,
}

/// An offset as a leader told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) offset: i64,
    /// Of the leader for an end, of the record otherwise (KIP-320); `None` from brokers before 2.1.
    pub(super) epoch: Option<i32>,
}

impl Told {
    /// Writes it into a position.
    pub(super) fn note(self, position: &mut KafkaPosition, partition: i32) {
        position.offsets.insert(partition, self.offset);
        position.epochs.extend(self.epoch.map(|epoch| (partition, epoch)));
    }
}

/// The answer to one question. `None`: no record of that time or later.
pub(super) type OffsetAnswer = Result<Option<Told>, Code>;

impl At {
    fn timestamp(self) -> i64 {
        match self {
            Self::End(_) => -1,
            Self::Earliest => -2,
            // Negative numbers are commands in this protocol.
            Self::Time(milliseconds) => milliseconds.max(0),
        }
    }

    /// The isolation level belongs to the request, so questions of two levels need two of them.
    pub(super) fn isolation(self) -> Isolation {
        match self {
            Self::End(isolation) => isolation,
            Self::Earliest | Self::Time(_) => Isolation::ReadUncommitted,
        }
    }
}

/// One request for all questions (with the leader epoch of each, -1 if unknown) to one leader.
///
/// No topic and partition may be in it twice (the broker answers `INVALID_REQUEST`), and all questions must be of
/// `isolation`. Questions on one topic should be neighbours: each run of them names the topic once.
pub(super) fn build_list_offsets(
    questions: &[(Question<'_>, i32)],
    isolation: Isolation,
    timeout_ms: i32,
) -> ListOffsetsRequest {
    let topics = questions
        .chunk_by(|(a, _), (b, _)| a.topic == b.topic)
        .map(|run| {
            let partitions = run.iter().map(|(question, epoch)| {
                ListOffsetsPartition::default()
                    .with_partition_index(question.partition)
                    .with_current_leader_epoch(*epoch)
                    .with_timestamp(question.at.timestamp())
            });
            let name = run[0].0.topic.to_owned();
            ListOffsetsTopic::default()
                .with_name(TopicName(StrBytes::from_string(name)))
                .with_partitions(partitions.collect())
        })
        .collect();
    ListOffsetsRequest::default()
        .with_replica_id((-1).into())
        .with_isolation_level(isolation.wire_level())
        .with_topics(topics)
        .with_timeout_ms(timeout_ms)
}

/// Holds the answer against the questions: every one answered exactly once, and no other. Answers are in the order
/// of the questions.
pub(super) fn judge_list_offsets(
    questions: &[(Question<'_>, i32)],
    response: &ListOffsetsResponse,
) -> Result<Vec<OffsetAnswer>, String> {
    let asked = questions.iter().map(|(question, _)| (question.topic, question.partition));
    let mut open = Open::new("offset", asked);
    let mut answers = vec![Ok(None); questions.len()];
    for topic in &response.topics {
        for partition in &topic.partitions {
            let index = open.answered(topic.name.as_str(), partition.partition_index)?;
            answers[index] = match Code::check(partition.error_code) {
                Err(code) => Err(code),
                Ok(()) if partition.offset >= 0 => {
                    let epoch = Some(partition.leader_epoch).filter(|epoch| *epoch >= 0);
                    Ok(Some(Told { offset: partition.offset, epoch }))
                }
                Ok(()) if matches!(questions[index].0.at, At::Time(_)) => Ok(None),
                Ok(()) => {
                    return Err(format!(
                        "no offset for `{}` partition {}",
                        topic.name.as_str(),
                        partition.partition_index
                    ));
                }
            };
        }
    }
    open.end().map(|()| answers)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };

    use super::*;

    fn question(topic: &str, partition: i32, at: At) -> (Question<'_>, i32) {
        (Question { topic, partition, at }, 5)
    }

    fn answered(topic: &'static str, partitions: &[(i32, i16, i64)]) -> ListOffsetsTopicResponse {
        let partitions = partitions.iter().map(|(partition, code, offset)| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(*partition)
                .with_error_code(*code)
                .with_offset(*offset)
        });
        ListOffsetsTopicResponse::default()
            .with_name(TopicName(StrBytes::from_static_str(topic)))
            .with_partitions(partitions.collect())
    }

    #[test]
    fn one_request_names_each_topic_once() {
        let end = At::End(Isolation::ReadCommitted);
        let questions = [question("a", 0, end), question("a", 1, end), question("b", 0, end)];
        let request = build_list_offsets(&questions, Isolation::ReadCommitted, 100);
        assert_eq!(request.isolation_level, 1);
        assert_eq!(request.topics.len(), 2);
        assert_eq!(request.topics[0].partitions.len(), 2);
        assert_eq!(request.topics[0].partitions[1].timestamp, -1);
        assert_eq!(request.topics[0].partitions[1].current_leader_epoch, 5);
    }

    #[test]
    fn each_partition_has_its_own_answer() {
        let questions =
            [question("a", 0, At::Earliest), question("a", 1, At::Time(7)), question("b", 0, At::Earliest)];
        let not_leader = ResponseError::NotLeaderOrFollower.code();
        let response = ListOffsetsResponse::default().with_topics(vec![
            answered("b", &[(0, 0, 9)]),
            answered("a", &[(1, 0, -1), (0, not_leader, -1)]),
        ]);
        let answers = judge_list_offsets(&questions, &response).unwrap();
        assert!(answers[0].is_err());
        assert_eq!(answers[1], Ok(None));
        assert_eq!(answers[2], Ok(Some(Told { offset: 9, epoch: None })));
    }

    #[test]
    fn answers_to_another_question_are_refused() {
        let questions = [question("a", 0, At::Earliest)];
        for wrong in [
            vec![],
            vec![answered("b", &[(0, 0, 9)])],
            vec![answered("a", &[(1, 0, 9)])],
            vec![answered("a", &[(0, 0, 9), (0, 0, 9)])],
            vec![answered("a", &[(0, 0, -1)])],
        ] {
            let response = ListOffsetsResponse::default().with_topics(wrong);
            assert!(judge_list_offsets(&questions, &response).is_err(), "{response:?}");
        }
    }
}
