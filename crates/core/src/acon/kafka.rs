//! `kafka_configs`: one cluster per product.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use serde_json::{Map, Value};

use super::{Finding, KeyDoc, PRODUCT_KEYS, Report, keys, kind_of};

mod options;
mod reading;
mod security;

pub use self::reading::{Isolation, NoRecord, ReadOptions, Starting, StartingOffset, Topics, topics_of};
pub use self::security::{
    AwsLogin, Identity, Login, Mechanism, OAuthLogin, Sasl, Security, Tls, TlsVersions, Trust,
};

use self::options::Options;

/// How to reach the cluster of one product, and what its rows read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KafkaProduct {
    /// `host:port` of brokers to begin with, at least one.
    pub bootstrap: Vec<String>,
    /// How to connect and log in.
    pub security: Security,
    /// Which records of which topics count.
    pub read: ReadOptions,
}

/// All options that have an effect, and those that have none, for the reference page.
pub fn option_docs() -> Vec<KeyDoc> {
    reading::DOCS.into_iter().chain(security::docs()).chain(options::without_effect()).collect()
}

fn option_names() -> impl Iterator<Item = &'static str> {
    reading::DOCS.into_iter().chain(security::docs()).map(|doc| doc.name)
}

/// Options that say how to connect and log in.
pub(super) fn security_names() -> impl Iterator<Item = &'static str> {
    security::docs().map(|doc| doc.name)
}

/// Reads `kafka_configs`, with `options` and `kafka_options`.
pub(super) fn read(map: &Map<String, Value>, report: &mut Report) -> Option<BTreeMap<String, KafkaProduct>> {
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
    let mut found = Vec::new();
    for (name, config) in products {
        let path = format!("kafka_configs.{name}");
        match config {
            Value::Object(config) => {
                let mut own = Report::default();
                let product = read_product(map, config, &path, &mut own);
                found.push((name.as_str(), own));
                if let Some(product) = product
                    && read.insert(name.trim().to_owned(), product).is_some()
                {
                    report.error(path, "names a product twice (blanks around a name don't count)");
                }
            }
            other => report.error(path, format!("must be a mapping of five keys, not {}", kind_of(other))),
        }
    }
    merge(&found, report);
    Some(read)
}

/// What stands above the products is read for each of them. What is said of it for some of them only names them.
fn merge(found: &[(&str, Report)], report: &mut Report) {
    let are_of_all = |finding: &Finding, of: fn(&Report) -> &Vec<Finding>| {
        found.iter().all(|(_, own)| of(own).contains(finding))
    };
    for (name, own) in found {
        let named = |finding: &Finding, of| {
            let mut finding = finding.clone();
            let is_own = finding.path.starts_with(&format!("kafka_configs.{name}."));
            if !is_own && !are_of_all(&finding, of) {
                finding.problem.push_str(&format!(" (for product `{name}`)"));
            }
            finding
        };
        report.errors.extend(own.errors.iter().map(|error| named(error, |own| &own.errors)));
        report.warnings.extend(own.warnings.iter().map(|warning| named(warning, |own| &own.warnings)));
    }
}

fn read_product(
    acon: &Map<String, Value>,
    config: &Map<String, Value>,
    path: &str,
    report: &mut Report,
) -> Option<KafkaProduct> {
    let prefix = format!("{path}.");
    keys::check_unknown(config, &prefix, &PRODUCT_KEYS, report);
    let own = config.get("kafka_options");
    if let Some(other) = own.filter(|own| !own.is_object() && !own.is_null()) {
        report.error(format!("{prefix}kafka_options"), format!("must be a mapping, not {}", kind_of(other)));
    }
    let levels = [
        ("options", acon.get("options")),
        ("kafka_options", acon.get("kafka_options")),
        (&format!("{prefix}kafka_options"), own),
    ];
    let mut options = Options::of(&levels, report);
    let scope = acon
        .get("kafka_secret_scope")
        .and_then(Value::as_str)
        .map(str::trim)
        .filter(|scope| !scope.is_empty());
    let bootstrap = read_bootstrap(config, &prefix, report);
    let security = security::read(config, &prefix, scope, &mut options, report);
    let read = reading::read(&mut options, report);
    options.name_the_rest(report);
    Some(KafkaProduct { bootstrap: bootstrap?, security, read })
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
    // Whoever writes a user may have written a password too.
    if wrong.iter().any(|server| server.contains('@')) {
        report.error(path, "must be `host:port` without a user: a login goes into `kafka_options`");
        return None;
    }
    if !wrong.is_empty() {
        report.error(path, format!("`{}` is not `host:port`", wrong.join("`, `")));
        return None;
    }
    Some(servers)
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let other = |c: char| c.is_whitespace() || "/:@[]?#'\"".contains(c);
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && !host.contains(other),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::is_host_port;

    #[rstest]
    #[case("broker-1.example.com:9092", true)]
    #[case("10.0.0.1:9092", true)]
    #[case("[::1]:9092", true)]
    #[case("[2001:db8::7]:1", true)]
    #[case("::1:9092", false)]
    #[case("[::1:9092", false)]
    #[case("[host]:9092", false)]
    #[case("h:9093:9094", false)]
    #[case("user@h:9092", false)]
    #[case("SSL://h:9092", false)]
    #[case("h:0", false)]
    #[case("h:65536", false)]
    #[case(":9092", false)]
    #[case("h", false)]
    fn a_broker_is_a_host_and_a_port(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_host_port(text), expected);
    }
}
