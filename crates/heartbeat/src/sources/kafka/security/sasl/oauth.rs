//! OAUTHBEARER: a token from its endpoint (client credentials, KIP-768) or a file, kept until shortly before it ends.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use heartbeat_core::secret::Secret;
use reqwest::Certificate;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, RootCertStore};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::error::SecurityError;
use super::super::stores::without_secrets;
use crate::base64;

/// A token is renewed when this share of its life is over.
const SHARE: f64 = 0.8;

/// What a token that says nothing of its life is believed to have left.
const UNKNOWN_LIFE: Duration = Duration::from_mins(5);

/// Whoever has a token that still holds waits no longer for the next one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers are a few kilobytes.
const LARGEST: usize = 1 << 20;

/// Gets tokens of one client.
pub(in crate::sources::kafka) struct Tokens {
    pub(super) source: Source,
    pub(super) extensions: BTreeMap<String, String>,
    kept: Mutex<Option<Kept>>,
}

/// Where tokens come from.
pub(super) enum Source {
    File(String),
    Endpoint(Endpoint),
}

/// An endpoint and who asks it.
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) client_id: Secret,
    pub(super) client_secret: Secret,
    pub(super) scope: Option<String>,
    /// Whom to believe there beside the system's certificates: identity providers are often public where brokers are not.
    pub(super) trusted: Option<Vec<Vec<u8>>>,
}

struct Kept {
    token: Secret,
    renew_at: Instant,
    ends_at: Instant,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Value,
    error: Option<String>,
    error_description: Option<String>,
}

impl Tokens {
    pub(super) fn new(source: Source, extensions: BTreeMap<String, String>) -> Self {
        Self { source, extensions, kept: Mutex::default() }
    }

    /// The first message of the exchange, with a token that holds.
    pub(super) async fn message(&self) -> Result<String, SecurityError> {
        let token = self.token().await?;
        let bad = |byte: u8| !(0x20..0x7f).contains(&byte);
        if token.expose().is_empty() || token.expose().bytes().any(bad) {
            return Err(SecurityError::Login(format!("{} gave something that is no token", self.place())));
        }
        let mut message = format!("n,,\u{1}auth=Bearer {}\u{1}", token.expose());
        for (key, value) in &self.extensions {
            message.extend([key, "=", value, "\u{1}"]);
        }
        message.push('\u{1}');
        Ok(message)
    }

    /// Forgets the token, because the broker did not take it.
    pub(super) async fn doubt(&self) {
        *self.kept.lock().await = None;
    }

    pub(super) fn place(&self) -> String {
        match &self.source {
            Source::File(path) => format!("file `{path}`"),
            Source::Endpoint(endpoint) => format!("token endpoint {}", without_secrets(&endpoint.url)),
        }
    }

    async fn token(&self) -> Result<Secret, SecurityError> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| Instant::now() < kept.renew_at) {
            return Ok(kept.token.clone());
        }
        let fetched = if kept.as_ref().is_some_and(|kept| Instant::now() < kept.ends_at) {
            timeout(PATIENCE, self.fetch()).await.unwrap_or_else(|elapsed| {
                let what = format!("{} does not answer in time", self.place());
                Err(SecurityError::Unreachable { what, cause: Box::new(elapsed) })
            })
        } else {
            self.fetch().await
        };
        match fetched {
            Ok(new) => {
                let token = new.token.clone();
                *kept = Some(new);
                Ok(token)
            }
            Err(error) => match kept.as_ref().filter(|kept| Instant::now() < kept.ends_at) {
                Some(old) => {
                    tracing::warn!(
                        place = self.place(),
                        error = crate::error_chain::chain(&error),
                        "token not renewed yet"
                    );
                    Ok(old.token.clone())
                }
                None => Err(error),
            },
        }
    }

    async fn fetch(&self) -> Result<Kept, SecurityError> {
        let asked = Instant::now();
        let (token, life) = match &self.source {
            Source::File(path) => {
                let text = tokio::fs::read_to_string(path).await;
                let text = text.map_err(|error| {
                    SecurityError::Login(format!("the token in file `{path}` cannot be read: {error}"))
                })?;
                // Whoever writes the file renews it in its own time.
                (text.trim().to_owned(), Some(Duration::ZERO))
            }
            Source::Endpoint(endpoint) => self.ask(endpoint).await?,
        };
        let life = life.or_else(|| life_of_jwt(&token)).unwrap_or(UNKNOWN_LIFE);
        Ok(Kept { token: Secret::new(token), renew_at: asked + life.mul_f64(SHARE), ends_at: asked + life })
    }

    async fn ask(&self, endpoint: &Endpoint) -> Result<(String, Option<Duration>), SecurityError> {
        let unreachable = |error: reqwest::Error| match refused_certificate(&error) {
            Some(why) => SecurityError::Refused(format!(
                "{}: its certificate is not believed ({why}); the system's authorities and the truststore's count",
                self.place()
            )),
            None => SecurityError::Unreachable {
                what: format!("{} does not answer", self.place()),
                cause: Box::new(error.without_url()),
            },
        };
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(endpoint.scope.iter().map(|scope| ("scope", scope.as_str())));
        let pair = format!("{}:{}", endpoint.client_id.expose(), endpoint.client_secret.expose());
        let mut basic = HeaderValue::from_str(&format!("Basic {}", base64::encode(pair.as_bytes())))
            .map_err(|_| SecurityError::Login("the client's id or secret cannot be sent".to_owned()))?;
        basic.set_sensitive(true);
        let client = endpoint.client().map_err(unreachable)?;
        let request =
            client.post(&endpoint.url).header(AUTHORIZATION, basic).header(ACCEPT, "application/json");
        let answer = request.form(&form).send().await.map_err(unreachable)?;
        let status = answer.status();
        if answer.content_length().is_some_and(|length| length > LARGEST as u64) {
            return Err(SecurityError::Login(format!("{} answered far too much", self.place())));
        }
        let body = answer.bytes().await.map_err(unreachable)?;
        let read: Option<Answer> = serde_json::from_slice(&body).ok();
        if status.is_server_error() || status.as_u16() == 429 {
            let cause = format!("HTTP {}", status.as_u16()).into();
            return Err(SecurityError::Unreachable {
                what: format!("{} cannot serve now", self.place()),
                cause,
            });
        }
        match read {
            Some(Answer { access_token: Some(token), expires_in, .. }) if status.is_success() => {
                let seconds = match &expires_in {
                    Value::String(text) => text.parse().ok(),
                    number => number.as_u64(),
                };
                Ok((token, seconds.map(Duration::from_secs)))
            }
            // Error codes are names (RFC 6749); a description is the server's and holds no credential.
            Some(Answer { error: Some(error), error_description, .. }) => {
                let more = error_description.map(|text| format!(" ({})", short(&text))).unwrap_or_default();
                let hint = match error.as_str() {
                    "invalid_client" | "unauthorized_client" => ": check the client's id and secret",
                    "invalid_scope" => ": check `sasl.oauthbearer.scope`",
                    _ => "",
                };
                Err(SecurityError::Login(format!("{} refused: {}{more}{hint}", self.place(), short(&error))))
            }
            _ => Err(SecurityError::Login(format!(
                "{} answered HTTP {} and no token: is this the token endpoint?",
                self.place(),
                status.as_u16()
            ))),
        }
    }
}

impl Endpoint {
    /// No redirects: the client's secret goes to this address only.
    fn client(&self) -> reqwest::Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_secs(30));
        if let Some(trusted) = &self.trusted {
            let certificates: reqwest::Result<Vec<_>> =
                usable(trusted).iter().map(|der| Certificate::from_der(der)).collect();
            builder = builder.tls_certs_only(certificates?);
        }
        builder.build()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("from", &self.place()).finish_non_exhaustive()
    }
}

/// The system's certificates and these ones, as far as they can be roots.
fn usable(trusted: &[Vec<u8>]) -> Vec<CertificateDer<'static>> {
    let system = rustls_native_certs::load_native_certs().certs;
    let mut roots = RootCertStore::empty();
    let own = trusted.iter().map(|der| CertificateDer::from(der.clone()));
    system.into_iter().chain(own).filter(|der| roots.add(der.clone()).is_ok()).collect()
}

/// Why the certificate of whoever answered was not believed, if that is what went wrong.
fn refused_certificate<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CertificateError> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An io::Error tells its cause's source, not its cause.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = error.downcast_ref().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if let Some(rustls::Error::InvalidCertificate(why)) = tls {
            return Some(why);
        }
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// One line of a server's text.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// How long a JWT says that it holds. Its signature is the broker's business.
fn life_of_jwt(token: &str) -> Option<Duration> {
    let payload = token.split('.').nth(1)?.replace('-', "+").replace('_', "/");
    let padded = format!("{payload}{}", "=".repeat((4 - payload.len() % 4) % 4));
    let claims: Value = serde_json::from_slice(&base64::decode(&padded)?).ok()?;
    let ends = claims.get("exp")?.as_i64()?;
    Some(Duration::from_secs(u64::try_from(ends - jiff::Timestamp::now().as_second()).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwt_says_how_long_it_holds() {
        let ends = jiff::Timestamp::now().as_second() + 100;
        let claims = base64::encode(format!("{{\"exp\":{ends}}}").as_bytes());
        let claims = claims.replace('+', "-").replace('/', "_").replace('=', "");
        let life = life_of_jwt(&format!("x.{claims}.y")).unwrap();
        assert!((98..=100).contains(&life.as_secs()), "{life:?}");
        assert_eq!(life_of_jwt("opaque"), None);
    }

    #[test]
    fn what_may_be_secret_in_an_address_is_not_shown() {
        let client = || Secret::new("x");
        let url = "https://id:s3cr3t@login.example/t?key=s3cr3t#s3cr3t".to_owned();
        let endpoint =
            Endpoint { url, client_id: client(), client_secret: client(), scope: None, trusted: None };
        let tokens = Tokens::new(Source::Endpoint(endpoint), BTreeMap::new());
        assert_eq!(tokens.place(), "token endpoint https://login.example/t");
    }

    #[tokio::test]
    async fn a_token_of_a_file_is_sent_with_its_extensions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token").display().to_string();
        std::fs::write(&path, "abc.def\n").unwrap();
        let extensions = BTreeMap::from([("logicalCluster".to_owned(), "lkc-1".to_owned())]);
        let tokens = Tokens::new(Source::File(path.clone()), extensions);
        let message = tokens.message().await.unwrap();
        assert_eq!(message, "n,,\u{1}auth=Bearer abc.def\u{1}logicalCluster=lkc-1\u{1}\u{1}");
        std::fs::write(&path, "two\nlines").unwrap();
        assert!(tokens.message().await.unwrap_err().to_string().ends_with("gave something that is no token"));
    }
}
