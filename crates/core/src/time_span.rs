//! Lengths of time as people write them: `500ms`, `1s`, `1h 30m`, `90d`.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

const DAY: u64 = 24 * 60 * 60;

/// Reads a length of time that is longer than nothing. A day has 24 hours, a week seven days; months and years have no
/// fixed length and are none.
pub fn parse(text: &str) -> Option<Duration> {
    let span: Span = text.trim().parse().ok()?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(length).ok().filter(|length| !length.is_zero())
}

/// Writes it so that [`parse`] reads it.
pub fn show(length: Duration) -> String {
    if length >= Duration::from_secs(DAY)
        && length.subsec_nanos() == 0
        && length.as_secs().is_multiple_of(DAY)
    {
        return format!("{}d", length.as_secs() / DAY);
    }
    SignedDuration::try_from(length).map_or_else(|_| format!("{}s", length.as_secs()), |it| format!("{it:#}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("5s", 5_000, "5s")]
    #[case(" 100ms ", 100, "100ms")]
    #[case("1h 30m", 5_400_000, "1h 30m")]
    #[case("90d", 90 * 86_400_000, "90d")]
    #[case("2 weeks", 14 * 86_400_000, "14d")]
    #[case("PT1M", 60_000, "1m")]
    fn lengths(#[case] text: &str, #[case] millis: u64, #[case] shown: &str) {
        let length = parse(text).unwrap();
        assert_eq!(length, Duration::from_millis(millis));
        assert_eq!(show(length), shown);
        assert_eq!(parse(shown), Some(length));
    }

    #[rstest]
    #[case("0s")]
    #[case("-1s")]
    #[case("5")]
    #[case("1 month")]
    #[case("soon")]
    #[case("")]
    fn others_are_none(#[case] text: &str) {
        assert_eq!(parse(text), None);
    }
}
