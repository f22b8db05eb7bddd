//! The journal: a table that is only ever added to.
//!
//! An append writes one file and one log entry, whatever anybody else has appended since: it reads no rows and
//! lists nothing. A process remembers the newest version that it knows and follows the log from there.

mod line;
mod merge;
mod read;
mod state;
mod tiers;

pub use tiers::JournalRetention;

use std::sync::Arc;

use heartbeat_core::journal::{Entry, Filter, Journal};
use jiff::Timestamp;
use object_store::ObjectStore;
use object_store::path::Path;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;
use uuid::Uuid;

use crate::checkpoint::Asking;
use crate::commit;
use crate::entry::{self, Written, lines};
use crate::error::Error;
use crate::file::LoggedFile;
use crate::journal::line::Line;
use crate::journal::state::State;
use crate::layout::schema_string;
use crate::location::Location;
use crate::maintain::{self, Care, Maintained, View};
use crate::record::DeltaRecord as _;

/// An append-only Delta table of journal entries. Any number of processes may append at once.
///
/// ```
/// # use heartbeat_core::journal::{Entry, Filter, Journal};
/// # use heartbeat_delta::{DeltaJournal, Error};
/// # async fn example(url: &url::Url, entries: &[Entry]) -> Result<(), Error> {
/// let journal = DeltaJournal::new(url)?;
/// journal.append(entries).await?;
/// let filter = Filter { job: Some("12".into()), ..Filter::default() };
/// let newest = journal.newest(&filter, 50).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DeltaJournal {
    location: Location,
    /// The newest version that is known; held while one is appended, so that a process does not race itself.
    known: Mutex<Option<State>>,
    care: Care,
}

/// What maintenance of a journal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalMaintained {
    /// Files that were merged into larger ones.
    pub merged: usize,
    /// Files whose entries went.
    pub expired: usize,
    /// As for every table.
    pub table: Maintained,
}

impl DeltaJournal {
    /// The journal at `url`; nothing is read or made yet.
    pub fn new(url: &Url) -> Result<Self, Error> {
        Ok(Self::at(Location::new(url)?))
    }

    /// The journal at `url` in a given storage, whose root is that of the URL.
    pub fn with_store(url: &Url, store: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        Ok(Self::at(Location::with_store(url, store)?))
    }

    /// The same journal, whose commits are stamped by another clock than the machine's; for tests.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { location: self.location.with_clock(Arc::new(clock)), ..self }
    }

    /// Merges small files, removes entries that are too old or too many, and cleans up as
    /// [`DeltaTable::maintain`](crate::DeltaTable::maintain) does. Appends go on meanwhile.
    ///
    /// Costs nothing when nothing is due by what this process has seen of the journal.
    pub async fn maintain(
        &self,
        keep: &JournalRetention,
        now: Timestamp,
    ) -> Result<JournalMaintained, Error> {
        let mut done = JournalMaintained::default();
        let view = || async {
            let state = self.refresh().await?.ok_or_else(|| self.absent())?;
            state.layout.ensure_writable(&self.location.name)?;
            Ok(View {
                table_id: state.table_id.clone(),
                version: state.version,
                properties: state.layout.properties.clone(),
                live: maintain::live(&self.location, state.files.values().map(|file| &file.logged))?,
            })
        };
        if self.known.lock().await.is_none() && self.refresh().await?.is_none() {
            return Ok(done);
        }
        done.table = self.care.clean_if_due(&self.location, &keep.versions, now, view).await?;
        let Some(mut state) = self.known.lock().await.clone() else { return Ok(done) };
        let expired = tiers::expired(state.files.values(), keep, now);
        if !expired.is_empty() {
            done.expired = self.expire(&mut state, expired).await?;
        }
        for merge in tiers::merges(state.files.values()) {
            done.merged += self.merge(&mut state, &merge).await?;
        }
        let (interval, asking) = (state.layout.checkpoint_interval, Asking::Maintenance);
        let (version, last) = (state.version, state.checkpoint);
        let due = self.care.checkpoint_if_due(&self.location, version, last, interval, asking);
        done.table.checkpoint = due.await?;
        Ok(done)
    }

    fn at(location: Location) -> Self {
        Self { location, known: Mutex::default(), care: Care::default() }
    }

    fn absent(&self) -> Error {
        Error::NotATable { path: self.location.name.clone() }
    }

    async fn refresh(&self) -> Result<Option<State>, Error> {
        let mut known = self.known.lock().await;
        *known = state::newest(&self.location, known.take()).await?;
        Ok(known.clone())
    }

    /// Removes files with all their entries, as far as they are still there.
    async fn expire(&self, state: &mut State, mut paths: Vec<String>) -> Result<usize, Error> {
        let parameters = json!({"predicate": "[\"at is too old\"]"});
        loop {
            paths.retain(|path| state.files.contains_key(path));
            if paths.is_empty() {
                return Ok(0);
            }
            let actions = self.removes(state, &paths, true);
            let change = Change { operation: "DELETE", parameters: &parameters, actions: &actions };
            if let Written::Ours(_) = self.put(state, &change).await? {
                return Ok(paths.len());
            }
            *state =
                state::newest(&self.location, Some(state.clone())).await?.ok_or_else(|| self.absent())?;
        }
    }

    /// Makes one file of several, unless somebody else changes one of them meanwhile.
    async fn merge(&self, state: &mut State, paths: &[String]) -> Result<usize, Error> {
        let inputs = |state: &State| -> Option<Vec<LoggedFile>> {
            paths.iter().map(|path| Some(state.files.get(path)?.logged.clone())).collect()
        };
        let Some(files) = inputs(state) else { return Ok(0) };
        let started = self.location.now();
        let layout = Arc::clone(&state.layout);
        layout.ensure_writable(&self.location.name)?;
        let merged = merge::merge(&self.location, &layout, &files).await?;
        let (path, size) = commit::name("", 0, &merged.bytes);
        let written = [(Path::from(path.as_str()), merged.bytes)];
        commit::put_files(&self.location, &written).await?;
        let added = entry::add(&path, size, started.as_millisecond(), false, &merged.stats);
        let parameters = json!({"predicate": "[]", "auto": "true"});
        loop {
            let mut actions = self.removes(state, paths, false);
            actions.push(added.clone());
            let change = Change { operation: "OPTIMIZE", parameters: &parameters, actions: &actions };
            if let Written::Ours(_) = self.put(state, &change).await? {
                commit::put_again_when_late(&self.location, &written, started).await?;
                return Ok(files.len());
            }
            *state =
                state::newest(&self.location, Some(state.clone())).await?.ok_or_else(|| self.absent())?;
            let identities = |files: &[LoggedFile]| -> Vec<_> {
                files.iter().map(|file| (file.path.clone(), file.identity().1)).collect()
            };
            let same = inputs(state).is_some_and(|now| identities(&now) == identities(&files));
            if !same || state.layout.kernel_schema != layout.kernel_schema {
                commit::discard_files(&self.location, &written).await;
                return Ok(0);
            }
        }
    }

    fn removes(&self, state: &State, paths: &[String], data_change: bool) -> Vec<Value> {
        let millis = self.location.now().as_millisecond();
        let files = paths.iter().filter_map(|path| state.files.get(path));
        files.map(|file| entry::remove(&file.logged, millis, data_change)).collect()
    }

    /// The newest version, made if there is none.
    async fn newest_or_created(&self, known: Option<State>) -> Result<State, Error> {
        if let Some(state) = state::newest(&self.location, known).await? {
            return Ok(state);
        }
        let entry = commit::creation(Uuid::new_v4(), &schema_string(Line::COLUMNS), self.location.now());
        self.location.put_if_absent(&Location::entry(0), entry).await?;
        let state = state::newest(&self.location, None).await?;
        state.ok_or_else(|| self.absent())
    }

    /// Appends; `known` is empty while the outcome is not known, so that the log is read anew after a failure.
    async fn append_to(&self, known: &mut Option<State>, entries: &[Entry]) -> Result<(), Error> {
        let rows: Vec<Line> = entries.iter().map(Line::from).collect();
        let rows: Vec<&Line> = rows.iter().collect();
        let times = || entries.iter().map(|entry| entry.at);
        let (Some(oldest), Some(newest)) = (times().min(), times().max()) else { return Ok(()) };
        let started = self.location.now();
        let mut state = self.newest_or_created(known.take()).await?;
        state.layout.ensure_writable(&self.location.name)?;
        let batch = state.layout.encode(&self.location.name, &rows)?;
        let mut files = Vec::new();
        let (path, size) = commit::encode(&mut files, "", 0, &batch)
            .map_err(|source| self.location.cannot_encode(source))?;
        commit::put_files(&self.location, &files).await?;
        let millis = started.as_millisecond();
        let stats = state::stats(entries.len(), oldest, newest);
        let added = entry::add(&path, size, millis, true, &stats);
        loop {
            let layout = Arc::clone(&state.layout);
            let blind = json!({"mode": "Append", "partitionBy": "[]"});
            let change =
                Change { operation: "WRITE", parameters: &blind, actions: std::slice::from_ref(&added) };
            match self.put(&mut state, &change).await? {
                Written::Ours(_) => {
                    self.checkpoint_when_due(&state).await;
                    *known = Some(state);
                    return commit::put_again_when_late(&self.location, &files, started).await;
                }
                Written::Theirs => {}
            }
            state = self.newest_or_created(Some(state)).await?;
            if state.layout.kernel_schema != layout.kernel_schema {
                commit::discard_files(&self.location, &files).await;
                return Err(Error::Changed { path: self.location.name.clone() });
            }
            state.layout.ensure_writable(&self.location.name)?;
        }
    }

    async fn checkpoint_when_due(&self, state: &State) {
        let interval = state.layout.checkpoint_interval;
        let (version, asking) = (state.version, self.care.commit());
        let done = self.care.checkpoint_if_due(&self.location, version, state.checkpoint, interval, asking);
        if let Err(error) = done.await {
            tracing::warn!(table = %self.location.name, version, %error, "checkpoint failed");
        }
    }

    /// Writes the version after `state`, and moves on to it when it is ours.
    async fn put(&self, state: &mut State, change: &Change<'_>) -> Result<Written, Error> {
        let id = Uuid::new_v4();
        let millis = self.location.now().as_millisecond();
        let in_commit_timestamp = state.in_commit_timestamp.map(|before| millis.max(before + 1));
        let version = state.version + 1;
        let info =
            entry::info(change.operation, change.parameters, state.version, id, millis, in_commit_timestamp);
        let mut actions = vec![info];
        actions.extend_from_slice(change.actions);
        let bytes = lines(&actions);
        let written = entry::put(&self.location, version, id, &bytes, state.entry.as_ref()).await?;
        if let Written::Ours(entry) = &written {
            // Without the entry's head the log is read anew next time.
            state.entry = entry.clone().filter(|_| state.follow(&bytes));
            state.version = version;
        }
        Ok(written)
    }
}

/// What the next version of a journal does.
struct Change<'a> {
    operation: &'a str,
    parameters: &'a Value,
    actions: &'a [Value],
}

impl Journal for DeltaJournal {
    type Error = Error;

    async fn append(&self, entries: &[Entry]) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut known = self.known.lock().await;
        self.append_to(&mut known, entries).await
    }

    async fn newest(&self, filter: &Filter, limit: usize) -> Result<Vec<Entry>, Error> {
        let Some(state) = self.refresh().await? else { return Ok(Vec::new()) };
        read::newest(&self.location, state, filter, limit).await
    }
}
