//! How to connect to a product's brokers, and how to log in.

use serde_json::{Map, Value};

use super::super::Report;
use super::options::Options;

/// How to connect and log in; secrets by reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Security {
    /// Plain TCP, no login.
    #[default]
    Plaintext,
}

/// Reads a product's stores and takes the options that say how to connect.
pub(super) fn read(
    product: &Map<String, Value>,
    prefix: &str,
    _scope: Option<&str>,
    _options: &mut Options,
    report: &mut Report,
) -> Security {
    for key in ["kafka_ssl_truststore_location", "kafka_ssl_keystore_location"] {
        if report.optional_text(product, prefix, key).is_some() {
            report.error(
                format!("{prefix}{key}"),
                "TLS stores cannot be opened yet; leave it empty for a PLAINTEXT broker",
            );
        }
    }
    for key in ["truststore_pwd_secret_key", "keystore_pwd_secret_key"] {
        report.optional_text(product, prefix, key);
    }
    Security::Plaintext
}
