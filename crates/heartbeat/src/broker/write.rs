//! Answers of the embedded broker to writers and administrators.

use std::net::SocketAddr;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, EndTxnRequest, EndTxnResponse, FindCoordinatorResponse,
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::answer::BROKER;
use super::state::State;

const DEFAULT_PARTITIONS: i32 = 1;

fn code_of<T>(result: &Result<T, ResponseError>) -> i16 {
    result.as_ref().err().map_or(0, ResponseError::code)
}

pub(super) fn produce(state: &mut State, request: ProduceRequest) -> ProduceResponse {
    let responses = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.into_iter().map(|data| {
            let records = data.records.unwrap_or_default();
            let appended = state.append(topic.name.as_str(), data.index, records);
            PartitionProduceResponse::default()
                .with_index(data.index)
                .with_error_code(code_of(&appended))
                .with_base_offset(appended.unwrap_or(-1))
        });
        let partitions = partitions.collect();
        TopicProduceResponse::default().with_name(topic.name).with_partition_responses(partitions)
    });
    ProduceResponse::default().with_responses(responses.collect())
}

pub(super) fn create_topics(state: &mut State, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = if topic.num_partitions == -1 { DEFAULT_PARTITIONS } else { topic.num_partitions };
        let created = state.create_topic(topic.name.as_str(), partitions);
        CreatableTopicResult::default()
            .with_error_code(code_of(&created))
            .with_topic_id(created.unwrap_or_default())
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_name(topic.name)
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

pub(super) fn create_partitions(
    state: &mut State,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let results = request.topics.into_iter().map(|topic| {
        let grown = state.grow_topic(topic.name.as_str(), topic.count);
        CreatePartitionsTopicResult::default().with_error_code(code_of(&grown)).with_name(topic.name)
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

pub(super) fn delete_topics(state: &mut State, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let responses = request.topic_names.into_iter().map(|name| {
        let deleted = state.delete_topic(name.as_str());
        DeletableTopicResult::default().with_error_code(code_of(&deleted)).with_name(Some(name))
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

pub(super) fn delete_records(state: &mut State, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let log = state.log_mut(topic.name.as_str(), partition.partition_index);
            let start = log.and_then(|log| log.delete_before(partition.offset));
            DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code_of(&start))
                .with_low_watermark(start.unwrap_or(-1))
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

pub(super) fn find_coordinator(address: SocketAddr) -> FindCoordinatorResponse {
    FindCoordinatorResponse::default()
        .with_node_id(BROKER)
        .with_host(StrBytes::from_string(address.ip().to_string()))
        .with_port(i32::from(address.port()))
}

pub(super) fn init_producer_id(state: &mut State, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let producer = state.init_producer(request.transactional_id.as_ref().map(|id| id.as_str()));
    InitProducerIdResponse::default().with_producer_id(producer.into()).with_producer_epoch(0)
}

pub(super) fn add_partitions(
    state: &mut State,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let id = request.v3_and_below_transactional_id;
    let topics = request.v3_and_below_topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let added = state.add_to_transaction(id.as_str(), topic.name.as_str(), *partition);
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(code_of(&added))
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default().with_name(topic.name).with_results_by_partition(partitions)
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

pub(super) fn end_transaction(state: &mut State, request: &EndTxnRequest) -> EndTxnResponse {
    let ended = state.end_transaction(request.transactional_id.as_str(), request.committed);
    EndTxnResponse::default().with_error_code(code_of(&ended))
}
