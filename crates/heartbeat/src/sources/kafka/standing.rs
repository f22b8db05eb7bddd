//! Where the topics stand that need more than a glance: asked again, confirmed, verified.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use heartbeat_core::acon::{ReadOptions, Topics};
use heartbeat_core::position::KafkaPosition;
use heartbeat_core::source::SourceError;
use uuid::Uuid;

use super::cluster::{Cluster, pause};
use super::epochs::{EpochEnd, EpochQuestion};
use super::error::{ClientError, Code, PartitionError};
use super::layout::{Layout, Part};
use super::look::Terms;
use super::metadata::Topic;
use super::offsets::{At, Question};
use super::plan::{Known, Plan, plan_row, restricted};
use super::poll::{Missing, Poll};

/// Where a topic stands, or why that cannot be told.
pub(super) type Standing = Result<Stand, TopicError>;

pub(super) struct Stand {
    pub(super) position: KafkaPosition,
    /// Partitions that are not in the position.
    pub(super) missing: Missing,
    /// Nil on brokers without topic ids.
    pub(super) topic_id: Uuid,
    described_at: Instant,
    /// True when the poll's answer was not the last word.
    pub(super) asked_again: bool,
    /// True after an answer that was doubted was asked for again.
    confirmed: bool,
}

/// Why a topic cannot be told about.
#[derive(Clone)]
pub(super) enum TopicError {
    Code(Code),
    Client(Arc<ClientError>),
}

/// Where the topics stand that need more than a glance.
pub(super) struct Standings<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) layout: &'a Layout,
    pub(super) terms: Terms,
    pub(super) started: Instant,
    pub(super) by_topic: HashMap<usize, Standing>,
}

/// What leaders told about epochs of one topic, by partition and epoch.
pub(super) type EpochEnds = BTreeMap<(i32, i32), EpochEnd>;

/// The same by topic.
pub(super) type Truths = HashMap<usize, EpochEnds>;

/// What leaders told before, by topic, partition and epoch, with the epoch that led then: as long as it leads, it holds.
pub(super) type Remembered = HashMap<(Arc<str>, Uuid, i32, i32), (i32, EpochEnd)>;

/// Most that is remembered of epochs.
const MOST_TRUTHS: usize = 1_000_000;

impl Standings<'_> {
    /// Takes over what the poll has brought.
    pub(super) fn take(&mut self, poll: &Poll, topics: &[usize], mut failed: HashMap<usize, TopicError>) {
        let view = self.cluster.view();
        for &topic in topics {
            let name = &*self.layout.topics[topic];
            let position = poll.position(name, topic, &view.cluster_id);
            let standing = match (poll.described(topic).zip(position), failed.remove(&topic)) {
                (_, Some(error)) => Err(error),
                (None, None) => Err(TopicError::Code(Code::UNKNOWN_TOPIC)),
                (Some((described, (position, missing))), None) => Ok(Stand {
                    position,
                    missing,
                    topic_id: described.id,
                    described_at: view.topics.get(name).map_or(self.started, |(_, at)| *at),
                    asked_again: false,
                    confirmed: false,
                }),
            };
            self.by_topic.insert(topic, standing);
        }
    }

    /// What may pass is asked again, with fresh metadata. Leaders that do not answer are not asked again now, but who
    /// leads instead is found out for the next look.
    pub(super) async fn ask_again(&mut self) {
        let with = |is: fn(&PartitionError) -> bool| -> Vec<usize> {
            let missing =
                |standing: &Standing| standing.as_ref().is_ok_and(|stand| stand.missing.values().any(is));
            self.by_topic.iter().filter(|(_, standing)| missing(standing)).map(|(topic, _)| *topic).collect()
        };
        let (passing, silent) = (with(PartitionError::is_passing), with(PartitionError::is_timeout));
        self.stand(&passing, false).await;
        if !silent.is_empty() {
            let layout = self.layout;
            let names: Vec<&str> = silent.iter().map(|topic| &*layout.topics[*topic]).collect();
            if let Err(error) = self.cluster.refresh(&names, self.terms.deadline).await {
                tracing::debug!(%error, "nobody tells who leads instead");
            }
        }
    }

    /// Asks the leaders of these topics for their ends, by the metadata that there is.
    async fn stand(&mut self, topics: &[usize], confirmed: bool) {
        let view = self.cluster.view();
        let known: Vec<_> = topics
            .iter()
            .filter_map(|topic| {
                let (described, at) = view.topics.get(&*self.layout.topics[*topic])?;
                Some((*topic, Arc::clone(described), *at))
            })
            .collect();
        let at = At::End(self.terms.isolation);
        let questions: Vec<Question<'_>> = known
            .iter()
            .flat_map(|(topic, described, _)| {
                let topic: &str = &self.layout.topics[*topic];
                described.partitions.keys().map(move |partition| Question {
                    topic,
                    partition: *partition,
                    at,
                })
            })
            .collect();
        if questions.is_empty() {
            return;
        }
        let mut answers = self.cluster.list_offsets(&questions, self.terms.deadline).await.into_iter();
        let cluster = self.cluster.view().cluster_id.clone();
        for (topic, described, described_at) in known {
            let mut position = described.position(&self.layout.topics[topic], &cluster);
            let mut missing = Missing::new();
            for (&partition, answer) in described.partitions.keys().zip(answers.by_ref()) {
                match answer {
                    Ok(Some(told)) => told.note(&mut position, partition),
                    Ok(None) => {
                        missing.insert(partition, PartitionError::Doubtful("no end offset".to_owned()));
                    }
                    Err(error) => drop(missing.insert(partition, error)),
                }
            }
            let topic_id = described.id;
            let stand = Stand { position, missing, topic_id, described_at, asked_again: true, confirmed };
            self.by_topic.insert(topic, Ok(stand));
        }
    }

    /// Whatever did not stand still is compared with fresh metadata: the ends may be those of a topic that was made
    /// again since the metadata was asked for. Answers that cannot be right yet are asked for once more.
    pub(super) async fn confirm(&mut self) {
        let (mut moved, mut doubted) = (HashSet::new(), HashSet::new());
        for (&topic, standing) in &self.by_topic {
            let Ok(stand) = standing else { continue };
            for part in &self.layout.parts_of[topic] {
                match self.plan(&self.layout.parts[*part], stand, None) {
                    Plan::Doubt(_) => drop(doubted.insert(topic)),
                    Plan::Read { .. } | Plan::Verify(_) | Plan::Settle { .. }
                        if stand.described_at < self.started =>
                    {
                        moved.insert(topic);
                    }
                    _ => {}
                }
            }
        }
        if !doubted.is_empty() && !pause(1, self.terms.deadline).await {
            doubted.clear();
        }
        let topics: Vec<usize> = moved.union(&doubted).copied().collect();
        if topics.is_empty() {
            return;
        }
        let layout = self.layout;
        let names: Vec<&str> = topics.iter().map(|topic| &*layout.topics[*topic]).collect();
        match self.cluster.refresh(&names, self.terms.deadline).await {
            Err(error) => {
                let errors =
                    topics.into_iter().map(|topic| (topic, Err(TopicError::Client(Arc::clone(&error)))));
                self.by_topic.extend(errors);
                return;
            }
            Ok(failed) => {
                for (topic, name) in topics.iter().zip(&names) {
                    if let Some(code) = failed.get(name) {
                        self.by_topic.insert(*topic, Err(TopicError::Code(*code)));
                    }
                }
            }
        }
        let view = self.cluster.view();
        let is_as_described =
            |topic: &usize| match (view.topics.get(&*layout.topics[*topic]), &self.by_topic[topic]) {
                (Some((now, _)), Ok(stand)) => {
                    now.id == stand.topic_id
                        && view.cluster_id == stand.position.cluster
                        && stand.has_partitions_of(now)
                }
                _ => true,
            };
        let changed: Vec<usize> =
            moved.difference(&doubted).filter(|topic| !is_as_described(topic)).copied().collect();
        let doubted: Vec<usize> = doubted.into_iter().collect();
        self.stand(&changed, false).await;
        self.stand(&doubted, true).await;
    }

    /// Asks whether logs were cut off where other leaders were elected since the rows' cursors.
    pub(super) async fn verify(&mut self, remembered: &mut Remembered) -> Truths {
        let mut truths: Truths = HashMap::new();
        let mut open: Vec<(usize, i32, i32)> = Vec::new();
        for (&topic, standing) in &self.by_topic {
            let Ok(stand) = standing else { continue };
            for part in &self.layout.parts_of[topic] {
                let Plan::Verify(partitions) = self.plan(&self.layout.parts[*part], stand, None) else {
                    continue;
                };
                let name = &self.layout.topics[topic];
                let own = truths.entry(topic).or_default();
                for (partition, epoch) in partitions {
                    match remembered.get(&(Arc::clone(name), stand.topic_id, partition, epoch)) {
                        Some((leads, end)) if stand.position.epochs.get(&partition) == Some(leads) => {
                            own.insert((partition, epoch), *end);
                        }
                        _ => open.push((topic, partition, epoch)),
                    }
                }
            }
        }
        open.sort_unstable();
        open.dedup();
        let layout = self.layout;
        let questions: Vec<EpochQuestion<'_>> = open
            .iter()
            .map(|(topic, partition, epoch)| EpochQuestion {
                topic: &layout.topics[*topic],
                partition: *partition,
                epoch: *epoch,
            })
            .collect();
        let answers = self.cluster.ask_epochs(&questions, self.terms.deadline).await;
        for ((topic, partition, epoch), answer) in open.into_iter().zip(answers) {
            let Some(Ok(stand)) = self.by_topic.get_mut(&topic) else { continue };
            match answer {
                Ok(end) => {
                    if let Some(leads) = stand.position.epochs.get(&partition) {
                        let name = Arc::clone(&layout.topics[topic]);
                        remembered.insert((name, stand.topic_id, partition, epoch), (*leads, end));
                    }
                    truths.entry(topic).or_default().insert((partition, epoch), end);
                }
                Err(error) => {
                    stand.position.offsets.remove(&partition);
                    stand.position.epochs.remove(&partition);
                    stand.missing.insert(partition, error);
                }
            }
        }
        if remembered.len() > MOST_TRUTHS {
            remembered.clear();
        }
        truths
    }

    pub(super) fn plan(&self, part: &Part, stand: &Stand, truths: Option<&EpochEnds>) -> Plan {
        let own = restricted(&stand.position, &part.read);
        plan_row(&self.known(part, stand, own.as_ref(), truths))
    }

    pub(super) fn known<'k>(
        &'k self,
        part: &'k Part,
        stand: &'k Stand,
        own: Option<&'k KafkaPosition>,
        truths: Option<&'k EpochEnds>,
    ) -> Known<'k> {
        Known {
            now: own.unwrap_or(&stand.position),
            since: self.layout.since(part),
            read: &part.read,
            truths,
            confirmed: stand.confirmed,
        }
    }
}

impl Stand {
    fn has_partitions_of(&self, topic: &Topic) -> bool {
        let known = |partition: &i32| {
            self.position.offsets.contains_key(partition) || self.missing.contains_key(partition)
        };
        topic.partitions.len() == self.position.offsets.len() + self.missing.len()
            && topic.partitions.keys().all(known)
    }

    /// What is wrong with a partition that the row is about.
    pub(super) fn missing_for(&self, read: &ReadOptions) -> Option<(i32, &PartitionError)> {
        let own = match &read.topics {
            Topics::Assigned(assigned) => assigned.get(&self.position.topic),
            _ => None,
        };
        let mut missing = self.missing.iter();
        let found = missing.find(|(partition, _)| own.is_none_or(|own| own.contains(partition)));
        found.map(|(partition, error)| (*partition, error))
    }

    /// A partition that the row is about and that the topic does not have.
    pub(super) fn unknown_to(&self, read: &ReadOptions) -> Option<i32> {
        let Topics::Assigned(assigned) = &read.topics else { return None };
        let own = assigned.get(&self.position.topic)?;
        let known = |partition: &&i32| {
            !self.position.offsets.contains_key(*partition) && !self.missing.contains_key(*partition)
        };
        own.iter().find(known).copied()
    }
}

impl TopicError {
    pub(super) fn for_row(&self, cluster: &str, topic: &str) -> SourceError {
        match self {
            Self::Code(code) => code.for_row(topic),
            Self::Client(error) => error.for_row(&format!("kafka cluster {cluster}")),
        }
    }
}
