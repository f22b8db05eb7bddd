//! What of a document can be read although other parts of it are wrong, so that the mistakes in both are told at once.

use heartbeat_core::acon::Finding;
use serde_json::{Map, Value, json};

use super::text::{self, Format, Location};

/// Where an entry of `acons` stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// Its place in the list.
    pub(super) index: usize,
    /// Whether keys of it were left out because they are wrong.
    pub(super) damaged: bool,
}

impl Origin {
    pub(super) fn whole(index: usize) -> Self {
        Self { index, damaged: false }
    }
}

/// The document with one way of saying things: what is empty is absent, and `off` without quotes is a text, although
/// some YAML readers take it for `false`.
pub(super) fn normalised(document: &Value) -> Value {
    let mut document = without_null(document);
    if let Some(listen) = document.pointer_mut("/server/listen")
        && *listen == Value::Bool(false)
    {
        *listen = json!("off");
    }
    document
}

fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_null(value))).collect())
        }
        Value::Array(items) => items.iter().map(without_null).collect(),
        other => other.clone(),
    }
}

/// The document without what is wrong, and where the entries left in `acons` stood.
pub(super) fn part(document: Value, mistakes: &[Finding]) -> (Value, Vec<Origin>) {
    let Value::Object(document) = document else { return (json!({"acons": []}), Vec::new()) };
    let wrong = |path: &str| {
        mistakes.iter().any(|mistake| {
            mistake
                .path
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    };
    let mut sound = Map::new();
    let mut origins = Vec::new();
    sound.insert("acons".to_owned(), json!([]));
    for (key, value) in document {
        let value = match (key.as_str(), value) {
            ("acons", Value::Array(items)) => {
                let (kept, at) = entries(items, &wrong);
                origins = at;
                kept
            }
            ("tables", Value::Object(tables)) => tables.into_iter().map(placed).collect(),
            (_, value) if !wrong(&key) => value,
            _ => continue,
        };
        sound.insert(key, value);
    }
    (Value::Object(sound), origins)
}

fn entries(items: Vec<Value>, wrong: &impl Fn(&str) -> bool) -> (Value, Vec<Origin>) {
    let mut kept = Vec::new();
    let mut origins = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("acons[{index}]");
        let (item, damaged) = match item {
            Value::Object(keys) => {
                let all = keys.len();
                let keys: Map<String, Value> =
                    keys.into_iter().filter(|(key, _)| !wrong(&format!("{path}.{key}"))).collect();
                let damaged = keys.len() < all;
                (Value::Object(keys), damaged)
            }
            item if wrong(&path) => {
                drop(item);
                continue;
            }
            item => (item, false),
        };
        kept.push(item);
        origins.push(Origin { index, damaged });
    }
    (Value::Array(kept), origins)
}

/// A table's place. A wrong one still maps its name, so that an ACON that uses the name is not blamed.
fn placed((name, location): (String, Value)) -> (String, Value) {
    let sound = location.as_str().is_some_and(|text| text::problem(Location::NAME, text).is_none());
    (name, if sound { location } else { json!(".") })
}
