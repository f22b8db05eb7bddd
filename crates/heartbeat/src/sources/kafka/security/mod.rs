//! Safe connections: TLS and SASL with the material that an ACON names, looked at again while it is in use.
//!
//! [`Access`] holds what connections of one cluster are opened with. Nothing is read before the first connection. The
//! stores and secrets are then read again when a connection is opened, and once a minute while connections are used;
//! when anything in them has changed, connections made with the old ones are outdated and opened anew at their next
//! use. What cannot be used any more is told, and what worked before goes on.

mod access;
mod certificate;
mod error;
mod sasl;
mod stores;
mod tls;

use std::sync::{Mutex as SyncMutex, PoisonError};

use aws_lc_rs::digest::Context;
use heartbeat_core::acon::{Identity, Login, Mechanism, Sasl, Tls, Trust};
use heartbeat_core::secret::{Secret, SecretRef};
use rustls::pki_types::CertificateDer;

pub use self::access::CertificateEnd;
pub(super) use self::access::{Access, Loaded, RECHECK};
pub use self::certificate::CertificateRole;
pub use self::error::SecurityError;
pub(super) use self::sasl::{Credentials, login};
pub use self::stores::{LocationError, StoreProblem};

use self::tls::{Own, Trusted};
use crate::secrets::Secrets;

fn lock<T>(mutex: &SyncMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads bytes and secrets, and notes all of them in a digest.
struct Reader<'a> {
    secrets: &'a Secrets,
    digest: Context,
    /// What is being read, for whoever waits for it.
    reading: &'a SyncMutex<String>,
}

/// Bytes of a store, with the passwords for it.
struct Store {
    name: String,
    bytes: Vec<u8>,
    password: Option<Secret>,
    password_place: Option<String>,
}

/// What TLS is set up with, as it was read.
struct Material {
    trust: Option<Store>,
    own: Option<(Store, Option<Secret>, Option<Secret>)>,
}

/// A login as it was read.
struct Read {
    sasl: Sasl,
    username: Option<Secret>,
    password: Option<Secret>,
    client: Option<(Secret, Secret)>,
}

impl Reader<'_> {
    async fn secret(&mut self, what: &str, reference: &SecretRef) -> Result<Secret, SecurityError> {
        let workspace = self.secrets.workspace().filter(|_| matches!(reference, SecretRef::Scope { .. }));
        let workspace = workspace.map(|(domain, _)| format!(" of {domain}")).unwrap_or_default();
        *lock(self.reading) = format!("{what}: {reference}{workspace}");
        let secret = self.secrets.resolve(reference).await;
        let secret = secret
            .map_err(|cause| SecurityError::Secret { what: what.to_owned(), cause: Box::new(cause) })?;
        self.note(secret.expose().as_bytes());
        Ok(secret)
    }

    async fn optional(
        &mut self,
        what: &str,
        reference: Option<&SecretRef>,
    ) -> Result<Option<Secret>, SecurityError> {
        let secret = match reference {
            Some(reference) => Some(self.secret(what, reference).await?),
            None => None,
        };
        // Java takes an empty password for none.
        Ok(secret.filter(|secret| !secret.expose().is_empty()))
    }

    async fn store(
        &mut self,
        kind: &str,
        location: &str,
        password: Option<&SecretRef>,
    ) -> Result<Store, SecurityError> {
        let name = format!("{kind} `{}`", stores::without_secrets(location));
        lock(self.reading).clone_from(&name);
        let bytes = stores::read(location).await;
        let bytes = bytes.map_err(|cause| SecurityError::Location { store: name.clone(), cause })?;
        self.note(&bytes);
        let secret = self.optional(&format!("password of {name}"), password).await?;
        Ok(Store { name, bytes, password: secret, password_place: password.map(ToString::to_string) })
    }

    async fn text(&mut self, name: &str, reference: &SecretRef) -> Result<Store, SecurityError> {
        let secret = self.secret(name, reference).await?;
        let bytes = secret.expose().as_bytes().to_vec();
        Ok(Store { name: name.to_owned(), bytes, password: None, password_place: None })
    }

    async fn material(&mut self, tls: &Tls) -> Result<Material, SecurityError> {
        let trust = match &tls.trust {
            Trust::System => None,
            Trust::Store { location, password } => {
                Some(self.store("truststore", location, password.as_ref()).await?)
            }
            Trust::Pem(reference) => {
                Some(self.text("truststore `ssl.truststore.certificates`", reference).await?)
            }
        };
        let own = match &tls.identity {
            None => None,
            Some(Identity::Store { location, password, key_password }) => {
                let mut store = self.store("keystore", location, password.as_ref()).await?;
                let what = format!("password of the key in {}", store.name);
                let key_password_value = self.optional(&what, key_password.as_ref()).await?;
                if let Some(place) = key_password {
                    let store_place = store.password_place.take();
                    let key_place = format!("that of the key from {place}");
                    store.password_place =
                        Some(store_place.map_or(key_place.clone(), |place| format!("{place}, {key_place}")));
                }
                Some((store, key_password_value, None))
            }
            Some(Identity::Pem { key, chain, key_password }) => {
                let text = self.secret("`ssl.keystore.key`", key).await?;
                let mut store = self.text("keystore `ssl.keystore.certificate.chain`", chain).await?;
                let password = self.optional("`ssl.key.password`", key_password.as_ref()).await?;
                store.password_place =
                    key_password.as_ref().map(|place| format!("`ssl.key.password`, {place}"));
                Some((store, password, Some(text)))
            }
        };
        Ok(Material { trust, own })
    }

    async fn login(&mut self, sasl: &Sasl) -> Result<Read, SecurityError> {
        let mut sasl = sasl.clone();
        if let Login::Jaas(reference) = &sasl.login {
            let place = reference.to_string();
            let text = self.secret("`sasl.jaas.config`", reference).await?;
            sasl = sasl
                .opened(&text)
                .map_err(|problem| SecurityError::Login(format!("{problem} (from {place})")))?;
        }
        let mut read = Read { username: None, password: None, client: None, sasl };
        match &read.sasl.login {
            Login::Password { username, password, .. } => {
                read.username = Some(self.secret("user name of the login", username).await?);
                read.password = Some(self.secret("password of the login", password).await?);
            }
            Login::OAuth => {
                let oauth = &read.sasl.oauth;
                if let (Some(id), Some(secret)) = (&oauth.client_id, &oauth.client_secret) {
                    let id = self.secret("client id for tokens", id).await?;
                    read.client = Some((id, self.secret("client secret for tokens", secret).await?));
                }
            }
            Login::Aws(_) | Login::Jaas(_) => {}
        }
        Ok(read)
    }

    fn note(&mut self, bytes: &[u8]) {
        self.digest.update(&(bytes.len() as u64).to_be_bytes());
        self.digest.update(bytes);
    }
}

impl Material {
    fn open(self) -> Result<(Trusted, Option<Own>), SecurityError> {
        let trusted = match self.trust {
            None => system_roots()?,
            Some(store) => {
                let certificates = stores::trusted(&store.bytes, store.password.as_ref().map(Secret::expose));
                let certificates = certificates.map_err(|cause| store.problem(cause))?;
                Trusted { name: store.name, certificates }
            }
        };
        let own = match self.own {
            None => None,
            Some((store, key_password, text)) => {
                let key_password = key_password.as_ref().map(Secret::expose);
                let is_text = text.is_some();
                let keys = match text {
                    None => {
                        stores::keys(&store.bytes, store.password.as_ref().map(Secret::expose), key_password)
                    }
                    Some(key) => {
                        let chain = String::from_utf8_lossy(&store.bytes);
                        stores::key_of_pem(key.expose(), &chain, key_password).map(|key| vec![key])
                    }
                };
                let problem = |cause: StoreProblem| {
                    let is_of_text = is_text && cause.is_of_password();
                    store.problem_of(if is_of_text { "`ssl.keystore.key`" } else { &store.name }, cause)
                };
                Some(Own { keys: keys.map_err(problem)?, name: store.name })
            }
        };
        Ok((trusted, own))
    }
}

impl Store {
    fn problem(&self, cause: StoreProblem) -> SecurityError {
        self.problem_of(&self.name, cause)
    }

    fn problem_of(&self, name: &str, cause: StoreProblem) -> SecurityError {
        let password = self.password_place.clone().filter(|_| cause.is_of_password());
        SecurityError::Store { store: name.to_owned(), password, cause }
    }
}

impl Read {
    fn credentials(self, trusted: Option<Vec<Vec<u8>>>) -> Credentials {
        let Sasl { mechanism, login, oauth } = self.sasl;
        match login {
            Login::Aws(aws) => Credentials::aws(aws),
            Login::Password { is_token, .. } => Credentials::Password {
                mechanism,
                username: self.username.map(|name| name.expose().to_owned()).unwrap_or_default(),
                password: self.password.unwrap_or_else(|| Secret::new("")),
                is_token,
            },
            // A JAAS text was opened when it was read.
            Login::OAuth | Login::Jaas(_) => {
                debug_assert_eq!(mechanism, Mechanism::OAuthBearer, "no other mechanism is left");
                let endpoint = oauth.endpoint.unwrap_or_default();
                match (endpoint.strip_prefix("file:"), self.client) {
                    (Some(path), _) => {
                        let path = path.strip_prefix("//").unwrap_or(path).to_owned();
                        Credentials::tokens_of_file(path, oauth.extensions)
                    }
                    (None, client) => {
                        let client = client.unwrap_or_else(|| (Secret::new(""), Secret::new("")));
                        Credentials::tokens_of_endpoint(
                            endpoint,
                            client,
                            oauth.scope,
                            trusted,
                            oauth.extensions,
                        )
                    }
                }
            }
        }
    }
}

/// The certificates that the system trusts, as Java has its `cacerts`.
fn system_roots() -> Result<Trusted, SecurityError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(SecurityError::Refused(
            "this system has no certificates of its own: give `kafka_ssl_truststore_location`".to_owned(),
        ));
    }
    let certificates: Vec<CertificateDer<'static>> = found.certs;
    Ok(Trusted { name: "the system".to_owned(), certificates })
}

#[cfg(test)]
mod tests;
