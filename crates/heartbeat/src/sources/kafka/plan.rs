//! What to do for one row, and what to answer it: pure decisions over positions.

use heartbeat_core::position::{KafkaPosition, Manifest, OffsetRange, Position, Progress};
use heartbeat_core::source::{Finding, Since, SourceError};

use super::offsets::At;
use super::scan::{Scan, State};

/// The next step for one row.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// No news, nothing to read.
    Idle,
    /// Read from these places to the ends.
    Read {
        /// First offset by partition; partitions that are left out have nothing new.
        from: Vec<(i32, From)>,
        /// For people.
        remarks: Vec<String>,
    },
    /// Ends behind the cursor, or partitions gone: a stale answer, or a truncated log.
    Behind(Vec<OffsetRange>),
    /// The cursor is none of a topic.
    NotOurs,
}

/// Where to begin to read a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// Known.
    Offset(i64),
    /// The leader has to be asked.
    Ask(At),
}

/// Compares where a topic stands with where a row stands.
pub(super) fn plan_row(now: &KafkaPosition, since: &Since) -> Plan {
    match since {
        Since::Now => Plan::Idle,
        Since::Beginning => from_everywhere(now, At::Earliest, Vec::new()),
        Since::Time(time) => from_everywhere(now, At::Time(time.as_millisecond()), Vec::new()),
        Since::Position(Position::Kafka(cursor)) => match now.progress_since(cursor) {
            Progress::Same => Plan::Idle,
            Progress::Behind(ranges) => Plan::Behind(ranges),
            Progress::Reset => from_everywhere(now, At::Earliest, vec![reset_remark(now, cursor)]),
            Progress::Moved(ranges) => {
                let from = ranges.iter().map(|range| {
                    let known = cursor.offsets.contains_key(&range.partition);
                    // A new partition may have lost its beginning already.
                    let from = if known { From::Offset(range.from) } else { From::Ask(At::Earliest) };
                    (range.partition, from)
                });
                Plan::Read { from: from.collect(), remarks: Vec::new() }
            }
        },
        Since::Position(_) => Plan::NotOurs,
    }
}

/// The answer of a row without news.
///
/// Partitions that the cursor knows and the answer lacks are kept: topics don't shrink, so the broker that described
/// the topic was behind, and the partition must not look new when it comes back.
pub(super) fn idle_finding(now: &KafkaPosition, since: &Since) -> Finding {
    Finding { position: Position::Kafka(carried_over(now, since)), news: None, remarks: Vec::new() }
}

/// The answer of a row whose partitions were read. `scans` are those of the row, in the order of its plan.
///
/// A partition that could not be decided keeps its place in the position, so that the next look goes on from there;
/// it is an error only when nothing else has been found out.
pub(super) fn read_finding(
    now: &KafkaPosition,
    since: &Since,
    scans: &[&Scan<'_>],
    mut remarks: Vec<String>,
    undecided: impl Fn(&Scan<'_>) -> SourceError,
) -> Result<Finding, SourceError> {
    let mut position = carried_over(now, since);
    let mut ranges = Vec::new();
    let mut first_undecided = None;
    let mut got_somewhere = false;
    for scan in scans {
        if let Some((from, to)) = scan.lost {
            remarks.push(format!(
                "partition {}: offsets {from}..{to} were gone before they were looked at (retention or DeleteRecords)",
                scan.partition
            ));
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
                first_undecided.get_or_insert(*scan);
            }
        }
    }
    match first_undecided {
        Some(scan) if !got_somewhere => return Err(undecided(scan)),
        Some(scan) => remarks.push(format!("partition {}: {}", scan.partition, undecided(scan))),
        None => {}
    }
    let news = (!ranges.is_empty()).then_some(Manifest::Offsets(ranges));
    Ok(Finding { position: Position::Kafka(position), news, remarks })
}

/// Ends that lie behind the cursor, in words.
pub(super) fn behind_problem(ranges: &[OffsetRange]) -> String {
    let parts: Vec<String> = ranges
        .iter()
        .map(|range| format!("partition {} ends at {}, before {}", range.partition, range.to, range.from))
        .collect();
    format!(
        "{}: a leader that lags, a truncated log, or a topic that was made again on a broker without topic ids \
         (then `check --baseline` sets a new position)",
        parts.join(", ")
    )
}

fn from_everywhere(now: &KafkaPosition, at: At, remarks: Vec<String>) -> Plan {
    let from: Vec<_> = now
        .offsets
        .iter()
        .filter(|(_, end)| **end > 0)
        .map(|(partition, _)| (*partition, From::Ask(at)))
        .collect();
    if from.is_empty() && remarks.is_empty() { Plan::Idle } else { Plan::Read { from, remarks } }
}

fn reset_remark(now: &KafkaPosition, cursor: &KafkaPosition) -> String {
    let id = |position: &KafkaPosition| position.topic_id.clone().unwrap_or_else(|| "none".to_owned());
    if now.cluster == cursor.cluster {
        format!(
            "topic `{}` was made again (id {} is now {}): read from its beginning",
            now.topic,
            id(cursor),
            id(now)
        )
    } else {
        format!(
            "topic `{}` is on another cluster ({} is now {}): read from its beginning",
            now.topic, cursor.cluster, now.cluster
        )
    }
}

fn carried_over(now: &KafkaPosition, since: &Since) -> KafkaPosition {
    let mut position = now.clone();
    if let Since::Position(Position::Kafka(cursor)) = since
        && now.progress_since(cursor) != Progress::Reset
    {
        for (partition, offset) in &cursor.offsets {
            position.offsets.entry(*partition).or_insert(*offset);
        }
        // A broker without topic ids must not make us forget the one we know.
        position.topic_id = now.topic_id.clone().or_else(|| cursor.topic_id.clone());
    }
    position
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
