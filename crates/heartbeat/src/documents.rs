//! JSON and YAML documents that users write. Errors tell the place and never the text: it may hold a secret.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Why a text is no document. Holds nothing of the text but names of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{problem}")]
pub struct BadDocument {
    place: String,
    problem: String,
}

/// Reads YAML (JSON is YAML too).
pub fn yaml<T: DeserializeOwned>(text: &str) -> Result<T, BadDocument> {
    serde_saphyr::from_str(without_mark(text)).map_err(|error| {
        let place = error.location().map_or_else(String::new, |location| {
            format!("line {}, column {}: ", location.line(), location.column())
        });
        BadDocument { place, problem: problem(&error.without_snippet().to_string()) }
    })
}

/// Reads JSON; a key that stands twice in one mapping is refused.
pub fn json(text: &str) -> Result<Value, BadDocument> {
    let text = without_mark(text);
    let value = serde_json::from_str(text).map_err(|error| BadDocument {
        place: format!("line {}, column {}: ", error.line(), error.column()),
        problem: "is no JSON: the syntax is broken here".to_owned(),
    })?;
    // serde_json keeps the last of two equal keys; the YAML parser names their place.
    match yaml::<Value>(text) {
        Err(bad) if bad.problem == KEY_TWICE => Err(bad),
        _ => Ok(value),
    }
}

const KEY_TWICE: &str = "a key stands twice in one mapping";

/// What of a parser's message may be shown: names of keys, no values.
fn problem(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    if lower.contains("duplicate") {
        return KEY_TWICE.to_owned();
    }
    for harmless in ["unknown field", "missing field", "unknown variant"] {
        if let Some(at) = lower.find(harmless) {
            return message[at..].lines().next().unwrap_or(harmless).to_owned();
        }
    }
    if lower.contains("invalid type") || lower.contains("invalid value") {
        return "a value has the wrong type".to_owned();
    }
    "is no YAML: the syntax is broken here".to_owned()
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::open_bracket("token: dapi-secret\ndomain: [a\n")]
    #[case::key_twice("token: dapi-secret\ntoken: dapi-secret2\n")]
    #[case::colon("token: dapi-secret: x\n")]
    #[case::escape("token: \"dapi-secret\\q\"\n")]
    fn errors_hold_nothing_of_the_text(#[case] text: &str) {
        let error = yaml::<Value>(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("dapi"), "{error}");
        assert!(error.to_string().starts_with("line "), "{error}");
    }

    #[test]
    fn key_twice_is_refused_in_json_too_and_a_byte_order_mark_is_not() {
        assert!(json("{\"a\": 1, \"a\": 2}").unwrap_err().to_string().contains("twice"));
        assert_eq!(json("\u{feff}{\"a\":\t1}").unwrap()["a"], 1);
        assert_eq!(yaml::<Value>("\u{feff}a: 1\n").unwrap()["a"], 1);
    }
}
