//! TLS: whom we believe, what we show, and what a failure means.
//!
//! Chains are verified by webpki. Three things are done as Java's client does them, because brokers were set up for
//! it: a certificate that is itself in the truststore is believed as it is, a certificate without alternative names
//! is for the host that its common name says, and of several keys the first that the broker can use is shown.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use heartbeat_core::acon::TlsVersions;
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};

use super::certificate::{CertificateRole, InUse, Shown};
use super::error::SecurityError;
use super::stores::KeyEntry;

/// Whom we believe, with its name for messages.
#[derive(Debug)]
pub(super) struct Trusted {
    /// ``truststore `/x` ``, "the system".
    pub(super) name: String,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// What we show, with its name for messages.
#[derive(Debug)]
pub(super) struct Own {
    /// ``keystore `/x` ``.
    pub(super) name: String,
    pub(super) keys: Vec<KeyEntry>,
}

/// Everything that TLS connections of one cluster are made with.
#[derive(Debug)]
pub(in super::super) struct Setup {
    config: Arc<ClientConfig>,
    verifier: Arc<Verifier>,
    /// Our certificate and its keystore, for messages.
    own: Option<(Shown, String)>,
    /// Our certificates and the trusted ones.
    in_use: Vec<InUse>,
}

impl Setup {
    /// Errors name the store that cannot be used.
    pub(super) fn new(
        trusted: Trusted,
        own: Option<Own>,
        verify_host: bool,
        versions: TlsVersions,
        now: Timestamp,
    ) -> Result<Self, SecurityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut in_use = Vec::new();
        if trusted.name.starts_with("truststore") {
            let what = format!("trusted certificate of {}", trusted.name);
            let role = CertificateRole::Trusted;
            in_use.extend(shown(&trusted.certificates).map(|shown| InUse {
                role,
                what: what.clone(),
                shown,
            }));
        }
        let verifier = Arc::new(Verifier::new(trusted, verify_host, &provider)?);
        let versions: &[_] = match versions {
            TlsVersions::Both => &[&TLS13, &TLS12],
            TlsVersions::Only12 => &[&TLS12],
            TlsVersions::Only13 => &[&TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| SecurityError::Refused(format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as Arc<dyn ServerCertVerifier>);
        let mut shown_own = None;
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let what = format!("client certificate of {}", own.name);
                let chains = own.keys.iter().flat_map(|key| shown(&key.chain));
                let role = CertificateRole::Client;
                let chains: Vec<_> = chains.map(|shown| InUse { role, what: what.clone(), shown }).collect();
                let first = own.keys.first().and_then(|key| Shown::of(key.chain.first()?));
                shown_own = first.map(|shown| (shown, own.name.clone()));
                in_use.extend(chains);
                builder.with_client_cert_resolver(Arc::new(OwnKeys::new(own, &provider, now)?))
            }
        };
        Ok(Self { config: Arc::new(config), verifier, own: shown_own, in_use })
    }

    /// All certificates that matter, with those that brokers have shown.
    pub(super) fn in_use(&self) -> Vec<InUse> {
        let brokers = self.verifier.seen();
        let brokers = brokers.iter().map(|(host, shown)| InUse {
            role: CertificateRole::Broker,
            what: format!("certificate of broker {host}"),
            shown: shown.clone(),
        });
        self.in_use.iter().cloned().chain(brokers).collect()
    }

    /// What a failure of TLS means.
    pub(in super::super) fn explain(&self, error: &rustls::Error) -> String {
        let own = self.own.as_ref().map_or("none".to_owned(), |(own, store)| {
            let out_of_time = own.out_of_time(Timestamp::now());
            format!(
                "{own} in {store}{}",
                out_of_time.map(|problem| format!(", which {problem}")).unwrap_or_default()
            )
        });
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(refused))) => {
                refused.to_string()
            }
            rustls::Error::AlertReceived(alert) => alert_text(*alert, self.own.is_some(), &own),
            rustls::Error::InvalidMessage(_) => {
                "what answers speaks no TLS: is this a PLAINTEXT or SASL_PLAINTEXT port?".to_owned()
            }
            rustls::Error::PeerIncompatible(why) => {
                format!("the broker and heartbeat have no way of TLS in common ({why:?})")
            }
            other => format!("TLS failed: {other}"),
        }
    }

    /// Whether whoever is believed by one is believed by the other.
    pub(super) fn trusts_the_same(&self, other: &Self) -> bool {
        self.verifier.trusted.certificates == other.verifier.trusted.certificates
    }

    /// For making a connection.
    pub(in super::super) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Whom our certificate is for, for messages.
    pub(super) fn who(&self) -> Option<String> {
        self.own.as_ref().map(|(own, _)| format!("`{}`", own.subject))
    }

    /// A connection broke off where a broker that is not content breaks it off without a word.
    pub(in super::super) fn shows_certificate(&self) -> bool {
        self.own.is_some()
    }
}

fn alert_text(alert: rustls::AlertDescription, has_own: bool, own: &str) -> String {
    use rustls::AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired | Alert::BadCertificate if !has_own => format!(
            "the broker requires a client certificate and was shown none (alert {alert:?}): give `kafka_ssl_keystore_location`"
        ),
        Alert::HandshakeFailure if !has_own => format!(
            "the broker ended the handshake (alert {alert:?}): it may require a client certificate, or have no cipher suite in common"
        ),
        Alert::CertificateExpired => {
            format!("the broker refused our certificate as expired (alert {alert:?}): {own}")
        }
        Alert::UnknownCA => {
            format!("the broker does not trust whoever signed our certificate (alert {alert:?}): {own}")
        }
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateRevoked
        | Alert::UnsupportedCertificate
        | Alert::AccessDenied => {
            format!("the broker refused our certificate (alert {alert:?}), which it may not trust: {own}")
        }
        Alert::ProtocolVersion => format!(
            "the broker speaks none of our versions of TLS (alert {alert:?}): see `ssl.enabled.protocols`"
        ),
        _ => format!("the broker ended the connection (alert {alert:?})"),
    }
}

fn shown(certificates: &[CertificateDer<'_>]) -> impl Iterator<Item = Shown> {
    certificates.iter().filter_map(|der| Shown::of(der))
}

/// Judges the certificate of a broker.
struct Verifier {
    trusted: Trusted,
    roots: RootCertStore,
    provider: CryptoProvider,
    verify_host: bool,
    seen: Mutex<BTreeMap<String, Shown>>,
}

/// Why a broker is not believed, as a sentence.
#[derive(Debug)]
struct Disbelief(String);

impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Disbelief {}

impl Disbelief {
    fn error(text: String) -> rustls::Error {
        CertificateError::Other(OtherError(Arc::new(Self(text)))).into()
    }
}

impl Verifier {
    fn new(trusted: Trusted, verify_host: bool, provider: &CryptoProvider) -> Result<Self, SecurityError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(trusted.certificates.iter().cloned());
        if added == 0 {
            return Err(SecurityError::Refused(format!(
                "{}: no certificate in it can be used",
                trusted.name
            )));
        }
        Ok(Self { trusted, roots, provider: provider.clone(), verify_host, seen: Mutex::default() })
    }

    fn seen(&self) -> BTreeMap<String, Shown> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn verify_chain(
        &self,
        end: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        shown: &Shown,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let moment = Timestamp::from_second(now.as_secs() as i64).unwrap_or(Timestamp::MAX);
        if let Some(problem) = shown.out_of_time(moment) {
            return Err(Disbelief::error(format!("the broker's certificate {problem}: {shown}")));
        }
        if self.trusted.certificates.iter().any(|trusted| trusted.as_ref() == end.as_ref()) {
            return Ok(());
        }
        if !shown.is_v3 {
            return Err(Disbelief::error(format!(
                "the broker's certificate is X.509 version 1, which cannot be verified: {shown}; sign it again with extensions, or put it into the truststore itself"
            )));
        }
        let verified = ParsedCertificate::try_from(end).and_then(|parsed| {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)
        });
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Disbelief::error(format!(
                "the broker's certificate is not from anybody whom we trust: it is {shown}, and {} trusts {}",
                self.trusted.name,
                self.trusts()
            )),
            error => {
                Disbelief::error(format!("the broker's certificate cannot be believed ({error}): {shown}"))
            }
        })
    }

    fn trusts(&self) -> String {
        const MOST: usize = 3;
        let all = &self.trusted.certificates;
        if !self.trusted.name.starts_with("truststore") {
            return format!("{} authorities", all.len());
        }
        let mut names: Vec<String> =
            shown(all).take(MOST).map(|shown| format!("`{}`", shown.subject)).collect();
        if all.len() > MOST {
            names.push(format!("{} more", all.len() - MOST));
        }
        names.join(", ")
    }

    fn verify_name(
        &self,
        end: &CertificateDer<'_>,
        name: &ServerName<'_>,
        shown: &Shown,
    ) -> Result<(), rustls::Error> {
        if !self.verify_host {
            return Ok(());
        }
        let host = name.to_str();
        let is_common_name = shown.names.is_empty()
            && matches!(name, ServerName::DnsName(_))
            && shown.common_name.as_deref().is_some_and(|pattern| is_for(pattern, &host));
        let by_names =
            || ParsedCertificate::try_from(end).and_then(|parsed| verify_server_name(&parsed, name));
        if is_common_name || by_names().is_ok() {
            return Ok(());
        }
        let names = match (shown.names.as_slice(), &shown.common_name) {
            ([], None) => "no host".to_owned(),
            ([], Some(name)) => format!("`{name}`"),
            (names, _) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        Err(Disbelief::error(format!(
            "the broker's certificate is for {names}, not for `{host}`: use a name that it is for (brokers advertise theirs: advertised.listeners), or give the broker another certificate"
        )))
    }
}

/// Whether a name with a `*` as its first label, or without one, is the host's.
fn is_for(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(rest)),
        None => pattern.eq_ignore_ascii_case(host),
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("trusted", &self.trusted.name).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = Shown::of(end_entity).ok_or(CertificateError::BadEncoding)?;
        self.verify_chain(end_entity, intermediates, &shown, now)?;
        self.verify_name(end_entity, server_name, &shown)?;
        let host = server_name.to_str().into_owned();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(host, shown);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Chooses what to show.
#[derive(Debug)]
struct OwnKeys(Vec<Arc<CertifiedKey>>);

impl OwnKeys {
    fn new(own: Own, provider: &CryptoProvider, now: Timestamp) -> Result<Self, SecurityError> {
        let name = own.name;
        let refused = |problem: String| SecurityError::Refused(format!("{name}: {problem}"));
        let mut keys = Vec::with_capacity(own.keys.len());
        let mut ended = None;
        for KeyEntry { key, chain } in own.keys {
            if let Some(shown) = chain.first().and_then(|der| Shown::of(der))
                && let Some(problem) = shown.out_of_time(now)
            {
                ended = Some(format!("the client certificate {problem}: {shown}"));
                continue;
            }
            let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
                refused(match error {
                    rustls::Error::InconsistentKeys(_) => {
                        "its key and its certificate do not belong together".into()
                    }
                    error => format!("its key cannot be used: {error}"),
                })
            })?;
            keys.push(Arc::new(key));
        }
        match (keys.is_empty(), ended) {
            (true, Some(problem)) => Err(refused(problem)),
            _ => Ok(Self(keys)),
        }
    }
}

impl ResolvesClientCert for OwnKeys {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let signs = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let is_hinted = |key: &&Arc<CertifiedKey>| {
            key.cert.iter().any(|der| issuer_of(der).is_some_and(|issuer| hints.contains(&issuer.as_slice())))
        };
        let usable = || self.0.iter().filter(signs);
        usable().find(is_hinted).or_else(|| usable().next()).or(self.0.first()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

/// The issuer's name in DER, as hints give it.
fn issuer_of(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    use x509_parser::prelude::FromDer as _;
    let (_, certificate) = x509_parser::prelude::X509Certificate::from_der(der).ok()?;
    Some(certificate.issuer().as_raw().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(is_for("*.Kafka.example", "b1.kafka.example"));
        assert!(is_for("kafka", "KAFKA"));
        assert!(!is_for("*.example", "a.b.example"));
        assert!(!is_for("*.example", "example"));
        assert!(!is_for("a.example", "b.example"));
    }
}
