//! The rows of a look by topic: made once for the same questions, and made anew when they change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fancy_regex::Regex;
use heartbeat_core::acon::{ReadOptions, Starting, Topics, topics_of};
use heartbeat_core::position::{KafkaPosition, Position, TopicsPosition};
use heartbeat_core::source::{Ask, Asset, Since};

/// What one row reads, prepared.
#[derive(Debug)]
pub(super) struct Reads {
    pub(super) options: Arc<ReadOptions>,
    /// The same for topics that appear later: they are read from their beginning.
    later: Arc<ReadOptions>,
    pattern: Option<Regex>,
}

impl Reads {
    pub(super) fn new(options: ReadOptions) -> Self {
        let pattern = match &options.topics {
            // A pattern that is none was refused with the ACON.
            Topics::Matching(pattern) => Regex::new(pattern).ok(),
            _ => None,
        };
        let later = ReadOptions { starting: Starting::Earliest, ..options.clone() };
        Self { options: Arc::new(options), later: Arc::new(later), pattern }
    }

    /// Whether the names of all topics have to be known.
    pub(super) fn needs_names(&self) -> bool {
        self.pattern.is_some()
    }
}

/// One row's part about one topic.
#[derive(Debug)]
pub(super) struct Part {
    /// Index of the question.
    pub(super) ask: usize,
    /// Index of the topic.
    pub(super) topic: usize,
    /// Where the row stands in the topic; `None`: as the question says.
    own_since: Option<Since>,
    pub(super) read: Arc<ReadOptions>,
}

/// What a question is about.
#[derive(Debug)]
pub(super) enum Subject {
    /// One topic, the part of this index.
    One(usize),
    /// Several, and its parts.
    Several(Vec<usize>),
}

/// The rows of one cluster and isolation level, by topic.
#[derive(Debug)]
pub(super) struct Layout {
    asks: Arc<[Ask]>,
    names_version: u64,
    /// Distinct.
    pub(super) topics: Vec<Arc<str>>,
    /// Index by name.
    pub(super) index: HashMap<Arc<str>, usize>,
    pub(super) parts: Vec<Part>,
    /// Parts of each topic.
    pub(super) parts_of: Vec<Vec<usize>>,
    /// Questions of this layout, by their index.
    pub(super) subjects: Vec<(usize, Arc<Reads>, Subject)>,
}

impl Layout {
    /// Lays out the questions at these indices. `names` are all topics of the cluster, with their version, where a row
    /// needs them.
    pub(super) fn new(
        asks: &Arc<[Ask]>,
        own: &[(usize, Arc<Reads>)],
        names: &[String],
        names_version: u64,
    ) -> Self {
        let mut layout = Self {
            asks: Arc::clone(asks),
            names_version,
            topics: Vec::new(),
            index: HashMap::new(),
            parts: Vec::with_capacity(own.len()),
            parts_of: Vec::new(),
            subjects: Vec::with_capacity(own.len()),
        };
        for (ask, reads) in own {
            let Asset::Topic { topic, .. } = &asks[*ask].asset else { continue };
            let subject = layout.lay_out(*ask, topic, reads, names);
            layout.subjects.push((*ask, Arc::clone(reads), subject));
        }
        layout
    }

    /// Whether it is the layout of these questions.
    pub(super) fn is_of(&self, asks: &Arc<[Ask]>, names_version: u64) -> bool {
        Arc::ptr_eq(&self.asks, asks) && self.names_version == names_version
    }

    /// Where the row stands in the topic of a part.
    pub(super) fn since<'l>(&'l self, part: &'l Part) -> &'l Since {
        part.own_since.as_ref().unwrap_or(&self.asks[part.ask].since)
    }

    /// The question at an index.
    pub(super) fn ask(&self, index: usize) -> &Ask {
        &self.asks[index]
    }

    fn lay_out(&mut self, ask: usize, topic: &str, reads: &Reads, names: &[String]) -> Subject {
        let topics = match &reads.options.topics {
            Topics::OfRow => {
                let topics = topics_of(topic);
                if let (1, Some(topic)) = (topics.len(), topics.first())
                    && !matches!(self.asks[ask].since, Since::Position(Position::Topics(_)))
                {
                    return Subject::One(self.add(ask, topic, None, &reads.options));
                }
                topics
            }
            Topics::Listed(topics) => topics.clone(),
            Topics::Matching(_) => {
                let pattern = reads.pattern.as_ref();
                let matches = |name: &&String| {
                    pattern.is_some_and(|pattern| pattern.is_match(name.as_str()).unwrap_or(false))
                };
                let mut topics: BTreeSet<String> = names.iter().filter(matches).cloned().collect();
                // Whether a topic is gone, or was only not listed to us, is told when it is asked for by name.
                if let Since::Position(Position::Topics(cursor)) = &self.asks[ask].since {
                    topics.extend(cursor.topics.keys().filter(matches).cloned());
                }
                topics
            }
            Topics::Assigned(assigned) => assigned.keys().cloned().collect(),
        };
        Subject::Several(self.add_several(ask, &topics, reads))
    }

    fn add_several(&mut self, ask: usize, topics: &BTreeSet<String>, reads: &Reads) -> Vec<usize> {
        let asks = Arc::clone(&self.asks);
        let single;
        let cursor: Option<&BTreeMap<String, KafkaPosition>> = match &asks[ask].since {
            Since::Position(Position::Topics(cursor)) => Some(&cursor.topics),
            // The row was about one topic before.
            Since::Position(Position::Kafka(cursor)) => {
                single = [(cursor.topic.clone(), cursor.clone())].into();
                Some(&single)
            }
            _ => None,
        };
        let parts = topics.iter().map(|topic| match cursor {
            None => self.add(ask, topic, None, &reads.options),
            Some(cursor) => {
                let since = cursor
                    .get(topic)
                    .map_or(Since::Beginning, |known| Since::Position(Position::Kafka(known.clone())));
                self.add(ask, topic, Some(since), &reads.later)
            }
        });
        parts.collect()
    }

    fn add(&mut self, ask: usize, name: &str, own_since: Option<Since>, read: &Arc<ReadOptions>) -> usize {
        let topic = self.index.get(name).copied().unwrap_or_else(|| {
            let name: Arc<str> = name.into();
            self.index.insert(Arc::clone(&name), self.topics.len());
            self.topics.push(name);
            self.parts_of.push(Vec::new());
            self.topics.len() - 1
        });
        self.parts.push(Part { ask, topic, own_since, read: Arc::clone(read) });
        self.parts_of[topic].push(self.parts.len() - 1);
        self.parts.len() - 1
    }
}

/// The topics of a row's cursor that it is no longer about.
pub(super) fn left_behind<'s>(since: &'s Since, kept: &TopicsPosition) -> Vec<&'s KafkaPosition> {
    match since {
        Since::Position(Position::Topics(cursor)) => {
            let gone = cursor.topics.iter().filter(|(name, _)| !kept.topics.contains_key(*name));
            gone.map(|(_, position)| position).collect()
        }
        Since::Position(Position::Kafka(cursor)) if !kept.topics.contains_key(&cursor.topic) => vec![cursor],
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
