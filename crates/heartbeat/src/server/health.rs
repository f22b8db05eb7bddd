//! Whether the daemon does what it planned. Only monotonic time counts: a clock that jumps makes nothing overdue.
//!
//! A tick is overdue when it has not ended at `planned + allowance`, where the allowance is the longer of three periods
//! and of one period, the deadline of its work and ten seconds. A source outside of its active windows is planned for
//! the next window, and so is not overdue.
//!
//! The daemon is ready when every source that was planned to be looked at soon after it was added has been looked at,
//! and all tables can be read.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What a tick may take beyond its period and its deadline.
const MARGIN: Duration = Duration::from_secs(10);
/// A first check within this time is waited for by readiness; one that a cron expression or a window puts off is not.
const SOON: Duration = Duration::from_secs(10);

/// What is done again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TickKind {
    /// Looking at a source.
    Source,
    /// Something else: following runs, writing the journal, maintenance.
    Task,
}

/// The next time of something that is done again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// What it is.
    pub kind: TickKind,
    /// When it is, or was, to begin.
    pub planned: Instant,
    /// Time between two.
    pub period: Duration,
    /// How long its work may take.
    pub deadline: Duration,
}

impl Plan {
    /// How long after the planned time it must have ended.
    pub fn allowance(&self) -> Duration {
        (self.period * 3).max(self.period + self.deadline + MARGIN)
    }
}

/// Something that is done again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickState {
    /// Its name.
    pub name: String,
    /// When it was added.
    pub added: Instant,
    /// The tick that has not ended yet.
    pub plan: Plan,
    /// Whether one has ended.
    pub has_ended: bool,
}

/// How the daemon is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct HealthReport {
    /// Ticks that have not ended although they should have.
    pub overdue: Vec<Overdue>,
    /// Sources whose first check has not ended.
    pub waiting: Vec<String>,
    /// Tables that cannot be read.
    pub unreadable: Vec<String>,
}

/// A tick that is overdue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overdue {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: TickKind,
    /// Time since it should have ended.
    pub overdue_seconds: f64,
}

impl HealthReport {
    /// Whether everything goes on as planned.
    pub fn is_healthy(&self) -> bool {
        self.overdue.is_empty()
    }

    /// Whether everything has begun and the tables can be read.
    pub fn is_ready(&self) -> bool {
        self.waiting.is_empty() && self.unreadable.is_empty()
    }
}

/// Judges ticks at `now`. `unreadable` are the tables that could not be read last.
pub fn judge(now: Instant, ticks: &[TickState], unreadable: &[String]) -> HealthReport {
    let overdue = ticks.iter().filter_map(|tick| {
        let late = now.checked_duration_since(tick.plan.planned)?.checked_sub(tick.plan.allowance())?;
        (!late.is_zero()).then(|| Overdue {
            name: tick.name.clone(),
            kind: tick.plan.kind,
            overdue_seconds: (late.as_secs_f64() * 1000.0).round() / 1000.0,
        })
    });
    let waited_for = |tick: &&TickState| {
        tick.plan.kind == TickKind::Source && !tick.has_ended && tick.plan.planned <= tick.added + SOON
    };
    HealthReport {
        overdue: overdue.collect(),
        waiting: ticks.iter().filter(waited_for).map(|tick| tick.name.clone()).collect(),
        unreadable: unreadable.to_vec(),
    }
}

/// What the daemon's tasks report, for whoever asks.
#[derive(Debug, Default)]
pub struct Board {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ticks: BTreeMap<String, TickState>,
    /// Whether a table could be read last.
    tables: BTreeMap<String, bool>,
}

impl Board {
    /// The next tick of `name` is planned; the first plan adds it, as of `now`.
    pub fn planned(&self, name: &str, plan: Plan, now: Instant) {
        let mut state = self.lock();
        let tick = state.ticks.entry(name.to_owned()).or_insert_with(|| TickState {
            name: name.to_owned(),
            added: now,
            plan,
            has_ended: false,
        });
        tick.plan = plan;
    }

    /// A tick of `name` ended, well or not. It counts as overdue or not by its plan until the next is planned.
    pub fn ended(&self, name: &str) {
        if let Some(tick) = self.lock().ticks.get_mut(name) {
            tick.has_ended = true;
        }
    }

    /// `name` is done no more.
    pub fn removed(&self, name: &str) {
        self.lock().ticks.remove(name);
    }

    /// Whether a table could be read last.
    pub fn table(&self, name: &str, readable: bool) {
        self.lock().tables.insert(name.to_owned(), readable);
    }

    /// A table is watched no more.
    pub fn table_removed(&self, name: &str) {
        self.lock().tables.remove(name);
    }

    /// How the daemon is at `now`.
    pub fn report(&self, now: Instant) -> HealthReport {
        let state = self.lock();
        let ticks: Vec<TickState> = state.ticks.values().cloned().collect();
        let unreadable: Vec<String> =
            state.tables.iter().filter(|(_, readable)| !**readable).map(|(name, _)| name.clone()).collect();
        judge(now, &ticks, &unreadable)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn plan(planned: Instant, period: Duration) -> Plan {
        Plan { kind: TickKind::Source, planned, period, deadline: 10 * SECOND }
    }

    #[rstest]
    #[case::short_period_has_its_deadline(1, 21)]
    #[case::long_period_has_three(3600, 3 * 3600)]
    fn overdue_after_the_allowance(#[case] period: u64, #[case] allowance: u64) {
        let planned = Instant::now();
        let board = Board::default();
        board.planned("kafka", plan(planned, Duration::from_secs(period)), planned);
        let end = planned + Duration::from_secs(allowance);
        assert!(board.report(planned).is_healthy());
        assert!(board.report(end).is_healthy());
        let report = board.report(end + Duration::from_millis(1500));
        let overdue = Overdue { name: "kafka".to_owned(), kind: TickKind::Source, overdue_seconds: 1.5 };
        assert_eq!(report.overdue, [overdue]);
        board.planned("kafka", plan(end, SECOND), end);
        assert!(board.report(end + 2 * SECOND).is_healthy());
    }

    #[test]
    fn outside_of_a_window_nothing_is_overdue_nor_waited_for() {
        let now = Instant::now();
        let board = Board::default();
        board.planned("nightly", plan(now + Duration::from_hours(8), SECOND), now);
        assert_eq!(board.report(now + Duration::from_hours(7)), HealthReport::default());
    }

    #[test]
    fn ready_when_every_source_was_looked_at_and_tables_can_be_read() {
        let now = Instant::now();
        let board = Board::default();
        board.planned("kafka", plan(now + SECOND, SECOND), now);
        board.planned("journal", Plan { kind: TickKind::Task, ..plan(now, SECOND) }, now);
        assert_eq!(board.report(now).waiting, ["kafka"]);
        board.ended("kafka");
        assert!(board.report(now).is_ready());
        board.table("db.control", false);
        assert_eq!(board.report(now).unreadable, ["db.control"]);
        assert!(board.report(now).is_healthy());
        board.table("db.control", true);
        assert!(board.report(now).is_ready());
        board.planned("late", plan(now, SECOND), now);
        board.removed("late");
        board.table("gone", false);
        board.table_removed("gone");
        assert!(board.report(now).is_ready());
    }
}
