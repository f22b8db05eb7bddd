//! What to do for one row, and what to answer it: pure decisions over positions.

use std::collections::{BTreeMap, BTreeSet};

use heartbeat_core::acon::{Isolation, NoRecord, ReadOptions, Starting, StartingOffset, Topics};
use heartbeat_core::position::{KafkaPosition, Loss, LossCause, Manifest, OffsetRange, Position};
use heartbeat_core::source::{Finding, Since, SourceError};

use super::epochs::EpochEnd;
use super::offsets::At;
use super::scan::{Scan, State};

/// The next step for one row.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// Nothing has changed.
    Idle,
    /// No news, nothing to read; where the topic stands is the row's position.
    Settle {
        /// Whether the position must be kept.
        keep: bool,
    },
    /// Read from these places to the ends.
    Read {
        /// By partition; partitions that are left out have nothing new.
        from: Vec<(i32, From)>,
        /// What was gone before it was looked at.
        losses: Vec<Loss>,
        /// Whether the position must be kept.
        keep: bool,
    },
    /// Leaders were elected since: these partitions (with the epoch of the cursor) may have been cut off.
    Verify(Vec<(i32, i32)>),
    /// An answer that cannot be right yet: to be asked again.
    Doubt(String),
    /// The row cannot be served as it is.
    Refused(String),
}

/// Where to begin to read a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Known.
    Offset(i64),
    /// Known to be the first one that this row has not seen, on a partition that is new to it.
    New,
    /// The leader has to be asked; without an answer the partition begins at its end.
    Ask(At),
    /// The same; without an answer the row cannot be looked at.
    Demand(At),
}

impl From {
    /// What the leader has to be asked.
    pub(super) fn question(self) -> Option<At> {
        match self {
            Self::Offset(_) => None,
            Self::New => Some(At::Earliest),
            Self::Ask(at) | Self::Demand(at) => Some(at),
        }
    }
}

/// What is known of a row's topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Where it stands.
    pub(super) now: &'a KafkaPosition,
    /// Where the row stands.
    pub(super) since: &'a Since,
    /// What the row reads.
    pub(super) read: &'a ReadOptions,
    /// By partition and epoch of a cursor, what leaders told; `None`: they were not asked yet.
    pub(super) truths: Option<&'a BTreeMap<(i32, i32), EpochEnd>>,
    /// True when `now` was asked for again because the first answer was doubted.
    pub(super) confirmed: bool,
}

/// Compares where a topic stands with where a row stands.
pub(super) fn plan_row(known: &Known<'_>) -> Plan {
    let now = known.now;
    match known.since {
        Since::Now => Plan::Settle { keep: true },
        Since::Beginning => plan_start(now, &known.read.starting),
        Since::Time(time) => {
            let at = At::Time(time.as_millisecond());
            from_each(now, true, |_| Some(From::Ask(at)))
        }
        Since::Position(Position::Kafka(cursor)) if now.is_another_topic_than(cursor) => {
            let made_again = now.cluster == cursor.cluster;
            let loss = Loss {
                topic: now.topic.clone(),
                partition: None,
                from: 0,
                to: None,
                cause: if made_again { LossCause::MadeAgain } else { LossCause::Gone },
            };
            match from_each(now, true, |_| Some(From::Ask(At::Earliest))) {
                Plan::Read { from, keep, .. } => Plan::Read { from, losses: vec![loss], keep },
                _ => Plan::Read { from: Vec::new(), losses: vec![loss], keep: true },
            }
        }
        Since::Position(Position::Kafka(cursor)) => plan_on(known, cursor),
        Since::Position(_) => {
            Plan::Refused(format!("topic `{}`: the row's position is none of a topic", now.topic))
        }
    }
}

/// Leaves in a position what a row is about.
pub(super) fn restricted(position: &KafkaPosition, read: &ReadOptions) -> Option<KafkaPosition> {
    let Topics::Assigned(assigned) = &read.topics else { return None };
    let own: &BTreeSet<i32> = assigned.get(&position.topic)?;
    let mut position = position.clone();
    position.offsets.retain(|partition, _| own.contains(partition));
    position.epochs.retain(|partition, _| own.contains(partition));
    Some(position)
}

fn plan_start(now: &KafkaPosition, starting: &Starting) -> Plan {
    match starting {
        Starting::Earliest => from_each(now, false, |_| Some(From::Ask(At::Earliest))),
        Starting::Latest => Plan::Settle { keep: true },
        Starting::Offsets(topics) => {
            let own = topics.get(&now.topic);
            from_each(now, true, |partition| match own.and_then(|own| own.get(&partition)) {
                Some(StartingOffset::At(offset)) => Some(From::Offset(*offset)),
                Some(StartingOffset::Latest) => None,
                Some(StartingOffset::Earliest) | None => Some(From::Ask(At::Earliest)),
            })
        }
        Starting::Times { all, by_partition, otherwise } => {
            let own = by_partition.get(&now.topic);
            from_each(now, true, |partition| {
                let Some(time) = own.and_then(|own| own.get(&partition)).copied().or(*all) else {
                    return Some(From::Ask(At::Earliest));
                };
                Some(match otherwise {
                    NoRecord::Error => From::Demand(At::Time(time)),
                    NoRecord::Latest => From::Ask(At::Time(time)),
                })
            })
        }
    }
}

fn from_each(now: &KafkaPosition, keep: bool, from: impl Fn(i32) -> Option<From>) -> Plan {
    let from: Vec<(i32, From)> = now
        .offsets
        .iter()
        // An empty partition has no record of any time.
        .filter_map(|(partition, end)| Some((*partition, from(*partition)?, *end)))
        .filter(|(_, from, end)| *end > 0 || matches!(from, From::Demand(_)))
        .map(|(partition, from, _)| (partition, from))
        .collect();
    match (from.is_empty(), keep) {
        (true, false) => Plan::Idle,
        (true, true) => Plan::Settle { keep },
        (false, keep) => Plan::Read { from, losses: Vec::new(), keep },
    }
}

/// How one partition stands beside the cursor.
enum Step {
    Same,
    Read(From),
    CutOff { at: Option<i64> },
    Verify(i32),
    Doubt(String),
}

fn plan_on(known: &Known<'_>, cursor: &KafkaPosition) -> Plan {
    let now = known.now;
    let (mut from, mut losses, mut verify, mut doubts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (&partition, &end) in &now.offsets {
        match step(known, cursor, partition, end) {
            Step::Same => {}
            Step::Read(place) => from.push((partition, place)),
            Step::Verify(epoch) => verify.push((partition, epoch)),
            Step::Doubt(problem) => doubts.push(problem),
            Step::CutOff { at } => {
                let reached = cursor.offsets.get(&partition).copied();
                losses.push(Loss {
                    topic: now.topic.clone(),
                    partition: Some(partition),
                    from: at.unwrap_or(end),
                    to: reached,
                    cause: LossCause::Rewound,
                });
                from.push((partition, at.map_or(From::Ask(At::Earliest), |at| From::Offset(at.min(end)))));
            }
        }
    }
    if !doubts.is_empty() {
        return Plan::Doubt(doubts.join(", "));
    }
    if !verify.is_empty() {
        return Plan::Verify(verify);
    }
    if from.is_empty() { Plan::Idle } else { Plan::Read { from, losses, keep: false } }
}

fn step(known: &Known<'_>, cursor: &KafkaPosition, partition: i32, end: i64) -> Step {
    let Some(&reached) = cursor.offsets.get(&partition) else {
        // A new partition may have lost its beginning already.
        return if end > 0 { Step::Read(From::New) } else { Step::Same };
    };
    // Without topic ids a topic that was made again is told by its offsets and epochs alone.
    let may_be_another = known.now.topic_id.is_none();
    let epochs = cursor.epochs.get(&partition).zip(known.now.epochs.get(&partition));
    match epochs {
        Some((then, now)) if now < then && may_be_another && known.confirmed => {
            return Step::CutOff { at: None };
        }
        Some((then, now)) if now < then => {
            return Step::Doubt(format!(
                "partition {partition} was answered by a leader that has been deposed"
            ));
        }
        Some((then, now)) if now > then => match known.truths.map(|truths| truths.get(&(partition, *then))) {
            None => return Step::Verify(*then),
            Some(Some(EpochEnd::At(offset))) if *offset < reached => {
                return Step::CutOff { at: Some(*offset).filter(|_| !may_be_another || end >= reached) };
            }
            // Logs of old message formats have no epochs; that proves nothing.
            Some(Some(EpochEnd::At(_) | EpochEnd::Unknown) | None) => {}
        },
        _ => {}
    }
    match end.cmp(&reached) {
        std::cmp::Ordering::Greater => Step::Read(From::Offset(reached)),
        std::cmp::Ordering::Equal => Step::Same,
        // A row that read uncommitted before stands behind the last stable offset.
        std::cmp::Ordering::Less if known.read.isolation == Isolation::ReadCommitted && !may_be_another => {
            Step::Same
        }
        std::cmp::Ordering::Less if known.confirmed => Step::CutOff { at: None },
        std::cmp::Ordering::Less => {
            Step::Doubt(format!("partition {partition} ends at {end}, before {reached}, where it ended last"))
        }
    }
}

/// What reading has come to.
pub(super) struct Reading<'a> {
    /// The scans of the row's partitions, in the order of its plan.
    pub(super) scans: Vec<&'a Scan<'a>>,
    /// What was gone before it was looked at, so far.
    pub(super) losses: Vec<Loss>,
    /// Whether the position must be kept.
    pub(super) keep: bool,
}

/// The answer of a row whose partitions were read.
///
/// A partition that could not be decided keeps its place in the position, so that the next look goes on from there;
/// it is an error only when nothing else has been found out.
pub(super) fn read_finding(
    known: &Known<'_>,
    reading: Reading<'_>,
    undecided: impl Fn(&Scan<'_>) -> SourceError,
) -> Result<Finding, SourceError> {
    let Reading { scans, mut losses, keep } = reading;
    let mut position = carried_over(known.now, known.since, &losses);
    let mut ranges = Vec::new();
    let mut remarks = Vec::new();
    let mut first_undecided = None;
    let mut got_somewhere = !losses.is_empty();
    for scan in scans {
        if let Some((from, to)) = scan.lost {
            losses.push(Loss {
                topic: scan.topic.to_owned(),
                partition: Some(scan.partition),
                from,
                to: Some(to),
                cause: LossCause::Expired,
            });
        }
        match &scan.state {
            State::News => {
                // Offsets proven to hold no news stay in the range: it tells what to read, from where to where.
                ranges.push(OffsetRange { partition: scan.partition, from: scan.start(), to: scan.end });
                got_somewhere = true;
            }
            State::Nothing => {}
            _ => {
                position.offsets.insert(scan.partition, scan.at);
                got_somewhere |= scan.at > scan.start();
                first_undecided.get_or_insert(scan);
            }
        }
    }
    if known.read.fail_on_data_loss && !losses.is_empty() {
        return Err(SourceError::DataLost { losses });
    }
    match first_undecided {
        Some(scan) if !got_somewhere => return Err(undecided(scan)),
        Some(scan) => remarks.push(format!("partition {}: {}", scan.partition, undecided(scan))),
        None => {}
    }
    let news = (!ranges.is_empty()).then_some(Manifest::Offsets(ranges));
    // What was read through for nothing is not to be read through again.
    let keep = keep || !losses.is_empty() || news.is_none();
    Ok(Finding { position: Position::Kafka(position), news, keep, losses, remarks })
}

/// Where a topic stands, for a row.
///
/// Partitions that the cursor knows and the answer lacks are kept: topics don't shrink, so the broker that described
/// the topic was behind, and the partition must not look new when it comes back. No partition goes back, but those
/// that were cut off.
pub(super) fn carried_over(now: &KafkaPosition, since: &Since, losses: &[Loss]) -> KafkaPosition {
    let mut position = now.clone();
    if let Since::Position(Position::Kafka(cursor)) = since
        && !now.is_another_topic_than(cursor)
    {
        let is_cut_off = |partition: i32| {
            losses.iter().any(|loss| loss.cause == LossCause::Rewound && loss.partition == Some(partition))
        };
        for (&partition, &reached) in &cursor.offsets {
            let offset = position.offsets.entry(partition).or_insert(reached);
            if *offset < reached && !is_cut_off(partition) {
                *offset = reached;
            }
        }
        for (partition, epoch) in &cursor.epochs {
            // An offset that was told without an epoch has none.
            if !now.offsets.contains_key(partition) {
                position.epochs.insert(*partition, *epoch);
            }
        }
        // A broker without topic ids must not make us forget the one we know.
        position.topic_id = now.topic_id.clone().or_else(|| cursor.topic_id.clone());
    }
    position
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
