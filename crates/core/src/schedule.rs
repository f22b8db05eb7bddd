//! When a source is looked at next: a period or a cron expression, within active windows.
//!
//! Everything is a function of the last planned time and of `now`, so that it can be tested without waiting and a
//! clock that jumps does no harm:
//!
//! - *Forwards* (or the machine slept, or a check took long): the planned times in between are missed. They are counted
//!   and not made up for.
//! - *Backwards*: a period begins anew at the present time, so that no check is further away than one period. A cron
//!   expression follows the clock.
//!
//! Whoever waits for a planned time sleeps for [`LONGEST_SLEEP`] at most and asks [`Schedule::revised`] then, so that a
//! jump during the wait is noticed too.
//!
//! A period is kept in elapsed time, whatever the wall clock does in spring and autumn. Cron expressions and windows
//! are local times: one that spring leaves out is due as much later as the clock jumped, one that autumn repeats is
//! due twice. Looking twice costs little, not looking is a job that does not start.
//!
//! The offset of [`Jitter`] is fixed by a name. Sources with one period spread over it and each keeps its period.

mod cron;
mod jitter;
mod window;

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use self::cron::{BadCron, Cron};
pub use self::jitter::{Jitter, MOST_JITTER};
pub use self::window::{BadWindow, Window};

/// When a source is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    timing: Timing,
    windows: Vec<Window>,
    time_zone: TimeZone,
    offset: Duration,
}

/// What sets the times.
#[derive(Debug, Clone, PartialEq)]
pub enum Timing {
    /// Again after this much elapsed time; not zero.
    Every(Duration),
    /// At the local times of a cron expression.
    Cron(Cron),
}

/// The next planned time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// When; later than the `now` it was asked with.
    pub at: Timestamp,
    /// How many planned times passed since the last one without a check. With windows or a cron expression it is
    /// counted up to [`MOST_MISSED`].
    pub missed: u64,
}

/// Most missed times that are counted one by one.
pub const MOST_MISSED: u64 = 100_000;

/// The shortest period that a configuration may ask for.
pub const SHORTEST_PERIOD: Duration = Duration::from_millis(100);

/// How long to sleep at most before a planned time is held against the clock again.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The smallest step of a cron expression.
const CRON_STEP: Duration = Duration::from_mins(1);

/// Why parts make no schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSchedule {
    /// A period of nothing.
    #[error("the period must be longer than nothing")]
    NoPeriod,
    /// No time of the expression lies in a window, or the expression has no times at all.
    #[error("no planned time lies in an active window within four years")]
    Never,
}

impl Schedule {
    /// A schedule. `windows` are local times in `time_zone`, as are the times of a cron expression; without windows it
    /// is always active.
    pub fn new(
        timing: Timing,
        windows: Vec<Window>,
        time_zone: TimeZone,
        jitter: &Jitter,
    ) -> Result<Self, BadSchedule> {
        if timing == Timing::Every(Duration::ZERO) {
            return Err(BadSchedule::NoPeriod);
        }
        let mut schedule = Self { timing, windows, time_zone, offset: Duration::ZERO };
        schedule.offset = jitter.offset(schedule.period());
        // Any day will do: cron expressions and windows repeat within four years.
        match &schedule.timing {
            Timing::Cron(cron) if schedule.active_cron(cron, Timestamp::UNIX_EPOCH).is_none() => {
                Err(BadSchedule::Never)
            }
            _ => Ok(schedule),
        }
    }

    /// Every `period`, always active, without an offset.
    pub fn every(period: Duration) -> Result<Self, BadSchedule> {
        Self::new(Timing::Every(period), Vec::new(), TimeZone::UTC, &Jitter::NONE)
    }

    /// What sets the times.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// The time between two checks while active; for a cron expression one minute, its smallest step.
    pub fn period(&self) -> Duration {
        match self.timing {
            Timing::Every(period) => period,
            Timing::Cron(_) => CRON_STEP,
        }
    }

    /// Whether `at` lies in an active window.
    pub fn is_active(&self, at: Timestamp) -> bool {
        window::is_active(&self.windows, &self.time_zone, at)
    }

    /// The next planned time after `now`. `last` is the time that was planned for the last check, not when it ran;
    /// without one a period begins at `now` (plus the offset), and a cron expression waits for its time.
    pub fn next(&self, last: Option<Timestamp>, now: Timestamp) -> Tick {
        let Some(last) = last else { return Tick { at: self.first(now), missed: 0 } };
        if last > now {
            return Tick { at: self.after_jump_back(last, now), missed: 0 };
        }
        if let (Timing::Every(period), []) = (&self.timing, self.windows.as_slice()) {
            let (at, missed) = resume(last, *period, now);
            return Tick { at, missed };
        }
        let mut at = self.following(last);
        let mut missed = 0;
        while at <= now && missed < MOST_MISSED {
            missed += 1;
            at = self.following(at);
        }
        if at <= now {
            at = match self.timing {
                Timing::Every(period) => self.fit(resume(at, period, now).0),
                Timing::Cron(_) => self.following(now),
            };
        }
        Tick { at, missed }
    }

    /// A planned time that is waited for, held against a clock that may have jumped: what [`Schedule::next`] gave, or an
    /// earlier time if the clock went back. It is due when it is not after `now`.
    pub fn revised(&self, planned: Timestamp, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
        if planned <= now { planned } else { planned.min(self.next(last, now).at) }
    }

    fn first(&self, now: Timestamp) -> Timestamp {
        match self.timing {
            Timing::Every(_) => {
                let begin = self.fit(now);
                // An opening has its offset already.
                if begin == now {
                    self.fit(later(now, self.offset.max(Duration::from_nanos(1))))
                } else {
                    begin
                }
            }
            Timing::Cron(_) => self.following(now),
        }
    }

    fn after_jump_back(&self, last: Timestamp, now: Timestamp) -> Timestamp {
        match self.timing {
            Timing::Every(period) => self.fit(later(now, period)),
            // A clock that was set right by a little must not bring the same time again.
            Timing::Cron(_) if last <= later(now, CRON_STEP) => self.following(last),
            Timing::Cron(_) => self.following(now),
        }
    }

    /// The planned time after a planned time.
    fn following(&self, planned: Timestamp) -> Timestamp {
        match &self.timing {
            Timing::Every(period) => self.fit(later(planned, *period)),
            Timing::Cron(cron) => {
                let next = self.active_cron(cron, earlier(planned, self.offset));
                next.map_or(Timestamp::MAX, |next| later(next, self.offset))
            }
        }
    }

    /// A time of a period: as it is while active, else when a window opens next.
    fn fit(&self, at: Timestamp) -> Timestamp {
        if self.is_active(at) {
            return at;
        }
        let opening = window::next_opening(&self.windows, &self.time_zone, at);
        opening.map_or(Timestamp::MAX, |opening| later(opening, self.offset))
    }

    /// The first time of a cron expression after `after` that lies in a window.
    fn active_cron(&self, cron: &Cron, after: Timestamp) -> Option<Timestamp> {
        // Every turn is at least a window further on.
        const TURNS: usize = 4 * 366;
        let mut after = after;
        for _ in 0..TURNS {
            let next = cron.next(&self.time_zone, after)?;
            if self.is_active(next) {
                return Some(next);
            }
            let opening = window::next_opening(&self.windows, &self.time_zone, next)?;
            after = earlier(opening, Duration::from_nanos(1));
        }
        None
    }
}

/// The first of `last + n * period` after `now`, and how many lie between. `last` is not after `now`.
fn resume(last: Timestamp, period: Duration, now: Timestamp) -> (Timestamp, u64) {
    let behind = now.as_nanosecond() - last.as_nanosecond();
    let period = i128::try_from(period.as_nanos()).unwrap_or(i128::MAX).max(1);
    let missed = behind / period;
    let at = last.as_nanosecond().saturating_add((missed + 1).saturating_mul(period));
    (Timestamp::from_nanosecond(at).unwrap_or(Timestamp::MAX), u64::try_from(missed).unwrap_or(u64::MAX))
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
