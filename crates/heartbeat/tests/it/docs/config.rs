//! The page and the schema of `heartbeat.yaml`, from its types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use heartbeat::config::{self, Config};
use serde_json::Value;

use super::{NOTE, cell, generated, root};

#[test]
fn config_page_and_schema_are_the_types() {
    let schema = config::schema();
    let mut json = serde_json::to_string_pretty(&schema).unwrap();
    json.push('\n');
    generated("docs/reference/heartbeat.schema.json", &json);
    let mut text = format!(
        "{NOTE}# `heartbeat.yaml`\n\n{} It is YAML, or JSON if it is\nnamed `.json`. An unknown key and a wrong value are \
         errors; all of them are told at once, with those of the ACONs.\nWhat is empty has its default. Paths inside an \
         ACON start at the working directory, as with the other commands.\n\nAn editor that knows JSON Schema helps to \
         write it: [heartbeat.schema.json](heartbeat.schema.json).\nAn example: [heartbeat.yaml](../../examples/heartbeat.yaml).\n",
        description(&schema)
    );
    let mut formats = BTreeMap::new();
    object(&mut text, &mut formats, &schema, &schema, "");
    text.push_str("\n## Values\n\n| kind | examples |\n|---|---|\n");
    for (name, examples) in formats {
        writeln!(text, "| {name} | {} |", cell(&examples)).unwrap();
    }
    text.push_str(SEVERAL_ACONS);
    generated("docs/reference/config.md", &text);
}

const SEVERAL_ACONS: &str = "
## Several ACONs over the same tables

A source looks at all rows of its kind in a control table. ACONs of one kind over the same two tables are therefore one
source: their `kafka_configs` are united, and it has the shortest of their periods, the longest of their deadlines and the
smallest jitter. Everything else must be the same in all of them (base of the trigger files, `domain`, `token`, `pass_news`,
`schedule`, `active`, settings of a product); what differs is an error that names both. A table is either a control or a
sensor table, and a control table has one sensor table.
";

#[test]
fn example_of_the_daemon_is_valid() {
    let reading = Config::read(&root().join("examples/heartbeat.yaml"), "./warehouse").unwrap();
    assert_eq!(reading.warnings, []);
    let config = reading.result.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert_eq!(config.watches.len(), 1, "{:?}", config.watches);
}

#[test]
fn example_of_tables_on_a_store_is_valid() {
    let page = std::fs::read_to_string(root().join("docs/stores.md")).unwrap();
    let example = page.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let reading = Config::from_value(&serde_saphyr::from_str(example).unwrap(), &root(), "./warehouse");
    let config = reading.result.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    assert_eq!((config.storage.iter().count(), config.watches.len()), (3, 1));
}

/// Keys of a mapping, then those of the mappings in it.
fn object(
    text: &mut String,
    formats: &mut BTreeMap<String, String>,
    root: &Value,
    schema: &Value,
    path: &str,
) {
    let heading = if path.is_empty() { "Keys" } else { path };
    let heading = if path.is_empty() { heading.to_owned() } else { format!("`{heading}`") };
    write!(text, "\n## {heading}\n\n").unwrap();
    if !path.is_empty() {
        write!(text, "{}\n\n", description(schema)).unwrap();
    }
    text.push_str("| key | value | default | what it is |\n|---|---|---|---|\n");
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let mut inner = Vec::new();
    for (key, property) in schema["properties"].as_object().unwrap() {
        let default = match &property["default"] {
            _ if required.contains(&Value::from(key.as_str())) => "required".to_owned(),
            Value::String(text) => format!("`{text}`"),
            Value::Bool(value) => format!("`{value}`"),
            _ => "-".to_owned(),
        };
        let (kind, below) = kind(formats, root, property);
        writeln!(text, "| `{key}` | {kind} | {default} | {} |", cell(&description(property))).unwrap();
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        inner.extend(below.map(|(schema, suffix)| (schema, format!("{path}{suffix}"))));
    }
    for (schema, path) in inner {
        object(text, formats, root, schema, &path);
    }
}

/// A property's kind of value in words, and the mapping in it.
fn kind<'a>(
    formats: &mut BTreeMap<String, String>,
    root: &'a Value,
    schema: &'a Value,
) -> (String, Option<(&'a Value, &'static str)>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return kind(formats, root, root.pointer(reference.trim_start_matches('#')).unwrap());
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let kinds: Vec<_> = choices
            .iter()
            .filter(|choice| choice["type"] != "null")
            .map(|choice| kind(formats, root, choice))
            .collect();
        let words: Vec<_> = kinds.iter().map(|(words, _)| words.as_str()).collect();
        return (words.join(" or "), kinds.iter().find_map(|(_, below)| *below));
    }
    if let Some(format) = schema["format"].as_str().filter(|format| *format != "double") {
        let words = format.replace('-', " ");
        let examples: Vec<_> = schema["examples"]
            .as_array()
            .unwrap()
            .iter()
            .map(|example| format!("`{}`", example.as_str().unwrap()))
            .collect();
        formats.insert(words.clone(), examples.join(", "));
        return (words, None);
    }
    let types = schema["type"].as_array().map_or(&schema["type"], |types| &types[0]);
    match types.as_str().unwrap() {
        "array" => {
            let (words, below) = kind(formats, root, &schema["items"]);
            (format!("list: {words}"), below.map(|(schema, _)| (schema, "[]")))
        }
        "object" if schema["additionalProperties"] == true => ("[ACON](acon.md)".to_owned(), None),
        "object" if schema["properties"].is_null() => {
            let (words, _) = kind(formats, root, &schema["additionalProperties"]);
            (format!("name: {words}"), None)
        }
        "object" => ("mapping".to_owned(), Some((schema, ""))),
        "string" => ("text".to_owned(), None),
        "boolean" => ("`true` or `false`".to_owned(), None),
        other => (other.to_owned(), None),
    }
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap().replace('\n', " ")
}
