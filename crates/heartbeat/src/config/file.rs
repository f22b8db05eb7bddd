//! `heartbeat.yaml` as it is written. The schema, the reference page and the check of keys are made from these types;
//! [`super::Config`] is what the program works with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use heartbeat_core::acon::{KEYS, STORAGE_KEYS};
use heartbeat_core::schedule::Cron;
use jiff::tz::TimeZone;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::text::{ByteSize, Days, Length, Listen, Location, Period, Text, TimeOfDay};

/// Configuration of `heartbeat run`. Relative paths in it start at the folder of this file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "heartbeat.yaml")]
pub(super) struct ConfigFile {
    /// Where tables named `db.table` lie. Default: what `--warehouse` says.
    pub(super) warehouse: Option<Text<Location>>,
    /// Locations of tables by the names that the ACONs use, for tables that don't lie in the warehouse.
    #[serde(default)]
    pub(super) tables: BTreeMap<String, Text<Location>>,
    /// How the stores of the tables, and of nothing else, are reached, and who we are there. Default: what the environment
    /// says.
    #[serde(default)]
    #[schemars(schema_with = "storage_options")]
    pub(super) storage_options: Map<String, Value>,
    /// What is watched. ACONs of one source over the same two tables are looked at together.
    #[schemars(length(min = 1))]
    pub(super) acons: Vec<AconEntry>,
    /// How runs are followed.
    #[serde(default)]
    pub(super) runs: Runs,
    /// Metrics and health over HTTP.
    #[serde(default)]
    pub(super) server: Server,
    /// The journal: what happened, for `heartbeat why` and `heartbeat history`.
    #[serde(default)]
    pub(super) journal: Journal,
    /// Keeping the tables small.
    #[serde(default)]
    pub(super) maintenance: Maintenance,
    /// How long steps that have begun may take to end after a signal. What is cut off is taken up by the next start.
    #[serde(default = "shutdown_grace")]
    pub(super) shutdown_grace: Text<Length>,
}

/// One ACON: the path of its file, or a mapping.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum AconEntry {
    /// Path of an ACON file.
    Path(PathBuf),
    /// An ACON with settings.
    Settings(Box<AconSettings>),
}

/// An ACON and when its source is looked at.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AconSettings {
    /// Name in logs and metrics. Default: the file's name without its ending, or `acon-1` for the first one that is
    /// written here.
    pub(super) name: Option<String>,
    /// Path of the ACON file. Either this or `acon`.
    pub(super) path: Option<PathBuf>,
    /// The ACON itself. Either this or `path`.
    #[serde(default)]
    #[schemars(schema_with = "inline_acon")]
    pub(super) acon: Option<Map<String, Value>>,
    /// Period. Default: `poll_interval` of the ACON, else `1s` for kafka and `5s` for other sources.
    pub(super) poll_interval: Option<Text<Period>>,
    /// Times instead of a period.
    pub(super) schedule: Option<CronSchedule>,
    /// When to look at all. Outside of these windows nothing is looked at. Default: always.
    #[serde(default)]
    pub(super) active: Vec<ActiveWindow>,
    /// Time zone of `active`, and of `schedule` if that names none. Default: `UTC`.
    pub(super) time_zone: Option<Text<TimeZone>>,
    /// Part of the period by which a source may be moved from the others, at most 5 seconds. Default: `0.1`. A source
    /// is always moved by the same time, so that its period is kept.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub(super) jitter: Option<f64>,
    /// How long one look at the source may take; rows without an answer by then fail. Default: the period, but at least
    /// `10s` and at most `1m`.
    pub(super) deadline: Option<Text<Length>>,
}

/// Times of a cron expression.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CronSchedule {
    /// Minute, hour, day of the month, month, day of the week.
    pub(super) cron: Text<Cron>,
    /// Time zone of the expression. Default: `time_zone` of the ACON's settings.
    pub(super) time_zone: Option<Text<TimeZone>>,
}

/// A part of some days. One that ends before it begins ends on the next day.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ActiveWindow {
    /// Days on which the window begins.
    pub(super) days: Text<Days>,
    /// Local time at which it begins.
    pub(super) from: Text<TimeOfDay>,
    /// Local time at which it ends.
    pub(super) to: Text<TimeOfDay>,
}

/// How runs are followed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Runs {
    /// How often runs that go on are asked for.
    pub(super) poll_interval: Text<Period>,
    /// How often jobs whose run failed are asked for a later success.
    pub(super) rest_poll_interval: Text<Period>,
}

/// Metrics and health over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Server {
    /// Address to listen on; port 0 takes a free one. `off`: none. There is no password: keep it to networks that may
    /// read it.
    pub(super) listen: Text<Listen>,
}

/// The journal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Journal {
    /// Whether it is written.
    pub(super) enabled: bool,
    /// How often what happened is written, in one commit.
    pub(super) flush_interval: Text<Period>,
    /// How long entries are kept.
    pub(super) keep: Text<Length>,
}

/// Compaction, checkpoints and removal of files that no version needs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Maintenance {
    /// How often it is done.
    pub(super) interval: Text<Period>,
    /// How long old versions can be read.
    pub(super) keep: Text<Length>,
    /// Old versions go earlier once a table's files take more than this.
    pub(super) keep_bytes: Text<ByteSize>,
}

impl ConfigFile {
    /// ACONs, and defaults for all else.
    pub(super) fn of_acons(acons: Vec<AconEntry>) -> Self {
        Self {
            warehouse: None,
            tables: BTreeMap::new(),
            storage_options: Map::new(),
            acons,
            runs: Runs::default(),
            server: Server::default(),
            journal: Journal::default(),
            maintenance: Maintenance::default(),
            shutdown_grace: shutdown_grace(),
        }
    }
}

impl Default for ActiveWindow {
    fn default() -> Self {
        Self { days: Text(Days::every()), from: Text(TimeOfDay::BEGIN), to: Text(TimeOfDay::END) }
    }
}

impl Default for Runs {
    fn default() -> Self {
        Self { poll_interval: period(5), rest_poll_interval: period(60) }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: Text(Listen::default()) }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self { enabled: true, flush_interval: period(5), keep: days(90) }
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { interval: period(600), keep: days(7), keep_bytes: Text(ByteSize(256 << 20)) }
    }
}

/// JSON Schema of the file.
pub fn schema() -> Value {
    schemars::schema_for!(ConfigFile).to_value()
}

fn period(seconds: u64) -> Text<Period> {
    Text(Period(Duration::from_secs(seconds)))
}

fn days(days: u64) -> Text<Length> {
    Text(Length(Duration::from_hours(24 * days)))
}

fn shutdown_grace() -> Text<Length> {
    Text(Length(Duration::from_secs(10)))
}

/// The options of an ACON's store, as far as tables can lie there.
fn storage_options(_: &mut SchemaGenerator) -> Schema {
    let keys: Map<String, Value> = STORAGE_KEYS
        .iter()
        .filter(|key| key.name != "aws_sqs_endpoint")
        .map(|key| {
            let types = ["string", "boolean"];
            (key.name.to_owned(), serde_json::json!({"type": types, "description": key.doc}))
        })
        .collect();
    json_schema!({"type": "object", "properties": keys, "additionalProperties": false})
}

/// Unknown keys of an ACON are warnings, so the schema leaves room for them.
fn inline_acon(_: &mut SchemaGenerator) -> Schema {
    let keys: Map<String, Value> =
        KEYS.iter().map(|key| (key.name.to_owned(), serde_json::json!({"description": key.doc}))).collect();
    json_schema!({"type": ["object", "null"], "properties": keys, "additionalProperties": true})
}
