//! How to connect to a product's brokers, and how to log in.
//!
//! Given by the original's five keys of a product, or by the properties of Kafka's own client. The original always
//! uses TLS; here stores make it TLS, and no stores plain text. Whatever could weaken the security that somebody
//! asked for is an error: a store beside PLAINTEXT, a login without SASL, a mechanism that is not carried. Values that
//! may be secret are never repeated in a message.

use serde_json::{Map, Value};

use super::super::Report;
use super::super::keys::{self, KeyDoc};
use super::options::Options;
use crate::secret::SecretRef;

mod given;
mod jaas;
mod sasl;
mod tls;

pub use self::sasl::{AwsLogin, Login, Mechanism, OAuthLogin, Sasl};
pub use self::tls::{Identity, Tls, TlsVersions, Trust};

/// How to connect and log in; secrets by reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Security {
    /// `None`: plain TCP.
    pub tls: Option<Tls>,
    /// `None`: no login beside the client certificate, if there is one.
    pub sasl: Option<Sasl>,
}

impl Security {
    /// Kafka's name for it.
    pub fn protocol(&self) -> &'static str {
        Protocol::of(self.tls.is_some(), self.sasl.is_some()).name()
    }
}

/// `security.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Protocol {
    const ALL: [Self; 4] = [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl];

    fn of(tls: bool, sasl: bool) -> Self {
        match (tls, sasl) {
            (false, false) => Self::Plaintext,
            (true, false) => Self::Ssl,
            (false, true) => Self::SaslPlaintext,
            (true, true) => Self::SaslSsl,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }

    fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// The options that are read here, for the reference page.
pub(super) fn docs() -> impl Iterator<Item = KeyDoc> {
    DOCS.into_iter().chain(tls::DOCS).chain(sasl::DOCS).chain(WITHOUT_EFFECT)
}

const DOCS: [KeyDoc; 1] = [keys::used(
    "security.protocol",
    "",
    "`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`. Default: `SSL` with a store, else `PLAINTEXT`.",
)];

/// Options that say how Java does it. Names that end with a dot stand for all that begin so.
const WITHOUT_EFFECT: [KeyDoc; 10] = [
    keys::without_effect("ssl.provider", "TLS is rustls with aws-lc."),
    keys::without_effect(
        "ssl.cipher.suites",
        "The suites are rustls' own: TLS 1.3, and ECDHE with AEAD for 1.2.",
    ),
    keys::without_effect("ssl.trustmanager.algorithm", "Tunes Java's TLS."),
    keys::without_effect("ssl.keymanager.algorithm", "Tunes Java's TLS."),
    keys::without_effect("ssl.secure.random.implementation", "Tunes Java's TLS."),
    keys::without_effect("ssl.engine.factory.class", "Names a class of Java."),
    keys::without_effect(
        "sasl.client.callback.handler.class",
        "Names a class of Java; what it does follows from `sasl.mechanism`.",
    ),
    keys::without_effect("sasl.login.", "Tunes Java's login; tokens are renewed in time."),
    keys::without_effect("sasl.kerberos.", "Kerberos is not carried."),
    keys::without_effect(
        "sasl.oauthbearer.",
        "What is not named above tunes Java's login, or checks tokens in a broker.",
    ),
];

/// Reads a product's stores and takes the options that say how to connect. After a mistake, which is in the report,
/// the value does not matter.
pub(super) fn read(
    product: &Map<String, Value>,
    prefix: &str,
    scope: Option<&str>,
    options: &mut Options,
    report: &mut Report,
) -> Security {
    let of_tls = |name: &str| name.starts_with("ssl.") && docs().any(|doc| doc.name == name);
    let option_of_tls = options.first_given(of_tls, "ssl.endpoint.identification.algorithm");
    let protocol = read_protocol(options, report);
    let tls = tls::Given::take(product, prefix, scope, options, report);
    let sasl = sasl::Given::take(options, report);
    for doc in WITHOUT_EFFECT {
        for given in options.take_named(doc.name) {
            report.warn(given.path, format!("has no effect here. {}", doc.doc));
        }
    }
    let chosen = match &protocol {
        Some((_, protocol)) => *protocol,
        None => Protocol::of(tls.store_path().is_some(), false),
    };
    let protocol_path =
        protocol.map_or_else(|| format!("{prefix}kafka_options.security.protocol"), |(path, _)| path);
    if chosen.has_tls() {
        // Then nothing that asks for TLS is in vain.
    } else if let Some(path) = tls.store_path() {
        report.error(path, format!(
            "a store that cannot be used is an error, never plaintext: `security.protocol` is {}; make it {}, or leave the store out",
            chosen.name(), Protocol::of(true, chosen.has_sasl()).name(),
        ));
    } else if let Some(path) = option_of_tls {
        let wanted = Protocol::of(true, chosen.has_sasl()).name();
        report.error(path, format!("needs TLS: set `security.protocol` to {wanted}, or leave it out"));
    } else if let Some(path) = tls::password_key(product, prefix) {
        report.warn(path, format!(
            "opens no store, because no store is given: the connection is {}, which anybody on the way can read",
            chosen.name(),
        ));
    }
    if !chosen.has_sasl()
        && let Some(path) = sasl.asking_path()
    {
        report.error(
            path,
            format!(
                "a login needs SASL: set `security.protocol` to {}, or leave the login out",
                Protocol::of(true, true).name(),
            ),
        );
    }
    let tls = tls.judge(chosen.has_tls(), report);
    let sasl = sasl.judge(chosen.has_sasl(), &protocol_path, report);
    if chosen == Protocol::SaslPlaintext
        && let Some(sasl) = &sasl
    {
        judge_login_without_tls(sasl.mechanism, protocol_path, report);
    }
    Security { tls, sasl }
}

fn judge_login_without_tls(mechanism: Mechanism, path: String, report: &mut Report) {
    match mechanism {
        Mechanism::AwsMskIam => report.error(
            path,
            "AWS_MSK_IAM needs TLS, brokers of MSK take it over nothing else: make it SASL_SSL",
        ),
        Mechanism::Plain => {
            report.warn(path, "SASL_PLAINTEXT sends the password in the clear; SASL_SSL does not");
        }
        Mechanism::OAuthBearer => report.warn(
            path,
            "SASL_PLAINTEXT sends the token in the clear, and whoever reads it can log in with it; SASL_SSL does not",
        ),
        Mechanism::ScramSha256 | Mechanism::ScramSha512 => report.warn(
            path,
            "over SASL_PLAINTEXT whoever listens can guess the password at leisure and read what follows; SASL_SSL prevents that",
        ),
    }
}

fn read_protocol(options: &mut Options, report: &mut Report) -> Option<(String, Protocol)> {
    let (path, text) = options.take_text("security.protocol", report)?;
    let found = Protocol::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(&text));
    if found.is_none() {
        let known = Protocol::ALL.map(Protocol::name).join(", ");
        report.error(&path, format!("is none of {known}"));
    }
    Some((path, found?))
}

/// A secret in a text of the configuration.
fn secret(path: &str, text: &str, report: &mut Report) -> Option<SecretRef> {
    SecretRef::parse(text).map_err(|problem| report.error(path, problem)).ok()
}

#[cfg(test)]
mod tests;
