//! The bare exchange that a look is held against: one ListOffsets request per leader, sent and read, nothing made of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{CreateTopicsRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::Request;
use tokio::net::TcpStream;

use crate::support::kafka::{Client, decode, exchange, frame, name};

/// Version of ListOffsets that brokers from 2.2 on speak.
const VERSION: i16 = 5;

/// Connections to all leaders of some topics, with their requests.
pub(crate) struct Bare {
    leaders: Vec<(String, TcpStream, Bytes)>,
}

impl Bare {
    /// Creates what is missing and waits until every partition answers.
    pub(crate) async fn over(bootstrap: &str, topics: &[String], partitions: i32) -> Self {
        create(bootstrap, topics, partitions).await;
        loop {
            if let Some(mut bare) = Self::connect(bootstrap, topics).await
                && bare.all_answer().await
            {
                return bare;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    async fn connect(bootstrap: &str, topics: &[String]) -> Option<Self> {
        let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
        let mut brokers = BTreeMap::new();
        for some in topics.chunks(5_000) {
            let metadata = metadata(bootstrap, some).await;
            brokers =
                metadata.brokers.iter().map(|b| (b.node_id.0, format!("{}:{}", &*b.host, b.port))).collect();
            for topic in metadata.topics {
                let name = topic.name?.to_string();
                for partition in topic.partitions {
                    let own = by_leader.entry(partition.leader_id.0).or_default();
                    own.entry(name.clone()).or_default().push(partition.partition_index);
                }
            }
        }
        let mut leaders = Vec::new();
        for (leader, topics) in by_leader {
            let address = brokers.get(&leader)?;
            let stream = TcpStream::connect(address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            leaders.push((address.clone(), stream, request(&topics)));
        }
        Some(Self { leaders })
    }

    /// One exchange with each leader, all at once.
    pub(crate) async fn ask(&mut self) -> Duration {
        let began = Instant::now();
        join_all(self.leaders.iter_mut().map(|(_, stream, request)| exchange(stream, request))).await;
        began.elapsed()
    }

    async fn all_answer(&mut self) -> bool {
        for (_, stream, request) in &mut self.leaders {
            let answer = decode::<ListOffsetsRequest>(exchange(stream, request).await, VERSION);
            let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            if partitions.any(|partition| partition.error_code != 0) {
                return false;
            }
        }
        true
    }
}

/// Address of the leader of partition 0 of each topic.
pub(crate) async fn leaders_of(bootstrap: &str, topics: &[String]) -> Vec<String> {
    let metadata = metadata(bootstrap, topics).await;
    let address = |id| {
        let broker = metadata.brokers.iter().find(|broker| broker.node_id == id).unwrap();
        format!("{}:{}", &*broker.host, broker.port)
    };
    let by_name: BTreeMap<String, String> = metadata
        .topics
        .iter()
        .map(|topic| {
            let first = topic.partitions.iter().find(|partition| partition.partition_index == 0).unwrap();
            (topic.name.as_ref().unwrap().to_string(), address(first.leader_id))
        })
        .collect();
    topics.iter().map(|topic| by_name[topic].clone()).collect()
}

async fn metadata(bootstrap: &str, topics: &[String]) -> MetadataResponse {
    let topics = topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
    let request =
        MetadataRequest::default().with_topics(Some(topics.collect())).with_allow_auto_topic_creation(false);
    call(bootstrap, 5, request).await
}

async fn create(bootstrap: &str, topics: &[String], partitions: i32) {
    for some in topics.chunks(500) {
        let topics = some.iter().map(|topic| {
            CreatableTopic::default()
                .with_name(name(topic))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
        });
        let request = CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(60_000);
        for topic in call(bootstrap, 2, request).await.topics {
            // 36: it is there from an earlier run.
            assert!([0, 36].contains(&topic.error_code), "{topic:?}");
        }
    }
}

fn request(topics: &BTreeMap<String, Vec<i32>>) -> Bytes {
    let topics = topics.iter().map(|(topic, partitions)| {
        let asked = partitions.iter().map(|partition| {
            ListOffsetsPartition::default()
                .with_partition_index(*partition)
                .with_current_leader_epoch(-1)
                .with_timestamp(-1)
        });
        ListOffsetsTopic::default().with_name(name(topic)).with_partitions(asked.collect())
    });
    frame(VERSION, &ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics.collect()))
}

async fn call<R: Request>(bootstrap: &str, version: i16, request: R) -> R::Response {
    Client::connect(bootstrap.split(',').next().unwrap()).await.call(version, request).await
}
