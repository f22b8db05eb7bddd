//! Answers of the embedded broker to readers: versions, metadata, offsets, records.

use std::net::SocketAddr;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::state::State;

/// Id of the only broker.
pub(super) const BROKER: BrokerId = BrokerId(1);

/// Requests that are answered, with their versions.
pub(super) const SERVED: [(ApiKey, i16, i16); 14] = [
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 16),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 1, 12),
    (ApiKey::FindCoordinator, 0, 3),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
];

pub(super) fn api_versions(served: &[(ApiKey, i16, i16)], is_known_version: bool) -> ApiVersionsResponse {
    let keys = served.iter().map(|(key, min, max)| {
        ApiVersion::default().with_api_key(*key as i16).with_min_version(*min).with_max_version(*max)
    });
    let error_code = if is_known_version { 0 } else { ResponseError::UnsupportedVersion.code() };
    ApiVersionsResponse::default().with_error_code(error_code).with_api_keys(keys.collect())
}

pub(super) fn metadata(state: &State, request: &MetadataRequest, address: SocketAddr) -> MetadataResponse {
    let names: Vec<(StrBytes, Uuid)> = match &request.topics {
        None => state.topics.keys().map(|name| (StrBytes::from_string(name.clone()), Uuid::nil())).collect(),
        Some(topics) => topics
            .iter()
            .map(|topic| (topic.name.clone().map(|name| name.0).unwrap_or_default(), topic.topic_id))
            .collect(),
    };
    let topics = names.into_iter().map(|(name, id)| describe(state, name, id)).collect();
    let broker = MetadataResponseBroker::default()
        .with_node_id(BROKER)
        .with_host(StrBytes::from_string(address.ip().to_string()))
        .with_port(i32::from(address.port()));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_string(state.cluster_id.clone())))
        .with_controller_id(BROKER)
        .with_topics(topics)
}

fn describe(state: &State, name: StrBytes, id: Uuid) -> MetadataResponseTopic {
    let found = if name.is_empty() {
        state.topics.iter().find(|(_, topic)| topic.id == id)
    } else {
        state.topics.get_key_value(name.as_str())
    };
    let Some((name, topic)) = found else {
        let unknown = if name.is_empty() {
            ResponseError::UnknownTopicId
        } else {
            ResponseError::UnknownTopicOrPartition
        };
        return MetadataResponseTopic::default()
            .with_name(Some(TopicName(name)))
            .with_topic_id(id)
            .with_error_code(unknown.code());
    };
    let partitions = (0..).zip(&topic.logs).map(|(index, log)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BROKER)
            .with_leader_epoch(log.epoch())
            .with_replica_nodes(vec![BROKER])
            .with_isr_nodes(vec![BROKER])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_string(name.clone()))))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}

pub(super) fn list_offsets(state: &State, request: &ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_timestamp(-1)
                .with_offset(-1);
            let log = state.log(topic.name.as_str(), asked.partition_index);
            let log = log.and_then(|log| log.check_epoch(asked.current_leader_epoch).map(|()| log));
            let log = match log {
                Ok(log) => log,
                Err(error) => return answer.with_error_code(error.code()),
            };
            let answer = answer.with_leader_epoch(log.epoch());
            match asked.timestamp {
                -1 if request.isolation_level == 1 => answer.with_offset(log.last_stable()),
                -1 => answer.with_offset(log.end()),
                -2 => answer.with_offset(log.start()),
                timestamp => match log.first_at(timestamp) {
                    Some((offset, found)) => answer.with_offset(offset).with_timestamp(found),
                    None => answer,
                },
            }
        });
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

pub(super) fn epoch_ends(
    state: &State,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            let log = state.log(topic.topic.as_str(), asked.partition);
            match log.and_then(|log| log.check_epoch(asked.current_leader_epoch).map(|()| log)) {
                Err(error) => answer.with_error_code(error.code()),
                Ok(log) => {
                    let end = log.end_of_epoch(asked.leader_epoch);
                    answer.with_leader_epoch(asked.leader_epoch).with_end_offset(end)
                }
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// Answers at once, whatever wait is asked for.
pub(super) fn fetch(state: &State, request: &FetchRequest, version: i16) -> FetchResponse {
    let committed = request.isolation_level == 1;
    let mut room = usize::try_from(request.max_bytes).unwrap_or_default();
    let mut is_first = true;
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let name = if version >= 13 {
            state.topics.iter().find(|(_, known)| known.id == topic.topic_id).map(|(name, _)| name.as_str())
        } else {
            Some(topic.topic.as_str())
        };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let mut answer = PartitionData::default()
                .with_partition_index(asked.partition)
                .with_high_watermark(-1)
                .with_last_stable_offset(-1)
                .with_log_start_offset(-1)
                .with_records(Some(bytes::Bytes::new()));
            let log = match name {
                Some(name) => state.log(name, asked.partition),
                None => Err(ResponseError::UnknownTopicId),
            };
            let log = log.and_then(|log| log.check_epoch(asked.current_leader_epoch).map(|()| log));
            let max_bytes = usize::try_from(asked.partition_max_bytes).unwrap_or_default().min(room);
            let read =
                log.and_then(|log| Ok((log, log.read(asked.fetch_offset, committed, max_bytes, is_first)?)));
            match read {
                Err(error) => answer.error_code = error.code(),
                Ok((log, slice)) => {
                    is_first &= slice.log.is_empty();
                    room = room.saturating_sub(slice.log.len());
                    answer.high_watermark = log.end();
                    answer.log_start_offset = log.start();
                    if committed {
                        answer.last_stable_offset = log.last_stable();
                        let aborted = slice.aborted.iter().map(|transaction| {
                            AbortedTransaction::default()
                                .with_producer_id(transaction.producer_id.into())
                                .with_first_offset(transaction.first_offset)
                        });
                        answer.aborted_transactions = Some(aborted.collect());
                    } else {
                        answer.aborted_transactions = None;
                    }
                    answer.records = Some(slice.log);
                }
            }
            partitions.push(answer);
        }
        responses.push(
            FetchableTopicResponse::default()
                .with_topic(topic.topic.clone())
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions),
        );
    }
    FetchResponse::default().with_responses(responses)
}
