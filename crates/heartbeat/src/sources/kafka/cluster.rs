//! Client of one cluster: connections by broker, what is known of its topics, offsets asked of the leaders.
//!
//! Leaders are asked concurrently, each over one connection with one request at a time. What may pass (a leader
//! that moved, a connection that broke) is asked again after fresh metadata, a few times and within the deadline.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use kafka_protocol::messages::{
    ListOffsetsRequest, MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest,
};
use uuid::Uuid;

use super::Isolation;
use super::connection::Connection;
use super::epochs::{EpochEnd, EpochQuestion, OFFSET_FOR_LEADER_EPOCH, build_epochs, judge_epochs};
use super::error::{ClientError, Code, PartitionError};
use super::line::Line;
use super::metadata::{self, METADATA, View};
use super::offsets::{LIST_OFFSETS, Question, Told, build_list_offsets, judge_list_offsets};
use super::security::Access;
use crate::error_chain::chain;

const ATTEMPTS: u32 = 3;

/// Answer to one question about an offset.
pub(super) type OffsetResult = Result<Option<Told>, PartitionError>;

/// How long a broker that did not answer in time last may take: enough for one that is well again, and not so much that
/// the rows of the other leaders are late.
const SHORT_PATIENCE: Duration = Duration::from_millis(500);

/// How often it gets all the time there is nevertheless: it may be far away, and have to be connected to anew.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What a broker gets at least to tell metadata, where there is so much.
const METADATA_PATIENCE: Duration = Duration::from_secs(2);

/// Questions (with the leader epoch of each) by request: its kind, and how often a partition came before.
type Requests<K> = HashMap<(K, u32), Vec<(usize, i32)>>;

/// Answers by question.
type Answers<T> = Vec<(usize, Result<T, PartitionError>)>;

/// One cluster. Not for concurrent use: whoever looks holds it for the time of the look.
#[derive(Debug)]
pub(super) struct Cluster {
    bootstrap: Vec<String>,
    security: Arc<Access>,
    connections: HashMap<String, Connection>,
    view: View,
    /// Brokers that did not answer in time last, with when they were last given all the time there was.
    hanging: HashMap<String, Instant>,
    /// Counts questions that any broker can answer: each begins with another one.
    turn: usize,
    names: Names,
}

/// Names of all topics, as far as somebody has needed them.
#[derive(Debug, Default)]
struct Names {
    list: Arc<[String]>,
    /// Raised when they change; 0 as long as they were never told.
    version: u64,
    asked_at: Option<Instant>,
}

/// A partition's leader, as last heard.
#[derive(Debug, Clone)]
pub(super) struct Leader {
    pub(super) address: Arc<str>,
    pub(super) epoch: i32,
    pub(super) topic_id: Uuid,
}

impl Cluster {
    pub(super) fn new(bootstrap: Vec<String>, security: Arc<Access>) -> Self {
        Self {
            bootstrap,
            security,
            connections: HashMap::new(),
            view: View::default(),
            hanging: HashMap::new(),
            turn: 0,
            names: Names::default(),
        }
    }

    /// The cluster as people know it: "a:1,b:2".
    pub(super) fn name(&self) -> String {
        self.bootstrap.join(",")
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Asks for the metadata of these topics. Topics with an error leave the view and are returned with it.
    pub(super) async fn refresh<'a>(
        &mut self,
        topics: &[&'a str],
        deadline: Instant,
    ) -> Result<HashMap<&'a str, Code>, Arc<ClientError>> {
        let mut failed = HashMap::new();
        for asked in topics.chunks(metadata::TOPICS_PER_REQUEST) {
            let asked_at = Instant::now();
            let build = || metadata::build_metadata(asked);
            let answer = self
                .ask_any_broker(deadline, build, |answer| metadata::judge_metadata(asked, answer))
                .await?;
            failed.extend(self.view.take(asked, answer, asked_at));
        }
        Ok(failed)
    }

    /// Names of all topics, at most `max_age` old, with their version.
    pub(super) async fn names(
        &mut self,
        max_age: Duration,
        deadline: Instant,
    ) -> Result<(Arc<[String]>, u64), Arc<ClientError>> {
        if self.names.asked_at.is_none_or(|asked_at| asked_at.elapsed() >= max_age) {
            let asked_at = Instant::now();
            let judge = |answer| Ok(metadata::judge_listing(answer));
            match self.ask_any_broker(deadline, metadata::build_listing, judge).await {
                Ok(mut names) => {
                    names.sort_unstable();
                    if self.names.version == 0 || *names != *self.names.list {
                        self.names.list = names.into();
                        self.names.version += 1;
                    }
                    self.names.asked_at = Some(asked_at);
                }
                // Those of before will do until it can be told again.
                Err(error) if self.names.version == 0 => return Err(error),
                Err(_) => {}
            }
        }
        Ok((Arc::clone(&self.names.list), self.names.version))
    }

    /// Forgets topics that nobody has asked about since `since`.
    pub(super) fn forget_older(&mut self, since: Instant) {
        self.view.forget_older(since);
    }

    /// Until when a broker may take: one that hung last gets little, so that the others are not late.
    pub(super) fn patience(&mut self, address: &str, deadline: Instant) -> Instant {
        let now = Instant::now();
        let half = now + remaining(deadline) / 2;
        match self.hanging.get_mut(address) {
            None => half,
            Some(given) if given.elapsed() >= TRY_AGAIN => {
                *given = now;
                half
            }
            Some(_) => half.min(now + SHORT_PATIENCE),
        }
    }

    /// A broker has answered.
    pub(super) fn answered(&mut self, address: &str) {
        if !self.hanging.is_empty() {
            self.hanging.remove(address);
        }
    }

    /// A broker has not, in the time that it was given.
    pub(super) fn failed(&mut self, line: &Line, given: Duration, error: &ClientError) {
        // A connection that is kept waits because the broker has told to.
        let hangs = error.is_timeout() && !line.is_open();
        let address = line.address();
        if hangs && given >= SHORT_PATIENCE && !self.hanging.contains_key(address) {
            tracing::warn!(cluster = self.name(), address, ?given, "broker does not answer in time");
            self.hanging.insert(address.to_owned(), Instant::now());
        }
    }

    /// Who leads the partition; an error when the topic is unknown or has no leader now.
    pub(super) fn leader(&self, topic: &str, partition: i32) -> Result<Leader, PartitionError> {
        let (topic, _) = self.view.topics.get(topic).ok_or(PartitionError::Code(Code::UNKNOWN_TOPIC))?;
        let leadership = topic.partitions.get(&partition).ok_or(PartitionError::NoLeader)?;
        let address = leadership.leader.and_then(|id| self.view.brokers.get(&id));
        let address = address.ok_or(PartitionError::NoLeader)?.clone();
        Ok(Leader { address, epoch: leadership.epoch, topic_id: topic.id })
    }

    /// Asks the leaders, each with one request when the questions allow it. Answers are in the order of the
    /// questions.
    pub(super) async fn list_offsets(
        &mut self,
        questions: &[Question<'_>],
        deadline: Instant,
    ) -> Vec<OffsetResult> {
        let mut answers: Vec<OffsetResult> = vec![Err(PartitionError::NoLeader); questions.len()];
        let mut open: Vec<usize> = (0..questions.len()).collect();
        for attempt in 1..=ATTEMPTS {
            self.ask_leaders(questions, &open, &mut answers, deadline).await;
            open.retain(|index| answers[*index].as_ref().is_err_and(PartitionError::is_passing));
            if open.is_empty() || attempt == ATTEMPTS || !pause(attempt, deadline).await {
                break;
            }
            let topics: HashSet<&str> = open.iter().map(|index| questions[*index].topic).collect();
            let topics: Vec<&str> = topics.into_iter().collect();
            tracing::debug!(cluster = self.name(), topics = topics.len(), "asking again with fresh metadata");
            if self.refresh(&topics, deadline).await.is_err() {
                break;
            }
        }
        answers
    }

    /// Connection to a broker, open or still to be opened. [`Self::give_back`] keeps it for the next request.
    pub(super) fn lend(&mut self, address: &str) -> Line {
        Line::new(address, &self.security, self.connections.remove(address))
    }

    pub(super) fn give_back(&mut self, line: Line) {
        if let (address, Some(connection)) = line.into_parts() {
            self.connections.insert(address, connection);
        }
    }

    /// Connected brokers first, then the bootstrap list, then what was heard of; those that hung last come last. One
    /// that hangs only gets its share of the time.
    async fn ask_any_broker<T>(
        &mut self,
        deadline: Instant,
        build: impl Fn() -> MetadataRequest,
        judge: impl Fn(MetadataResponse) -> Result<T, String>,
    ) -> Result<T, Arc<ClientError>> {
        let mut addresses: Vec<String> = self.connections.keys().cloned().collect();
        addresses.extend(self.bootstrap.iter().cloned());
        addresses.extend(self.view.brokers.values().map(ToString::to_string));
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        // No broker's view of the cluster is the only one.
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % addresses.len().max(1);
        addresses.rotate_left(first);
        addresses.sort_by_key(|address| self.hanging.contains_key(address));
        let mut last =
            ClientError::BadAnswer { address: self.name(), problem: "no broker to ask".to_owned() };
        for (index, address) in addresses.iter().enumerate() {
            let left = remaining(deadline);
            if left.is_zero() {
                break;
            }
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = share.max(METADATA_PATIENCE.min(left / 3));
            let asked_at = Instant::now();
            let until = self.patience(address, asked_at + 2 * share).min(deadline);
            let mut line = self.lend(address);
            let asked = line.call(METADATA, until, |_| build()).await;
            match asked.and_then(|(answer, _)| {
                line.throttle(answer.throttle_time_ms);
                judge(answer).map_err(|problem| line.bad(problem))
            }) {
                Ok(answer) => {
                    self.answered(address);
                    self.give_back(line);
                    return Ok(answer);
                }
                Err(error) => {
                    tracing::debug!(address, error = chain(&error), "no metadata");
                    self.failed(&line, until.saturating_duration_since(asked_at), &error);
                    self.give_back(line);
                    tell_worse(&mut last, error);
                }
            }
        }
        Err(Arc::new(last))
    }

    async fn ask_leaders(
        &mut self,
        questions: &[Question<'_>],
        open: &[usize],
        answers: &mut [OffsetResult],
        deadline: Instant,
    ) {
        // A request is of one isolation level; nearly always that is one request.
        let about = open.iter().map(|index| {
            let question = &questions[*index];
            (*index, question.topic, question.partition, question.at.isolation())
        });
        let by_leader = self.by_leader(about, answers);
        let asked: Vec<_> = by_leader
            .into_iter()
            .map(|(address, requests)| {
                let until = self.patience(&address, deadline);
                ask_leader(self.lend(&address), questions, requests, until)
            })
            .collect();
        self.collect(asked, answers).await;
    }

    /// Asks the leaders where their logs end for an epoch. What cannot be asked now has an error; nothing is asked
    /// again.
    pub(super) async fn ask_epochs(
        &mut self,
        questions: &[EpochQuestion<'_>],
        deadline: Instant,
    ) -> Vec<Result<EpochEnd, PartitionError>> {
        let mut answers = vec![Err(PartitionError::NoLeader); questions.len()];
        let about = questions.iter().enumerate();
        let about = about.map(|(index, question)| (index, question.topic, question.partition, ()));
        let by_leader = self.by_leader(about, &mut answers);
        let asked: Vec<_> = by_leader
            .into_iter()
            .map(|(address, requests)| {
                let until = self.patience(&address, deadline);
                ask_leader_of_epochs(self.lend(&address), questions, requests, until)
            })
            .collect();
        self.collect(asked, &mut answers).await;
        answers
    }

    /// Questions (index, topic, partition, kind of request) by leader and request; a request is of one kind and holds a
    /// partition once. What has no leader is answered with that.
    fn by_leader<'q, K: Copy + Eq + Hash, T>(
        &self,
        questions: impl Iterator<Item = (usize, &'q str, i32, K)>,
        answers: &mut [Result<T, PartitionError>],
    ) -> HashMap<Arc<str>, Requests<K>> {
        let mut by_leader: HashMap<Arc<str>, Requests<K>> = HashMap::new();
        let mut times: HashMap<(&str, i32), u32> = HashMap::new();
        for (index, topic, partition, kind) in questions {
            match self.leader(topic, partition) {
                Ok(leader) => {
                    let time = times.entry((topic, partition)).or_default();
                    let requests = by_leader.entry(leader.address).or_default();
                    requests.entry((kind, *time)).or_default().push((index, leader.epoch));
                    *time += 1;
                }
                Err(error) => answers[index] = Err(error),
            }
        }
        by_leader
    }

    /// Waits for all leaders at once: one that hangs makes no other one late.
    async fn collect<T>(
        &mut self,
        asked: Vec<impl Future<Output = (Line, Answers<T>)>>,
        answers: &mut [Result<T, PartitionError>],
    ) {
        for (line, results) in join_all(asked).await {
            self.give_back(line);
            for (index, result) in results {
                answers[index] = result;
            }
        }
    }
}

async fn ask_leader(
    mut line: Line,
    questions: &[Question<'_>],
    requests: Requests<Isolation>,
    deadline: Instant,
) -> (Line, Answers<Option<Told>>) {
    let mut results = Vec::new();
    for ((isolation, _), indices) in requests {
        let asked: Vec<_> = indices.iter().map(|(index, epoch)| (questions[*index], *epoch)).collect();
        let timeout_ms = i32::try_from(remaining(deadline).as_millis()).unwrap_or(i32::MAX);
        let answer = line
            .call::<ListOffsetsRequest>(LIST_OFFSETS, deadline, |_| {
                build_list_offsets(&asked, isolation, timeout_ms)
            })
            .await
            .and_then(|(answer, _)| {
                line.throttle(answer.throttle_time_ms);
                judge_list_offsets(&asked, &answer).map_err(|problem| line.bad(problem))
            });
        results.extend(spread(&line, indices, answer));
    }
    (line, results)
}

async fn ask_leader_of_epochs(
    mut line: Line,
    questions: &[EpochQuestion<'_>],
    requests: Requests<()>,
    deadline: Instant,
) -> (Line, Answers<EpochEnd>) {
    let mut results = Vec::new();
    for indices in requests.into_values() {
        let asked: Vec<_> = indices.iter().map(|(index, epoch)| (questions[*index], *epoch)).collect();
        let answer = line
            .call::<OffsetForLeaderEpochRequest>(OFFSET_FOR_LEADER_EPOCH, deadline, |_| build_epochs(&asked))
            .await
            .and_then(|(answer, _)| {
                line.throttle(answer.throttle_time_ms);
                judge_epochs(&asked, &answer).map_err(|problem| line.bad(problem))
            });
        results.extend(spread(&line, indices, answer));
    }
    (line, results)
}

/// The answer to a request, question by question.
fn spread<T>(
    line: &Line,
    indices: Vec<(usize, i32)>,
    answer: Result<Vec<Result<T, Code>>, ClientError>,
) -> Answers<T> {
    let indices = indices.into_iter().map(|(index, _)| index);
    match answer {
        Ok(answers) => indices.zip(answers.into_iter().map(|a| a.map_err(PartitionError::Code))).collect(),
        Err(error) => {
            tracing::debug!(address = line.address(), error = chain(&error), "no answer of a leader");
            let error = Arc::new(error);
            indices.map(|index| (index, Err(PartitionError::Client(Arc::clone(&error))))).collect()
        }
    }
}

/// Keeps what tells most: a broker that refuses us says more than one that cannot be reached.
fn tell_worse(told: &mut ClientError, error: ClientError) {
    let says_why = |error: &ClientError| {
        !matches!(error, ClientError::Io { .. } | ClientError::Timeout { .. } | ClientError::BadAnswer { .. })
    };
    if says_why(&error) || !says_why(told) {
        *told = error;
    }
}

/// Time until `deadline`, zero when it has passed.
pub(super) fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

/// Waits a little before the next attempt; false when the deadline leaves no time for one.
pub(super) async fn pause(attempt: u32, deadline: Instant) -> bool {
    let wait = Duration::from_millis(50) * attempt * attempt;
    if remaining(deadline) <= wait {
        return false;
    }
    tokio::time::sleep(wait).await;
    true
}
