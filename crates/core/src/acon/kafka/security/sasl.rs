//! SASL: with which mechanism to log in, and as whom.

use std::collections::BTreeMap;
use std::fmt;

use super::super::super::Report;
use super::super::super::keys::{self, KeyDoc};
use super::super::options::Options;
use super::given::{At, one_of, secret_text, text};
use super::jaas::{self, Module};
use crate::secret::{Secret, SecretRef};

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// As whom.
    pub login: Login,
    /// Used by [`Mechanism::OAuthBearer`]; what a JAAS text does not say itself.
    pub oauth: OAuthLogin,
}

/// `sasl.mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// RFC 5802 with SHA-256.
    ScramSha256,
    /// RFC 5802 with SHA-512.
    ScramSha512,
    /// RFC 7628, token by client credentials (KIP-768).
    OAuthBearer,
    /// Amazon MSK's: a presigned request as the password.
    AwsMskIam,
}

/// As whom to log in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Login {
    /// PLAIN and SCRAM.
    Password {
        /// Name of the user.
        username: SecretRef,
        /// Password of the user.
        password: SecretRef,
        /// The user is a delegation token (KIP-48).
        is_token: bool,
    },
    /// OAUTHBEARER, by [`Sasl::oauth`].
    OAuth,
    /// AWS_MSK_IAM.
    Aws(AwsLogin),
    /// A JAAS text that is kept elsewhere: [`Sasl::opened`] reads it.
    Jaas(SecretRef),
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OAuthLogin {
    /// `https://`, `http://`, or `file:` of a token; `None` only until a JAAS text was read.
    pub endpoint: Option<String>,
    /// Id of the client.
    pub client_id: Option<SecretRef>,
    /// Its secret.
    pub client_secret: Option<SecretRef>,
    /// What the token is for.
    pub scope: Option<String>,
    /// Sent beside the token (KIP-342).
    pub extensions: BTreeMap<String, String>,
}

/// Which credentials of AWS sign; by default those that its SDKs would find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AwsLogin {
    /// Profile of the AWS files.
    pub profile: Option<String>,
    /// Role to assume.
    pub role_arn: Option<String>,
    /// Name of that session.
    pub role_session_name: Option<String>,
    /// External id of that role.
    pub role_external_id: Option<String>,
    /// Region of the STS that is asked for it.
    pub sts_region: Option<String>,
}

impl Mechanism {
    const ALL: [Self; 5] =
        [Self::Plain, Self::ScramSha256, Self::ScramSha512, Self::OAuthBearer, Self::AwsMskIam];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::AwsMskIam => "AWS_MSK_IAM",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Self::Plain => "PlainLoginModule",
            Self::ScramSha256 | Self::ScramSha512 => "ScramLoginModule",
            Self::OAuthBearer => "OAuthBearerLoginModule",
            Self::AwsMskIam => "IAMLoginModule",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Sasl {
    /// The login with its JAAS text, which was kept elsewhere, read. Errors never repeat the text.
    pub fn opened(&self, text: &Secret) -> Result<Self, String> {
        let module = jaas::parse(text.expose()).map_err(|problem| format!("the JAAS text {problem}"))?;
        let (login, oauth) = read_module(self.mechanism, module, self.oauth.clone())?;
        let opened = Self { mechanism: self.mechanism, login, oauth };
        opened.check().map(|()| opened)
    }

    /// What OAUTHBEARER needs, once everything is known.
    fn check(&self) -> Result<(), String> {
        if self.mechanism != Mechanism::OAuthBearer || matches!(self.login, Login::Jaas(_)) {
            return Ok(());
        }
        let oauth = &self.oauth;
        let Some(endpoint) = &oauth.endpoint else {
            return Err("OAUTHBEARER needs `sasl.oauthbearer.token.endpoint.url`".to_owned());
        };
        let needs_client = !endpoint.starts_with("file:");
        if needs_client && (oauth.client_id.is_none() || oauth.client_secret.is_none()) {
            return Err("OAUTHBEARER needs a client id and a client secret: `sasl.oauthbearer.client.credentials.client.id` and `.secret`, or clientId and clientSecret in `sasl.jaas.config`".to_owned());
        }
        Ok(())
    }
}

/// For the reference page.
pub(super) const DOCS: [KeyDoc; 10] = [
    keys::used(
        "sasl.mechanism",
        "",
        "`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER` or `AWS_MSK_IAM`. Kerberos (`GSSAPI`) is not carried.",
    ),
    keys::used(
        "sasl.jaas.config",
        "",
        "The login as Java writes it: `...PlainLoginModule required username=\"u\" password=\"p\";`, with or without `kafkashaded.`; also ScramLoginModule, OAuthBearerLoginModule and IAMLoginModule. The whole text or each value may be a reference as for a password.",
    ),
    keys::used("sasl.username", "", "librdkafka's simple form, instead of a JAAS text."),
    keys::used("sasl.password", "", "The password, or a reference to it."),
    keys::used(
        "sasl.oauthbearer.token.endpoint.url",
        "",
        "Where a token is asked for (client credentials), or `file:PATH` of one.",
    ),
    keys::used(
        "sasl.oauthbearer.client.credentials.client.id",
        "",
        "Id of the client; also `sasl.oauthbearer.client.id`.",
    ),
    keys::used(
        "sasl.oauthbearer.client.credentials.client.secret",
        "",
        "Its secret, or a reference to it; also `sasl.oauthbearer.client.secret`.",
    ),
    keys::used("sasl.oauthbearer.scope", "", "Scope of the token."),
    keys::used("sasl.oauthbearer.extensions", "", "`key=value,...` sent beside the token."),
    keys::used("sasl.mechanisms", "", "librdkafka's name of `sasl.mechanism`."),
];

/// What was given, before the protocol is known.
pub(super) struct Given {
    mechanism: Option<At<String>>,
    jaas: Option<At<SecretRef>>,
    username: Option<At<SecretRef>>,
    password: Option<At<SecretRef>>,
    endpoint: Option<At<String>>,
    client_id: Option<At<SecretRef>>,
    client_secret: Option<At<SecretRef>>,
    scope: Option<At<String>>,
    extensions: Option<At<String>>,
}

impl Given {
    pub(super) fn take(options: &mut Options, report: &mut Report) -> Self {
        let mechanisms = ["sasl.mechanism", "sasl.mechanisms"].map(|name| text(name, options, report));
        let mut either = |names: [&str; 2]| {
            let given = names.map(|name| secret_text(name, options, report));
            one_of(given, report)
        };
        Self {
            client_id: either([
                "sasl.oauthbearer.client.credentials.client.id",
                "sasl.oauthbearer.client.id",
            ]),
            client_secret: either([
                "sasl.oauthbearer.client.credentials.client.secret",
                "sasl.oauthbearer.client.secret",
            ]),
            mechanism: one_of(mechanisms, report),
            jaas: secret_text("sasl.jaas.config", options, report),
            username: secret_text("sasl.username", options, report),
            password: secret_text("sasl.password", options, report),
            endpoint: text("sasl.oauthbearer.token.endpoint.url", options, report),
            scope: text("sasl.oauthbearer.scope", options, report),
            extensions: text("sasl.oauthbearer.extensions", options, report),
        }
    }

    /// The key that asks for a login, if one does.
    pub(super) fn asking_path(&self) -> Option<String> {
        let secrets = [&self.jaas, &self.username, &self.password, &self.client_id, &self.client_secret];
        let texts = [&self.mechanism, &self.endpoint, &self.scope, &self.extensions];
        let secrets = secrets.into_iter().flatten().map(|at| &at.path);
        secrets.chain(texts.into_iter().flatten().map(|at| &at.path)).next().cloned()
    }

    /// `None`: there is no login, or it is a mistake. `protocol_path` is the key that asks for one.
    pub(super) fn judge(self, is_wanted: bool, protocol_path: &str, report: &mut Report) -> Option<Sasl> {
        let mechanism = self.mechanism.as_ref().map(|at| (at.path.clone(), read_mechanism(at, report)));
        if !is_wanted {
            return None;
        }
        if mechanism.is_none() {
            let known = Mechanism::ALL.map(Mechanism::name).join(", ");
            report.error(protocol_path, format!("a SASL protocol needs `sasl.mechanism`: one of {known}"));
        }
        let mechanism = mechanism.and_then(|(path, mechanism)| Some((path, mechanism?)));
        let oauth = self.oauth(mechanism.as_ref().map(|(_, mechanism)| *mechanism), report);
        if self.jaas.is_some()
            && let Some(other) = self.username.as_ref().or(self.password.as_ref())
        {
            report.error(&other.path, "excludes `sasl.jaas.config`: give one of the two");
        }
        let module = match &self.jaas {
            Some(At { path, value: SecretRef::Literal(text) }) => match jaas::parse(text.expose()) {
                Ok(module) => Some(module),
                Err(problem) => {
                    report.error(path, problem);
                    return None;
                }
            },
            _ => None,
        };
        let (path, mechanism) = mechanism?;
        let path = self.jaas.as_ref().map_or(path, |jaas| jaas.path.clone());
        let read = match (module, self.jaas) {
            (Some(module), _) => read_module(mechanism, module, oauth),
            (None, Some(jaas)) => Ok((Login::Jaas(jaas.value), oauth)),
            (None, None) => {
                Ok((simple_login(mechanism, self.username, self.password, &path, report)?, oauth))
            }
        };
        let sasl = read.map(|(login, oauth)| Sasl { mechanism, login, oauth });
        let sasl = sasl.and_then(|sasl| sasl.check().map(|()| sasl));
        sasl.map_err(|problem| report.error(path, problem)).ok()
    }

    /// Mistakes are in the report.
    fn oauth(&self, mechanism: Option<Mechanism>, report: &mut Report) -> OAuthLogin {
        let mut extensions = BTreeMap::new();
        if let Some(At { path, value }) = &self.extensions {
            for pair in value.split(',').filter(|pair| !pair.trim().is_empty()) {
                match pair.split_once('=') {
                    Some((key, value)) => {
                        extensions.insert(key.trim().to_owned(), value.trim().to_owned());
                    }
                    None => report.error(path, "must be `key=value` pairs with commas between them"),
                }
            }
        }
        if let Some(At { path, value }) = &self.endpoint
            && mechanism.is_none_or(|mechanism| mechanism == Mechanism::OAuthBearer)
        {
            check_endpoint(path, value, report);
        }
        let value = |at: &Option<At<SecretRef>>| at.as_ref().map(|at| at.value.clone());
        OAuthLogin {
            endpoint: self.endpoint.as_ref().map(|at| at.value.clone()),
            client_id: value(&self.client_id),
            client_secret: value(&self.client_secret),
            scope: self.scope.as_ref().map(|at| at.value.clone()),
            extensions,
        }
    }
}

fn check_endpoint(path: &str, url: &str, report: &mut Report) {
    if !["https://", "http://", "file:"].iter().any(|scheme| url.starts_with(scheme)) {
        report.error(path, "must be an https:// URL, or `file:PATH` of a token");
    }
    // It is shown in messages, and the client has an id and a secret of its own.
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    if authority.is_some_and(|authority| authority.contains('@')) {
        report.error(path, "must not hold a user or password before `@`: give `sasl.oauthbearer.client.credentials.client.id` and `.secret`");
    }
    if url.starts_with("http://") {
        report.warn(path, "the client's secret goes to this address in the clear; https:// does not do that");
    }
}

fn read_mechanism(given: &At<String>, report: &mut Report) -> Option<Mechanism> {
    let found = Mechanism::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(&given.value));
    if found.is_none() {
        let known = Mechanism::ALL.map(Mechanism::name).join(", ");
        let problem = if given.value.eq_ignore_ascii_case("GSSAPI") {
            format!(
                "Kerberos (GSSAPI) is not carried: it needs the system's Kerberos libraries, and heartbeat is one binary without any; use a listener with {known}, or a client certificate"
            )
        } else {
            format!("is no mechanism that is carried; those are {known}")
        };
        report.error(&given.path, problem);
    }
    found
}

fn simple_login(
    mechanism: Mechanism,
    username: Option<At<SecretRef>>,
    password: Option<At<SecretRef>>,
    path: &str,
    report: &mut Report,
) -> Option<Login> {
    match (mechanism, username, password) {
        (Mechanism::OAuthBearer, None, None) => Some(Login::OAuth),
        (Mechanism::AwsMskIam, None, None) => Some(Login::Aws(AwsLogin::default())),
        (Mechanism::OAuthBearer | Mechanism::AwsMskIam, Some(at), _)
        | (Mechanism::OAuthBearer | Mechanism::AwsMskIam, None, Some(at)) => {
            report.error(at.path, format!("{mechanism} knows no username and password"));
            None
        }
        (_, Some(username), Some(password)) => {
            Some(Login::Password { username: username.value, password: password.value, is_token: false })
        }
        _ => {
            report.error(
                path,
                format!("{mechanism} needs `sasl.jaas.config`, or `sasl.username` and `sasl.password`"),
            );
            None
        }
    }
}

/// The login that a module describes. Errors name options, never their values.
fn read_module(
    mechanism: Mechanism,
    module: Module,
    mut oauth: OAuthLogin,
) -> Result<(Login, OAuthLogin), String> {
    if module.class != mechanism.module() {
        return Err(format!("{mechanism} goes with the login module `{}`", mechanism.module()));
    }
    let mut options = module.options;
    let mut take = |name: &str| options.remove(name).filter(|value| !value.is_empty());
    let reference =
        |name: &str, text: String| SecretRef::parse(&text).map_err(|problem| format!("`{name}`: {problem}"));
    match mechanism {
        Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
            let (Some(username), Some(password)) = (take("username"), take("password")) else {
                return Err(format!("`{}` needs username=\"..\" and password=\"..\"", mechanism.module()));
            };
            let is_token = take("tokenauth").is_some_and(|text| text.eq_ignore_ascii_case("true"));
            if is_token && mechanism == Mechanism::Plain {
                return Err("delegation tokens (tokenauth) need SCRAM".to_owned());
            }
            let login = Login::Password {
                username: reference("username", username)?,
                password: reference("password", password)?,
                is_token,
            };
            Ok((login, oauth))
        }
        Mechanism::OAuthBearer => {
            if let Some(id) = take("clientId") {
                oauth.client_id = Some(reference("clientId", id)?);
            }
            if let Some(secret) = take("clientSecret") {
                oauth.client_secret = Some(reference("clientSecret", secret)?);
            }
            if let Some(scope) = take("scope") {
                oauth.scope = Some(scope);
            }
            for (name, value) in &options {
                if let Some(extension) = name.strip_prefix("extension_") {
                    oauth.extensions.insert(extension.to_owned(), value.clone());
                } else if name.starts_with("unsecured") {
                    return Err("tokens that nobody signed (unsecured..) are not made: give `sasl.oauthbearer.token.endpoint.url`".to_owned());
                }
            }
            Ok((Login::OAuth, oauth))
        }
        Mechanism::AwsMskIam => {
            let aws = AwsLogin {
                profile: take("awsProfileName"),
                role_arn: take("awsRoleArn"),
                role_session_name: take("awsRoleSessionName"),
                role_external_id: take("awsRoleExternalId"),
                sts_region: take("awsStsRegion"),
            };
            if take("awsRoleAccessKeyId").is_some() || take("awsRoleSecretAccessKey").is_some() {
                return Err("keys for assuming a role (awsRoleAccessKeyId) are not read from here: put them into the environment or a profile (awsProfileName)".to_owned());
            }
            Ok((Login::Aws(aws), oauth))
        }
    }
}
