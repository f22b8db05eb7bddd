//! Is there a record between the cursor and the end? Decided by fetching batch headers until one says so.
//!
//! What counts (Spark's default, `read_uncommitted`): first the committed part, up to the last stable offset, read
//! with the list of aborted transactions, whose records are no news; then what lies behind it, the open
//! transactions, where every record is news. With `read_committed` the end is the last stable offset, so the second
//! part does not exist.

use std::collections::HashSet;

use uuid::Uuid;

use super::Isolation;
use super::batches::{Verdict, judge_batches};
use super::error::{Code, PartitionError};
use super::fetch::{Fetched, Stretch};

/// How often a broker may return nothing for offsets that it says it has.
const PATIENCE: u32 = 6;

/// One stretch of a partition to be judged, and how far that has got.
#[derive(Debug, Clone)]
pub(super) struct Scan<'a> {
    pub(super) topic: &'a str,
    pub(super) topic_id: Uuid,
    pub(super) partition: i32,
    start: i64,
    /// First offset behind the stretch.
    pub(super) end: i64,
    /// Everything below holds no news.
    pub(super) at: i64,
    /// Offsets that were gone before they could be judged.
    pub(super) lost: Option<(i64, i64)>,
    pub(super) state: State,
    phase: Phase,
    size: Size,
    empty_answers: u32,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// Not decided yet.
    Open,
    /// Holds at least one record that counts.
    News,
    /// Holds none.
    Nothing,
    /// Not decided when the time was over; `at` tells how far it got.
    OutOfTime,
    /// The leader has to be found again.
    Stray(PartitionError),
    /// `at` is no offset of the leader's log.
    OutOfRange,
    /// Cannot be decided now.
    Failed(PartitionError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Up to the last stable offset.
    Committed,
    /// Nothing came although offsets are left below `limit`: does the log go on behind it?
    Probe { limit: i64 },
    /// Behind the last stable offset.
    Uncommitted,
}

/// How much to fetch at once. A broker returns nothing of a batch that is larger than asked for, unless it is the
/// first one of the request (KIP-74).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
    Alone,
}

impl Size {
    fn max_bytes(self) -> i32 {
        match self {
            Self::Small => 8 << 10,
            Self::Large | Self::Alone => 1 << 20,
        }
    }

    fn per_request(self) -> usize {
        match self {
            Self::Small => 200,
            Self::Large => 8,
            Self::Alone => 1,
        }
    }
}

impl<'a> Scan<'a> {
    /// A scan over `from..end` of the topic with this id.
    pub(super) fn new(topic: &'a str, topic_id: Uuid, partition: i32, from: i64, end: i64) -> Self {
        Self {
            topic,
            topic_id,
            partition,
            start: from,
            end,
            at: from,
            lost: None,
            state: if from < end { State::Open } else { State::Nothing },
            phase: Phase::Committed,
            size: Size::Small,
            empty_answers: 0,
        }
    }

    /// First offset of the stretch that is still there.
    pub(super) fn start(&self) -> i64 {
        self.lost.map_or(self.start, |(_, earliest)| earliest)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// How often the broker returned nothing; a reason to wait a little.
    pub(super) fn empty_answers(&self) -> u32 {
        self.empty_answers
    }

    /// Fetch isolation of the next request.
    pub(super) fn fetch_isolation(&self) -> Isolation {
        match self.phase {
            Phase::Committed => Isolation::ReadCommitted,
            Phase::Probe { .. } | Phase::Uncommitted => Isolation::ReadUncommitted,
        }
    }

    /// What to ask for next.
    pub(super) fn stretch(&self, epoch: i32) -> Stretch<'a> {
        Stretch {
            topic: self.topic,
            topic_id: self.topic_id,
            partition: self.partition,
            epoch,
            from: self.at,
            max_bytes: self.size.max_bytes(),
        }
    }

    /// Judges the answer of a leader. `isolation` is that of the row.
    pub(super) fn take(&mut self, answer: Result<Fetched, Code>, isolation: Isolation) {
        let fetched = match answer {
            Ok(fetched) => fetched,
            Err(Code::OFFSET_OUT_OF_RANGE) => {
                self.state = State::OutOfRange;
                return;
            }
            Err(code) => {
                let error = PartitionError::Code(code);
                self.state = if code.is_passing() { State::Stray(error) } else { State::Failed(error) };
                return;
            }
        };
        let limit = match self.phase {
            Phase::Committed => fetched.last_stable.min(self.end),
            Phase::Probe { limit } => limit,
            Phase::Uncommitted => self.end,
        };
        let verdict = if self.at < limit {
            judge_batches(&fetched.log, self.at, limit, &fetched.aborted)
        } else {
            Ok(Verdict::Noise { next: self.at })
        };
        match (verdict, self.phase) {
            (Err(problem), _) => self.state = State::Failed(PartitionError::Doubtful(problem)),
            (Ok(Verdict::Noise { next }), Phase::Probe { .. }) if next == limit => {
                self.advance(next, limit, isolation);
            }
            (Ok(Verdict::TooShort | Verdict::News | Verdict::Noise { .. }), Phase::Probe { .. }) => {
                // Either still nothing, or records that the other request should have brought: a remote tier that
                // is slow (KIP-405).
                self.phase = Phase::Committed;
                self.wait();
            }
            (Ok(Verdict::News), _) => self.state = State::News,
            (Ok(Verdict::Noise { next }), _) => self.advance(next, limit, isolation),
            (Ok(Verdict::TooShort), phase) => match (self.size, phase) {
                (Size::Small, _) => self.size = Size::Large,
                (Size::Large, _) => self.size = Size::Alone,
                // Compaction can leave nothing at all before the first open transaction.
                (Size::Alone, Phase::Committed) => self.phase = Phase::Probe { limit },
                (Size::Alone, _) => self.wait(),
            },
        }
    }

    /// Goes on from `earliest` after an offset that the leader does not have.
    pub(super) fn continue_from(&mut self, earliest: i64) {
        if earliest <= self.at {
            let problem =
                format!("offset {} is said to be out of range, the earliest is {earliest}", self.at);
            self.state = State::Failed(PartitionError::Doubtful(problem));
            return;
        }
        let first_lost = self.lost.map_or(self.at, |(from, _)| from);
        self.lost = Some((first_lost, earliest));
        self.at = earliest.min(self.end);
        self.phase = Phase::Committed;
        self.state = if self.at < self.end { State::Open } else { State::Nothing };
    }

    fn advance(&mut self, next: i64, limit: i64, isolation: Isolation) {
        if next > self.at {
            self.at = next;
            self.empty_answers = 0;
            // More noise is likely to follow: fewer, larger requests.
            self.size = Size::Large;
        }
        if self.at >= self.end {
            self.state = State::Nothing;
        } else if self.at < limit {
            // Not through yet.
        } else if isolation == Isolation::ReadUncommitted {
            self.phase = Phase::Uncommitted;
            self.size = Size::Small;
        } else {
            // The last stable offset was at the end a moment ago.
            self.phase = Phase::Committed;
            self.wait();
        }
    }

    fn wait(&mut self) {
        self.empty_answers += 1;
        if self.empty_answers > PATIENCE {
            let problem = format!("offsets {}..{} exist, but nothing is returned", self.at, self.end);
            self.state = State::Failed(PartitionError::Doubtful(problem));
        }
    }
}

/// The scans that the next request asks for: of one isolation level and one size, no partition twice. Scans that
/// wait for a slow broker come last. Empty when none is open.
pub(super) fn pick(scans: &[Scan<'_>]) -> Vec<usize> {
    let open = || scans.iter().enumerate().filter(|(_, scan)| scan.is_open());
    let Some((_, first)) = open().min_by_key(|(_, scan)| scan.empty_answers) else {
        return Vec::new();
    };
    let mut named = HashSet::new();
    open()
        .filter(|(_, scan)| {
            scan.size == first.size
                && scan.fetch_isolation() == first.fetch_isolation()
                && scan.empty_answers == first.empty_answers
        })
        .filter(|(_, scan)| named.insert((scan.topic, scan.partition)))
        .map(|(index, _)| index)
        .take(first.size.per_request())
        .collect()
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
