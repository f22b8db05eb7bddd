//! Was a log cut off? The OffsetForLeaderEpoch request (KIP-320), built and judged.
//!
//! A leader answers where its log ends for a leader epoch. A cursor behind that place stands in records that this log
//! does not have: another leader was elected that lagged, and it went on from there.

use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::asked::Open;
use super::connection::Supported;
use super::error::Code;

/// v2 tells a deposed leader from a present one (KIP-320).
pub(super) const OFFSET_FOR_LEADER_EPOCH: Supported =
    Supported { name: "OffsetForLeaderEpoch", min: 2, max: 4 };

/// Where does the log of this partition end for this epoch?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EpochQuestion<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    /// Epoch of the cursor.
    pub(super) epoch: i32,
}

/// What a leader knows of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EpochEnd {
    /// Its records, and those of epochs before it, end here.
    At(i64),
    /// Nothing: neither it nor any before it.
    Unknown,
}

/// One request for all questions (with the leader epoch of each) to one leader; no partition twice.
pub(super) fn build_epochs(questions: &[(EpochQuestion<'_>, i32)]) -> OffsetForLeaderEpochRequest {
    let topics = questions
        .chunk_by(|(a, _), (b, _)| a.topic == b.topic)
        .map(|run| {
            let partitions = run.iter().map(|(question, current)| {
                OffsetForLeaderPartition::default()
                    .with_partition(question.partition)
                    .with_current_leader_epoch(*current)
                    .with_leader_epoch(question.epoch)
            });
            OffsetForLeaderTopic::default()
                .with_topic(TopicName(StrBytes::from_string(run[0].0.topic.to_owned())))
                .with_partitions(partitions.collect())
        })
        .collect();
    OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(topics)
}

/// Holds the answer against the questions: every one answered exactly once, and no other. In their order.
pub(super) fn judge_epochs(
    questions: &[(EpochQuestion<'_>, i32)],
    response: &OffsetForLeaderEpochResponse,
) -> Result<Vec<Result<EpochEnd, Code>>, String> {
    let asked = questions.iter().map(|(question, _)| (question.topic, question.partition));
    let mut open = Open::new("epoch", asked);
    let mut answers = vec![Ok(EpochEnd::Unknown); questions.len()];
    for topic in &response.topics {
        for partition in &topic.partitions {
            let index = open.answered(topic.topic.as_str(), partition.partition)?;
            answers[index] = Code::check(partition.error_code).map(|()| {
                if partition.end_offset >= 0 { EpochEnd::At(partition.end_offset) } else { EpochEnd::Unknown }
            });
        }
    }
    open.end().map(|()| answers)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_for_leader_epoch_response::{
        EpochEndOffset, OffsetForLeaderTopicResult,
    };

    use super::*;

    #[test]
    fn each_question_has_its_answer_and_no_other() {
        let question = |partition| (EpochQuestion { topic: "a", partition, epoch: 3 }, 5);
        let questions = [question(0), question(1)];
        assert_eq!(build_epochs(&questions).topics[0].partitions[1].leader_epoch, 3);
        let ended = |partition, end| EpochEndOffset::default().with_partition(partition).with_end_offset(end);
        let response = |partitions| {
            let topic = OffsetForLeaderTopicResult::default()
                .with_topic(TopicName(StrBytes::from_static_str("a")))
                .with_partitions(partitions);
            OffsetForLeaderEpochResponse::default().with_topics(vec![topic])
        };
        let told = judge_epochs(&questions, &response(vec![ended(1, -1), ended(0, 9)]));
        assert_eq!(told, Ok(vec![Ok(EpochEnd::At(9)), Ok(EpochEnd::Unknown)]));
        assert!(judge_epochs(&questions, &response(vec![ended(0, 9)])).is_err());
        assert!(judge_epochs(&questions, &response(vec![ended(0, 9), ended(0, 9), ended(1, 1)])).is_err());
    }
}
