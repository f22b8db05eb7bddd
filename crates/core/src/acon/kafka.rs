//! `kafka_configs`: one cluster per product.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{PRODUCT_KEYS, Report, keys, kind_of};

/// How to reach the cluster of one product.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KafkaProduct {
    /// `host:port` of brokers to begin with, at least one.
    pub bootstrap: Vec<String>,
    /// Which records count.
    pub isolation: Isolation,
}

/// Which records count as news (Kafka's consumer setting `isolation.level`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Isolation {
    /// The end is the high watermark. Records of a transaction are news as soon as they are written, unless the
    /// transaction is known to be aborted: Spark's default, and all the original can do.
    #[default]
    ReadUncommitted,
    /// The end is the last stable offset: a transaction is news once it is committed.
    ReadCommitted,
}

impl Isolation {
    /// The number that stands for it in Kafka's requests (KIP-98).
    pub fn wire_level(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// Reads `kafka_configs` and `kafka_options`.
pub(super) fn read(map: &Map<String, Value>, report: &mut Report) -> Option<BTreeMap<String, KafkaProduct>> {
    let isolation = read_isolation(map, report);
    let products = match map.get("kafka_configs") {
        None | Some(Value::Null) => {
            report.error("kafka_configs", "is required for kafka: a mapping of product to its cluster");
            return None;
        }
        Some(Value::Object(products)) if products.is_empty() => {
            report.error("kafka_configs", "must name at least one product");
            return None;
        }
        Some(Value::Object(products)) => products,
        Some(other) => {
            report.error("kafka_configs", format!("must be a mapping of products, not {}", kind_of(other)));
            return None;
        }
    };
    let mut read = BTreeMap::new();
    for (name, config) in products {
        let path = format!("kafka_configs.{name}");
        match config {
            Value::Object(config) => {
                if let Some(bootstrap) = read_product(config, &path, report) {
                    let product = KafkaProduct { bootstrap, isolation };
                    if read.insert(name.trim().to_owned(), product).is_some() {
                        report.error(path, "names a product twice (blanks around a name don't count)");
                    }
                }
            }
            other => report.error(path, format!("must be a mapping of five keys, not {}", kind_of(other))),
        }
    }
    Some(read)
}

fn read_product(config: &Map<String, Value>, path: &str, report: &mut Report) -> Option<Vec<String>> {
    let prefix = format!("{path}.");
    keys::check_unknown(config, &prefix, &PRODUCT_KEYS, report);
    for key in ["kafka_ssl_truststore_location", "kafka_ssl_keystore_location"] {
        if report.optional_text(config, &prefix, key).is_some() {
            report.error(
                format!("{prefix}{key}"),
                "TLS stores cannot be opened yet; leave it empty for a PLAINTEXT broker",
            );
        }
    }
    for key in ["truststore_pwd_secret_key", "keystore_pwd_secret_key"] {
        report.optional_text(config, &prefix, key);
    }
    read_bootstrap(config, &prefix, report)
}

fn read_bootstrap(config: &Map<String, Value>, prefix: &str, report: &mut Report) -> Option<Vec<String>> {
    const KEY: &str = "kafka_bootstrap_servers_list";
    let path = format!("{prefix}{KEY}");
    let texts: Vec<String> = match config.get(KEY) {
        Some(Value::Array(items)) => {
            let texts: Vec<String> = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            if texts.len() < items.len() {
                report.error(path, "every item of the list must be a text `host:port`");
                return None;
            }
            texts
        }
        _ => report.required_text(config, prefix, KEY)?.split(',').map(str::to_owned).collect(),
    };
    let servers: Vec<String> =
        texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect();
    if servers.is_empty() {
        report.error(path, "must name at least one `host:port`");
        return None;
    }
    let wrong: Vec<&str> =
        servers.iter().map(String::as_str).filter(|server| !is_host_port(server)).collect();
    if !wrong.is_empty() {
        report.error(path, format!("`{}` is not `host:port`", wrong.join("`, `")));
        return None;
    }
    Some(servers)
}

fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(['/', ' ', '\'', '"'])
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

fn read_isolation(map: &Map<String, Value>, report: &mut Report) -> Isolation {
    let Some(Value::Object(options)) = map.get("kafka_options") else { return Isolation::default() };
    let mut isolation = Isolation::default();
    for (key, value) in options {
        let path = format!("kafka_options.{key}");
        match (key.strip_prefix("kafka.").unwrap_or(key), value) {
            ("isolation.level", Value::String(level)) => match level.trim().to_ascii_lowercase().as_str() {
                "read_uncommitted" => isolation = Isolation::ReadUncommitted,
                "read_committed" => isolation = Isolation::ReadCommitted,
                _ => report.error(path, "must be `read_uncommitted` or `read_committed`"),
            },
            ("isolation.level", other) => {
                report.error(path, format!("must be a text, not {}", kind_of(other)));
            }
            _ => report.warn(path, "option without effect yet; `isolation.level` has one"),
        }
    }
    isolation
}
