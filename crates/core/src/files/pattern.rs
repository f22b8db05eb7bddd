//! Patterns of names: `<sensor_id>_YYYYmmdd_HHMMSS.txt`, globs, and both in one.

use std::fmt;

use super::name::is_stamp;

/// A pattern that a file's name must match as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Char(char),
    SensorId,
    Stamp,
    AnyChar,
    AnyText,
}

const SENSOR_ID: &str = "<sensor_id>";
const STAMP: &str = "YYYYmmdd_HHMMSS";

impl NamePattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err(format!("`{text}` holds a slash; a pattern is of the name alone, without folders"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let (part, taken) = if rest.starts_with(SENSOR_ID) {
                (Part::SensorId, SENSOR_ID.len())
            } else if rest.starts_with(STAMP) {
                (Part::Stamp, STAMP.len())
            } else {
                match next {
                    '*' => (Part::AnyText, 1),
                    '?' => (Part::AnyChar, 1),
                    '[' | '{' | '<' => {
                        return Err(format!(
                            "`{text}` holds `{next}`; known are `{SENSOR_ID}`, `{STAMP}`, `*` and `?`"
                        ));
                    }
                    other => (Part::Char(other), other.len_utf8()),
                }
            };
            if !(part == Part::AnyText && parts.last() == Some(&Part::AnyText)) {
                parts.push(part);
            }
            rest = &rest[taken..];
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// Whether the last part of a path matches, below the folder of `sensor_id`.
    pub fn matches(&self, path: &str, sensor_id: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        // Where the last `*` stood, to try it with one character more: the usual walk, without recursion.
        let (mut part, mut rest) = (0, name);
        let mut star: Option<(usize, &str)> = None;
        loop {
            let went_on = match self.parts.get(part) {
                Some(Part::AnyText) => {
                    star = Some((part, rest));
                    Some(rest)
                }
                Some(Part::Char(wanted)) => rest.strip_prefix(*wanted),
                Some(Part::AnyChar) => rest.chars().next().map(|it| &rest[it.len_utf8()..]),
                Some(Part::SensorId) => rest.strip_prefix(sensor_id),
                Some(Part::Stamp) => {
                    rest.get(..STAMP.len()).filter(|stamp| is_stamp(stamp)).map(|stamp| &rest[stamp.len()..])
                }
                None if rest.is_empty() => return true,
                None => None,
            };
            if let Some(behind) = went_on {
                (part, rest) = (part + 1, behind);
                continue;
            }
            let Some((at, from)) = star else { return false };
            let Some(skipped) = from.chars().next() else { return false };
            let from = &from[skipped.len_utf8()..];
            star = Some((at, from));
            (part, rest) = (at + 1, from);
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("<sensor_id>_YYYYmmdd_HHMMSS.txt", "t_20260102_030405.txt", true)]
    #[case("<sensor_id>_YYYYmmdd_HHMMSS.txt", "2026/t_20260102_030405.txt", true)]
    #[case("<sensor_id>_YYYYmmdd_HHMMSS.txt", "t_20260102_030405.csv", false)]
    #[case("<sensor_id>_YYYYmmdd_HHMMSS.txt", "u_20260102_030405.txt", false)]
    #[case("<sensor_id>_YYYYmmdd_HHMMSS.txt", "t_20269902_030405.txt", false)]
    #[case("*.txt", "a.b.txt", true)]
    #[case("*.txt", "a.txt.gz", false)]
    #[case("*", "é", true)]
    #[case("a?c", "aéc", true)]
    #[case("a?c", "ac", false)]
    #[case("**a*b", "xaxb", true)]
    #[case("", "", true)]
    #[case("*_YYYYmmdd_HHMMSS.txt", "a_b_20260102_030405.txt", true)]
    fn names_match_as_a_whole(#[case] pattern: &str, #[case] path: &str, #[case] expected: bool) {
        assert_eq!(NamePattern::parse(pattern).unwrap().matches(path, "t"), expected);
    }

    #[test]
    fn what_is_not_known_is_told() {
        assert!(NamePattern::parse("a/b").is_err());
        assert!(NamePattern::parse("[ab]").unwrap_err().contains("holds `[`"));
    }
}
