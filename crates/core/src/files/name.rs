//! Names of trigger files.

/// Whether a file of this path (below the sensor's folder) can be news: no name that begins with `.` or `_` and no
/// folder of one, no `*.tmp`, no marker of a folder.
pub fn is_trigger(path: &str) -> bool {
    let is_hidden = |part: &str| part.is_empty() || part.starts_with(['.', '_']);
    let ends_with_tmp = path.len() >= 4 && path.as_bytes()[path.len() - 4..].eq_ignore_ascii_case(b".tmp");
    !path.split('/').any(is_hidden) && !ends_with_tmp
}

/// `YYYYmmdd_HHMMSS` of a documented name, `<sensor_id>_YYYYmmdd_HHMMSS.txt`. Such names sort by time.
pub fn stamp_of<'a>(path: &'a str, sensor_id: &str) -> Option<&'a str> {
    let stamp = path.strip_prefix(sensor_id)?.strip_prefix('_')?.strip_suffix(".txt")?;
    is_stamp(stamp).then_some(stamp)
}

/// `YYYYmmdd_HHMMSS` of a day and a time that a clock may show.
pub(super) fn is_stamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 15 || bytes[8] != b'_' {
        return false;
    }
    let number = |range: std::ops::Range<usize>| {
        bytes[range]
            .iter()
            .try_fold(0_u32, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    let within = |range, least: u32, most: u32| number(range).is_some_and(|it| (least..=most).contains(&it));
    within(0..4, 1, 9999)
        && within(4..6, 1, 12)
        && within(6..8, 1, 31)
        && within(9..11, 0, 23)
        && within(11..13, 0, 59)
        // 60: a leap second.
        && within(13..15, 0, 60)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("t_20260102_030405.txt", true)]
    #[case("anything.csv", true)]
    #[case("2026/late.txt", true)]
    #[case("empty", true)]
    #[case("_SUCCESS", false)]
    #[case(".hidden", false)]
    #[case("_temporary/0/part", false)]
    #[case("a/.b/c", false)]
    #[case("t.txt.tmp", false)]
    #[case("t.TMP", false)]
    #[case("é.tm", true)]
    #[case("folder/", false)]
    #[case("a//b", false)]
    #[case("", false)]
    fn what_can_be_news(#[case] path: &str, #[case] expected: bool) {
        assert_eq!(is_trigger(path), expected);
    }

    #[rstest]
    #[case("t_20260102_030405.txt", Some("20260102_030405"))]
    #[case("t_20261302_030405.txt", None)]
    #[case("t_20260102_030405.csv", None)]
    #[case("u_20260102_030405.txt", None)]
    #[case("t_20260102-030405.txt", None)]
    #[case("t_2026010é_030405.txt", None)]
    fn documented_names_have_a_stamp(#[case] path: &str, #[case] expected: Option<&str>) {
        assert_eq!(stamp_of(path, "t"), expected);
    }
}
