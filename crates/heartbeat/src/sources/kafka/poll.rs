//! The ends of many topics, asked for with one request per leader that is encoded once.
//!
//! A poll is made from a layout and from what the cluster's metadata says of its topics; it is made anew when either
//! changes. What it costs when nothing has moved is the exchange itself, and one comparison per partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use heartbeat_core::position::KafkaPosition;
use kafka_protocol::messages::ListOffsetsRequest;

use super::Isolation;
use super::answer::{Entry, read_answer};
use super::cluster::Cluster;
use super::connection::Encoded;
use super::error::{ClientError, Code, PartitionError};
use super::layout::Layout;
use super::line::Line;
use super::metadata::Topic;
use super::offsets::{At, LIST_OFFSETS, Question, Told, build_list_offsets};
use crate::error_chain::chain;

/// How long a leader may wait for a remote tier (KIP-1005); ends are local.
const TIMEOUT_MS: i32 = 5_000;

/// Ends of the partitions of a layout's topics.
#[derive(Debug)]
pub(super) struct Poll {
    generation: u64,
    isolation: Isolation,
    /// By topic of the layout; `None`: not described.
    described: Vec<Option<Described>>,
    /// By place: the partition.
    partitions: Vec<i32>,
    /// By place: the index of its leader.
    leader_of: Vec<Option<u32>>,
    leaders: Vec<LeaderPoll>,
    /// By place: the last answer.
    ends: Vec<End>,
    /// By place: where all rows stand, for topics that are calm.
    expected: Vec<Told>,
    /// By topic: whether all of its rows stand where it stood.
    calm: Vec<bool>,
}

/// A topic's description, and its first place.
#[derive(Debug)]
pub(super) struct Described {
    topic: Arc<Topic>,
    first: usize,
}

/// Partitions whose end is not known, and why.
pub(super) type Missing = BTreeMap<i32, PartitionError>;

/// One partition's answer.
#[derive(Debug, Clone, Copy)]
enum End {
    Unanswered,
    NoLeader,
    Told(Told),
    Code(Code),
    /// The leader of this index could not be asked.
    Silent(u32),
}

#[derive(Debug)]
struct LeaderPoll {
    address: Arc<str>,
    /// Its places, with the leader epoch of each.
    places: Vec<(usize, i32)>,
    request: Option<Encoded>,
    error: Option<Arc<ClientError>>,
}

impl Poll {
    /// A poll over the topics of a layout, as far as the cluster knows them.
    pub(super) fn new(cluster: &Cluster, layout: &Layout, isolation: Isolation) -> Self {
        let view = cluster.view();
        let mut poll = Self {
            generation: view.generation,
            isolation,
            described: Vec::with_capacity(layout.topics.len()),
            partitions: Vec::new(),
            leader_of: Vec::new(),
            leaders: Vec::new(),
            ends: Vec::new(),
            expected: Vec::new(),
            calm: vec![false; layout.topics.len()],
        };
        let mut by_address: HashMap<Arc<str>, u32> = HashMap::new();
        for name in &layout.topics {
            let Some((topic, _)) = view.topics.get(&**name) else {
                poll.described.push(None);
                continue;
            };
            poll.described.push(Some(Described { topic: Arc::clone(topic), first: poll.partitions.len() }));
            for (partition, leadership) in &topic.partitions {
                let address = leadership.leader.and_then(|id| view.brokers.get(&id));
                let leader = address.map(|address| {
                    *by_address.entry(Arc::clone(address)).or_insert_with(|| {
                        let address = Arc::clone(address);
                        poll.leaders.push(LeaderPoll {
                            address,
                            places: Vec::new(),
                            request: None,
                            error: None,
                        });
                        poll.leaders.len() as u32 - 1
                    })
                });
                if let Some(leader) = leader {
                    poll.leaders[leader as usize].places.push((poll.partitions.len(), leadership.epoch));
                }
                poll.partitions.push(*partition);
                poll.leader_of.push(leader);
            }
        }
        poll.ends = vec![End::Unanswered; poll.partitions.len()];
        poll.expected = vec![Told { offset: -1, epoch: None }; poll.partitions.len()];
        poll
    }

    /// Whether it was made from what the cluster knows now.
    pub(super) fn is_of(&self, cluster: &Cluster) -> bool {
        self.generation == cluster.view().generation
    }

    /// Asks all leaders, each once.
    pub(super) async fn ask(&mut self, cluster: &mut Cluster, layout: &Layout, deadline: Instant) {
        for (end, leader) in self.ends.iter_mut().zip(&self.leader_of) {
            *end = if leader.is_some() { End::Unanswered } else { End::NoLeader };
        }
        let (isolation, described, partitions) = (self.isolation, &self.described, &self.partitions);
        let asked_at = Instant::now();
        let asked = self.leaders.iter_mut().map(|leader| {
            let line = cluster.lend(&leader.address);
            let until = cluster.patience(&leader.address, deadline);
            let given = until.saturating_duration_since(asked_at);
            let answer = async move {
                if leader.request.is_none() {
                    let encode = |version| encode(leader, layout, described, partitions, isolation, version);
                    match line_version(line, until, encode).await {
                        Ok((line, encoded)) => {
                            leader.request = Some(encoded);
                            exchange(line, leader, until).await
                        }
                        Err((line, error)) => (line, Err(error)),
                    }
                } else {
                    exchange(line, leader, until).await
                }
            };
            async move { (answer.await, given) }
        });
        let answers = join_all(asked.collect::<Vec<_>>()).await;
        for (index, ((line, answer), given)) in answers.into_iter().enumerate() {
            let taken = match answer {
                Ok((version, body)) => self.take(index, layout, version, &body).map_err(Err),
                Err(error) => Err(Ok(error)),
            };
            self.finish(cluster, index, line, given, taken);
        }
    }

    fn finish(
        &mut self,
        cluster: &mut Cluster,
        index: usize,
        mut line: Line,
        given: Duration,
        taken: Result<i32, Result<ClientError, String>>,
    ) {
        let error = match taken {
            Ok(throttle) => {
                line.throttle(throttle);
                cluster.answered(line.address());
                cluster.give_back(line);
                self.leaders[index].error = None;
                return;
            }
            Err(Ok(error)) => error,
            Err(Err(problem)) => line.bad(problem),
        };
        cluster.failed(&line, given, &error);
        tracing::debug!(address = line.address(), error = chain(&error), "no offsets");
        let leader = &mut self.leaders[index];
        leader.error = Some(Arc::new(error));
        // The broker that comes back may be another version of it.
        leader.request = None;
        for (place, _) in &leader.places {
            self.ends[*place] = End::Silent(index as u32);
        }
        cluster.give_back(line);
    }

    /// Holds an answer against the question: every partition answered exactly once, and no other.
    fn take(&mut self, leader: usize, layout: &Layout, version: i16, body: &Bytes) -> Result<i32, String> {
        let mut next = self.leaders[leader].places.first().map(|(place, _)| *place);
        let mut answered = 0;
        let (described, partitions, leader_of) = (&self.described, &self.partitions, &self.leader_of);
        let ends = &mut self.ends;
        let throttle = read_answer(
            version,
            body,
            |name| {
                let topic = layout.index.get(name).copied();
                topic
                    .and_then(|topic| described[topic].as_ref())
                    .map(|described| (described.first, described.topic.partitions.len()))
                    .ok_or_else(|| format!("an offset nobody asked for, of `{name}`"))
            },
            |(first, count), Entry { partition, told }| {
                // Answers come in the order of the question, or nearly so.
                let expected = next.filter(|place| {
                    (first..first + count).contains(place) && partitions[*place] == partition
                });
                let place = expected
                    .or_else(|| {
                        partitions[first..first + count].binary_search(&partition).ok().map(|at| first + at)
                    })
                    .filter(|place| leader_of[*place] == Some(leader as u32))
                    .filter(|place| matches!(ends[*place], End::Unanswered))
                    .ok_or_else(|| format!("an offset nobody asked for, of partition {partition}"))?;
                ends[place] = match told {
                    Ok(told) => End::Told(told),
                    Err(code) => End::Code(code),
                };
                answered += 1;
                next = Some(place + 1);
                Ok(())
            },
        )?;
        let asked = self.leaders[leader].places.len();
        if answered == asked { Ok(throttle) } else { Err(format!("{answered} offsets instead of {asked}")) }
    }

    /// Topics of which at least one row may stand elsewhere, or that could not be asked.
    pub(super) fn stirred(&self) -> Vec<usize> {
        let is_calm = |topic: usize| {
            self.calm[topic]
                && self.places(topic).is_some_and(|places| {
                    let ends = &self.ends[places.clone()];
                    ends.iter()
                        .zip(&self.expected[places])
                        .all(|(end, expected)| matches!(end, End::Told(told) if told == expected))
                })
        };
        (0..self.described.len()).filter(|topic| !is_calm(*topic)).collect()
    }

    /// Remembers that all rows of a topic stand where it stands now, or that they do not.
    pub(super) fn set_calm(&mut self, topic: usize, calm: bool) {
        self.calm[topic] = calm;
        if let (true, Some(places)) = (calm, self.places(topic)) {
            for place in places {
                match self.ends[place] {
                    End::Told(told) => self.expected[place] = told,
                    _ => self.calm[topic] = false,
                }
            }
        }
    }

    /// Description of a topic, if there is one.
    pub(super) fn described(&self, topic: usize) -> Option<&Arc<Topic>> {
        self.described[topic].as_ref().map(|described| &described.topic)
    }

    /// Where a topic ends, and what is wrong with the partitions that are left out; `None`: it is not described.
    pub(super) fn position(
        &self,
        name: &str,
        topic: usize,
        cluster: &str,
    ) -> Option<(KafkaPosition, Missing)> {
        let mut position = self.described(topic)?.position(name, cluster);
        let mut missing = Missing::new();
        for place in self.places(topic)? {
            let partition = self.partitions[place];
            let error = match self.ends[place] {
                End::Told(told) => {
                    told.note(&mut position, partition);
                    continue;
                }
                End::NoLeader => PartitionError::NoLeader,
                End::Code(code) => PartitionError::Code(code),
                End::Silent(leader) => match &self.leaders[leader as usize].error {
                    Some(error) => PartitionError::Client(Arc::clone(error)),
                    None => PartitionError::NoLeader,
                },
                End::Unanswered => PartitionError::Doubtful("no end offset".to_owned()),
            };
            missing.insert(partition, error);
        }
        Some((position, missing))
    }

    fn places(&self, topic: usize) -> Option<std::ops::Range<usize>> {
        let Described { topic, first } = self.described[topic].as_ref()?;
        Some(*first..first + topic.partitions.len())
    }
}

async fn exchange(
    mut line: Line,
    leader: &mut LeaderPoll,
    deadline: Instant,
) -> (Line, Result<(i16, Bytes), ClientError>) {
    let Some(request) = &mut leader.request else {
        return (line, Err(ClientError::Timeout { address: leader.address.to_string() }));
    };
    let answer = line.send(request, deadline).await.map(|body| (request.version(), body));
    (line, answer)
}

/// Connects if need be, and encodes the request in the version that the broker speaks.
async fn line_version(
    mut line: Line,
    deadline: Instant,
    encode: impl FnOnce(i16) -> Result<Encoded, String>,
) -> Result<(Line, Encoded), (Line, ClientError)> {
    let version = match line.version::<ListOffsetsRequest>(LIST_OFFSETS, deadline).await {
        Ok(version) => version,
        Err(error) => return Err((line, error)),
    };
    match encode(version) {
        Ok(encoded) => Ok((line, encoded)),
        Err(problem) => {
            let error = line.bad(problem);
            Err((line, error))
        }
    }
}

fn encode(
    leader: &LeaderPoll,
    layout: &Layout,
    described: &[Option<Described>],
    partitions: &[i32],
    isolation: Isolation,
    version: i16,
) -> Result<Encoded, String> {
    let mut questions = Vec::with_capacity(leader.places.len());
    let mut topics =
        described.iter().enumerate().filter_map(|(topic, described)| Some((topic, described.as_ref()?)));
    let mut current = topics.next();
    for (place, epoch) in &leader.places {
        // Places rise with their topics.
        while let Some((_, described)) = current
            && *place >= described.first + described.topic.partitions.len()
        {
            current = topics.next();
        }
        let Some((topic, _)) = current else { break };
        let question =
            Question { topic: &layout.topics[topic], partition: partitions[*place], at: At::End(isolation) };
        questions.push((question, *epoch));
    }
    Encoded::new(version, &build_list_offsets(&questions, isolation, TIMEOUT_MS))
}
