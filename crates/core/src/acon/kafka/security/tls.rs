//! TLS: whom to trust, who we are, which versions.

use serde_json::{Map, Value};

use super::super::super::Report;
use super::super::super::keys::{self, KeyDoc};
use super::super::options::Options;
use super::given::{At, one_of, secret_text, text};
use crate::secret::{SecretRef, of_databricks};

/// How a connection is encrypted and the broker is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tls {
    /// Whose certificates are believed.
    pub trust: Trust,
    /// What we show, if anything.
    pub identity: Option<Identity>,
    /// Whether the broker's certificate must be for its host (`ssl.endpoint.identification.algorithm`).
    pub verify_host: bool,
    /// Which versions may be spoken.
    pub versions: TlsVersions,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trust {
    /// Those that the system trusts.
    System,
    /// Those in a store: JKS, PKCS#12 or PEM, told from its bytes.
    Store {
        /// Path or URL.
        location: String,
        /// Password of the store; a JKS can be read without.
        password: Option<SecretRef>,
    },
    /// `ssl.truststore.certificates`: PEM text.
    Pem(SecretRef),
}

/// A key and its certificates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// In a store: JKS, PKCS#12 or PEM.
    Store {
        /// Path or URL.
        location: String,
        /// Password of the store.
        password: Option<SecretRef>,
        /// Password of the key; `None`: the store's.
        key_password: Option<SecretRef>,
    },
    /// `ssl.keystore.key` and `ssl.keystore.certificate.chain`: PEM text.
    Pem {
        /// The key, PKCS#8, encrypted or not.
        key: SecretRef,
        /// Its certificate first.
        chain: SecretRef,
        /// Password of an encrypted key.
        key_password: Option<SecretRef>,
    },
}

/// Versions of TLS that may be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum TlsVersions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2.
    Only12,
    /// 1.3.
    Only13,
}

/// For the reference page.
pub(super) const DOCS: [KeyDoc; 13] = [
    keys::used(
        "ssl.truststore.location",
        "",
        "As the product's `kafka_ssl_truststore_location`: a path, `file:`, `dbfs:/`, `/Volumes/..`, `s3://`, `abfss://` or `gs://`. None with TLS: the system's certificates.",
    ),
    keys::used(
        "ssl.truststore.password",
        "",
        "Its password: the text itself, or `env:NAME`, `file:PATH`, `scope:SCOPE/KEY`.",
    ),
    keys::used(
        "ssl.truststore.type",
        "",
        "`JKS`, `PKCS12` or `PEM`. Only checked: the kind is told from the bytes.",
    ),
    keys::used(
        "ssl.truststore.certificates",
        "",
        "Trusted certificates as PEM text, or a reference to it as for a password.",
    ),
    keys::used("ssl.keystore.location", "", "As the product's `kafka_ssl_keystore_location`."),
    keys::used("ssl.keystore.password", "", "As `ssl.truststore.password`."),
    keys::used("ssl.keystore.type", "", "As `ssl.truststore.type`."),
    keys::used(
        "ssl.keystore.key",
        "",
        "Private key as PEM text (PKCS#8, encrypted or not), or a reference to it.",
    ),
    keys::used(
        "ssl.keystore.certificate.chain",
        "",
        "Its certificate, and those above it, as PEM text or a reference to it.",
    ),
    keys::used("ssl.key.password", "", "Password of the key, where it is not the store's."),
    keys::used(
        "ssl.endpoint.identification.algorithm",
        "",
        "`https` (default), or empty: any certificate of a trusted authority will do, for whatever host.",
    ),
    keys::used("ssl.enabled.protocols", "", "`TLSv1.2`, `TLSv1.3`, or both with a comma (default)."),
    keys::used("ssl.protocol", "", "`TLSv1.3` (default), or `TLSv1.2` to speak no newer one."),
];

/// What was given, before the protocol is known.
#[derive(Debug)]
pub(super) struct Given {
    trust_location: Option<At<String>>,
    trust_password: Option<At<SecretRef>>,
    trust_pem: Option<At<SecretRef>>,
    key_location: Option<At<String>>,
    key_store_password: Option<At<SecretRef>>,
    key_pem: Option<At<SecretRef>>,
    chain_pem: Option<At<SecretRef>>,
    key_password: Option<At<SecretRef>>,
    verify_host: bool,
    versions: TlsVersions,
}

impl Given {
    pub(super) fn take(
        product: &Map<String, Value>,
        prefix: &str,
        scope: Option<&str>,
        options: &mut Options,
        report: &mut Report,
    ) -> Self {
        for name in ["ssl.truststore.type", "ssl.keystore.type"] {
            check_type(name, options, report);
        }
        let mut location = |key: &str, option: &str| {
            let own = report.optional_text(product, prefix, key);
            let own = own.map(|value| At { path: format!("{prefix}{key}"), value });
            let other = text(option, options, report);
            one_of([own, other], report)
        };
        let trust_location = location("kafka_ssl_truststore_location", "ssl.truststore.location");
        let key_location = location("kafka_ssl_keystore_location", "ssl.keystore.location");
        let mut password = |key: &str, option: &str, store: Option<&At<String>>| {
            // Keys of passwords without a store say nothing, as in the seeds.
            let own = report.optional_text(product, prefix, key).filter(|_| store.is_some());
            let own = own.and_then(|text| scope_key(&format!("{prefix}{key}"), &text, scope, report));
            let other = secret_text(option, options, report);
            one_of([own, other], report)
        };
        Self {
            trust_password: password(
                "truststore_pwd_secret_key",
                "ssl.truststore.password",
                trust_location.as_ref(),
            ),
            key_store_password: password(
                "keystore_pwd_secret_key",
                "ssl.keystore.password",
                key_location.as_ref(),
            ),
            trust_location,
            key_location,
            trust_pem: secret_text("ssl.truststore.certificates", options, report),
            key_pem: secret_text("ssl.keystore.key", options, report),
            chain_pem: secret_text("ssl.keystore.certificate.chain", options, report),
            key_password: secret_text("ssl.key.password", options, report),
            verify_host: take_verify_host(options, report),
            versions: take_versions(options, report),
        }
    }

    /// The key that gives certificates or keys, if one does.
    pub(super) fn store_path(&self) -> Option<String> {
        let texts = [&self.trust_location, &self.key_location].map(|at| at.as_ref().map(|at| &at.path));
        let pems = [&self.trust_pem, &self.key_pem, &self.chain_pem].map(|at| at.as_ref().map(|at| &at.path));
        texts.into_iter().chain(pems).flatten().next().cloned()
    }

    /// `None`: TLS is not spoken.
    pub(super) fn judge(self, is_wanted: bool, report: &mut Report) -> Option<Tls> {
        for (password, location, what) in [
            (&self.trust_password, &self.trust_location, "truststore"),
            (&self.key_store_password, &self.key_location, "keystore"),
        ] {
            if let (Some(password), None) = (password, location) {
                report.error(&password.path, format!("there is no {what} that this password could open: give its location, or leave the password out"));
            }
        }
        let trust = match (self.trust_location, self.trust_pem) {
            (Some(location), other) => {
                if let Some(pem) = other {
                    report.error(pem.path, "excludes a truststore: give one of the two");
                }
                Trust::Store {
                    location: check_location(location, report),
                    password: self.trust_password.map(value),
                }
            }
            (None, Some(pem)) => Trust::Pem(pem.value),
            (None, None) => Trust::System,
        };
        let identity = match (self.key_location, self.key_pem, self.chain_pem) {
            (Some(location), key, chain) => {
                if let Some(pem) = key.or(chain) {
                    report.error(pem.path, "excludes a keystore: give one of the two");
                }
                Some(Identity::Store {
                    location: check_location(location, report),
                    password: self.key_store_password.map(value),
                    key_password: self.key_password.map(value),
                })
            }
            (None, Some(key), Some(chain)) => Some(Identity::Pem {
                key: key.value,
                chain: chain.value,
                key_password: self.key_password.map(value),
            }),
            (None, Some(key), None) => {
                report.error(key.path, "needs `ssl.keystore.certificate.chain` beside it");
                None
            }
            (None, None, Some(chain)) => {
                report.error(chain.path, "needs `ssl.keystore.key` beside it");
                None
            }
            (None, None, None) => {
                if let Some(password) = self.key_password {
                    report.error(password.path, "there is no key that this password could open: give `ssl.keystore.location` or `ssl.keystore.key`");
                }
                None
            }
        };
        is_wanted.then_some(Tls { trust, identity, verify_host: self.verify_host, versions: self.versions })
    }
}

/// The product's first key that would give a store's password.
pub(super) fn password_key(product: &Map<String, Value>, prefix: &str) -> Option<String> {
    let keys = ["truststore_pwd_secret_key", "keystore_pwd_secret_key"];
    let is_given =
        |key: &&str| product.get(*key).and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    keys.into_iter().find(is_given).map(|key| format!("{prefix}{key}"))
}

fn value<T>(at: At<T>) -> T {
    at.value
}

/// A `*_secret_key`: with a prefix a reference, without one a key of the ACON's scope.
fn scope_key(path: &str, text: &str, scope: Option<&str>, report: &mut Report) -> Option<At<SecretRef>> {
    let is_reference = of_databricks(text).is_some()
        || text
            .split_once(':')
            .is_some_and(|(prefix, _)| matches!(prefix, "env" | "file" | "scope" | "literal"));
    let value = match (is_reference, scope) {
        (true, _) => super::secret(path, text, report)?,
        (false, Some(scope)) => SecretRef::Scope { scope: scope.to_owned(), key: text.to_owned() },
        (false, None) => {
            report.error(path, "is a key of a secret scope: give `kafka_secret_scope`, or a reference such as env:NAME or file:PATH");
            return None;
        }
    };
    Some(At { path: path.to_owned(), value })
}

/// Schemes of stores that can be opened.
const SCHEMES: [&str; 10] = ["file", "dbfs", "s3", "s3a", "abfss", "abfs", "azure", "az", "gs", "adl"];

fn check_location(location: At<String>, report: &mut Report) -> String {
    if let Some((scheme, _)) = location.value.split_once(":/")
        && !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme))
    {
        report.error(
            location.path,
            format!(
                "`{scheme}:` locations cannot be opened; give a local path, dbfs:/, s3://, abfss:// or gs://"
            ),
        );
    }
    location.value
}

fn check_type(name: &str, options: &mut Options, report: &mut Report) {
    let Some(At { path, value }) = text(name, options, report) else { return };
    if !["jks", "pkcs12", "pem"].contains(&value.to_ascii_lowercase().as_str()) {
        report.error(path, "must be `JKS`, `PKCS12` or `PEM`: no other kind of store can be opened");
    }
}

fn take_verify_host(options: &mut Options, report: &mut Report) -> bool {
    let Some(given) = options.take("ssl.endpoint.identification.algorithm") else { return true };
    let text = match &given.value {
        Value::Null => return true,
        Value::String(text) => text.trim().to_ascii_lowercase(),
        _ => "?".to_owned(),
    };
    match text.as_str() {
        "https" => true,
        // `none` is librdkafka's.
        "" | "none" => {
            report.warn(
                given.path,
                "host names are not verified: whoever has any certificate of a trusted authority can pose as the broker",
            );
            false
        }
        _ => {
            report.error(given.path, "must be `https`, or empty to verify no host names");
            true
        }
    }
}

fn take_versions(options: &mut Options, report: &mut Report) -> TlsVersions {
    let newest = text("ssl.protocol", options, report);
    let enabled = text("ssl.enabled.protocols", options, report);
    if let Some(At { path, value }) = enabled {
        let names: Vec<&str> = value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        let has = |wanted: &str| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        let known = ["TLSv1.2", "TLSv1.3", "TLSv1", "TLSv1.1", "SSLv3", "SSLv2Hello"];
        if names.iter().any(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name))) {
            report.error(&path, "may hold `TLSv1.2` and `TLSv1.3`");
        }
        return match (has("TLSv1.2"), has("TLSv1.3")) {
            (true, false) => TlsVersions::Only12,
            (false, true) => TlsVersions::Only13,
            (true, true) => TlsVersions::Both,
            (false, false) => {
                report
                    .error(path, "needs `TLSv1.2` or `TLSv1.3`: older versions are not safe and not spoken");
                TlsVersions::Both
            }
        };
    }
    match newest {
        None => TlsVersions::Both,
        Some(At { value, .. }) if value.eq_ignore_ascii_case("TLSv1.2") => TlsVersions::Only12,
        Some(At { value, .. }) if ["TLS", "TLSv1.3"].iter().any(|n| n.eq_ignore_ascii_case(&value)) => {
            TlsVersions::Both
        }
        Some(At { path, .. }) => {
            report.error(path, "must be `TLSv1.3` or `TLSv1.2`: older versions are not safe and not spoken");
            TlsVersions::Both
        }
    }
}
