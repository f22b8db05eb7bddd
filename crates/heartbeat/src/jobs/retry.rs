//! What a failed try means and what follows from it: one table, no I/O.
//!
//! | what was seen | means | try again |
//! |---|---|---|
//! | no connection (name, refused, TLS) | never sent | yes |
//! | connection lost or no answer in time | ambiguous | yes |
//! | 429, or a 4xx that speaks of throttling | throttled: nothing ran | yes |
//! | 408, any 5xx | ambiguous | yes |
//! | 3xx, or HTML with 2xx | refused: a proxy or login page spoke | no |
//! | any other unusable 2xx | ambiguous | no |
//! | any other 4xx (400, 401, 403, 404, ...) | refused | no |
//!
//! Trying again after an ambiguous answer is safe only because a start carries an idempotency token and the
//! other calls only read. A deadline bounds all tries together, not a count. `Retry-After` wins over backoff.

use std::time::Duration;

use jiff::Timestamp;

use super::answer::{Answer, Shape};

/// What became of one try that brought no usable answer.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// No connection was made, so nothing was sent.
    NoConnection,
    /// Something was sent, no complete answer came back.
    NoAnswer,
    /// An answer came that is not the one hoped for.
    Answer(&'a Answer),
}

/// What that means for the effect of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The workspace never saw it.
    NeverSent,
    /// The workspace may have acted on it.
    Ambiguous,
    /// The workspace (or something before it) said no and did nothing.
    Refused,
    /// The workspace had no room and did nothing.
    Throttled,
}

/// The judgement on one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What it means.
    pub class: Class,
    /// Whether the same call may help a little later.
    pub retry: bool,
}

/// The table of this module.
pub fn classify(seen: Seen<'_>) -> Verdict {
    let (class, retry) = match seen {
        Seen::NoConnection => (Class::NeverSent, true),
        Seen::NoAnswer => (Class::Ambiguous, true),
        Seen::Answer(answer) => match answer.status {
            408 | 500.. => (Class::Ambiguous, true),
            429 => (Class::Throttled, true),
            200..=299 if answer.shape == Shape::Html => (Class::Refused, false),
            ..=299 => (Class::Ambiguous, false),
            300..=399 => (Class::Refused, false),
            _ if answer.says_throttled() => (Class::Throttled, true),
            _ => (Class::Refused, false),
        },
    };
    Verdict { class, retry }
}

/// Waits between tries: doubling from `base` to `cap`, each jittered to between half and all of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first try.
    pub base: Duration,
    /// The longest wait ever.
    pub cap: Duration,
}

impl Default for Backoff {
    /// From half a second to ten.
    fn default() -> Self {
        Self { base: Duration::from_millis(500), cap: Duration::from_secs(10) }
    }
}

impl Backoff {
    /// The wait after `tries` tries (1 or more), where `unit` is a random number in 0..=1.
    pub fn wait(&self, tries: u32, unit: f64) -> Duration {
        let factor = 1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap).mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
    }
}

/// How long to wait before the next try, or `None` when it would start at or after the deadline, `left` from
/// now.
pub fn next_wait(
    backoff: &Backoff,
    tries: u32,
    retry_after: Option<Duration>,
    left: Duration,
    unit: f64,
) -> Option<Duration> {
    let wait = retry_after.unwrap_or_else(|| backoff.wait(tries, unit));
    (wait < left).then_some(wait)
}

/// Reads `Retry-After`: whole seconds, or an HTTP date (a past one is zero). Anything else is `None`.
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn answer(status: u16, shape: Shape, code: Option<&str>) -> Answer {
        Answer { status, error_code: code.map(str::to_owned), message: String::new(), shape }
    }

    #[rstest]
    #[case(429, Shape::Json, None, Class::Throttled, true)]
    #[case(400, Shape::Json, Some("REQUEST_LIMIT_EXCEEDED"), Class::Throttled, true)]
    #[case(500, Shape::Json, Some("REQUEST_LIMIT_EXCEEDED"), Class::Ambiguous, true)]
    #[case(408, Shape::Empty, None, Class::Ambiguous, true)]
    #[case(500, Shape::Json, None, Class::Ambiguous, true)]
    #[case(501, Shape::Empty, None, Class::Ambiguous, true)]
    #[case(502, Shape::Html, None, Class::Ambiguous, true)]
    #[case(503, Shape::Json, Some("TEMPORARILY_UNAVAILABLE"), Class::Ambiguous, true)]
    #[case(504, Shape::Empty, None, Class::Ambiguous, true)]
    #[case(200, Shape::Html, None, Class::Refused, false)]
    #[case(200, Shape::Json, None, Class::Ambiguous, false)]
    #[case(200, Shape::Empty, None, Class::Ambiguous, false)]
    #[case(204, Shape::Empty, None, Class::Ambiguous, false)]
    #[case(302, Shape::Html, None, Class::Refused, false)]
    #[case(307, Shape::Empty, None, Class::Refused, false)]
    #[case(400, Shape::Json, Some("INVALID_PARAMETER_VALUE"), Class::Refused, false)]
    #[case(400, Shape::Json, Some("QUOTA_EXCEEDED"), Class::Refused, false)]
    #[case(401, Shape::Json, Some("401"), Class::Refused, false)]
    #[case(403, Shape::Json, Some("PERMISSION_DENIED"), Class::Refused, false)]
    #[case(404, Shape::Text, None, Class::Refused, false)]
    #[case(409, Shape::Json, None, Class::Refused, false)]
    fn answers_fall_into_their_class(
        #[case] status: u16,
        #[case] shape: Shape,
        #[case] code: Option<&str>,
        #[case] class: Class,
        #[case] retry: bool,
    ) {
        assert_eq!(classify(Seen::Answer(&answer(status, shape, code))), Verdict { class, retry });
    }

    #[test]
    fn network_faults_are_told_apart_by_what_was_sent() {
        let verdict = |class| Verdict { class, retry: true };
        assert_eq!(classify(Seen::NoConnection), verdict(Class::NeverSent));
        assert_eq!(classify(Seen::NoAnswer), verdict(Class::Ambiguous));
    }

    #[rstest]
    #[case(1, 0.0, 250)]
    #[case(1, 0.5, 375)]
    #[case(1, 1.0, 500)]
    #[case(2, 1.0, 1_000)]
    #[case(5, 1.0, 8_000)]
    #[case(6, 0.0, 5_000)]
    #[case(6, 1.0, 10_000)]
    #[case(33, 1.0, 10_000)]
    #[case(u32::MAX, 7.0, 10_000)]
    fn backoff_doubles_to_its_cap(#[case] tries: u32, #[case] unit: f64, #[case] millis: u64) {
        assert_eq!(Backoff::default().wait(tries, unit), Duration::from_millis(millis));
    }

    #[test]
    fn retry_after_wins_and_the_deadline_bounds_both() {
        let (backoff, second) = (Backoff::default(), Duration::from_secs(1));
        assert_eq!(next_wait(&backoff, 1, Some(3 * second), 4 * second, 0.0), Some(3 * second));
        assert_eq!(next_wait(&backoff, 9, Some(Duration::ZERO), second, 1.0), Some(Duration::ZERO));
        assert_eq!(next_wait(&backoff, 1, Some(3 * second), 3 * second, 0.0), None);
        assert_eq!(next_wait(&backoff, 1, None, second, 1.0), Some(second / 2));
        assert_eq!(next_wait(&backoff, 2, None, second, 1.0), None);
        assert_eq!(next_wait(&backoff, 1, None, Duration::ZERO, 0.0), None);
    }

    #[rstest]
    #[case("7", Some(7))]
    #[case(" 0 ", Some(0))]
    #[case("Sun, 06 Nov 1994 08:49:39 GMT", Some(2))]
    #[case("Sun, 06 Nov 1994 08:49:00 GMT", Some(0))]
    #[case("-1", None)]
    #[case("1.5", None)]
    #[case("soon", None)]
    #[case("", None)]
    fn retry_after_is_seconds_or_a_date(#[case] text: &str, #[case] seconds: Option<u64>) {
        let now: Timestamp = "1994-11-06T08:49:37Z".parse().unwrap();
        assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs));
    }
}
