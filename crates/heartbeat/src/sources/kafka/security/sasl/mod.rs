//! SASL: the exchange that logs in (SaslHandshake, then SaslAuthenticate), whatever the mechanism.

mod msk;
mod oauth;
mod scram;

use std::time::{Duration, Instant};

use bytes::Bytes;
use heartbeat_core::acon::Mechanism;
use heartbeat_core::secret::Secret;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

pub(super) use self::msk::Aws;
pub(super) use self::oauth::Tokens;

use self::oauth::{Endpoint, Source};
use self::scram::{Exchange, Hash};
use super::super::connection::{Connection, Supported};
use super::super::error::ClientError;
use super::error::SecurityError;

const HANDSHAKE: Supported = Supported { name: "SaslHandshake", min: 1, max: 1 };
/// v1 tells how long a session lasts (KIP-368).
const AUTHENTICATE: Supported = Supported { name: "SaslAuthenticate", min: 0, max: 2 };

/// As whom to log in, with everything that is needed.
#[derive(Debug)]
pub(in super::super) enum Credentials {
    Password { mechanism: Mechanism, username: String, password: Secret, is_token: bool },
    OAuth(Tokens),
    Aws(Aws),
}

impl Credentials {
    pub(super) fn aws(login: heartbeat_core::acon::AwsLogin) -> Self {
        Self::Aws(Aws::new(login))
    }

    pub(super) fn tokens_of_file(
        path: String,
        extensions: std::collections::BTreeMap<String, String>,
    ) -> Self {
        Self::OAuth(Tokens::new(Source::File(path), extensions))
    }

    pub(super) fn tokens_of_endpoint(
        url: String,
        client: (Secret, Secret),
        scope: Option<String>,
        trusted: Option<Vec<Vec<u8>>>,
        extensions: std::collections::BTreeMap<String, String>,
    ) -> Self {
        let (client_id, client_secret) = client;
        let endpoint = Endpoint { url, client_id, client_secret, scope, trusted };
        Self::OAuth(Tokens::new(Source::Endpoint(endpoint), extensions))
    }

    /// Who we are, for messages; a name is no secret.
    pub(in super::super) fn who(&self) -> String {
        match self {
            Self::Password { username, mechanism, .. } => format!("user `{username}` ({mechanism})"),
            Self::OAuth(_) => "the client of the token (OAUTHBEARER)".to_owned(),
            Self::Aws(_) => "the AWS identity (AWS_MSK_IAM)".to_owned(),
        }
    }

    fn mechanism(&self) -> Mechanism {
        match self {
            Self::Password { mechanism, .. } => *mechanism,
            Self::OAuth(_) => Mechanism::OAuthBearer,
            Self::Aws(_) => Mechanism::AwsMskIam,
        }
    }
}

/// Logs in on a connection that knows the broker's versions. Tells how long the session lasts, if it ends.
pub(in super::super) async fn login(
    connection: &mut Connection,
    credentials: &Credentials,
    deadline: Instant,
) -> Result<Option<Duration>, ClientError> {
    let mut talk = Talk { connection, credentials, deadline, lifetime: None };
    talk.shake_hands().await?;
    match credentials {
        Credentials::Password { mechanism: Mechanism::Plain, username, password, .. } => {
            talk.send(format!("\0{username}\0{}", password.expose())).await?;
        }
        Credentials::Password { mechanism, username, password, is_token } => {
            let hash = if *mechanism == Mechanism::ScramSha512 { Hash::Sha512 } else { Hash::Sha256 };
            let (mut exchange, first) = Exchange::begin(hash, username, password.expose(), *is_token);
            let answer = talk.send(first).await?;
            let proof = exchange.prove(&answer).map_err(|problem| {
                talk.failed(&format!("the broker breaks the rules of {mechanism}: {problem}"))
            })?;
            let answer = talk.send(proof).await?;
            exchange.verify(&answer).map_err(|problem| talk.failed(&problem))?;
        }
        Credentials::OAuth(tokens) => {
            let what = || format!("token of {}", tokens.place());
            let message = talk.connection.need(what, tokens.message(), deadline).await?;
            let told = match talk.send(message).await {
                // The broker has more to say once we say that we have heard (RFC 7628).
                Ok(answer) if !answer.is_empty() => talk.send("\u{1}".to_owned()).await.and_then(|_| {
                    Err(talk.failed(&format!("the broker refused the token: {}", one_line(&answer))))
                }),
                other => other,
            };
            if told.is_err() {
                tokens.doubt().await;
            }
            told?;
        }
        Credentials::Aws(aws) => {
            let host = talk.connection.host().to_owned();
            let what = || "AWS credentials of the login".to_owned();
            let payload = talk.connection.need(what, aws.payload(&host), deadline).await?;
            talk.send(payload).await?;
        }
    }
    Ok(talk.lifetime)
}

struct Talk<'a> {
    connection: &'a mut Connection,
    credentials: &'a Credentials,
    deadline: Instant,
    lifetime: Option<Duration>,
}

impl Talk<'_> {
    async fn shake_hands(&mut self) -> Result<(), ClientError> {
        let mechanism = self.credentials.mechanism();
        let version = self.connection.version::<SaslHandshakeRequest>(HANDSHAKE)?;
        let request =
            SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism.name()));
        let answer = self.connection.call(version, &request, self.deadline).await?;
        let offered: Vec<&str> = answer.mechanisms.iter().map(|name| &**name).collect();
        match ResponseError::try_from_code(answer.error_code) {
            None if answer.error_code == 0 => Ok(()),
            Some(ResponseError::UnsupportedSaslMechanism) => Err(self.failed(&format!(
                "{mechanism} is not enabled on this listener; it offers {}",
                if offered.is_empty() { "none".to_owned() } else { offered.join(", ") }
            ))),
            Some(ResponseError::IllegalSaslState) => {
                Err(self.failed("this listener knows no login: set `security.protocol` to SSL or PLAINTEXT"))
            }
            _ => {
                Err(self
                    .failed(&format!("the broker refused the handshake: error code {}", answer.error_code)))
            }
        }
    }

    async fn send(&mut self, message: impl Into<Bytes>) -> Result<String, ClientError> {
        let version = self.connection.version::<SaslAuthenticateRequest>(AUTHENTICATE)?;
        let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
        let answer = self.connection.call(version, &request, self.deadline).await?;
        if answer.error_code != 0 {
            let told = answer.error_message.as_deref().unwrap_or("it says no more");
            return Err(self.failed(&format!(
                "the broker refused {}: {}",
                self.credentials.who(),
                one_line(told)
            )));
        }
        if let Ok(milliseconds @ 1..) = u64::try_from(answer.session_lifetime_ms) {
            self.lifetime = Some(Duration::from_millis(milliseconds));
        }
        Ok(String::from_utf8_lossy(&answer.auth_bytes).into_owned())
    }

    fn failed(&self, problem: &str) -> ClientError {
        self.connection.unsafe_because(SecurityError::Login(format!("login failed: {problem}")))
    }
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
