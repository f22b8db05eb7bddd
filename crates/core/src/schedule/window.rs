//! Active windows: local times of the day on days of the week.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// A part of some days of the week, in local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    days: Vec<Weekday>,
    from: Time,
    to: Time,
}

/// Why parts make no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadWindow {
    /// No day of the week.
    #[error("must name at least one day of the week")]
    NoDays,
}

impl Window {
    /// From `from` until before `to`, beginning on `days`. If `to` is not after `from` it is a time of the next day:
    /// 22:00 to 06:00 is a night, 00:00 to 00:00 a whole day.
    pub fn new(days: impl IntoIterator<Item = Weekday>, from: Time, to: Time) -> Result<Self, BadWindow> {
        let mut days: Vec<Weekday> = days.into_iter().collect();
        days.sort_by_key(|day| day.to_monday_zero_offset());
        days.dedup();
        if days.is_empty() { Err(BadWindow::NoDays) } else { Ok(Self { days, from, to }) }
    }

    fn contains(&self, day: Weekday, time: Time) -> bool {
        let begins = |day: Weekday| self.days.contains(&day);
        if self.from < self.to {
            return begins(day) && self.from <= time && time < self.to;
        }
        (begins(day) && self.from <= time) || (begins(day.previous()) && time < self.to)
    }
}

/// Whether a time lies in a window; without windows every time does.
pub(super) fn is_active(windows: &[Window], zone: &TimeZone, at: Timestamp) -> bool {
    if windows.is_empty() {
        return true;
    }
    let local = zone.to_datetime(at);
    windows.iter().any(|window| window.contains(local.weekday(), local.time()))
}

/// The first time at or after `from` that lies in a window.
pub(super) fn next_opening(windows: &[Window], zone: &TimeZone, from: Timestamp) -> Option<Timestamp> {
    // Two weeks, because a clock change can swallow the window of one week.
    const DAYS: i64 = 15;
    const HORIZON: SignedDuration = SignedDuration::from_hours(24 * DAYS);
    let today = zone.to_datetime(from).date();
    let begins = (-1..=DAYS).filter_map(|ahead| today.checked_add(ahead.days()).ok()).flat_map(|day| {
        windows.iter().flat_map(move |window| {
            let begin = zone.to_ambiguous_timestamp(day.to_datetime(window.from));
            [begin.earlier().ok(), begin.later().ok()]
        })
    });
    // A window that begins in an hour that spring leaves out opens when the clock jumps.
    let changes = zone
        .following(from)
        .take_while(|change| change.timestamp().duration_since(from) <= HORIZON)
        .map(|change| Some(change.timestamp()));
    let candidates = begins.chain(changes).flatten().chain([from]);
    candidates.filter(|at| *at >= from && is_active(windows, zone, *at)).min()
}
