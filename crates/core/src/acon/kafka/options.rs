//! Options of Spark's Kafka source, from the places an ACON may give them in. One option is taken by whoever
//! understands it; what is left at the end is named.
//!
//! Names are those of Spark ("Structured Streaming + Kafka Integration Guide") and, with or without the prefix
//! `kafka.`, those of Kafka's consumer. As in Spark their case does not matter.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::keys::{Effect, KeyDoc, did_you_mean, is_of_security};
use super::super::{Report, kind_of};

/// Options that have no meaning where positions are compared and no data is read.
const WITHOUT_EFFECT: [KeyDoc; 13] = [
    none("maxOffsetsPerTrigger", "All that is new is one set of news."),
    none("minOffsetsPerTrigger", "A single record is news."),
    none("maxTriggerDelay", "Goes with `minOffsetsPerTrigger`."),
    none("minPartitions", "Splits Spark's tasks."),
    none("maxRecordsPerPartition", "Splits Spark's tasks."),
    none("groupIdPrefix", "No consumer group is used, nothing is committed to the brokers."),
    none("group.id", "As `groupIdPrefix`."),
    none("fetchOffset.numRetries", "What may pass is asked again within the deadline of a look."),
    none("fetchOffset.retryIntervalMs", "As `fetchOffset.numRetries`."),
    none("includeHeaders", "Records are not read."),
    none("kafkaConsumer.pollTimeoutMs", "Records are not read."),
    none("endingTimestamp", "Spark ignores it in a stream."),
    none("useDeprecatedOffsetFetching", "There is one way of asking for offsets."),
];

/// Consumer properties that say how Java's client works; ours has other means. A prefix of the name is enough.
const OF_JAVAS_CLIENT: [&str; 30] = [
    "fetch.",
    "max.poll.",
    "max.partition.fetch.bytes",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "request.timeout.ms",
    "default.api.timeout.ms",
    "connections.max.idle.ms",
    "metadata.max.age.ms",
    "metadata.",
    "reconnect.backoff",
    "retry.backoff",
    "retries",
    "receive.buffer.bytes",
    "send.buffer.bytes",
    "client.dns.lookup",
    "client.rack",
    "client.id",
    "check.crcs",
    "exclude.internal.topics",
    "allow.auto.create.topics",
    "metric",
    "socket.connection.setup",
    "partition.assignment.strategy",
    "group.",
    "enable.metrics.push",
    "security.providers",
    "auto.include.jmx.reporter",
    "auto.commit.interval.ms",
    "consumer.",
];

/// What Spark refuses, with its reason.
const REFUSED: [(&str, &str); 8] = [
    ("endingoffsets", "an ending offset is not valid in a stream"),
    ("endingoffsetsbytimestamp", "an ending timestamp is not valid in a stream"),
    ("auto.offset.reset", "use `startingOffsets`"),
    ("key.deserializer", "records are not read"),
    ("value.deserializer", "records are not read"),
    ("enable.auto.commit", "nothing is committed to the brokers"),
    ("interceptor.classes", "records are not read"),
    ("bootstrap.servers", "each product has its own `kafka_bootstrap_servers_list`"),
];

/// Options in the key `options` that are of other Spark sources; the original's documentation shows them beside Kafka.
const OF_OTHER_SOURCES: [&str; 5] =
    ["readchangefeed", "cloudfiles.", "ignorechanges", "ignoredeletes", "startingversion"];

const fn none(name: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc { name, required_for: "", effect: Effect::WithoutEffect, doc }
}

/// One option as it was given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// Path of its key.
    pub(super) path: String,
    /// Its value.
    pub(super) value: Value,
}

impl Given {
    /// The value as a text: numbers and truth values are written as Spark takes them. Blank texts are none.
    pub(super) fn text(&self, report: &mut Report) -> Option<String> {
        match &self.value {
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null => None,
            other => {
                report.error(&self.path, format!("must be a text, not {}", kind_of(other)));
                None
            }
        }
    }

    /// The value as a mapping, given as one or as JSON text.
    pub(super) fn mapping(&self, report: &mut Report) -> Option<Map<String, Value>> {
        let parsed = match &self.value {
            Value::Object(map) => return Some(map.clone()),
            Value::String(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        if parsed.is_none() {
            report.error(&self.path, "must be a mapping, or JSON text of one");
        }
        parsed
    }
}

/// The options of one product that nobody has taken yet, by lower-case name without `kafka.`.
#[derive(Debug, Default)]
pub(super) struct Options(BTreeMap<String, Given>);

impl Options {
    /// Puts the levels together; later ones win, option by option. A level that is no mapping is reported elsewhere.
    pub(super) fn of(levels: &[(&str, Option<&Value>)], report: &mut Report) -> Self {
        let mut options = BTreeMap::new();
        for (prefix, level) in levels {
            let Some(Value::Object(level)) = level else { continue };
            let mut own: BTreeMap<String, Given> = BTreeMap::new();
            for (name, value) in level {
                let path = format!("{prefix}.{name}");
                let lower = name.trim().to_ascii_lowercase();
                let lower = lower.strip_prefix("kafka.").unwrap_or(&lower).to_owned();
                let given = Given { path: path.clone(), value: value.clone() };
                if let Some(other) = own.insert(lower, given) {
                    report.error(path, format!("is `{}` once more", other.path));
                }
            }
            options.extend(own);
        }
        Self(options)
    }

    /// Takes an option; `name` in lower case.
    pub(super) fn take(&mut self, name: &str) -> Option<Given> {
        debug_assert_eq!(name, name.to_ascii_lowercase(), "names are looked for in lower case");
        self.0.remove(name)
    }

    /// The key of the first of these options that is given, taken or not; null and blank texts are none, but where a
    /// blank one means something.
    pub(super) fn first_given(&self, is_one: impl Fn(&str) -> bool, blank: &str) -> Option<String> {
        let says = |name: &str, value: &Value| match value {
            Value::Null => false,
            Value::String(text) => name == blank || !text.trim().is_empty(),
            _ => true,
        };
        let mut given = self.0.iter().filter(|(name, given)| is_one(name) && says(name, &given.value));
        given.next().map(|(_, given)| given.path.clone())
    }

    /// Takes all options of this name; one that ends with a dot stands for all that begin so. `name` in lower case.
    pub(super) fn take_named(&mut self, name: &str) -> Vec<Given> {
        let is_named = |key: &str| key == name || (name.ends_with('.') && key.starts_with(name));
        self.0.extract_if(.., |key, _| is_named(key)).map(|(_, given)| given).collect()
    }

    /// Takes an option as a text, with its path.
    pub(super) fn take_text(&mut self, name: &str, report: &mut Report) -> Option<(String, String)> {
        let given = self.take(name)?;
        let text = given.text(report)?;
        Some((given.path, text))
    }

    /// Takes an option that is true or false.
    pub(super) fn take_bool(&mut self, name: &str, report: &mut Report) -> Option<bool> {
        let (path, text) = self.take_text(name, report)?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                report.error(path, "must be `true` or `false`");
                None
            }
        }
    }

    /// Names what nobody has taken.
    pub(super) fn name_the_rest(self, report: &mut Report) {
        for (name, given) in self.0 {
            if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
                report.error(given.path, format!("is not supported: {why}"));
            } else if let Some(doc) = WITHOUT_EFFECT.iter().find(|doc| doc.name.eq_ignore_ascii_case(&name)) {
                report.warn(given.path, format!("has no effect here. {}", doc.doc));
            } else if OF_JAVAS_CLIENT.iter().any(|own| name.starts_with(own)) {
                report.warn(given.path, "has no effect here: it tunes Java's client");
            } else if given.path.starts_with("options.")
                && OF_OTHER_SOURCES.iter().any(|other| name.starts_with(other))
            {
                // Without effect in the original too, and in every ACON that follows its documentation.
            } else {
                let hint = did_you_mean(&name, super::option_names());
                if is_of_security(&name) {
                    report.error(given.path, format!("unknown option, which is not ignored because it seems to be about the connection's security{hint}"));
                } else {
                    report.warn(given.path, format!("unknown option, ignored{hint}"));
                }
            }
        }
    }
}

/// Options without effect, for the reference page.
pub(super) fn without_effect() -> impl Iterator<Item = KeyDoc> {
    WITHOUT_EFFECT.into_iter()
}
