//! Client of one cluster: connections by broker, what is known of its topics, offsets asked of the leaders.
//!
//! Leaders are asked concurrently, each over one connection with one request at a time. What may pass (a leader
//! that moved, a connection that broke) is asked again after fresh metadata, a few times and within the deadline.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use kafka_protocol::messages::{
    ListOffsetsRequest, MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest,
};
use kafka_protocol::protocol::Request;
use uuid::Uuid;

use super::Isolation;
use super::connection::{Connection, Encoded, Supported};
use super::epochs::{EpochEnd, EpochQuestion, OFFSET_FOR_LEADER_EPOCH, build_epochs, judge_epochs};
use super::error::{ClientError, Code, PartitionError};
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

/// Questions (with the leader epoch of each) by request: isolation level, and how often a partition came before.
type Requests = HashMap<(Isolation, u32), Vec<(usize, i32)>>;

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
    /// Names of all topics, when somebody needed them, with a number that is raised when they change.
    names: (Arc<[String]>, u64, Option<Instant>),
}

/// A connection on loan: whoever drops it half way through a call closes it.
#[derive(Debug)]
pub(super) struct Line {
    address: String,
    security: Arc<Access>,
    connection: Option<Connection>,
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
            names: (Arc::new([]), 0, None),
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
        if self.names.2.is_none_or(|asked_at| asked_at.elapsed() >= max_age) {
            let asked_at = Instant::now();
            let judge = |answer| Ok(metadata::judge_listing(answer));
            let mut names = match self.ask_any_broker(deadline, metadata::build_listing, judge).await {
                Ok(names) => names,
                // Those of before will do until it can be told again.
                Err(_) if self.names.2.is_some() => return Ok((Arc::clone(&self.names.0), self.names.1)),
                Err(error) => return Err(error),
            };
            names.sort_unstable();
            let changed = *names != *self.names.0;
            let known = if changed { names.into() } else { Arc::clone(&self.names.0) };
            let version = self.names.1 + u64::from(changed || self.names.2.is_none());
            self.names = (known, version, Some(asked_at));
        }
        Ok((Arc::clone(&self.names.0), self.names.1))
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
        let hangs = matches!(error, ClientError::Timeout { .. }) && line.connection.is_none();
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
        Line {
            address: address.to_owned(),
            security: Arc::clone(&self.security),
            connection: self.connections.remove(address),
        }
    }

    pub(super) fn give_back(&mut self, line: Line) {
        if let Some(connection) = line.connection {
            self.connections.insert(line.address, connection);
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
        // A request holds a partition once and is of one isolation level; nearly always that is one request.
        let mut by_leader: HashMap<Arc<str>, Requests> = HashMap::new();
        let mut times: HashMap<(&str, i32), u32> = HashMap::new();
        for &index in open {
            let question = &questions[index];
            match self.leader(question.topic, question.partition) {
                Ok(leader) => {
                    let time = times.entry((question.topic, question.partition)).or_default();
                    let requests = by_leader.entry(leader.address).or_default();
                    requests.entry((question.at.isolation(), *time)).or_default().push((index, leader.epoch));
                    *time += 1;
                }
                Err(error) => answers[index] = Err(error),
            }
        }
        // A leader that hangs must leave time for the rows of the others.
        let asked: Vec<_> = by_leader
            .into_iter()
            .map(|(address, requests)| {
                let until = self.patience(&address, deadline);
                ask_leader(self.lend(&address), questions, requests, until)
            })
            .collect();
        for (line, results) in join_all(asked).await {
            self.give_back(line);
            for (index, result) in results {
                answers[index] = result;
            }
        }
    }
}

impl Cluster {
    /// Asks the leaders where their logs end for an epoch. What cannot be asked now has an error; nothing is asked
    /// again.
    pub(super) async fn ask_epochs(
        &mut self,
        questions: &[EpochQuestion<'_>],
        deadline: Instant,
    ) -> Vec<Result<EpochEnd, PartitionError>> {
        let mut answers: Vec<_> = questions.iter().map(|_| Err(PartitionError::NoLeader)).collect();
        // A request holds a partition once.
        let mut by_request: HashMap<_, Vec<(usize, i32)>> = HashMap::new();
        let mut times: HashMap<(&str, i32), u32> = HashMap::new();
        for (index, question) in questions.iter().enumerate() {
            match self.leader(question.topic, question.partition) {
                Ok(leader) => {
                    let time = times.entry((question.topic, question.partition)).or_default();
                    by_request.entry((leader.address, *time)).or_default().push((index, leader.epoch));
                    *time += 1;
                }
                Err(error) => answers[index] = Err(error),
            }
        }
        for ((address, _), indices) in by_request {
            let asked: Vec<_> = indices.iter().map(|(index, epoch)| (questions[*index], *epoch)).collect();
            let until = self.patience(&address, deadline);
            let mut line = self.lend(&address);
            let answer = line
                .call::<OffsetForLeaderEpochRequest>(OFFSET_FOR_LEADER_EPOCH, until, |_| build_epochs(&asked))
                .await
                .and_then(|(answer, _)| {
                    line.throttle(answer.throttle_time_ms);
                    judge_epochs(&asked, &answer).map_err(|problem| line.bad(problem))
                });
            self.give_back(line);
            let told: Vec<Result<EpochEnd, PartitionError>> = match answer {
                Ok(told) => told.into_iter().map(|end| end.map_err(PartitionError::Code)).collect(),
                Err(error) => {
                    let error = Arc::new(error);
                    asked.iter().map(|_| Err(PartitionError::Client(Arc::clone(&error)))).collect()
                }
            };
            for ((index, _), end) in indices.into_iter().zip(told) {
                answers[index] = end;
            }
        }
        answers
    }
}

impl Line {
    /// The newest version of the request `R` that both sides speak, connecting first if need be.
    pub(super) async fn version<R: Request>(
        &mut self,
        ours: Supported,
        deadline: Instant,
    ) -> Result<i16, ClientError> {
        let connection = match self.current() {
            Some(connection) => connection,
            None => Connection::open(&self.address, &self.security, deadline).await?,
        };
        self.connection.insert(connection).version::<R>(ours)
    }

    /// Sends a request that was encoded before, connecting first if need be. A connection that broke while it was not
    /// used, as brokers close idle ones, is opened anew.
    pub(super) async fn send(
        &mut self,
        request: &mut Encoded,
        deadline: Instant,
    ) -> Result<Bytes, ClientError> {
        self.obeys(deadline)?;
        if let Some(mut connection) = self.current() {
            match connection.send(request, deadline).await {
                Ok(answer) => {
                    self.connection = Some(connection);
                    return Ok(answer);
                }
                Err(ClientError::Io { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = Connection::open(&self.address, &self.security, deadline).await?;
        let answer = connection.send(request, deadline).await?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// The connection, unless another one is to be opened in its place.
    fn current(&mut self) -> Option<Connection> {
        self.connection.take().filter(|open| !open.is_outdated())
    }

    /// A request that the broker has told to wait for longer than there is time is not sent, and its connection kept.
    fn obeys(&self, deadline: Instant) -> Result<(), ClientError> {
        match &self.connection {
            Some(open) if open.is_throttled_beyond(deadline) => {
                Err(ClientError::Timeout { address: self.address.clone() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Sends one request, connecting first if need be, and returns the answer with its version.
    pub(super) async fn call<R: Request>(
        &mut self,
        ours: Supported,
        deadline: Instant,
        build: impl FnOnce(i16) -> R,
    ) -> Result<(R::Response, i16), ClientError> {
        self.obeys(deadline)?;
        let mut connection = match self.current() {
            Some(connection) => connection,
            None => Connection::open(&self.address, &self.security, deadline).await?,
        };
        let version = connection.version::<R>(ours)?;
        let answer = connection.call(version, &build(version), deadline).await?;
        self.connection = Some(connection);
        Ok((answer, version))
    }

    pub(super) fn throttle(&mut self, milliseconds: i32) {
        if let Some(connection) = &mut self.connection {
            connection.throttle(milliseconds);
        }
    }

    /// An answer that cannot be used; its connection is not used again.
    pub(super) fn bad(&mut self, problem: String) -> ClientError {
        self.connection = None;
        ClientError::BadAnswer { address: self.address.clone(), problem }
    }
}

async fn ask_leader(
    mut line: Line,
    questions: &[Question<'_>],
    requests: Requests,
    deadline: Instant,
) -> (Line, Vec<(usize, OffsetResult)>) {
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
        let indices = indices.into_iter().map(|(index, _)| index);
        match answer {
            Ok(answers) => {
                results.extend(indices.zip(answers.into_iter().map(|a| a.map_err(PartitionError::Code))));
            }
            Err(error) => {
                tracing::debug!(address = line.address(), %error, "no offsets");
                let error = Arc::new(error);
                results.extend(indices.map(|index| (index, Err(PartitionError::Client(Arc::clone(&error))))));
            }
        }
    }
    (line, results)
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
