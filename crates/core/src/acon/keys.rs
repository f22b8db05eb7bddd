//! The keys of an ACON and what each does here.

use serde_json::{Map, Value};

use super::Report;

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Used.
    Used,
    /// Part of the original's ACONs, accepted, without effect here.
    WithoutEffect,
}

/// One key, for the reference page and the check for unknown keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyDoc {
    /// Name of the key.
    pub name: &'static str,
    /// Who needs it: `all`, `kafka`, `trigger_file`, or empty when optional.
    pub required_for: &'static str,
    /// Whether it does something.
    pub effect: Effect,
    /// One sentence or two.
    pub doc: &'static str,
}

pub(super) const fn used(name: &'static str, required_for: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc { name, required_for, effect: Effect::Used, doc }
}

pub(super) const fn without_effect(name: &'static str, doc: &'static str) -> KeyDoc {
    KeyDoc { name, required_for: "", effect: Effect::WithoutEffect, doc }
}

/// All keys of an ACON.
pub const KEYS: [KeyDoc; 20] = [
    used(
        "sensor_source",
        "all",
        "Kind of upstream: `kafka` or `trigger_file`, in any case. The pass looks at the control table's rows of this kind.",
    ),
    used(
        "data_format",
        "all",
        "`kafka` for kafka; `cloudfiles` (or a file format) for trigger_file. Checked, otherwise without effect: nothing is read through Spark.",
    ),
    used(
        "heartbeat_sensor_db_table",
        "all",
        "Control table: `db.table` below the warehouse, a path, or a URL (`file://`, `s3://`, `abfss://`, `gs://`).",
    ),
    used("lakehouse_engine_sensor_db_table", "all", "Sensor table, named as the control table is."),
    used(
        "domain",
        "all",
        "Databricks workspace of the jobs: a host, or a URL (http:// for this machine only).",
    ),
    used(
        "token",
        "",
        "Token for the Jobs API: the token itself, or `env:NAME`, `file:PATH`, `literal:TEXT`. Absent, null or empty: the workspace's credentials come from the environment or a profile of `.databrickscfg`, as in the Databricks SDKs. Never printed.",
    ),
    used(
        "kafka_configs",
        "kafka",
        "Mapping of product (the part of `sensor_id` before the colon) to its cluster.",
    ),
    used(
        "base_trigger_file_location",
        "trigger_file",
        "Folder that holds one folder per `sensor_id`: a path, `file://`, `s3://`, `abfss://`, `az://`, `gs://`, `/Volumes/...` or `dbfs:/`.",
    ),
    used(
        "trigger_file_options",
        "",
        "Ours; the original ignores it. Which files count and how they are found, see below.",
    ),
    used(
        "storage_options",
        "",
        "Ours; the original ignores it. How the store of the trigger files is reached and with which credentials, see below.",
    ),
    used(
        "kafka_options",
        "",
        "Ours; the original ignores it. Options of Spark's Kafka source for all products, see below.",
    ),
    used(
        "poll_interval",
        "",
        "Ours; the original ignores it. Period of `heartbeat run`, at least `100ms`: `1s` for kafka and `5s` for trigger_file when it is not given. `heartbeat.yaml` can set another.",
    ),
    used(
        "pass_news",
        "",
        "Ours; the original ignores it. `true`: a run gets what is new as job parameters. Default `false`.",
    ),
    used(
        "kafka_secret_scope",
        "",
        "Databricks secret scope with the stores' passwords, read through the Secrets API of `domain` with `token`.",
    ),
    without_effect(
        "base_checkpoint_location",
        "Spark's checkpoints in the original. Positions are kept in the sensor table instead.",
    ),
    without_effect(
        "schema_dict",
        "Schema of the trigger files in the original. The files are not parsed: a new file is news.",
    ),
    used(
        "options",
        "",
        "Reader options. The original puts its own in their place for kafka; here options of Spark's Kafka source have an effect, below those of `kafka_options`. Of Auto Loader's, those listed below; `readChangeFeed` has none.",
    ),
    without_effect("jdbc_db_table", "SAP log-chain table; for sources that are not served yet."),
    without_effect("collect_engine_usage", "Usage statistics of the original's engine."),
    without_effect("spark_confs", "Spark settings of the original."),
];

/// Keys of one product in `kafka_configs`.
pub const PRODUCT_KEYS: [KeyDoc; 6] = [
    used("kafka_bootstrap_servers_list", "kafka", "`host:port,host:port`, or a list of `host:port`."),
    used(
        "kafka_ssl_truststore_location",
        "",
        "Store (JKS, PKCS#12 or PEM) of the authorities that the brokers' certificates are from: a path, `file:`, `dbfs:/`, `/Volumes/..`, `s3://`, `abfss://` or `gs://`. A store makes the connection TLS; empty or null stores mean PLAINTEXT, unless `security.protocol` says otherwise. A store that cannot be used is an error, never plaintext.",
    ),
    used(
        "truststore_pwd_secret_key",
        "",
        "Its password: a key of `kafka_secret_scope`, or `env:NAME`, `file:PATH`, `scope:SCOPE/KEY`, `literal:TEXT`. Empty or null: none.",
    ),
    used(
        "kafka_ssl_keystore_location",
        "",
        "Store with our key and certificate, as `kafka_ssl_truststore_location`. Empty or null: no client certificate.",
    ),
    used(
        "keystore_pwd_secret_key",
        "",
        "As `truststore_pwd_secret_key`. It opens the key too, unless `ssl.key.password` does.",
    ),
    used("kafka_options", "", "Ours: options of this product, over those of the ACON."),
];

/// Warns about each key that is not in `known`, with the nearest known one. One that should make a connection safe is an
/// error: ignored, it would leave the connection in the clear. So is one of the ACON that should say whose trigger files
/// count, or who we are at their store.
pub(super) fn check_unknown(map: &Map<String, Value>, prefix: &str, known: &[KeyDoc], report: &mut Report) {
    for (key, value) in map {
        if known.iter().any(|doc| doc.name == key) {
            continue;
        }
        let hint = did_you_mean(key, known.iter().map(|doc| doc.name));
        let path = format!("{prefix}{key}");
        if prefix.is_empty() {
            if super::TRIGGER_FILE_KEYS.iter().any(|doc| doc.name == key) {
                report.error(path, "belongs in `trigger_file_options`");
                continue;
            }
            let hint = did_you_mean(key, ["trigger_file_options", "storage_options"].into_iter());
            if !hint.is_empty() {
                report.error(path, format!("unknown key{hint}"));
                continue;
            }
        }
        let holds_security =
            value.as_object().is_some_and(|inner| inner.keys().any(|name| is_of_security(name)));
        if !is_of_security(key) && !holds_security {
            report.warn(path, format!("unknown key, ignored{hint}"));
        } else if !hint.is_empty() {
            report.error(path, format!("unknown key{hint}"));
        } else if PRODUCT_KEYS.iter().any(|doc| doc.name == key) {
            report.error(path, "belongs in a product of `kafka_configs`");
        } else {
            report.error(path, "belongs in `kafka_options`, of the ACON or of a product");
        }
    }
}

/// Whether a name speaks of TLS or of a login, or is a slip of the pen away from one that does.
pub(super) fn is_of_security(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("kafka.").unwrap_or(&name);
    let beginnings = ["ssl.", "sasl.", "security.", "kafka_ssl", "kafka_sasl", "kafka_security"];
    beginnings.iter().any(|beginning| name.starts_with(beginning))
        || ["truststore", "keystore", "jaas"].iter().any(|part| name.contains(part))
        || nearest_key(name, super::kafka::security_names()).is_some()
}

/// Types of keys that have no effect are still checked where the original would have needed them right.
pub(super) fn check_without_effect(map: &Map<String, Value>, report: &mut Report) {
    for key in ["options", "schema_dict", "spark_confs", "kafka_options"] {
        match map.get(key) {
            None | Some(Value::Null | Value::Object(_)) => {}
            Some(other) => report.error(key, format!("must be a mapping, not {}", super::kind_of(other))),
        }
    }
    for key in ["kafka_secret_scope", "base_checkpoint_location", "jdbc_db_table"] {
        report.optional_text(map, "", key);
    }
}

/// The end of a message about a misspelt key; empty when it is near to none that is known.
pub fn did_you_mean<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest_key(key, known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// The known key that a misspelt one is nearest to, if it is near to any.
fn nearest_key<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let nearest = known.map(|name| (distance(name, key), name)).min();
    nearest.filter(|(steps, _)| *steps <= 3).map(|(_, name)| name)
}

/// Levenshtein distance, for hints on keys of a few dozen bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
