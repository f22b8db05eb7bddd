//! Safe connections: TLS and SASL with the material that an ACON names, looked at again while it is in use.
//!
//! [`Access`] holds what connections of one cluster are opened with. Nothing is read before the first connection. The
//! stores and secrets are then read again when a connection is opened, and once a minute while connections are used;
//! when anything in them has changed, connections made with the old ones are outdated and opened anew at their next
//! use. What cannot be used any more is told, and what worked before goes on.

mod certificate;
mod error;
mod sasl;
mod stores;
mod tls;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use heartbeat_core::acon::{Identity, Login, Mechanism, Sasl, Security, Tls, Trust};
use heartbeat_core::secret::{Secret, SecretRef};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::sync::Mutex;

pub use self::certificate::CertificateRole;
pub use self::error::SecurityError;
pub(super) use self::sasl::{Credentials, login};
pub use self::stores::{LocationError, StoreProblem};
pub(super) use self::tls::Setup;

use self::certificate::InUse;
use self::tls::{Own, Trusted};
use crate::error_chain::chain;
use crate::secrets::Secrets;

/// How often stores and secrets are looked at while connections are used.
pub(super) const RECHECK: Duration = Duration::from_mins(1);

/// What was read so short a time ago is not read again for the next broker.
const FRESH: Duration = Duration::from_secs(1);

/// Looking at them again may take this long.
const RECHECK_LIMIT: Duration = Duration::from_secs(30);

/// How often certificates that end soon are told of.
const TELL_AGAIN: Duration = Duration::from_hours(24);

/// What connections of one cluster are opened with.
pub(super) struct Access {
    security: Security,
    secrets: Arc<Secrets>,
    recheck: Duration,
    loaded: Mutex<Option<(Arc<Loaded>, Instant)>>,
    /// Counts changes of the material; connections remember with which one they were opened.
    generation: AtomicU64,
    checked: SyncMutex<Instant>,
    is_checking: AtomicBool,
    complaint: SyncMutex<Option<String>>,
    told_of_ends: SyncMutex<Option<Instant>>,
    /// For those who ask without waiting.
    certificates: SyncMutex<Vec<InUse>>,
    who: SyncMutex<Option<String>>,
}

/// Material of one generation, ready for use.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) generation: u64,
    digest: Vec<u8>,
    pub(super) tls: Option<Setup>,
    pub(super) sasl: Option<Credentials>,
}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    /// Whose it is.
    pub role: CertificateRole,
    /// Which certificate, with its store or broker.
    pub what: String,
    /// Whom it is for.
    pub subject: String,
    /// Last moment at which it holds.
    pub not_after: Timestamp,
}

impl Loaded {
    /// Who we are to the broker, for messages.
    fn who(&self) -> Option<String> {
        self.sasl.as_ref().map(Credentials::who).or_else(|| self.tls.as_ref()?.who())
    }
}

impl Access {
    pub(super) fn new(security: Security, secrets: Arc<Secrets>) -> Self {
        Self {
            security,
            secrets,
            recheck: RECHECK,
            loaded: Mutex::default(),
            generation: AtomicU64::new(0),
            checked: SyncMutex::new(Instant::now()),
            is_checking: AtomicBool::new(false),
            complaint: SyncMutex::default(),
            told_of_ends: SyncMutex::default(),
            certificates: SyncMutex::default(),
            who: SyncMutex::default(),
        }
    }

    /// Same, looked at again after another time than [`RECHECK`].
    pub(super) fn with_recheck(mut self, recheck: Duration) -> Self {
        self.recheck = recheck;
        self
    }

    /// What a connection is opened with now. What cannot be read any more is told, and what worked before is used.
    pub(super) async fn load(&self) -> Result<Arc<Loaded>, SecurityError> {
        let mut loaded = self.loaded.lock().await;
        if let Some((current, at)) = loaded.as_ref()
            && (at.elapsed() < FRESH.min(self.recheck) || !self.has_material())
        {
            return Ok(Arc::clone(current));
        }
        *lock(&self.checked) = Instant::now();
        let current = loaded.as_ref().map(|(current, _)| Arc::clone(current));
        let mut read = self.read(current.as_deref()).await;
        if read.as_ref().is_err_and(SecurityError::is_of_secrets) && self.secrets.doubt() {
            read = self.read(current.as_deref()).await;
        }
        let new = match (read, current) {
            (Ok(Some(new)), _) => Arc::new(new),
            (Ok(None), Some(current)) => current,
            (Err(error), Some(current)) => {
                self.complain(chain(&error));
                *loaded = Some((Arc::clone(&current), Instant::now()));
                return Ok(current);
            }
            (Err(error), None) => return Err(error),
            (Ok(None), None) => return Err(SecurityError::Refused("nothing was read".to_owned())),
        };
        if lock(&self.complaint).take().is_some() {
            tracing::info!("stores and secrets can be read again");
        }
        self.generation.store(new.generation, Ordering::Release);
        *lock(&self.certificates) = new.tls.as_ref().map(Setup::in_use).unwrap_or_default();
        *lock(&self.who) = new.who();
        self.tell_of_ends();
        *loaded = Some((Arc::clone(&new), Instant::now()));
        Ok(new)
    }

    /// Whether connections of this generation are to be opened anew. Looks at the material in the background when that
    /// is due.
    pub(super) fn is_outdated(self: &Arc<Self>, generation: u64) -> bool {
        let is_due = self.has_material() && lock(&self.checked).elapsed() >= self.recheck;
        if is_due && !self.is_checking.swap(true, Ordering::AcqRel) {
            let access = Arc::clone(self);
            tokio::spawn(async move {
                // There is something loaded, so there is no error: what cannot be read was told.
                if tokio::time::timeout(RECHECK_LIMIT, access.load()).await.is_err() {
                    access.complain(format!("not read within {} s", RECHECK_LIMIT.as_secs()));
                }
                access.is_checking.store(false, Ordering::Release);
            });
        }
        self.generation.load(Ordering::Acquire) != generation
    }

    /// Who we are to the brokers, for messages; `None`: nobody that they know.
    pub(super) fn who(&self) -> Option<String> {
        lock(&self.who).clone()
    }

    /// The login failed: what was read of secret scopes may be old.
    pub(super) fn doubt_secrets(&self) {
        self.secrets.doubt();
    }

    /// When the certificates end that were seen so far.
    pub(super) fn certificate_ends(&self) -> Vec<CertificateEnd> {
        let of = |used: &InUse| CertificateEnd {
            role: used.role,
            what: used.what.clone(),
            subject: used.shown.subject.clone(),
            not_after: used.shown.not_after,
        };
        lock(&self.certificates).iter().map(of).collect()
    }

    /// Certificates that should be renewed.
    pub(super) fn ending(&self) -> Vec<String> {
        certificate::ending(&lock(&self.certificates), Timestamp::now())
    }

    /// A connection was opened: its broker has shown its certificate.
    pub(super) fn opened(&self, loaded: &Loaded) {
        if let Some(tls) = &loaded.tls {
            *lock(&self.certificates) = tls.in_use();
            self.tell_of_ends();
        }
    }

    fn has_material(&self) -> bool {
        self.security.tls.as_ref().is_some_and(|tls| tls.trust != Trust::System || tls.identity.is_some())
            || self.security.sasl.is_some()
    }

    fn complain(&self, problem: String) {
        let mut told = lock(&self.complaint);
        if told.as_ref() != Some(&problem) {
            tracing::warn!(problem, "stores or secrets cannot be used as they are now, those before go on");
            *told = Some(problem);
        }
    }

    fn tell_of_ends(&self) {
        let ending = self.ending();
        let mut told = lock(&self.told_of_ends);
        if !ending.is_empty() && told.is_none_or(|at| at.elapsed() >= TELL_AGAIN) {
            for certificate in ending {
                tracing::warn!(certificate, "a certificate is to be renewed");
            }
            *told = Some(Instant::now());
        }
    }

    /// `None`: nothing has changed since `current`.
    async fn read(&self, current: Option<&Loaded>) -> Result<Option<Loaded>, SecurityError> {
        let mut reader = Reader { secrets: &self.secrets, digest: Context::new(&SHA256) };
        let tls = match &self.security.tls {
            Some(tls) => Some((tls, reader.material(tls).await?)),
            None => None,
        };
        let sasl = match &self.security.sasl {
            Some(sasl) => Some(reader.login(sasl).await?),
            None => None,
        };
        let digest = reader.digest.finish().as_ref().to_vec();
        if current.is_some_and(|current| current.digest == digest) {
            return Ok(None);
        }
        let mut trusted_ders = None;
        let tls = match tls {
            None => None,
            Some((tls, material)) => {
                let (trusted, own) = material.open()?;
                if tls.trust != Trust::System {
                    trusted_ders = Some(trusted.certificates.iter().map(|der| der.to_vec()).collect());
                }
                Some(Setup::new(trusted, own, tls.verify_host, tls.versions, Timestamp::now())?)
            }
        };
        let sasl = sasl.map(|read| read.credentials(trusted_ders));
        let generation = current.map_or(1, |current| current.generation + 1);
        if current.is_some() {
            tracing::info!("stores or secrets have changed, connections are opened anew");
        }
        Ok(Some(Loaded { generation, digest, tls, sasl }))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("security", &self.security).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &SyncMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads bytes and secrets, and notes all of them in a digest.
struct Reader<'a> {
    secrets: &'a Secrets,
    digest: Context,
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
        let name = format!("{kind} `{location}`");
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
                let store = self.text("keystore `ssl.keystore.certificate.chain`", chain).await?;
                let password = self.optional("`ssl.key.password`", key_password.as_ref()).await?;
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
                let keys = match text {
                    None => {
                        stores::keys(&store.bytes, store.password.as_ref().map(Secret::expose), key_password)
                    }
                    Some(key) => {
                        let chain = String::from_utf8_lossy(&store.bytes);
                        stores::key_of_pem(key.expose(), &chain, key_password).map(|key| vec![key])
                    }
                };
                Some(Own { keys: keys.map_err(|cause| store.problem(cause))?, name: store.name })
            }
        };
        Ok((trusted, own))
    }
}

impl Store {
    fn problem(&self, cause: StoreProblem) -> SecurityError {
        let password = self.password_place.clone().filter(|_| cause.is_of_password());
        SecurityError::Store { store: self.name.clone(), password, cause }
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
