//! Who leads which partition: the Metadata request, built and judged.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use heartbeat_core::position::KafkaPosition;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::connection::Supported;
use super::error::Code;

/// v4 can forbid to create topics that are asked for; v10 has topic ids (KIP-516).
pub(super) const METADATA: Supported = Supported { name: "Metadata", min: 4, max: 12 };

/// Topics in one request: some 100 kB of answer per thousand three-partition topics.
pub(super) const TOPICS_PER_REQUEST: usize = 5_000;

/// A topic as the brokers describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    /// Nil on brokers before 2.8.
    pub(super) id: Uuid,
    /// By partition.
    pub(super) partitions: BTreeMap<i32, Leadership>,
}

/// Who leads a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leadership {
    /// `None` during an election.
    pub(super) leader: Option<i32>,
    /// -1 when unknown. Sent along, so that a leader that was deposed cannot answer (KIP-320).
    pub(super) epoch: i32,
}

/// What is known of a cluster.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Empty until the first answer.
    pub(super) cluster_id: String,
    /// Addresses by broker id.
    pub(super) brokers: HashMap<i32, Arc<str>>,
    /// Topics that exist, with the time at which their description was asked for.
    pub(super) topics: HashMap<String, (Arc<Topic>, Instant)>,
    /// Raised whenever anything of the above but the times has changed.
    pub(super) generation: u64,
}

/// A judged answer.
#[derive(Debug)]
pub(super) struct MetadataAnswer {
    /// Cluster id, empty if the broker tells none.
    pub(super) cluster_id: String,
    /// Addresses by broker id.
    pub(super) brokers: HashMap<i32, Arc<str>>,
    /// One entry per topic asked for.
    pub(super) topics: HashMap<String, Result<Topic, Code>>,
}

impl View {
    /// Takes over what a broker told; the topics that it does not know are returned with the error.
    pub(super) fn take<'a>(
        &mut self,
        asked: &[&'a str],
        mut answer: MetadataAnswer,
        asked_at: Instant,
    ) -> HashMap<&'a str, Code> {
        let mut changed = false;
        if answer.cluster_id != self.cluster_id {
            self.topics.clear();
            self.cluster_id = answer.cluster_id;
            changed = true;
        }
        if answer.brokers != self.brokers {
            self.brokers = answer.brokers;
            changed = true;
        }
        let mut failed = HashMap::new();
        for &name in asked {
            match answer.topics.remove(name) {
                Some(Ok(mut topic)) => match self.topics.get_mut(name) {
                    Some((known, described_at)) if topic.brings_nothing_to(known) => *described_at = asked_at,
                    known => {
                        if let Some((known, _)) = known {
                            topic.keep_newer(known);
                        }
                        self.topics.insert(name.to_owned(), (Arc::new(topic), asked_at));
                        changed = true;
                    }
                },
                Some(Err(code)) => {
                    changed |= self.topics.remove(name).is_some();
                    failed.insert(name, code);
                }
                None => {}
            }
        }
        self.generation += u64::from(changed);
        failed
    }

    /// Forgets topics that nobody has asked about since `since`.
    pub(super) fn forget_older(&mut self, since: Instant) {
        let before = self.topics.len();
        self.topics.retain(|_, (_, described_at)| *described_at >= since);
        self.generation += u64::from(self.topics.len() != before);
    }
}

impl Topic {
    /// Whether it is as it is known to be, or older: a broker that lags behind the others describes it.
    fn brings_nothing_to(&self, known: &Self) -> bool {
        let mut newest = self.clone();
        newest.keep_newer(known);
        newest == *known
    }

    /// Keeps leaders of a later epoch than this description has.
    fn keep_newer(&mut self, known: &Self) {
        if self.id != known.id || self.id.is_nil() {
            return;
        }
        for (partition, leadership) in &mut self.partitions {
            if let Some(newer) = known.partitions.get(partition)
                && newer.epoch > leadership.epoch
                && leadership.epoch >= 0
            {
                *leadership = *newer;
            }
        }
    }

    /// A position in this topic that has no partition yet.
    pub(super) fn position(&self, name: &str, cluster: &str) -> KafkaPosition {
        KafkaPosition {
            cluster: cluster.to_owned(),
            topic: name.to_owned(),
            topic_id: self.id_text(),
            offsets: BTreeMap::new(),
            epochs: BTreeMap::new(),
        }
    }

    /// The id as Kafka's own tools print it (URL-safe base64), `None` for a nil id.
    pub(super) fn id_text(&self) -> Option<String> {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        if self.id.is_nil() {
            return None;
        }
        // 128 bits are 21 digits of 6 bits and one of 2, which stands at the high end of its digit.
        let bits = self.id.as_u128();
        let full = (0..21).map(|i| (bits >> (122 - 6 * i)) & 63);
        let digits = full.chain(std::iter::once((bits & 3) << 4));
        Some(digits.map(|digit| char::from(DIGITS[digit as usize])).collect())
    }
}

/// Asks for exactly these topics and creates none of them.
pub(super) fn build_metadata(topics: &[&str]) -> MetadataRequest {
    let topics = topics
        .iter()
        .map(|name| {
            let name = TopicName(StrBytes::from_string((*name).to_owned()));
            MetadataRequestTopic::default().with_name(Some(name))
        })
        .collect();
    MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false)
}

/// Asks for the names of all topics, and with them for all of their descriptions: the protocol has nothing smaller.
pub(super) fn build_listing() -> MetadataRequest {
    MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false)
}

/// Names of the topics in the answer to [`build_listing`], internal ones left out.
pub(super) fn judge_listing(response: MetadataResponse) -> Vec<String> {
    let topics = response.topics.into_iter().filter(|topic| !topic.is_internal);
    topics.filter_map(|topic| topic.name.map(|name| name.to_string())).collect()
}

/// Holds the answer against the question: every topic exactly once, and no other.
pub(super) fn judge_metadata(asked: &[&str], response: MetadataResponse) -> Result<MetadataAnswer, String> {
    let mut topics = HashMap::with_capacity(asked.len());
    for topic in response.topics {
        let Some(name) = topic.name.clone() else {
            return Err("metadata of a topic without a name".to_owned());
        };
        if topics.insert(name.to_string(), judge_topic(topic)).is_some() {
            return Err(format!("metadata of topic `{}` twice", &*name));
        }
    }
    if let Some(missing) = asked.iter().find(|name| !topics.contains_key(**name)) {
        return Err(format!("no metadata of topic `{missing}`"));
    }
    if topics.len() != asked.len() {
        return Err(format!("metadata of {} topics instead of {}", topics.len(), asked.len()));
    }
    let cluster_id = response.cluster_id.map(|id| id.to_string()).unwrap_or_default();
    let brokers =
        response.brokers.iter().map(|broker| (broker.node_id.0, address_of(broker).into())).collect();
    Ok(MetadataAnswer { cluster_id, brokers, topics })
}

fn judge_topic(topic: MetadataResponseTopic) -> Result<Topic, Code> {
    Code::check(topic.error_code)?;
    // A partition's own error code repeats that its leader is missing, or tells of a replica: the leader counts.
    let partitions = topic
        .partitions
        .into_iter()
        .map(|partition| {
            let leader = Some(partition.leader_id.0).filter(|id| *id >= 0);
            (partition.partition_index, Leadership { leader, epoch: partition.leader_epoch })
        })
        .collect();
    Ok(Topic { id: topic.topic_id, partitions })
}

fn address_of(broker: &MetadataResponseBroker) -> String {
    if broker.host.contains(':') {
        format!("[{}]:{}", &*broker.host, broker.port)
    } else {
        format!("{}:{}", &*broker.host, broker.port)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;
    use kafka_protocol::messages::metadata_response::MetadataResponsePartition;

    use super::*;

    fn described(name: &str, error_code: i16, leaders: &[i32]) -> MetadataResponseTopic {
        let partitions = leaders.iter().enumerate().map(|(i, leader)| {
            MetadataResponsePartition::default()
                .with_partition_index(i as i32)
                .with_leader_id((*leader).into())
                .with_leader_epoch(4)
        });
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
            .with_error_code(error_code)
            .with_topic_id(Uuid::from_u128(1))
            .with_partitions(partitions.collect())
    }

    fn answer(topics: Vec<MetadataResponseTopic>) -> MetadataResponse {
        let broker =
            MetadataResponseBroker::default().with_node_id(1.into()).with_host("::1".into()).with_port(9092);
        MetadataResponse::default()
            .with_cluster_id(Some(StrBytes::from_static_str("c")))
            .with_brokers(vec![broker])
            .with_topics(topics)
    }

    #[test]
    fn never_asks_the_broker_to_create() {
        let request = build_metadata(&["a", "b"]);
        assert!(!request.allow_auto_topic_creation);
        assert_eq!(request.topics.map(|topics| topics.len()), Some(2));
    }

    #[test]
    fn a_topic_without_leader_and_a_missing_one_are_told_apart() {
        let unknown = ResponseError::UnknownTopicOrPartition.code();
        let judged = judge_metadata(
            &["a", "b"],
            answer(vec![described("b", unknown, &[]), described("a", 0, &[1, -1])]),
        )
        .unwrap();
        let a = judged.topics["a"].clone().unwrap();
        assert_eq!(a.partitions[&0], Leadership { leader: Some(1), epoch: 4 });
        assert_eq!(a.partitions[&1].leader, None);
        assert_eq!(judged.topics["b"], Err(Code::UNKNOWN_TOPIC));
        assert_eq!(&*judged.brokers[&1], "[::1]:9092");
    }

    #[test]
    fn answers_to_another_question_are_refused() {
        for wrong in
            [vec![], vec![described("b", 0, &[])], vec![described("a", 0, &[]), described("a", 0, &[])]]
        {
            assert!(judge_metadata(&["a"], answer(wrong)).is_err());
        }
    }

    #[test]
    fn generation_rises_with_what_changes_and_stays_with_what_does_not() {
        let mut view = View::default();
        let now = Instant::now();
        let mut take = |leaders: &[i32]| {
            let judged = judge_metadata(&["a"], answer(vec![described("a", 0, leaders)])).unwrap();
            assert!(view.take(&["a"], judged, now).is_empty());
            view.generation
        };
        let first = take(&[1, 1]);
        assert_eq!(take(&[1, 1]), first);
        assert!(take(&[1, 2]) > first);
        let gone = ResponseError::UnknownTopicOrPartition.code();
        let judged = judge_metadata(&["a"], answer(vec![described("a", gone, &[])])).unwrap();
        assert_eq!(view.take(&["a"], judged, now), [("a", Code::UNKNOWN_TOPIC)].into());
        assert!(view.topics.is_empty());
    }

    #[test]
    fn leaders_of_an_earlier_epoch_are_not_taken_for_the_present_ones() {
        let of = |leader, epoch| Topic {
            id: Uuid::from_u128(1),
            partitions: [(0, Leadership { leader: Some(leader), epoch })].into(),
        };
        let mut stale = of(1, 4);
        stale.keep_newer(&of(2, 5));
        assert_eq!(stale, of(2, 5));
        let mut newer = of(1, 6);
        newer.keep_newer(&of(2, 5));
        assert_eq!(newer, of(1, 6));
        let mut another = Topic { id: Uuid::from_u128(2), ..of(1, 0) };
        another.keep_newer(&of(2, 5));
        assert_eq!(another.partitions, of(1, 0).partitions);
    }

    #[test]
    fn topic_id_reads_as_in_kafka_tools() {
        let topic = |id| Topic { id, partitions: BTreeMap::new() };
        assert_eq!(topic(Uuid::nil()).id_text(), None);
        assert_eq!(topic(Uuid::from_u128(1)).id_text().as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAQ"));
        let all = topic(Uuid::from_u128(u128::MAX)).id_text();
        assert_eq!(all.as_deref(), Some("_____________________w"));
    }
}
