//! What connections of one cluster are opened with, read again while it is in use.
//!
//! Whoever opens a connection waits for what is read only as long as there is nothing to open it with. After that
//! reading goes on in the background, and nobody waits longer than [`PATIENCE`]: a workspace that hangs or a mount
//! that is gone must not take down a cluster that is well.
//!
//! A login or a certificate of ours that was changed is tried by one connection first, where another one has worked:
//! brokers often learn of a new password later than the secret scope does. What was changed in the truststore counts
//! at once, whatever comes of it: whom somebody no longer trusts is not trusted because nobody else answers.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use heartbeat_core::acon::{Security, Trust};
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::certificate::{self, CertificateRole, InUse};
use super::error::SecurityError;
use super::sasl::Credentials;
use super::tls::Setup;
use super::{Reader, lock};
use crate::error_chain::chain;
use crate::secrets::Secrets;

/// How often stores and secrets are looked at while connections are used.
pub(in super::super) const RECHECK: Duration = Duration::from_mins(1);

/// What was read so short a time ago is not read again for the next broker.
const FRESH: Duration = Duration::from_secs(1);

/// Looking at them again may take this long.
const RECHECK_LIMIT: Duration = Duration::from_secs(30);

/// Who could go on with what was read before waits no longer for what is read anew: looks have ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Same, when it was told already that something is not as it should be.
const SHORT_PATIENCE: Duration = Duration::from_millis(100);

/// How often certificates that end soon are told of.
const TELL_AGAIN: Duration = Duration::from_hours(24);

/// What connections of one cluster are opened with.
pub(in super::super) struct Access {
    security: Security,
    secrets: Arc<Secrets>,
    recheck: Duration,
    state: SyncMutex<State>,
    /// Held by whoever reads for the first time.
    first: Mutex<()>,
    /// Whether somebody reads again.
    is_rereading: watch::Sender<bool>,
    /// What is being read, for messages.
    reading: SyncMutex<String>,
    /// Counts changes of the material; connections remember with which one they were opened.
    generation: AtomicU64,
    /// What was told since everything was well.
    complaints: SyncMutex<BTreeSet<String>>,
    told_of_ends: SyncMutex<HashMap<String, Instant>>,
    /// For those who ask without waiting.
    certificates: SyncMutex<Vec<InUse>>,
    who: SyncMutex<Option<String>>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Loaded>>,
    /// Somebody came in with it.
    is_proven: bool,
    /// What is to be tried, and when.
    candidate: Option<(Arc<Loaded>, Instant)>,
    /// Generations so far.
    made: u64,
    /// When reading began or ended last.
    read_at: Option<Instant>,
}

/// Material of one generation, ready for use.
#[derive(Debug)]
pub(in super::super) struct Loaded {
    pub(in super::super) generation: u64,
    digest: Vec<u8>,
    pub(in super::super) tls: Option<Setup>,
    pub(in super::super) sasl: Option<Credentials>,
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
    fn trusts_the_same(&self, other: &Self) -> bool {
        match (&self.tls, &other.tls) {
            (Some(one), Some(other)) => one.trusts_the_same(other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Who we are to the broker, for messages.
    fn who(&self) -> Option<String> {
        self.sasl.as_ref().map(Credentials::who).or_else(|| self.tls.as_ref()?.who())
    }
}

/// What was read is ..
enum Found {
    /// .. what connections are opened with.
    Current,
    /// .. what is to be tried.
    Candidate,
    /// .. something else.
    New(Arc<Loaded>),
}

/// Somebody reads again until this is dropped.
struct Rereading(Arc<Access>);

impl Drop for Rereading {
    fn drop(&mut self) {
        self.0.is_rereading.send_replace(false);
    }
}

impl Access {
    pub(in super::super) fn new(security: Security, secrets: Arc<Secrets>) -> Self {
        Self {
            security,
            secrets,
            recheck: RECHECK,
            state: SyncMutex::default(),
            first: Mutex::default(),
            is_rereading: watch::Sender::new(false),
            reading: SyncMutex::default(),
            generation: AtomicU64::new(0),
            complaints: SyncMutex::default(),
            told_of_ends: SyncMutex::default(),
            certificates: SyncMutex::default(),
            who: SyncMutex::default(),
        }
    }

    /// Same, looked at again after another time than [`RECHECK`].
    pub(in super::super) fn with_recheck(mut self, recheck: Duration) -> Self {
        self.recheck = recheck;
        self
    }

    /// What a connection is opened with now. What cannot be read any more, or not soon, is told, and what worked before
    /// is used.
    pub(in super::super) async fn load(self: &Arc<Self>) -> Result<Arc<Loaded>, SecurityError> {
        if self.current().is_none() {
            self.read_first().await?;
        } else if self.has_material() && self.is_due(FRESH.min(self.recheck)) {
            self.wait_for_reread().await;
        }
        let mut state = lock(&self.state);
        if let Some((candidate, try_at)) = &mut state.candidate
            && Instant::now() >= *try_at
        {
            // Nobody else tries it until it is known what comes of it.
            *try_at = Instant::now() + self.recheck;
            return Ok(Arc::clone(candidate));
        }
        state.current.clone().ok_or_else(|| SecurityError::Refused("nothing was read".to_owned()))
    }

    /// What goes on where this did not get in; `None`: nothing else is known.
    pub(in super::super) fn instead_of(&self, refused: &Arc<Loaded>, why: &dyn Error) -> Option<Arc<Loaded>> {
        let before = {
            let state = lock(&self.state);
            let is_tried = state.candidate.as_ref().is_some_and(|(tried, _)| Arc::ptr_eq(tried, refused));
            state.current.clone().filter(|_| is_tried)?
        };
        self.complain(chain(why));
        Some(before)
    }

    /// What is being read, for whoever waited for it in vain.
    pub(in super::super) fn reading(&self) -> String {
        lock(&self.reading).clone()
    }

    /// Whether connections of this generation are to be opened anew. Looks at the material in the background when that
    /// is due.
    pub(in super::super) fn is_outdated(self: &Arc<Self>, generation: u64) -> bool {
        if self.has_material() && self.is_due(self.recheck) {
            self.reread();
        }
        let is_to_be_tried =
            lock(&self.state).candidate.as_ref().is_some_and(|(_, try_at)| Instant::now() >= *try_at);
        is_to_be_tried || self.generation.load(Ordering::Acquire) != generation
    }

    /// Who we are to the brokers, for messages; `None`: nobody that they know.
    pub(in super::super) fn who(&self) -> Option<String> {
        lock(&self.who).clone()
    }

    /// The login failed: what was read of secret scopes may be old.
    pub(in super::super) fn doubt_secrets(&self) {
        self.secrets.doubt();
    }

    /// When the certificates end that were seen so far.
    pub(in super::super) fn certificate_ends(&self) -> Vec<CertificateEnd> {
        let of = |used: &InUse| CertificateEnd {
            role: used.role,
            what: used.what.clone(),
            subject: used.shown.subject.clone(),
            not_after: used.shown.not_after,
        };
        lock(&self.certificates).iter().map(of).collect()
    }

    /// Certificates that should be renewed.
    pub(in super::super) fn ending(&self) -> Vec<String> {
        certificate::ending(&lock(&self.certificates), Timestamp::now())
    }

    /// A connection was opened: its broker has let us in and shown its certificate.
    pub(in super::super) fn opened(&self, loaded: &Arc<Loaded>) {
        let mut state = lock(&self.state);
        if state.candidate.as_ref().is_some_and(|(tried, _)| Arc::ptr_eq(tried, loaded)) {
            self.change(&mut state, Arc::clone(loaded));
            self.is_well();
        }
        let is_current = state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, loaded));
        state.is_proven |= is_current;
        drop(state);
        if let Some(tls) = loaded.tls.as_ref().filter(|_| is_current) {
            *lock(&self.certificates) = tls.in_use();
            self.tell_of_ends();
        }
    }

    fn current(&self) -> Option<Arc<Loaded>> {
        lock(&self.state).current.clone()
    }

    fn is_due(&self, after: Duration) -> bool {
        lock(&self.state).read_at.is_none_or(|at| at.elapsed() >= after)
    }

    fn has_material(&self) -> bool {
        self.security.tls.as_ref().is_some_and(|tls| tls.trust != Trust::System || tls.identity.is_some())
            || self.security.sasl.is_some()
    }

    /// There is nothing yet that a connection could be opened with.
    async fn read_first(&self) -> Result<(), SecurityError> {
        let _first = self.first.lock().await;
        if self.current().is_none() {
            let found = self.read_certainly().await?;
            self.keep(found);
        }
        Ok(())
    }

    /// Waits a little for what is read anew.
    async fn wait_for_reread(self: &Arc<Self>) {
        let patience = if lock(&self.complaints).is_empty() { PATIENCE } else { SHORT_PATIENCE };
        self.reread();
        let mut is_rereading = self.is_rereading.subscribe();
        if timeout(patience, is_rereading.wait_for(|is| !is)).await.is_err() {
            self.complain(format!("{} not read yet", self.reading()));
        }
    }

    /// Reads in the background, unless somebody does so already.
    fn reread(self: &Arc<Self>) {
        if !self.is_rereading.send_if_modified(|is| !std::mem::replace(is, true)) {
            return;
        }
        let rereading = Rereading(Arc::clone(self));
        tokio::spawn(async move {
            let access = &rereading.0;
            match timeout(RECHECK_LIMIT, access.read_certainly()).await {
                Ok(Ok(found)) => access.keep(found),
                Ok(Err(error)) => access.complain(chain(&error)),
                Err(_) => access.complain(format!("{} not read in time", access.reading())),
            }
            lock(&access.state).read_at = Some(Instant::now());
        });
    }

    /// Secrets that do not open what they should are read once more.
    async fn read_certainly(&self) -> Result<Found, SecurityError> {
        lock(&self.state).read_at = Some(Instant::now());
        let read = self.read().await;
        if read.as_ref().is_err_and(SecurityError::is_of_secrets) && self.secrets.doubt() {
            return self.read().await;
        }
        read
    }

    fn keep(&self, found: Found) {
        let mut state = lock(&self.state);
        state.read_at = Some(Instant::now());
        match found {
            // It was told already if it does not get in.
            Found::Candidate => return,
            Found::Current => state.candidate = None,
            Found::New(new) => {
                state.made = new.generation;
                match &state.current {
                    Some(current) if state.is_proven && current.trusts_the_same(&new) => {
                        state.candidate = Some((new, Instant::now()));
                    }
                    _ => self.change(&mut state, new),
                }
            }
        }
        drop(state);
        self.is_well();
        self.tell_of_ends();
    }

    /// From now on connections are opened with this.
    fn change(&self, state: &mut State, new: Arc<Loaded>) {
        if state.current.is_some() {
            tracing::info!("stores or secrets have changed, connections are opened anew");
        }
        self.generation.store(new.generation, Ordering::Release);
        *lock(&self.certificates) = new.tls.as_ref().map(Setup::in_use).unwrap_or_default();
        *lock(&self.who) = new.who();
        (state.current, state.is_proven, state.candidate) = (Some(new), false, None);
    }

    fn is_well(&self) {
        if !std::mem::take(&mut *lock(&self.complaints)).is_empty() {
            tracing::info!("stores and secrets can be used again");
        }
    }

    fn complain(&self, problem: String) {
        let mut complaints = lock(&self.complaints);
        if !complaints.contains(&problem) {
            tracing::warn!(problem, "stores or secrets cannot be used as they are now, those before go on");
            complaints.insert(problem);
        }
    }

    fn tell_of_ends(&self) {
        for certificate in to_tell(&mut lock(&self.told_of_ends), self.ending(), Instant::now()) {
            tracing::warn!(certificate, "a certificate is to be renewed");
        }
    }

    async fn read(&self) -> Result<Found, SecurityError> {
        let mut reader =
            Reader { secrets: &self.secrets, digest: Context::new(&SHA256), reading: &self.reading };
        let tls = match &self.security.tls {
            Some(tls) => Some((tls, reader.material(tls).await?)),
            None => None,
        };
        let sasl = match &self.security.sasl {
            Some(sasl) => Some(reader.login(sasl).await?),
            None => None,
        };
        let digest = reader.digest.finish().as_ref().to_vec();
        let generation = {
            let state = lock(&self.state);
            if state.current.as_ref().is_some_and(|current| current.digest == digest) {
                return Ok(Found::Current);
            }
            if state.candidate.as_ref().is_some_and(|(candidate, _)| candidate.digest == digest) {
                return Ok(Found::Candidate);
            }
            state.made + 1
        };
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
        Ok(Found::New(Arc::new(Loaded { generation, digest, tls, sasl })))
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("security", &self.security).finish_non_exhaustive()
    }
}

/// What is told now of certificates that end: each when it is first seen, and then once in a while.
fn to_tell(told: &mut HashMap<String, Instant>, ending: Vec<String>, now: Instant) -> Vec<String> {
    told.retain(|certificate, _| ending.contains(certificate));
    let mut news = ending;
    news.retain(|certificate| told.get(certificate).is_none_or(|at| now.duration_since(*at) >= TELL_AGAIN));
    told.extend(news.iter().map(|certificate| (certificate.clone(), now)));
    news
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_that_ends_is_told_of_when_it_is_seen_and_once_a_day() {
        let mut told = HashMap::new();
        let now = Instant::now();
        let ours = || "ours".to_owned();
        let brokers = || "broker's".to_owned();
        assert_eq!(to_tell(&mut told, vec![ours()], now), [ours()]);
        assert_eq!(to_tell(&mut told, vec![ours(), brokers()], now), [brokers()]);
        assert!(to_tell(&mut told, vec![ours(), brokers()], now + TELL_AGAIN / 2).is_empty());
        assert_eq!(to_tell(&mut told, vec![brokers()], now + TELL_AGAIN), [brokers()]);
        assert_eq!(told.len(), 1);
    }
}
