//! What the embedded broker knows: topics, their logs, producers and their transactions.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use uuid::Uuid;

use super::log::Log;

/// One broker's memory.
#[derive(Debug)]
pub(super) struct State {
    pub(super) cluster_id: String,
    pub(super) topics: BTreeMap<String, Topic>,
    producers: i64,
    transactions: HashMap<String, Transaction>,
}

/// A topic with its partitions, numbered from 0.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) logs: Vec<Log>,
}

#[derive(Debug, Default)]
struct Transaction {
    producer_id: i64,
    partitions: BTreeSet<(String, i32)>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            cluster_id: Uuid::new_v4().simple().to_string(),
            topics: BTreeMap::new(),
            producers: 0,
            transactions: HashMap::new(),
        }
    }

    pub(super) fn create_topic(&mut self, name: &str, partitions: i32) -> Result<Uuid, ResponseError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 249 || !name.chars().all(legal) {
            return Err(ResponseError::InvalidTopicException);
        }
        if self.topics.contains_key(name) {
            return Err(ResponseError::TopicAlreadyExists);
        }
        let id = Uuid::new_v4();
        self.topics.insert(name.to_owned(), Topic { id, logs: Vec::new() });
        if let Err(error) = self.grow_topic(name, partitions) {
            self.topics.remove(name);
            return Err(error);
        }
        Ok(id)
    }

    /// Adds partitions until there are `partitions`.
    pub(super) fn grow_topic(&mut self, name: &str, partitions: i32) -> Result<(), ResponseError> {
        let topic = self.topics.get_mut(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        match usize::try_from(partitions) {
            Ok(count) if count > topic.logs.len() && count <= 100_000 => {
                topic.logs.resize_with(count, Log::default);
                Ok(())
            }
            _ => Err(ResponseError::InvalidPartitions),
        }
    }

    pub(super) fn delete_topic(&mut self, name: &str) -> Result<(), ResponseError> {
        self.topics.remove(name).map(drop).ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(super) fn log(&self, topic: &str, partition: i32) -> Result<&Log, ResponseError> {
        let topic = self.topics.get(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let log = usize::try_from(partition).ok().and_then(|index| topic.logs.get(index));
        log.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(super) fn log_mut(&mut self, topic: &str, partition: i32) -> Result<&mut Log, ResponseError> {
        let topic = self.topics.get_mut(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let log = usize::try_from(partition).ok().and_then(|index| topic.logs.get_mut(index));
        log.ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(super) fn append(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> Result<i64, ResponseError> {
        self.log_mut(topic, partition)?.append(records)
    }

    /// A new producer id; an open transaction of the same transactional id is aborted, as its owner is taken for dead.
    pub(super) fn init_producer(&mut self, transactional_id: Option<&str>) -> i64 {
        self.producers += 1;
        if let Some(id) = transactional_id {
            if let Some(old) = self.transactions.remove(id) {
                self.finish(&old, false);
            }
            let new = Transaction { producer_id: self.producers, partitions: BTreeSet::new() };
            self.transactions.insert(id.to_owned(), new);
        }
        self.producers
    }

    pub(super) fn add_to_transaction(
        &mut self,
        id: &str,
        topic: &str,
        partition: i32,
    ) -> Result<(), ResponseError> {
        self.log(topic, partition)?;
        let transaction = self.transactions.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        transaction.partitions.insert((topic.to_owned(), partition));
        Ok(())
    }

    pub(super) fn end_transaction(&mut self, id: &str, commit: bool) -> Result<(), ResponseError> {
        let transaction = self.transactions.get_mut(id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        let ended = Transaction {
            producer_id: transaction.producer_id,
            partitions: std::mem::take(&mut transaction.partitions),
        };
        self.finish(&ended, commit);
        Ok(())
    }

    fn finish(&mut self, transaction: &Transaction, commit: bool) {
        for (topic, partition) in &transaction.partitions {
            if let Ok(log) = self.log_mut(topic, *partition) {
                log.end_transaction(transaction.producer_id, commit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::log::batch_of;

    #[test]
    fn a_topic_made_again_has_another_id() {
        let mut state = State::new();
        let first = state.create_topic("t", 1).unwrap();
        assert_eq!(state.create_topic("t", 1), Err(ResponseError::TopicAlreadyExists));
        state.delete_topic("t").unwrap();
        assert_ne!(state.create_topic("t", 2).unwrap(), first);
        assert_eq!(state.grow_topic("t", 1), Err(ResponseError::InvalidPartitions));
        assert_eq!(state.create_topic("no topic", 1), Err(ResponseError::InvalidTopicException));
        assert_eq!(state.create_topic("u", 0), Err(ResponseError::InvalidPartitions));
        assert!(state.log("u", 0).is_err());
    }

    #[test]
    fn a_new_owner_of_a_transactional_id_aborts_the_old_ones_transaction() {
        let mut state = State::new();
        state.create_topic("t", 1).unwrap();
        let producer = state.init_producer(Some("x"));
        state.add_to_transaction("x", "t", 0).unwrap();
        state.append("t", 0, batch_of(&[Bytes::from_static(b"v")], 1, producer).unwrap()).unwrap();
        assert_eq!(state.log("t", 0).unwrap().last_stable(), 0);
        assert_ne!(state.init_producer(Some("x")), producer);
        assert_eq!(state.log("t", 0).unwrap().last_stable(), 2);
    }
}
