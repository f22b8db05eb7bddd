//! A minimal Kafka client for tests: administration, records, transactions. It fixes versions that every broker from
//! 2.1 to 4.x and the embedded broker speak, and knows one broker, which leads and coordinates everything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListOffsetsRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::wait::until;

/// One connection to the only broker.
pub(crate) struct Client {
    stream: Mutex<TcpStream>,
}

/// A producer within its transaction.
pub(crate) struct Transaction {
    id: TransactionalId,
    producer_id: i64,
    epoch: i16,
    sequence: i32,
}

/// A record: key, value, timestamp in milliseconds.
pub(crate) type Plain = (Option<&'static str>, Option<&'static str>, i64);

/// Header of a batch in the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base: i64,
    pub(crate) control: bool,
    pub(crate) records: i32,
}

pub(crate) fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A request as it is sent.
pub(crate) fn frame<R: Request>(version: i16, request: &R) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    let header = RequestHeader::default().with_request_api_key(R::KEY).with_request_api_version(version);
    header.encode(&mut frame, R::header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();
    let length = frame.len() as i32 - 4;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

/// Sends a frame, and reads the answer to it.
pub(crate) async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> Bytes {
    stream.write_all(frame).await.unwrap();
    let mut answer = vec![0; stream.read_i32().await.unwrap() as usize];
    stream.read_exact(&mut answer).await.unwrap();
    Bytes::from(answer)
}

/// Reads what [`exchange`] brought.
pub(crate) fn decode<R: Request>(mut answer: Bytes, version: i16) -> R::Response {
    ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
    R::Response::decode(&mut answer, version).unwrap()
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        Self { stream: Mutex::new(TcpStream::connect(address).await.unwrap()) }
    }

    pub(crate) async fn call<R: Request>(&self, version: i16, request: R) -> R::Response {
        let frame = frame(version, &request);
        let answer = exchange(&mut *self.stream.lock().await, &frame).await;
        decode::<R>(answer, version)
    }

    pub(crate) async fn create_topics(
        &self,
        names: &[String],
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) {
        let configs: Vec<_> = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default()
                    .with_name(StrBytes::from_static_str(key))
                    .with_value(Some(StrBytes::from_static_str(value)))
            })
            .collect();
        let topics = names.iter().map(|topic| {
            CreatableTopic::default()
                .with_name(name(topic))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
                .with_configs(configs.clone())
        });
        let request = CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(60_000);
        let answer = self.call(2, request).await;
        for topic in answer.topics {
            assert_eq!(topic.error_code, 0, "create {:?}: {:?}", topic.name, topic.error_message);
        }
        self.wait_for_leaders(names, partitions).await;
    }

    pub(crate) async fn create_topic(&self, topic: &str, partitions: i32) {
        self.create_topics(&[topic.to_owned()], partitions, &[]).await;
    }

    pub(crate) async fn grow_topic(&self, topic: &str, partitions: i32) {
        let grown = CreatePartitionsTopic::default()
            .with_name(name(topic))
            .with_count(partitions)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(10_000);
        assert_eq!(self.call(1, request).await.results[0].error_code, 0);
        self.wait_for_leaders(&[topic.to_owned()], partitions).await;
    }

    pub(crate) async fn delete_topics(&self, names: &[String]) {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(names.iter().map(|topic| name(topic)).collect())
            .with_timeout_ms(60_000);
        for topic in self.call(3, request).await.responses {
            assert_eq!(topic.error_code, 0, "delete {:?}", topic.name);
        }
    }

    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let partitions =
            vec![DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before)];
        let topics = vec![DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(partitions)];
        let request = DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(10_000);
        assert_eq!(self.call(1, request).await.topics[0].partitions[0].error_code, 0);
    }

    /// Appends one plain batch.
    pub(crate) async fn produce(
        &self,
        topic: &str,
        partition: i32,
        records: &[Plain],
        compression: Compression,
    ) {
        let batch = encode(records, compression, None);
        assert_eq!(self.send(topic, partition, batch, None).await, 0, "produce to {topic}");
    }

    async fn send(&self, topic: &str, partition: i32, batch: Bytes, id: Option<TransactionalId>) -> i16 {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topics = vec![TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data])];
        let request = ProduceRequest::default()
            .with_transactional_id(id)
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(topics);
        self.call(7, request).await.responses[0].partition_responses[0].error_code
    }

    /// Begins a transaction of a new producer on these partitions of a topic.
    pub(crate) async fn begin(&self, id: &str, topic: &str, partitions: &[i32]) -> Transaction {
        let id = TransactionalId(StrBytes::from_string(id.to_owned()));
        let producer = until("a producer id", async || {
            let key = id.0.clone();
            self.call(1, FindCoordinatorRequest::default().with_key(key).with_key_type(1)).await;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(Some(id.clone()))
                .with_transaction_timeout_ms(600_000);
            let answer = self.call(1, request).await;
            if answer.error_code == 0 { Ok(answer) } else { Err(answer.error_code) }
        })
        .await;
        let transaction = Transaction {
            id: id.clone(),
            producer_id: producer.producer_id.0,
            epoch: producer.producer_epoch,
            sequence: 0,
        };
        until("partitions in the transaction", async || {
            let topics = vec![
                AddPartitionsToTxnTopic::default()
                    .with_name(name(topic))
                    .with_partitions(partitions.to_vec()),
            ];
            let request = AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(id.clone())
                .with_v3_and_below_producer_id(transaction.producer_id.into())
                .with_v3_and_below_producer_epoch(transaction.epoch)
                .with_v3_and_below_topics(topics);
            let answer = self.call(1, request).await;
            let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
            let codes: Vec<i16> = results.iter().map(|result| result.partition_error_code).collect();
            if codes.iter().all(|code| *code == 0) { Ok(()) } else { Err(codes) }
        })
        .await;
        transaction
    }

    pub(crate) async fn produce_in(
        &self,
        transaction: &mut Transaction,
        topic: &str,
        partition: i32,
        records: &[Plain],
    ) {
        let batch = encode(records, Compression::None, Some(transaction));
        transaction.sequence += records.len() as i32;
        let id = Some(transaction.id.clone());
        assert_eq!(self.send(topic, partition, batch, id).await, 0, "produce in a transaction");
    }

    /// Ends the transaction and waits for its marker on the partition.
    pub(crate) async fn end(&self, transaction: Transaction, commit: bool, topic: &str, partition: i32) {
        let before = self.end_offset(topic, partition).await;
        until("the end of the transaction", async || {
            let request = EndTxnRequest::default()
                .with_transactional_id(transaction.id.clone())
                .with_producer_id(transaction.producer_id.into())
                .with_producer_epoch(transaction.epoch)
                .with_committed(commit);
            let answer = self.call(1, request).await;
            if answer.error_code == 0 { Ok(()) } else { Err(answer.error_code) }
        })
        .await;
        until("the marker", async || {
            let ends =
                [self.offset(topic, partition, -1, 0).await, self.offset(topic, partition, -1, 1).await];
            if ends == [Ok(before + 1); 2] { Ok(()) } else { Err(ends) }
        })
        .await;
    }

    pub(crate) async fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        self.offset(topic, partition, -1, 0).await.unwrap()
    }

    async fn offset(&self, topic: &str, partition: i32, timestamp: i64, isolation: i8) -> Result<i64, i16> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topics = vec![ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![asked])];
        let request = ListOffsetsRequest::default()
            .with_replica_id((-1).into())
            .with_isolation_level(isolation)
            .with_topics(topics);
        let answer = self.call(4, request).await;
        let partition = &answer.topics[0].partitions[0];
        if partition.error_code == 0 { Ok(partition.offset) } else { Err(partition.error_code) }
    }

    /// End offsets of all partitions in one request; an error code if one has none.
    pub(crate) async fn all_ends(&self, names: &[String], partitions: i32) -> Result<usize, i16> {
        let topics = names.iter().map(|topic| {
            let asked = (0..partitions).map(|partition| {
                ListOffsetsPartition::default()
                    .with_partition_index(partition)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(-1)
            });
            ListOffsetsTopic::default().with_name(name(topic)).with_partitions(asked.collect())
        });
        let request =
            ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics.collect());
        let answer = self.call(4, request).await;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        match partitions.find(|partition| partition.error_code != 0) {
            Some(partition) => Err(partition.error_code),
            None => Ok(answer.topics.len()),
        }
    }

    async fn wait_for_leaders(&self, names: &[String], partitions: i32) {
        until("leaders", || self.all_ends(names, partitions)).await;
    }

    /// Headers of the first batches from `offset` on.
    pub(crate) async fn headers(&self, topic: &str, partition: i32, offset: i64) -> Vec<BatchHeader> {
        let asked = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(offset)
            .with_partition_max_bytes(1 << 20);
        let topics = vec![FetchTopic::default().with_topic(name(topic)).with_partitions(vec![asked])];
        let request = FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(topics);
        let mut answer = self.call(10, request).await;
        let mut log = answer.responses.remove(0).partitions.remove(0).records.unwrap_or_default();
        let mut headers = Vec::new();
        while log.len() >= 61 {
            let whole = 12 + (&log[8..]).get_i32() as usize;
            headers.push(BatchHeader {
                base: (&log[..]).get_i64(),
                control: (&log[21..]).get_u16() & 32 != 0,
                records: (&log[57..]).get_i32(),
            });
            log.advance(whole.min(log.len()));
        }
        headers
    }
}

fn encode(records: &[Plain], compression: Compression, transaction: Option<&Transaction>) -> Bytes {
    let sequence = transaction.map_or(0, |transaction| transaction.sequence);
    let records: Vec<_> = records
        .iter()
        .zip(0..)
        .map(|((key, value, timestamp), i)| Record {
            transactional: transaction.is_some(),
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: transaction.map_or(-1, |transaction| transaction.producer_id),
            producer_epoch: transaction.map_or(-1, |transaction| transaction.epoch),
            timestamp_type: TimestampType::Creation,
            offset: i64::from(i),
            sequence: if transaction.is_some() { sequence + i } else { -1 + i },
            timestamp: *timestamp,
            key: key.map(|key| Bytes::from_static(key.as_bytes())),
            value: value.map(|value| Bytes::from_static(value.as_bytes())),
            headers: kafka_protocol::indexmap::IndexMap::new(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &RecordEncodeOptions { version: 2, compression })
        .unwrap();
    bytes.freeze()
}
