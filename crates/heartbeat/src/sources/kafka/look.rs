//! One look at one cluster for all its rows of one isolation level.
//!
//! First the ends of all topics ([`Poll`]). Topics that stand where all of their rows stand need nothing more. For the
//! others it is planned row by row what has to be asked and read, and at the end each row has its answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::position::{Loss, LossCause, Position};
use heartbeat_core::source::{Answer, Ask, Finding, Since, SourceError};

use super::Isolation;
use super::cluster::{Cluster, OffsetResult};
use super::error::PartitionError;
use super::freshness::Freshness;
use super::layout::{Layout, Part, Reads, Subject};
use super::offsets::{At, Question};
use super::plan::{From, Known, Plan, Reading, carried_over, read_finding, restricted};
use super::poll::Poll;
use super::reader;
use super::scan::{Scan, State};
use super::standing::{EpochEnds, Remembered, Stand, Standing, Standings, TopicError, Truths};
use super::union;

/// What is kept from look to look: it saves work and changes no answer.
#[derive(Debug, Default)]
pub(super) struct Watching {
    layout: Option<Layout>,
    poll: Option<Poll>,
    freshness: Freshness,
    remembered: Remembered,
}

/// What a look has to keep to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) isolation: Isolation,
    /// How old the metadata of idle topics may be. What is reported as moved was compared with metadata asked for during
    /// the look.
    pub(super) max_age: Duration,
    pub(super) deadline: Instant,
}

/// Answers to questions by their index; what is left out is [`Answer::Same`].
pub(super) type Answers = Vec<(usize, Result<Answer, SourceError>)>;

/// Answers the questions at the indices in `own`.
pub(super) async fn look(
    cluster: &mut Cluster,
    watching: &mut Watching,
    asks: &Arc<[Ask]>,
    own: &[(usize, Arc<Reads>)],
    terms: Terms,
) -> Answers {
    let started = Instant::now();
    let names = if own.iter().any(|(_, reads)| reads.needs_names()) {
        cluster.names(terms.max_age, terms.deadline).await
    } else {
        Ok((Arc::default(), 0))
    };
    let (names, names_version) = match names {
        Ok(names) => names,
        // Rows without a pattern need no names. Versions of names begin with 1.
        Err(error) => {
            let what = format!("kafka cluster {}", cluster.name());
            let (needing, others): (Vec<_>, Vec<_>) =
                own.iter().cloned().partition(|(_, reads)| reads.needs_names());
            let mut answers: Answers =
                needing.into_iter().map(|(ask, _)| (ask, Err(error.for_row(&what)))).collect();
            if !others.is_empty() {
                answers.extend(Box::pin(look(cluster, watching, asks, &others, terms)).await);
            }
            return answers;
        }
    };
    if !watching.layout.as_ref().is_some_and(|layout| layout.is_of(asks, names_version)) {
        watching.layout = Some(Layout::new(asks, own, &names, names_version));
        watching.poll = None;
    }
    let Some(layout) = watching.layout.as_ref() else { return Vec::new() };
    let failed = describe(cluster, layout, &mut watching.freshness, started, terms).await;
    if !watching.poll.as_ref().is_some_and(|poll| poll.is_of(cluster)) {
        watching.poll = Some(Poll::new(cluster, layout, terms.isolation));
    }
    let Some(poll) = watching.poll.as_mut() else { return Vec::new() };
    poll.ask(cluster, layout, terms.deadline).await;
    let stirred = poll.stirred();
    if stirred.is_empty() && layout.subjects.iter().all(|(_, _, subject)| matches!(subject, Subject::One(_)))
    {
        return Vec::new();
    }
    let mut view = Standings { cluster, layout, terms, started, by_topic: HashMap::new() };
    view.take(poll, &stirred, failed);
    view.ask_again().await;
    view.confirm().await;
    let truths = view.verify(&mut watching.remembered).await;
    let answers = answer(&mut view, &truths).await;
    for &topic in &stirred {
        let stood = view.by_topic.get(&topic).and_then(|standing| standing.as_ref().ok());
        let is_polled = stood.is_some_and(|stand| !stand.asked_again);
        let same = |part: &usize| matches!(answers.get(part), None | Some(Ok(Answer::Same)));
        poll.set_calm(topic, is_polled && layout.parts_of[topic].iter().all(same));
    }
    assemble(layout, answers)
}

/// Asks for the descriptions of topics that are not known, and of those whose turn it is. Returns what is wrong with
/// the topics that have none.
async fn describe(
    cluster: &mut Cluster,
    layout: &Layout,
    freshness: &mut Freshness,
    started: Instant,
    terms: Terms,
) -> HashMap<usize, TopicError> {
    let known = |topic: usize| cluster.view().topics.get(&*layout.topics[topic]).map(|(_, at)| *at);
    let missing: Vec<usize> = (0..layout.topics.len()).filter(|topic| known(*topic).is_none()).collect();
    let due = freshness.due(layout.topics.len(), terms.max_age, started, known);
    let all: Vec<usize> = missing.iter().chain(&due).copied().collect();
    if all.is_empty() {
        return HashMap::new();
    }
    let names: Vec<&str> = all.iter().map(|topic| &*layout.topics[*topic]).collect();
    match cluster.refresh(&names, terms.deadline).await {
        Ok(failed) => {
            if let Some(long_ago) = started.checked_sub(terms.max_age.max(FORGET_AFTER) * 10) {
                cluster.forget_older(long_ago);
            }
            let code = |topic: &usize| failed.get(&*layout.topics[*topic]).copied();
            all.iter().filter_map(|topic| Some((*topic, TopicError::Code(code(topic)?)))).collect()
        }
        // What is known of the others still holds: no broker that could tell otherwise can be asked.
        Err(error) => {
            missing.into_iter().map(|topic| (topic, TopicError::Client(Arc::clone(&error)))).collect()
        }
    }
}

/// A tenth of the time after which topics are forgotten that nobody looks at any more, where metadata is not older.
const FORGET_AFTER: Duration = Duration::from_mins(1);

/// Answers by part; a part that is left out is [`Answer::Same`].
type PartAnswers = HashMap<usize, Result<Answer, SourceError>>;

/// Plans, asks for beginnings, reads, and answers part by part.
async fn answer(view: &mut Standings<'_>, truths: &Truths) -> PartAnswers {
    let (layout, terms) = (view.layout, view.terms);
    let name = view.cluster.name();
    let (plans, mut answers) = plan(view, truths, &name);
    let starts = ask_starts(view.cluster, layout, &plans, terms.deadline).await;
    let (mut scans, places) = lay_out_scans(layout, &view.by_topic, &plans, &starts);
    reader::decide(view.cluster, &mut scans, terms.isolation, terms.deadline).await;
    let read = Read { starts, scans, places };
    for (part, plan) in plans {
        let row = &layout.parts[part];
        let Some(Ok(stand)) = view.by_topic.get(&row.topic) else { continue };
        let what = format!("topic `{}` on {name}", layout.topics[row.topic]);
        let own = restricted(&stand.position, &row.read);
        let known = view.known(row, stand, own.as_ref(), truths.get(&row.topic));
        let answer = match plan {
            Plan::Settle { keep } => {
                let position = Position::Kafka(carried_over(known.now, known.since, &[]));
                Ok(Finding { keep, ..Finding::at(position) })
            }
            Plan::Read { from, losses, keep } => read.finding(&known, &from, losses, keep, &what),
            _ => continue,
        };
        let answer = answer.map(|mut found| {
            if let Some((partition, error)) = stand.missing_for(&row.read) {
                let error = error.for_row(&what, partition);
                found.remarks.push(format!("partition {partition} was left out: {error}"));
            }
            found
        });
        answers.insert(part, answer.map(Answer::from));
    }
    answers
}

/// The plan of each part, or why there is none.
fn plan(view: &Standings<'_>, truths: &Truths, name: &str) -> (Vec<(usize, Plan)>, PartAnswers) {
    let layout = view.layout;
    let (mut plans, mut answers) = (Vec::new(), PartAnswers::new());
    for (&topic, standing) in &view.by_topic {
        let what = format!("topic `{}` on {name}", layout.topics[topic]);
        for &part in &layout.parts_of[topic] {
            let planned = match standing {
                Err(error) => Err(error.for_row(name, &what)),
                Ok(stand) => plan_part(view, &layout.parts[part], stand, truths.get(&topic), &what),
            };
            match planned {
                Ok(plan) => plans.push((part, plan)),
                Err(error) => drop(answers.insert(part, Err(error))),
            }
        }
    }
    (plans, answers)
}

fn plan_part(
    view: &Standings<'_>,
    row: &Part,
    stand: &Stand,
    truths: Option<&EpochEnds>,
    what: &str,
) -> Result<Plan, SourceError> {
    if let Some(partition) = stand.unknown_to(&row.read) {
        return Err(SourceError::Misconfigured { problem: format!("{what} has no partition {partition}") });
    }
    let doubtful = |problem: String| SourceError::Doubtful { what: what.to_owned(), problem };
    let plan = match view.plan(row, stand, truths) {
        Plan::Doubt(problem) => return Err(doubtful(problem)),
        Plan::Refused(problem) => return Err(SourceError::Misconfigured { problem }),
        Plan::Verify(_) => {
            return Err(doubtful("its log could not be verified after an election".to_owned()));
        }
        plan => plan,
    };
    // What begins somewhere must know of all partitions: those of later are read from their beginning. Elsewhere a
    // partition that is missing is an error where the others have nothing to tell.
    let begins = !matches!(view.layout.since(row), Since::Position(_));
    match stand.missing_for(&row.read) {
        Some((partition, error)) if begins || plan == Plan::Idle => Err(error.for_row(what, partition)),
        _ => Ok(plan),
    }
}

type Starts<'a> = HashMap<Question<'a>, OffsetResult>;

async fn ask_starts<'a>(
    cluster: &mut Cluster,
    layout: &'a Layout,
    plans: &[(usize, Plan)],
    deadline: Instant,
) -> Starts<'a> {
    let mut asked = HashSet::new();
    let mut questions = Vec::new();
    for (part, plan) in plans {
        let Plan::Read { from, .. } = plan else { continue };
        let topic: &str = &layout.topics[layout.parts[*part].topic];
        for (partition, from) in from {
            if let Some(at) = from.question() {
                let question = Question { topic, partition: *partition, at };
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
    let Some(at) = from.question() else {
        let From::Offset(offset) = from else { return Ok(end) };
        return Ok(offset.min(end));
    };
    match (starts.get(&Question { topic, partition, at }), from) {
        (Some(Ok(Some(told))), _) => Ok(told.offset.min(end)),
        (Some(Ok(None)), From::Demand(At::Time(time))) => Err(PartitionError::Doubtful(format!(
            "no offset matched from request of timestamp {time} (startingOffsetsByTimestampStrategy is `error`)"
        ))),
        (Some(Ok(None)), _) => Ok(end),
        (Some(Err(error)), _) => Err(error.clone()),
        (None, _) => Err(PartitionError::Doubtful("no first offset".to_owned())),
    }
}

type Places<'a> = HashMap<(&'a str, i32, i64), usize>;

/// One scan per topic, partition and first offset: rows that stand at the same place share it.
fn lay_out_scans<'a>(
    layout: &'a Layout,
    standings: &HashMap<usize, Standing>,
    plans: &[(usize, Plan)],
    starts: &Starts<'a>,
) -> (Vec<Scan<'a>>, Places<'a>) {
    let mut scans = Vec::new();
    let mut places = HashMap::new();
    for (part, plan) in plans {
        let row = &layout.parts[*part];
        let (Plan::Read { from, .. }, Some(Ok(stand))) = (plan, standings.get(&row.topic)) else {
            continue;
        };
        let topic: &str = &layout.topics[row.topic];
        for &(partition, from) in from {
            let end = stand.position.offsets[&partition];
            let Ok(offset) = first_offset(starts, topic, partition, from, end) else { continue };
            places.entry((topic, partition, offset)).or_insert_with(|| {
                scans.push(Scan::new(topic, stand.topic_id, partition, offset, end));
                scans.len() - 1
            });
        }
    }
    (scans, places)
}

/// What was asked for and read.
struct Read<'a> {
    starts: Starts<'a>,
    scans: Vec<Scan<'a>>,
    places: Places<'a>,
}

impl Read<'_> {
    fn finding(
        &self,
        known: &Known<'_>,
        from: &[(i32, From)],
        mut losses: Vec<Loss>,
        keep: bool,
        what: &str,
    ) -> Result<Finding, SourceError> {
        let topic = known.now.topic.as_str();
        let mut scans = Vec::with_capacity(from.len());
        for &(partition, from) in from {
            let end = known.now.offsets[&partition];
            let offset = first_offset(&self.starts, topic, partition, from, end)
                .map_err(|error| error.for_row(what, partition))?;
            if from == From::New && offset > 0 {
                losses.push(Loss {
                    topic: topic.to_owned(),
                    partition: Some(partition),
                    from: 0,
                    to: Some(offset),
                    cause: LossCause::Expired,
                });
            }
            scans.push(&self.scans[self.places[&(topic, partition, offset)]]);
        }
        read_finding(known, Reading { scans, losses, keep }, |scan| undecided(scan, what))
    }
}

fn undecided(scan: &Scan<'_>, what: &str) -> SourceError {
    match &scan.state {
        State::Failed(error) => error.for_read(what, scan.partition),
        _ => SourceError::Timeout { what: format!("partition {} of {what}", scan.partition) },
    }
}

/// The answers by question.
fn assemble(layout: &Layout, mut parts: PartAnswers) -> Answers {
    let mut answers = Answers::new();
    for (ask, reads, subject) in &layout.subjects {
        match subject {
            Subject::One(part) => answers.extend(parts.remove(part).map(|answer| (*ask, answer))),
            Subject::Several(own) => {
                let own = own.iter().map(|part| {
                    let row = &layout.parts[*part];
                    let answer = parts.remove(part).unwrap_or(Ok(Answer::Same));
                    let read = &*row.read;
                    union::Part { topic: &layout.topics[row.topic], since: layout.since(row), read, answer }
                });
                let parts: Vec<union::Part<'_>> = own.collect();
                let row = union::Row { since: &layout.ask(*ask).since, read: &reads.options };
                match union::unite(&row, parts) {
                    Ok(Answer::Same) => {}
                    united => answers.push((*ask, united)),
                }
            }
        }
    }
    answers
}
