//! Every mistake of a document against a schema, at once. Values are never repeated: one could be a secret.
//!
//! It knows as much of JSON Schema as [`schemars`] makes of the types in [`super::file`]. What is empty in YAML is
//! absent.

use heartbeat_core::acon::{Finding, did_you_mean, kind_of};
use serde_json::{Map, Value};

use super::text;

/// Everything in which `document` differs from `schema`.
pub(super) fn mistakes(schema: &Value, document: &Value) -> Vec<Finding> {
    let mut walk = Walk { root: schema, found: Vec::new() };
    walk.value(schema, document, "");
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    found: Vec<Finding>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, schema: &'a Value, value: &Value, path: &str) {
        let schema = self.resolved(schema);
        if let Some(Value::Array(choices)) = schema.get("anyOf") {
            let mut types = Vec::new();
            for choice in choices {
                let choice = self.resolved(choice);
                if accepts(choice, value) {
                    return self.value(choice, value, path);
                }
                types.extend(types_of(choice));
            }
            return self.wrong_type(&types, value, path);
        }
        if !accepts(schema, value) {
            return self.wrong_type(&types_of(schema), value, path);
        }
        match value {
            Value::Object(map) => self.object(schema, map, path),
            Value::Array(items) => self.array(schema, items, path),
            Value::String(text) => {
                let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
                if let Some(problem) = text::problem(format, text) {
                    self.error(path, problem);
                }
            }
            Value::Number(number) => {
                let bound = |key| schema.get(key).and_then(Value::as_f64);
                let (least, most) = (bound("minimum"), bound("maximum"));
                let number = number.as_f64().unwrap_or(f64::NAN);
                if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
                    let show = |bound: Option<f64>| bound.map_or_else(String::new, |bound| bound.to_string());
                    self.error(path, format!("must be from {} to {}", show(least), show(most)));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, schema: &'a Value, map: &Map<String, Value>, path: &str) {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        for (key, value) in map {
            let below = join(path, key);
            let property = properties.and_then(|properties| properties.get(key));
            match property.or(others) {
                Some(Value::Bool(false)) => {
                    let known = properties.unwrap_or(&none).keys().map(String::as_str);
                    self.error(&below, format!("unknown key{}", did_you_mean(key, known)));
                }
                Some(schema) if !value.is_null() => self.value(schema, value, &below),
                _ => {}
            }
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if map.get(key).is_none_or(Value::is_null) {
                self.error(&join(path, key), "is required");
            }
        }
    }

    fn array(&mut self, schema: &'a Value, items: &[Value], path: &str) {
        let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or_default();
        if (items.len() as u64) < least {
            self.error(path, "must not be empty");
        }
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = schema.get("items") {
                self.value(schema, item, &format!("{path}[{index}]"));
            }
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix('#'));
        reference.and_then(|pointer| self.root.pointer(pointer)).unwrap_or(schema)
    }

    fn wrong_type(&mut self, types: &[&str], value: &Value, path: &str) {
        let mut expected: Vec<&str> = types.iter().filter_map(|name| in_words(name)).collect();
        expected.dedup();
        self.error(path, format!("must be {}, not {}", expected.join(" or "), kind_of(value)));
    }

    fn error(&mut self, path: &str, problem: impl Into<String>) {
        let path = if path.is_empty() { "(document)" } else { path };
        self.found.push(Finding { path: path.to_owned(), problem: problem.into() });
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The JSON types that a schema takes; none for any.
fn types_of(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn accepts(schema: &Value, value: &Value) -> bool {
    let types = types_of(schema);
    types.is_empty()
        || types.iter().any(|name| match value {
            Value::Null => *name == "null",
            Value::Bool(_) => *name == "boolean",
            Value::Number(number) => *name == "number" || (*name == "integer" && !number.is_f64()),
            Value::String(_) => *name == "string",
            Value::Array(_) => *name == "array",
            Value::Object(_) => *name == "object",
        })
}

fn in_words(json_type: &str) -> Option<&'static str> {
    match json_type {
        "boolean" => Some("true or false"),
        "number" => Some("a number"),
        "integer" => Some("a whole number"),
        "string" => Some("a text"),
        "array" => Some("a list"),
        "object" => Some("a mapping"),
        _ => None,
    }
}
