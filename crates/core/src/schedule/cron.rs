//! Cron expressions as local times, with both kinds of hours that a change of the clock makes.

use std::fmt;
use std::time::Duration;

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A cron expression of five fields: minute, hour, day of the month, month, day of the week.
///
/// It holds no time zone. [`cronexpr`] reads it as if local time were UTC; what a zone does to it is decided here,
/// because the crate passes over times that spring leaves out.
#[derive(Clone)]
pub struct Cron {
    text: String,
    crontab: Crontab,
}

/// Why a text is no cron expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCron {
    /// Not five fields.
    #[error("must have five fields, as `*/5 6-22 * * mon-fri`; the time zone is a key of its own")]
    Fields,
    /// A field cannot be read.
    #[error(
        "is no cron expression; write minute, hour, day of month, month, day of week, as `*/5 6-22 * * mon-fri`"
    )]
    Syntax,
}

impl Cron {
    /// Reads an expression.
    pub fn parse(text: &str) -> Result<Self, BadCron> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != 5 {
            return Err(BadCron::Fields);
        }
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let text = fields.join(" ");
        let crontab = cronexpr::parse_crontab_with(&text, options).map_err(|_| BadCron::Syntax)?;
        Ok(Self { text, crontab })
    }

    /// The expression.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first time after `after`, if there is one within about four years.
    pub(super) fn next(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        // A zone is stretches of one offset from UTC each. Within one, local time is as regular as UTC.
        const STRETCHES: usize = 32;
        let mut start = after.checked_add(INSTANT).ok()?;
        let mut left_out: Option<Timestamp> = None;
        for _ in 0..STRETCHES {
            let offset = zone.to_offset(start);
            let Some(local) = self.next_local(offset.to_datetime(start)) else { break };
            let at = offset.to_timestamp(local).ok()?;
            let Some(change) = zone.following(start).next().filter(|change| change.timestamp() <= at) else {
                return Some(left_out.map_or(at, |other| other.min(at)));
            };
            // A local time between those before and after the change is in neither stretch.
            if local < change.offset().to_datetime(change.timestamp()) {
                left_out = left_out.or(Some(at));
            }
            start = change.timestamp();
        }
        left_out
    }

    /// The first local time of the expression at or after `from`.
    fn next_local(&self, from: DateTime) -> Option<DateTime> {
        // The crate looks four years ahead and panics beyond the calendar.
        const LAST_YEAR: i16 = 9990;
        if from.year() > LAST_YEAR {
            return None;
        }
        let before = TimeZone::UTC.to_timestamp(from.checked_sub(INSTANT).ok()?).ok()?;
        Some(self.crontab.find_next(MakeTimestamp(before)).ok()?.datetime())
    }
}

/// The smallest step of a timestamp.
const INSTANT: Duration = Duration::from_nanos(1);

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({})", self.text)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}
