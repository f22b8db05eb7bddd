//! ACON: the configuration of one source, with exactly the original's keys plus ours.
//!
//! [`Acon::from_value`] reads a whole document, reports every mistake at once with its key path, and does no
//! I/O. [`KEYS`] is the one list of keys: it drives the check for unknown ones and the reference page.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::domain::Domain;
use crate::schedule::SHORTEST_PERIOD;
use crate::secret::SecretRef;
use crate::table_name::locate;
use crate::time_span;

mod kafka;
mod keys;
mod storage;
mod trigger_file;

pub use kafka::{
    AwsLogin, Identity, Isolation, KafkaProduct, Login, Mechanism, NoRecord, OAuthLogin, ReadOptions, Sasl,
    Security, Starting, StartingOffset, Tls, TlsVersions, Topics, Trust, option_docs, topics_of,
};
pub use keys::{Effect, KEYS, KeyDoc, PRODUCT_KEYS, did_you_mean};
pub use storage::{AWS_ENCRYPTIONS, STORAGE_KEYS, StorageOptions};
pub use trigger_file::{AUTO_LOADER_KEYS, TRIGGER_FILE_KEYS, TriggerFiles, Trust as TriggerTrust};

/// Kinds of upstreams that the original knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// Kafka topics.
    Kafka,
    /// Folders of trigger files.
    TriggerFile,
    /// Delta tables.
    DeltaTable,
    /// Delta tables that users overwrite by hand.
    LmuDeltaTable,
    /// SAP BW process chains.
    SapBw,
    /// SAP B4 process chains.
    SapB4,
}

impl SourceKind {
    /// All kinds, in the order of the original's documentation.
    pub const ALL: [Self; 6] =
        [Self::SapB4, Self::SapBw, Self::DeltaTable, Self::LmuDeltaTable, Self::Kafka, Self::TriggerFile];

    /// Reads the text of an ACON or a table, in any case and with blanks around it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The original's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::TriggerFile => "trigger_file",
            Self::DeltaTable => "delta_table",
            Self::LmuDeltaTable => "lmu_delta_table",
            Self::SapBw => "sap_bw",
            Self::SapB4 => "sap_b4",
        }
    }

    /// Whether this version can look at such a source.
    pub fn is_served(self) -> bool {
        matches!(self, Self::Kafka | Self::TriggerFile)
    }
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A valid ACON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acon {
    /// The source, with what is needed to look at it.
    pub source: SourceConfig,
    /// `heartbeat_sensor_db_table`: name, path or URL of the control table.
    pub control_table: String,
    /// `lakehouse_engine_sensor_db_table`: name, path or URL of the sensor table.
    pub sensor_table: String,
    /// Workspace that the jobs are in.
    pub domain: Domain,
    /// Token for that workspace; `None`: its credentials come from the environment or a profile.
    pub token: Option<SecretRef>,
    /// `poll_interval`: the period of `heartbeat run`, if the ACON has one.
    pub poll_interval: Option<Duration>,
    /// `pass_news`: whether a run gets what is new as job parameters.
    pub pass_news: bool,
}

/// What is needed to look at a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceConfig {
    /// `kafka_configs` by product.
    Kafka(BTreeMap<String, KafkaProduct>),
    /// `base_trigger_file_location`, with its options.
    TriggerFile(Box<TriggerFiles>),
}

impl SourceConfig {
    /// Kind of the source.
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Kafka(_) => SourceKind::Kafka,
            Self::TriggerFile(_) => SourceKind::TriggerFile,
        }
    }
}

/// One mistake or remark, with the path of the key it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Path of the key: `kafka_configs.my_product.kafka_bootstrap_servers_list`.
    pub path: String,
    /// What is wrong and how to mend it.
    pub problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// Outcome of reading an ACON: the warnings always, and the ACON or all its mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Keys that are unknown or have no effect in a way that may surprise.
    pub warnings: Vec<Finding>,
    /// The ACON, or every mistake in it.
    pub result: Result<Acon, Vec<Finding>>,
}

impl Acon {
    /// Reads a parsed JSON or YAML document.
    pub fn from_value(document: &Value) -> Reading {
        let mut report = Report::default();
        let acon = if let Value::Object(map) = document {
            read(map, &mut report)
        } else {
            report.error("(document)", "must be a mapping of ACON keys");
            None
        };
        let (errors, warnings) = (each_once(report.errors), each_once(report.warnings));
        let result = match acon {
            Some(acon) if errors.is_empty() => Ok(acon),
            _ => Err(errors),
        };
        Reading { warnings, result }
    }
}

/// What stands above the products is read for each of them.
fn each_once(findings: Vec<Finding>) -> Vec<Finding> {
    let mut once: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        if !once.contains(&finding) {
            once.push(finding);
        }
    }
    once
}

/// Collects what is found on the way.
#[derive(Debug, Default)]
pub(crate) struct Report {
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Report {
    pub(crate) fn error(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.errors.push(Finding { path: path.into(), problem: problem.into() });
    }

    pub(crate) fn warn(&mut self, path: impl Into<String>, problem: impl Into<String>) {
        self.warnings.push(Finding { path: path.into(), problem: problem.into() });
    }

    /// A text that is neither absent nor blank.
    pub(crate) fn required_text(
        &mut self,
        map: &Map<String, Value>,
        prefix: &str,
        key: &str,
    ) -> Option<String> {
        let path = format!("{prefix}{key}");
        match map.get(key) {
            None | Some(Value::Null) => self.error(path, "is required"),
            Some(Value::String(text)) if text.trim().is_empty() => self.error(path, "must not be empty"),
            Some(Value::String(text)) => return Some(text.trim().to_owned()),
            Some(other) => self.error(path, format!("must be a text, not {}", kind_of(other))),
        }
        None
    }

    /// A text; absent, null and blank are none.
    pub(crate) fn optional_text(
        &mut self,
        map: &Map<String, Value>,
        prefix: &str,
        key: &str,
    ) -> Option<String> {
        match map.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Some(other) => {
                self.error(format!("{prefix}{key}"), format!("must be a text, not {}", kind_of(other)));
                None
            }
        }
    }

    /// True or false; absent and null are none.
    pub(crate) fn optional_bool(
        &mut self,
        map: &Map<String, Value>,
        prefix: &str,
        key: &str,
    ) -> Option<bool> {
        match map.get(key) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(value)) => Some(*value),
            Some(other) => {
                self.error(
                    format!("{prefix}{key}"),
                    format!("must be true or false, not {}", kind_of(other)),
                );
                None
            }
        }
    }
}

/// Names the type of a value for a message, never the value: it could be a secret.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn read(map: &Map<String, Value>, report: &mut Report) -> Option<Acon> {
    keys::check_unknown(map, "", &KEYS, report);
    keys::check_without_effect(map, report);
    let kind = read_kind(map, report);
    check_data_format(map, kind, report);
    let control_table = read_table(map, "heartbeat_sensor_db_table", report);
    let sensor_table = read_table(map, "lakehouse_engine_sensor_db_table", report);
    let domain = report.required_text(map, "", "domain").and_then(|text| {
        Domain::parse(&text).map_err(|problem| report.error("domain", problem.to_string())).ok()
    });
    let token = read_token(map, report);
    let poll_interval = read_poll_interval(map, report);
    let pass_news = report.optional_bool(map, "", "pass_news").unwrap_or_default();
    let source = match kind {
        Some(SourceKind::Kafka) => kafka::read(map, report).map(SourceConfig::Kafka),
        Some(SourceKind::TriggerFile) => {
            trigger_file::read(map, report).map(Box::new).map(SourceConfig::TriggerFile)
        }
        _ => {
            // Whatever the source turns out to be, its keys are not left for the next round of mending.
            if map.contains_key("kafka_configs") {
                kafka::read(map, report);
            }
            if map.contains_key("base_trigger_file_location") {
                trigger_file::read(map, report);
            }
            None
        }
    };
    if let (Some(control), Some(sensor)) = (&control_table, &sensor_table)
        && control == sensor
    {
        report.error(
            "lakehouse_engine_sensor_db_table",
            "names the control table; give each table its own name",
        );
    }
    Some(Acon {
        source: source?,
        control_table: control_table?,
        sensor_table: sensor_table?,
        domain: domain?,
        token,
        poll_interval,
        pass_news,
    })
}

fn read_kind(map: &Map<String, Value>, report: &mut Report) -> Option<SourceKind> {
    let text = report.required_text(map, "", "sensor_source")?;
    let Some(kind) = SourceKind::parse(&text) else {
        let known = SourceKind::ALL.map(SourceKind::as_str).join(", ");
        report.error("sensor_source", format!("`{text}` is not a source; known are {known}"));
        return None;
    };
    if !kind.is_served() {
        report
            .error("sensor_source", format!("`{kind}` cannot be looked at yet; kafka and trigger_file can"));
        return None;
    }
    Some(kind)
}

fn check_data_format(map: &Map<String, Value>, kind: Option<SourceKind>, report: &mut Report) {
    let Some(format) = report.required_text(map, "", "data_format") else { return };
    let accepted: &[&str] = match kind {
        Some(SourceKind::Kafka) => &["kafka"],
        Some(SourceKind::TriggerFile) => &["cloudfiles", "csv", "json", "parquet", "avro", "text"],
        _ => return,
    };
    if !accepted.contains(&format.to_ascii_lowercase().as_str()) {
        report.error("data_format", format!("`{format}` does not fit this source; give `{}`", accepted[0]));
    }
}

fn read_table(map: &Map<String, Value>, key: &str, report: &mut Report) -> Option<String> {
    let text = report.required_text(map, "", key)?;
    // The warehouse is not known here and does not matter: only the name is judged.
    match locate(&text, "") {
        Err(problem) => {
            report.error(key, problem.to_string());
            None
        }
        Ok(_) => Some(text),
    }
}

/// `None`: there is none, or it is a mistake.
fn read_token(map: &Map<String, Value>, report: &mut Report) -> Option<SecretRef> {
    let text = report.optional_text(map, "", "token")?;
    match SecretRef::parse(&text) {
        Err(problem) => report.error("token", problem),
        Ok(SecretRef::Scope { .. }) => report.error(
            "token",
            "a Databricks scope cannot hold the token that opens it; use env:NAME or file:PATH",
        ),
        Ok(SecretRef::Literal(secret)) if secret.expose().is_empty() => {
            report.error("token", "must not be empty");
        }
        Ok(reference) => return Some(reference),
    }
    None
}

fn read_poll_interval(map: &Map<String, Value>, report: &mut Report) -> Option<Duration> {
    let text = report.optional_text(map, "", "poll_interval")?;
    let period = time_span::parse(&text).filter(|period| *period >= SHORTEST_PERIOD);
    if period.is_none() {
        report.error(
            "poll_interval",
            format!("`{text}` is not a period of at least 100ms; write `1s` or `5m`"),
        );
    }
    period
}

#[cfg(test)]
mod tests;
