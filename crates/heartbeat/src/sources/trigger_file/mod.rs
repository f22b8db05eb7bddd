//! Trigger files: each new file below `<base>/<sensor_id>/` is news.
//!
//! New means a path that was not seen before: files may come late, out of order, under any name and in folders
//! below the sensor's. Names that begin with `.` or `_`, names that end with `.tmp`, and directories are never
//! news; neither is anything below a folder whose name begins with `.` or `_`. A file that is overwritten is not
//! new, as in Auto Loader. A name that has gone is forgotten when a listing a week later does not show it either.
//!
//! A look lists small folders whole, many in one listing where the store lists by path; of a large folder it asks for
//! what lies behind the newest names, and lists it whole in parts now and then. `pass` is one look: `plan` says which,
//! `sweep`, `part` and `here` list, `judge` says what a listing means for a row. Where a queue tells of new files (`queue`), listings are its
//! safety net.

mod here;
pub(crate) mod judge;
mod large;
mod part;
mod pass;
mod plan;
mod queue;
mod quiet;
pub(crate) mod runs;
mod sweep;
#[cfg(test)]
mod tests;
pub(crate) mod trust;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use heartbeat_core::acon::{TriggerFiles, TriggerTrust};
use heartbeat_core::files::MOST_INLINE;
use heartbeat_core::location::Location;
use heartbeat_core::secret::Secret;
use heartbeat_core::source::{Absent, Answer, Ask, Asset, Source, SourceError};
use jiff::SignedDuration;

use self::judge::Rules;
pub use self::large::FullListing;
use self::large::Large;
use self::pass::Pass;
use self::quiet::Quiet;
use self::runs::Runs;
pub use self::runs::{Beside, MemoryRuns, NoRuns, RunStore};
use crate::secrets::Secrets;
use crate::stores::queue::Queue;
use crate::stores::{Fault, Listing, Start, Store, StoreError, TrafficCount};

/// Requests that wait for an answer at a time.
const AT_A_TIME: usize = 16;

/// Trigger files below one base folder.
pub struct TriggerFileSource {
    config: TriggerFiles,
    secrets: Arc<Secrets>,
    runs: Runs,
    /// Finishes full listings within a look, for commands that look once.
    patient: bool,
    limits: Limits,
    opened: tokio::sync::Mutex<Option<Opened>>,
    folders: Mutex<HashMap<String, Memory>>,
    /// Of signed files.
    verdicts: trust::Verdicts,
    /// Files below the base in folders that no row asked about, as far as it was seen.
    beside: Mutex<u64>,
    /// What is kept of the queue.
    told: Mutex<queue::State>,
}

/// What is large. Tests make do with less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Names in a position.
    pub(crate) inline: usize,
    /// Files of a folder that is swept with others.
    pub(crate) swept: u64,
    /// Files that a sweep takes along of one folder.
    pub(crate) taken: usize,
    /// Files of one stretch on a store without an order, where each stretch needs the whole listing.
    pub(crate) stretch: usize,
    /// Time that one look spends on the full listing of a folder: what is new behind the newest names comes first.
    pub(crate) listing: Duration,
    /// Messages in hand.
    pub(crate) in_hand: usize,
    /// Time for which a message is hidden when it is received.
    pub(crate) hidden: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inline: MOST_INLINE,
            swept: plan::MOST_SWEPT,
            taken: 5_000,
            stretch: 200_000,
            listing: Duration::from_millis(400),
            in_hand: queue::MOST_IN_HAND,
            hidden: queue::HIDDEN,
        }
    }
}

/// The store, and the queue that tells of it.
#[derive(Debug)]
struct Opened {
    store: Arc<Store>,
    queue: Option<Arc<Queue>>,
    at: Instant,
}

/// What a look needs: the store, the keys of the signatures, the queue.
type Open = (Arc<Store>, Vec<Secret>, Option<Arc<Queue>>);

/// Credentials that are refused are read again, but not more often than this.
const REOPENED: Duration = Duration::from_secs(30);

/// What is left of the deadline when a call to the store is given up, so that what it has found so far is kept.
const RESERVE: Duration = Duration::from_millis(50);

/// What is kept of a folder between looks. It only saves work.
#[derive(Debug, Default)]
struct Memory {
    large: Large,
    /// The directories that were read, and the questions that had nothing new in them.
    quiet: Option<Quiet>,
    /// The directories as they were when the last full listing of a large folder began.
    listed: Option<here::Directories>,
}

impl fmt::Debug for TriggerFileSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TriggerFileSource").field("base", &self.config.base).finish_non_exhaustive()
    }
}

impl TriggerFileSource {
    /// A source of an ACON's files. Nothing is asked and no secret read yet.
    pub fn new(config: &TriggerFiles, secrets: &Arc<Secrets>, runs: Arc<dyn RunStore>) -> Self {
        let mut config = config.clone();
        if config.queue_url.is_some() {
            config.full_listing_interval.get_or_insert(queue::LISTING_INTERVAL);
        }
        Self {
            config,
            secrets: Arc::clone(secrets),
            runs: Runs::new(runs),
            patient: false,
            limits: Limits::default(),
            opened: tokio::sync::Mutex::default(),
            folders: Mutex::default(),
            verdicts: trust::Verdicts::default(),
            beside: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// The same for a command that looks once: what takes long is not put off to the next look.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    #[cfg(test)]
    fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same on a store that is open already.
    #[must_use]
    pub fn on(mut self, store: Arc<Store>) -> Self {
        let opened = Opened { store, queue: None, at: Instant::now() };
        self.opened = tokio::sync::Mutex::new(Some(opened));
        self
    }

    /// The same, told by a queue that is open already.
    #[cfg(test)]
    fn told_by(mut self, queue: Arc<Queue>) -> Self {
        if let Some(opened) = self.opened.get_mut() {
            opened.queue = Some(queue);
        }
        self.config.full_listing_interval.get_or_insert(queue::LISTING_INTERVAL);
        self
    }

    /// Requests and bytes so far, of the store as it is open now.
    pub async fn traffic(&self) -> TrafficCount {
        self.opened.lock().await.as_ref().map(|opened| opened.store.traffic()).unwrap_or_default()
    }

    /// What full listings of large folders cost, and when the next are.
    pub fn full_listings(&self) -> Vec<FullListing> {
        let folders = self.folders();
        let mut listings: Vec<FullListing> =
            folders.iter().filter_map(|(name, memory)| memory.large.report(name)).collect();
        listings.sort_unstable_by(|one, two| one.folder.cmp(&two.folder));
        listings
    }

    /// Whether the base can be listed; a remark where it is not there yet, or lives by the messages of its queue.
    pub async fn reach(&self, deadline: Instant) -> Result<Option<String>, SourceError> {
        let (store, _, queue) = self.open().await?;
        match store.list(&Listing { prefix: "", start: Start::Beginning, limit: 1 }, deadline).await {
            Ok(_) => Ok(None),
            // The first file makes it.
            Err(error) if store.has_directories() && matches!(error.fault, Fault::Missing) => {
                Ok(Some(format!("folder `{}` does not exist yet, or is not the one meant", store.url(""))))
            }
            Err(error) if queue.is_some() && matches!(error.fault, Fault::Forbidden { .. }) => {
                Ok(Some(queue::unlisted(&store.url(""))))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the queue can be read and messages deleted, with remarks on how it is set up; `None` where there is none.
    pub async fn reach_queue(&self, deadline: Instant) -> Option<Result<Vec<String>, SourceError>> {
        self.config.queue_url.as_ref()?;
        Some(match self.open().await {
            Ok((.., Some(queue))) => queue.probe(deadline).await.map_err(Into::into),
            Ok((.., None)) => Ok(Vec::new()),
            Err(error) => Err(error),
        })
    }

    /// Whether each folder can be listed, with a remark where nothing is in one: a store without directories does not
    /// tell a folder that is empty from one that is misspelt.
    pub async fn probe(&self, asks: &[Ask], deadline: Instant) -> Vec<Result<Option<String>, SourceError>> {
        let (store, has_queue) = match self.open().await {
            Ok((store, _, queue)) => (store, queue.is_some()),
            Err(error) => return asks.iter().map(|_| Err(again(&error))).collect(),
        };
        // Many jobs may wait for one folder.
        let names: BTreeSet<&str> = asks.iter().filter_map(folder_of).collect();
        let probes: Vec<_> = names.iter().map(|name| probe(&store, has_queue, name, deadline)).collect();
        let probed: Vec<_> = stream::iter(probes).buffered(AT_A_TIME).collect().await;
        let probed: BTreeMap<&str, _> = names.into_iter().zip(probed).collect();
        let found = |ask| folder_of(ask).and_then(|name| probed.get(name));
        let answers = asks.iter().map(|ask| match found(ask) {
            None => Ok(None),
            Some(Ok(remark)) => Ok(remark.clone()),
            Some(Err(error)) => Err(error.to_source()),
        });
        answers.collect()
    }

    async fn open(&self) -> Result<Open, SourceError> {
        // Read for each look: a key that is changed counts at once, and refuses no good file.
        let keys = self.keys().await?;
        let mut opened = self.opened.lock().await;
        if let Some(Opened { store, queue, .. }) = &*opened {
            return Ok((Arc::clone(store), keys, queue.clone()));
        }
        let mut store = Store::open(&self.config.base, &self.config.storage, &self.secrets).await?;
        if let (Store::S3(s3), TriggerTrust::Owners(_)) = (&mut store, &self.config.trust) {
            s3.tell_owners();
        }
        let queue = match &self.config.queue_url {
            Some(url) => Some(Arc::new(Queue::open(url, &self.config.storage, &self.secrets).await?)),
            None => None,
        };
        let store = Arc::new(store);
        let (at, open) = (Instant::now(), (Arc::clone(&store), keys, queue.clone()));
        *opened = Some(Opened { store, queue, at });
        Ok(open)
    }

    /// The keys that files are signed with, where they are.
    async fn keys(&self) -> Result<Vec<Secret>, SourceError> {
        let TriggerTrust::Signed(references) = &self.config.trust else { return Ok(Vec::new()) };
        let mut keys = Vec::with_capacity(references.len());
        for reference in references {
            let key = self.secrets.resolve(reference).await.map_err(|error| SourceError::Unreachable {
                what: "the `signing_key` of the trigger files".to_owned(),
                cause: Box::new(error),
            })?;
            if key.expose().trim().is_empty() {
                // Anybody could sign with it.
                let problem = format!("`trigger_file_options.signing_key`: the key in {reference} is empty");
                return Err(SourceError::Misconfigured { problem });
            }
            keys.push(key);
        }
        Ok(keys)
    }

    fn told(&self) -> MutexGuard<'_, queue::State> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folders(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> Rules {
        let max_age = self.config.max_file_age.and_then(|age| SignedDuration::try_from(age).ok());
        Rules { max_age, include_existing: self.config.include_existing, most_inline: self.limits.inline }
    }

    /// URL of a folder, as positions name it.
    pub(crate) fn folder_url(&self, store: &Store, name: &str) -> String {
        match (&self.config.base, store) {
            (Location::Local(_), store) => store.url(name),
            (base, _) => base.join(name).to_string(),
        }
    }
}

impl Source for TriggerFileSource {
    async fn look(&self, asks: &Arc<[Ask]>, deadline: Instant) -> Vec<Result<Answer, SourceError>> {
        let opened = tokio::time::timeout_at(deadline.into(), self.open()).await;
        let (store, keys, queue) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return asks.iter().map(|_| Err(again(&error))).collect(),
            Err(_) => {
                let what = format!("store of `{}`", self.config.base);
                return asks.iter().map(|_| Err(SourceError::Timeout { what: what.clone() })).collect();
            }
        };
        let calls = deadline.checked_sub(RESERVE).unwrap_or(deadline);
        let unlisted = Mutex::default();
        let pass = Pass { source: self, store, keys, queue, asks, deadline: calls, end: deadline, unlisted };
        pass.run().await
    }

    fn minds_absent(&self) -> bool {
        self.config.queue_url.is_some()
    }

    fn absent(&self, rows: &Arc<[Absent]>) {
        self.told().absent = Some(Arc::clone(rows));
    }
}

fn folder_of(ask: &Ask) -> Option<&str> {
    match &ask.asset {
        Asset::Folder { name } => Some(name),
        Asset::Topic { .. } => None,
    }
}

async fn probe(
    store: &Store,
    has_queue: bool,
    name: &str,
    deadline: Instant,
) -> Result<Option<String>, StoreError> {
    let prefix = format!("{name}/");
    let listing = Listing { prefix: &prefix, start: Start::Beginning, limit: 1 };
    let page = match store.list(&listing, deadline).await {
        Err(StoreError { fault: Fault::Forbidden { .. }, .. }) if has_queue => {
            return Ok(Some(queue::unlisted(&store.url(name))));
        }
        listed => listed?,
    };
    let is_empty = page.files.is_empty() && page.next.is_none();
    Ok(is_empty.then(|| format!("folder `{}` holds no file yet, or is not the one meant", store.url(name))))
}

/// The same error for another row.
fn again(error: &SourceError) -> SourceError {
    let text = crate::error_chain::chain(error);
    match error {
        SourceError::Misconfigured { .. } => SourceError::Misconfigured { problem: text },
        _ => SourceError::Doubtful { what: "the store of the trigger files".to_owned(), problem: text },
    }
}
