//! One look at one cluster for all its rows of one isolation level.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::position::KafkaPosition;
use heartbeat_core::source::{Finding, Since, SourceError};

use uuid::Uuid;

use super::Isolation;
use super::cluster::{Cluster, OffsetResult, pause};
use super::error::{ClientError, Code, PartitionError};
use super::metadata::Topic;
use super::offsets::{At, Question};
use super::plan::{From, Plan, behind_problem, idle_finding, plan_row, read_finding};
use super::reader;
use super::scan::{Scan, State};

/// A row's question about one topic of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) topic: &'a str,
    pub(super) since: &'a Since,
}

/// Where a topic stands, or why that cannot be told.
type Standing = Result<Stand, TopicError>;

struct Stand {
    position: KafkaPosition,
    /// Nil on brokers without topic ids.
    topic_id: Uuid,
    described_at: Instant,
}

#[derive(Clone)]
enum TopicError {
    Code(Code),
    Client(Arc<ClientError>),
    Partition(i32, PartitionError),
}

/// Answers all rows, in their order. Metadata of idle topics may be `max_age` old; what is reported as moved was
/// compared with metadata asked for during this look.
pub(super) async fn look(
    cluster: &mut Cluster,
    rows: &[Row<'_>],
    isolation: Isolation,
    max_age: Duration,
    deadline: Instant,
) -> Vec<Result<Finding, SourceError>> {
    let started = Instant::now();
    let mut named = HashSet::new();
    let topics: Vec<&str> = rows.iter().map(|row| row.topic).filter(|topic| named.insert(*topic)).collect();

    let mut standings = HashMap::with_capacity(topics.len());
    stand(cluster, &topics, isolation, started.checked_sub(max_age), &mut standings, deadline).await;
    confirm(cluster, rows, isolation, started, &mut standings, deadline).await;

    let plans: Vec<Option<Plan>> = rows
        .iter()
        .map(|row| standings[row.topic].as_ref().ok().map(|stand| plan_row(&stand.position, row.since)))
        .collect();
    let starts = ask_starts(cluster, rows, &plans, deadline).await;
    let (mut scans, places) = lay_out_scans(rows, &plans, &standings, &starts);
    reader::decide(cluster, &mut scans, isolation, deadline).await;

    let name = cluster.name();
    let answer = |row: &Row<'_>, plan: Option<Plan>| {
        let what = format!("topic `{}` on {name}", row.topic);
        let stand = standings[row.topic].as_ref().map_err(|error| error.for_row(&name, &what))?;
        match plan {
            None | Some(Plan::Idle) => Ok(idle_finding(&stand.position, row.since)),
            Some(Plan::NotOurs) => Err(SourceError::Misconfigured {
                problem: format!("{what}: the row's position is none of a topic"),
            }),
            Some(Plan::Behind(ranges)) => {
                Err(SourceError::Doubtful { what, problem: behind_problem(&ranges) })
            }
            Some(Plan::Read { from, remarks }) => {
                let mut own = Vec::with_capacity(from.len());
                for (partition, from) in from {
                    let end = stand.position.offsets[&partition];
                    let offset = first_offset(&starts, row.topic, partition, from, end)
                        .map_err(|error| error.for_row(&what, partition))?;
                    own.push(&scans[places[&(row.topic, partition, offset)]]);
                }
                read_finding(&stand.position, row.since, &own, remarks, |scan| undecided(scan, &what))
            }
        }
    };
    rows.iter().zip(plans).map(|(row, plan)| answer(row, plan)).collect()
}

/// Asks for the ends of these topics. Metadata from before `fresh_since` is asked for again.
async fn stand<'a>(
    cluster: &mut Cluster,
    topics: &[&'a str],
    isolation: Isolation,
    fresh_since: Option<Instant>,
    standings: &mut HashMap<&'a str, Standing>,
    deadline: Instant,
) {
    let is_stale = |topic: &&str| match cluster.view().topics.get(*topic) {
        Some((_, described_at)) => fresh_since.is_some_and(|since| *described_at < since),
        None => true,
    };
    let stale: Vec<&str> = topics.iter().copied().filter(is_stale).collect();
    if !stale.is_empty() {
        match cluster.refresh(&stale, deadline).await {
            Ok(failed) => {
                standings.extend(failed.into_iter().map(|(t, code)| (t, Err(TopicError::Code(code)))));
            }
            Err(error) => {
                standings
                    .extend(stale.iter().map(|topic| (*topic, Err(TopicError::Client(Arc::clone(&error))))));
            }
        }
    }
    let failed: HashSet<&str> =
        stale.into_iter().filter(|topic| matches!(standings.get(topic), Some(Err(_)))).collect();
    let mut known: Vec<(&'a str, Arc<Topic>, Instant)> = Vec::with_capacity(topics.len());
    for &topic in topics.iter().filter(|topic| !failed.contains(**topic)) {
        if let Some((description, described_at)) = cluster.view().topics.get(topic) {
            known.push((topic, Arc::clone(description), *described_at));
        }
    }
    let questions: Vec<Question<'_>> = known
        .iter()
        .flat_map(|(topic, description, _)| {
            let at = At::End(isolation);
            description.partitions.keys().map(move |partition| Question { topic, partition: *partition, at })
        })
        .collect();
    let mut answers = cluster.list_offsets(&questions, deadline).await.into_iter();
    let cluster_id = cluster.view().cluster_id.clone();
    for (topic, description, described_at) in known {
        let ends = answers.by_ref().take(description.partitions.len());
        let ends = description.partitions.keys().copied().zip(ends.collect::<Vec<_>>());
        let standing = judge_ends(ends).map(|offsets| {
            let id_text = description.id_text();
            let position = KafkaPosition {
                cluster: cluster_id.clone(),
                topic: topic.to_owned(),
                topic_id: id_text,
                offsets,
            };
            Stand { position, topic_id: description.id, described_at }
        });
        standings.insert(topic, standing);
    }
}

fn judge_ends(
    ends: impl Iterator<Item = (i32, OffsetResult)>,
) -> Result<std::collections::BTreeMap<i32, i64>, TopicError> {
    ends.map(|(partition, answer)| match answer {
        Ok(Some(end)) => Ok((partition, end)),
        Ok(None) => {
            Err(TopicError::Partition(partition, PartitionError::Doubtful("no end offset".to_owned())))
        }
        Err(error) => Err(TopicError::Partition(partition, error)),
    })
    .collect()
}

/// Whatever did not stand still is compared with fresh metadata: the ends may be those of a topic that was made
/// again since the metadata was asked for. Ends that lie behind a cursor are asked for once more.
async fn confirm<'a>(
    cluster: &mut Cluster,
    rows: &[Row<'a>],
    isolation: Isolation,
    started: Instant,
    standings: &mut HashMap<&'a str, Standing>,
    deadline: Instant,
) {
    let mut moved = HashSet::new();
    let mut behind = HashSet::new();
    for row in rows {
        let Some(Ok(stand)) = standings.get(row.topic) else { continue };
        match plan_row(&stand.position, row.since) {
            Plan::Behind(_) => {
                behind.insert(row.topic);
            }
            Plan::Read { .. } if stand.described_at < started => {
                moved.insert(row.topic);
            }
            _ => {}
        }
    }
    let mut topics: Vec<&'a str> = moved.union(&behind).copied().collect();
    if topics.is_empty() || (!behind.is_empty() && !pause(1, deadline).await) {
        return;
    }
    if let Err(error) = cluster.refresh(&topics, deadline).await {
        standings
            .extend(topics.into_iter().map(|topic| (topic, Err(TopicError::Client(Arc::clone(&error))))));
        return;
    }
    topics.retain(|topic| {
        let is_as_described = match (cluster.view().topics.get(*topic), standings.get(topic)) {
            (Some((now, _)), Some(Ok(stand))) => {
                now.id_text() == stand.position.topic_id
                    && cluster.view().cluster_id == stand.position.cluster
                    && now.partitions.keys().eq(stand.position.offsets.keys())
            }
            _ => false,
        };
        behind.contains(topic) || !is_as_described
    });
    if !topics.is_empty() {
        stand(cluster, &topics, isolation, Some(started), standings, deadline).await;
    }
}

type Starts<'a> = HashMap<Question<'a>, OffsetResult>;

async fn ask_starts<'a>(
    cluster: &mut Cluster,
    rows: &[Row<'a>],
    plans: &[Option<Plan>],
    deadline: Instant,
) -> Starts<'a> {
    let mut asked = HashSet::new();
    let mut questions = Vec::new();
    for (row, plan) in rows.iter().zip(plans) {
        let Some(Plan::Read { from, .. }) = plan else { continue };
        for (partition, from) in from {
            if let From::Ask(at) = from {
                let question = Question { topic: row.topic, partition: *partition, at: *at };
                if asked.insert(question) {
                    questions.push(question);
                }
            }
        }
    }
    let answers = cluster.list_offsets(&questions, deadline).await;
    questions.into_iter().zip(answers).collect()
}

/// Where to begin, never behind the end: what came after the end was asked for is left for the next look.
fn first_offset(
    starts: &Starts<'_>,
    topic: &str,
    partition: i32,
    from: From,
    end: i64,
) -> Result<i64, PartitionError> {
    match from {
        From::Offset(offset) => Ok(offset),
        From::Ask(at) => match starts.get(&Question { topic, partition, at }) {
            Some(Ok(offset)) => Ok(offset.unwrap_or(end).min(end)),
            Some(Err(error)) => Err(error.clone()),
            None => Err(PartitionError::Doubtful("no first offset".to_owned())),
        },
    }
}

type Places<'a> = HashMap<(&'a str, i32, i64), usize>;

/// One scan per topic, partition and first offset: rows that stand at the same place share it.
fn lay_out_scans<'a>(
    rows: &[Row<'a>],
    plans: &[Option<Plan>],
    standings: &HashMap<&'a str, Standing>,
    starts: &Starts<'a>,
) -> (Vec<Scan<'a>>, Places<'a>) {
    let mut scans = Vec::new();
    let mut places = HashMap::new();
    for (row, plan) in rows.iter().zip(plans) {
        let (Some(Plan::Read { from, .. }), Some(Ok(stand))) = (plan, standings.get(row.topic)) else {
            continue;
        };
        for &(partition, from) in from {
            let end = stand.position.offsets[&partition];
            let Ok(offset) = first_offset(starts, row.topic, partition, from, end) else { continue };
            places.entry((row.topic, partition, offset)).or_insert_with(|| {
                scans.push(Scan::new(row.topic, stand.topic_id, partition, offset, end));
                scans.len() - 1
            });
        }
    }
    (scans, places)
}

fn undecided(scan: &Scan<'_>, what: &str) -> SourceError {
    match &scan.state {
        State::Failed(error) => error.for_read(what, scan.partition),
        _ => SourceError::Timeout { what: format!("partition {} of {what}", scan.partition) },
    }
}

impl TopicError {
    fn for_row(&self, cluster: &str, topic: &str) -> SourceError {
        match self {
            Self::Code(code) => code.for_row(topic),
            Self::Client(error) => error.for_row(&format!("kafka cluster {cluster}")),
            Self::Partition(partition, error) => error.for_row(topic, *partition),
        }
    }
}
