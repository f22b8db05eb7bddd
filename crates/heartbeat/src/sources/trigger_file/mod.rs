//! Trigger files: each new file below `<base>/<sensor_id>/` is news.
//!
//! New means a path that was not seen before: files may come late, out of order, under any name and in folders
//! below the sensor's. Names that begin with `.` or `_`, names that end with `.tmp`, and directories are never
//! news; neither is anything below a folder whose name begins with `.` or `_`. A file that is overwritten is not
//! new, as in Auto Loader. A name that has gone is forgotten when a listing a week later does not show it either.
//!
//! A look lists small folders whole, many in one listing where the store lists by path; of a large folder it asks for
//! what lies behind the newest names, and lists it whole in parts now and then. `plan` says which, `sweep`, `part` and
//! `here` list, `judge` says what a listing means for a row. Where a queue tells of new files (`queue`), listings are its
//! safety net.

mod events;
mod hand;
mod here;
pub(crate) mod judge;
mod large;
mod part;
mod plan;
mod queue;
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
use heartbeat_core::files::{MOST_INLINE, is_trigger};
use heartbeat_core::location::Location;
use heartbeat_core::secret::Secret;
use heartbeat_core::source::{Absent, Answer, Ask, Asset, Finding, Since, Source, SourceError};
use jiff::SignedDuration;

use self::judge::{FirstLook, Rules, Sight, Standing};
pub use self::large::FullListing;
use self::large::Large;
use self::part::Folder;
use self::runs::Runs;
pub use self::runs::{Beside, MemoryRuns, NoRuns, RunStore};
use self::sweep::Swept;
use self::trust::Judge;
use crate::secrets::Secrets;
use crate::stores::local;
use crate::stores::queue::Queue;
use crate::stores::{Fault, Listing, Order, Start, Store, StoreError, TrafficCount};

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

/// Directories in which nothing was new for these questions.
#[derive(Debug)]
struct Quiet {
    /// The folder, as calls about it name it.
    about: String,
    directories: here::Directories,
    asks: Vec<Ask>,
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

/// One look.
struct Pass<'a> {
    source: &'a TriggerFileSource,
    store: Arc<Store>,
    keys: Vec<Secret>,
    queue: Option<Arc<Queue>>,
    asks: &'a Arc<[Ask]>,
    /// Of calls to the store.
    deadline: Instant,
    /// Of the look.
    end: Instant,
    /// Folders that may not be listed, where a queue tells of their files.
    unlisted: Mutex<BTreeSet<String>>,
}

type Answers = Vec<(usize, Result<Answer, SourceError>)>;

/// A folder that is asked about, with the numbers of the questions.
#[derive(Clone)]
struct Group<'a> {
    name: &'a str,
    asks: Vec<usize>,
}

impl<'a> Pass<'a> {
    async fn run(self) -> Vec<Result<Answer, SourceError>> {
        let mut groups: BTreeMap<Vec<u8>, Group<'a>> = BTreeMap::new();
        let mut answers: Vec<Option<Result<Answer, SourceError>>> = self.asks.iter().map(|_| None).collect();
        for (index, ask) in self.asks.iter().enumerate() {
            match &ask.asset {
                // In the order of paths: `a-b/x` stands before `a/x`.
                Asset::Folder { name } => groups
                    .entry(format!("{name}/").into_bytes())
                    .or_insert_with(|| Group { name, asks: Vec::new() })
                    .asks
                    .push(index),
                Asset::Topic { .. } => {
                    let problem = "a Kafka topic is not a trigger folder".to_owned();
                    answers[index] = Some(Err(SourceError::Misconfigured { problem }));
                }
            }
        }
        let groups: Vec<Group<'a>> = groups.into_values().collect();
        let doubts = match &self.queue {
            Some(queue) => queue::look(&self, queue, &groups, &mut answers).await,
            None => self.listed(&groups, &mut answers).await,
        };
        if doubts {
            let mut opened = self.source.opened.lock().await;
            if opened.as_ref().is_some_and(|opened| opened.at.elapsed() > REOPENED) {
                self.source.secrets.doubt();
                *opened = None;
            }
        }
        let answered = answers.into_iter().zip(self.asks.iter());
        answered.map(|(answer, ask)| answer.unwrap_or_else(|| Err(self.timeout(ask)))).collect()
    }

    /// Lists the folders and judges them. True when the credentials should be read again.
    async fn listed(
        &self,
        groups: &[Group<'a>],
        answers: &mut [Option<Result<Answer, SourceError>>],
    ) -> bool {
        let plan = self.plan(groups);
        let mut doubts = false;
        let mut alone = plan.alone;
        if let Store::Local(_) = &*self.store {
            alone = self.stand(groups, answers).await;
        }
        let at_a_time = if matches!(*self.store, Store::Local(_)) { local::AT_A_TIME } else { AT_A_TIME };
        let mut sweeps = plan.sweeps;
        // Folders that turn out to be large while they are swept come behind.
        while !(sweeps.is_empty() && alone.is_empty()) {
            let (these, those) = (std::mem::take(&mut sweeps), std::mem::take(&mut alone));
            let swept: Vec<_> = these.iter().map(|folders| self.sweep(groups, folders)).collect();
            let folders: Vec<_> = those.iter().map(|index| self.alone(&groups[*index])).collect();
            let swept = stream::iter(swept).buffer_unordered(AT_A_TIME);
            let folders = stream::iter(folders).buffer_unordered(at_a_time);
            let mut found = std::pin::pin!(stream::select(swept, folders));
            while let Ok(Some(found)) = tokio::time::timeout_at(self.end.into(), found.next()).await {
                doubts |= found.doubts;
                alone.extend(found.too_much);
                for (index, answer) in found.answers {
                    answers[index] = Some(answer);
                }
            }
        }
        doubts
    }

    fn plan(&self, groups: &[Group<'a>]) -> plan::Plan {
        let files: Vec<Option<u64>> = groups.iter().map(|group| self.known(group)).collect();
        let swept = self.source.limits.swept;
        match self.store.order() {
            Order::ByPath => plan::by_path(&files, swept),
            Order::None if self.store.has_directories() => {
                plan::Plan { sweeps: Vec::new(), alone: (0..groups.len()).collect() }
            }
            Order::None => {
                let beside = *self.source.beside.lock().unwrap_or_else(PoisonError::into_inner);
                plan::whole_or_each(&files, beside, swept)
            }
        }
    }

    /// Files that were seen in a folder; `None` where a row has not looked yet.
    fn known(&self, group: &Group<'a>) -> Option<u64> {
        let of = |index: &usize| match &self.asks[*index].since {
            Since::Position(heartbeat_core::position::Position::Files(cursor)) => Some(cursor.names()),
            _ => None,
        };
        let is_being_listed =
            self.source.folders().get(group.name).is_some_and(|memory| memory.large.is_first());
        // Where one row knows that it is large, it is.
        let known = group.asks.iter().filter_map(of).max();
        if is_being_listed { known.max(Some(u64::from(u32::MAX))) } else { known }
    }

    async fn sweep(&self, groups: &[Group<'a>], folders: &[usize]) -> Found {
        let names: Vec<&str> = folders.iter().map(|index| groups[*index].name).collect();
        let counts = |path: &str, folder: &str| self.counts(path, folder);
        let taken = self.source.limits.taken;
        let (swept, broke_off) = match self.store.order() {
            Order::ByPath => sweep::by_path(&self.store, &names, &counts, taken, self.deadline).await,
            Order::None => {
                let known: u64 = folders.iter().filter_map(|index| self.known(&groups[*index])).sum();
                let most = known + self.source.limits.swept * folders.len() as u64;
                let (swept, beside, broke_off) =
                    sweep::whole(&self.store, &names, &counts, taken, most, self.deadline).await;
                *self.source.beside.lock().unwrap_or_else(PoisonError::into_inner) = beside;
                (swept, broke_off)
            }
        };
        let mut sweep = Found { answers: Vec::new(), too_much: Vec::new(), doubts: false };
        if let Some(error) = broke_off {
            sweep.doubts = self.doubts(&error);
            let left = folders[swept.len()..].iter();
            sweep.answers = left.flat_map(|index| self.failed(&groups[*index], &error)).collect();
        }
        for (index, swept) in folders.iter().zip(swept) {
            match swept {
                Swept::TooMuch => sweep.too_much.push(*index),
                Swept::Whole(sight) => sweep.answers.extend(self.judged(&groups[*index], &sight).await),
            }
        }
        sweep
    }

    /// One folder by itself.
    async fn alone(&self, group: &Group<'a>) -> Found {
        let mut memory = self.source.folders().remove(group.name).unwrap_or_default();
        let found = match &*self.store {
            Store::Local(_) => self.here(group, &mut memory).await,
            _ => self.there(group, &mut memory).await,
        };
        self.source.folders().insert(group.name.to_owned(), memory);
        match found {
            Ok(answers) => Found { answers, too_much: Vec::new(), doubts: false },
            Err(error) => Found {
                answers: self.failed(group, &error),
                too_much: Vec::new(),
                doubts: self.doubts(&error),
            },
        }
    }

    /// What it means for the questions about a folder that it could not be listed. Where a queue tells of its files it need
    /// not be.
    fn failed(&self, group: &Group<'a>, error: &StoreError) -> Answers {
        if self.need_not_list(error) {
            self.unlisted().insert(group.name.to_owned());
            return Vec::new();
        }
        group.asks.iter().map(|index| (*index, Err(error.to_source()))).collect()
    }

    fn doubts(&self, error: &StoreError) -> bool {
        error.doubts_credentials() && !self.need_not_list(error)
    }

    /// Whether it may not list, and a queue tells of the files.
    fn need_not_list(&self, error: &StoreError) -> bool {
        self.queue.is_some() && matches!(error.fault, Fault::Forbidden { .. })
    }

    fn unlisted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.unlisted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A folder of this machine.
    async fn here(&self, group: &Group<'a>, memory: &mut Memory) -> Result<Answers, StoreError> {
        if self.is_large(group) {
            return large::look(self, group, memory).await;
        }
        let (sight, directories) = self.read_here(group.name, None, self.source.limits.stretch).await?;
        if !sight.is_everything() {
            return large::look(self, group, memory).await;
        }
        let answers = self.judged(group, &sight).await;
        self.is_quiet(group, &answers, directories, memory);
        Ok(answers)
    }

    /// Remembers that nothing was new in directories.
    fn is_quiet(
        &self,
        group: &Group<'a>,
        answers: &Answers,
        directories: here::Directories,
        memory: &mut Memory,
    ) {
        if answers.iter().all(|(_, answer)| matches!(answer, Ok(Answer::Same))) {
            let asks = group.asks.iter().map(|index| self.asks[*index].clone()).collect();
            let about = match &*self.store {
                Store::Local(local) => local.name(group.name),
                _ => String::new(),
            };
            memory.quiet = Some(Quiet { about, directories, asks });
        }
    }

    /// Folders of this machine that need not be read, because no directory has changed since nothing was new: they are
    /// answered, and the others left. A directory that hangs keeps one reader.
    async fn stand(
        &self,
        groups: &[Group<'a>],
        answers: &mut [Option<Result<Answer, SourceError>>],
    ) -> Vec<usize> {
        let Store::Local(local) = &*self.store else { return (0..groups.len()).collect() };
        let mut left = Vec::new();
        let mut quiet = Vec::new();
        {
            let mut folders = self.source.folders();
            for (index, group) in groups.iter().enumerate() {
                let memory = folders.get_mut(group.name);
                let memory = memory.filter(|memory| !memory.large.has_work());
                let asked = group.asks.iter().map(|index| &self.asks[*index]);
                match memory.and_then(|memory| memory.quiet.take()) {
                    Some(found) if found.asks.iter().eq(asked) => quiet.push((index, found)),
                    _ => left.push(index),
                }
            }
        }
        let (done, mut arriving) = tokio::sync::mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(quiet));
        for thread in local.calls().free_threads() {
            let (queue, done, local) = (Arc::clone(&queue), done.clone(), local.clone());
            tokio::task::spawn_blocking(move || {
                let _thread = thread;
                while let Some((index, quiet)) = pop(&queue) {
                    let call = local.calls().begin(&quiet.about);
                    let stands = call.is_some() && quiet.directories.stand(local.root());
                    if done.send((index, quiet, stands)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        while let Ok(Some((index, quiet, stands))) =
            tokio::time::timeout_at(self.end.into(), arriving.recv()).await
        {
            let group = &groups[index];
            if stands {
                for ask in &group.asks {
                    answers[*ask] = Some(Ok(Answer::Same));
                }
                self.source.folders().entry(group.name.to_owned()).or_default().quiet = Some(quiet);
            } else {
                left.push(index);
            }
        }
        // No thread was free for these.
        left.extend(std::iter::from_fn(|| pop(&queue)).map(|(index, _)| index));
        left.sort_unstable();
        left
    }

    /// A folder on a store.
    async fn there(&self, group: &Group<'a>, memory: &mut Memory) -> Result<Answers, StoreError> {
        if self.is_large(group) || self.store.order() == Order::ByPath {
            return large::look(self, group, memory).await;
        }
        let counts = |path: &str, folder: &str| self.counts(path, folder);
        let folder = self.folder(group.name, &counts);
        let sight = folder.next(None).await?;
        if sight.is_everything() {
            return Ok(self.judged(group, &sight).await);
        }
        large::look(self, group, memory).await
    }

    fn is_large(&self, group: &Group<'a>) -> bool {
        self.known(group).is_some_and(|files| files > self.source.limits.inline as u64)
    }

    fn folder<'f>(&'f self, name: &'f str, counts: &'f (dyn Fn(&str, &str) -> bool + Sync)) -> Folder<'f> {
        Folder {
            store: &self.store,
            name,
            counts,
            stretch: self.source.limits.stretch,
            deadline: self.deadline,
        }
    }

    async fn read_here(
        &self,
        name: &str,
        after: Option<String>,
        most: usize,
    ) -> Result<(Sight, here::Directories), StoreError> {
        let Store::Local(local) = &*self.store else {
            return Err(Fault::Misconfigured("is not on this machine".to_owned()).of("folder"));
        };
        let (root, name, deadline) = (local.root().to_owned(), name.to_owned(), self.deadline);
        let pattern = self.source.config.pattern.clone();
        let folder = name.clone();
        local
            .call(&folder, self.deadline, move || {
                let counts = move |path: &str, folder: &str| {
                    is_trigger(path) && pattern.as_ref().is_none_or(|pattern| pattern.matches(path, folder))
                };
                here::read(&root, &name, after.as_deref(), most, &counts, deadline)
            })
            .await
    }

    /// Whether a file in a folder can be news.
    fn counts(&self, path: &str, folder: &str) -> bool {
        let pattern = self.source.config.pattern.as_ref();
        is_trigger(path) && pattern.is_none_or(|pattern| pattern.matches(path, folder))
    }

    /// All questions about a folder that was seen whole.
    async fn judged(&self, group: &Group<'a>, sight: &Sight) -> Answers {
        let mut answers = Vec::with_capacity(group.asks.len());
        for index in &group.asks {
            answers
                .push((*index, self.judge(group.name, &self.asks[*index], sight).await.map(judge::answer)));
        }
        answers
    }

    async fn judge(&self, name: &str, ask: &Ask, sight: &Sight) -> Result<Option<Finding>, SourceError> {
        let (rules, runs) = (self.source.rules(), &self.source.runs);
        let folder = self.source.folder_url(&self.store, name);
        let trusts = self.trusts(name);
        match judge::standing(ask, &folder, rules)? {
            Standing::At(cursor) => judge::compare(cursor, sight, rules, runs, &trusts).await,
            Standing::New(first, remark) => {
                let mut look = FirstLook::new(&folder, first, remark, rules);
                let part = look.judge(sight, rules, &trusts).await?;
                look.add(part);
                look.finish(runs).await.map(Some)
            }
        }
    }

    fn trusts<'s>(&'s self, name: &'s str) -> Judge<'s> {
        Judge {
            store: &self.store,
            sensor_id: name,
            trust: &self.source.config.trust,
            keys: &self.keys,
            verdicts: &self.source.verdicts,
            deadline: self.deadline,
        }
    }

    fn timeout(&self, ask: &Ask) -> SourceError {
        let what = match &ask.asset {
            Asset::Folder { name } => self.store.url(name),
            Asset::Topic { .. } => self.store.url(""),
        };
        SourceError::Timeout { what: format!("folder `{what}`") }
    }
}

/// What some folders gave.
struct Found {
    answers: Answers,
    /// Those that have more files than were taken along.
    too_much: Vec<usize>,
    /// Whether the credentials should be read again.
    doubts: bool,
}

fn pop<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
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
