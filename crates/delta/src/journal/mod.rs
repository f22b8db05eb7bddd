//! The journal: a table that is only ever added to.
//!
//! An append writes one file and one log entry, whatever anybody else has appended since: it reads no rows and
//! lists nothing. A process remembers the newest version that it knows and follows the log from there.

mod line;
mod merge;
mod read;
mod state;
mod tiers;
mod upkeep;

pub use tiers::JournalRetention;
pub use upkeep::JournalMaintained;

use std::sync::Arc;

use heartbeat_core::journal::{Entry, Filter, Journal};
use jiff::Timestamp;
use object_store::ObjectStore;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;
use uuid::Uuid;

use crate::commit;
use crate::entry::{self, Written, lines};
use crate::error::Error;
use crate::journal::line::Line;
use crate::journal::state::State;
use crate::layout::schema_string;
use crate::location::Location;
use crate::maintain::Care;
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
        let mut state = self.newest_or_created(known.take()).await?;
        // Columns that are changed meanwhile make the rows be written anew.
        while !self.append_as(&mut state, entries).await? {}
        self.checkpoint_when_due(&state).await;
        *known = Some(state);
        Ok(())
    }

    /// Appends rows with the columns that `state` has; `false` when somebody changes these meanwhile.
    async fn append_as(&self, state: &mut State, entries: &[Entry]) -> Result<bool, Error> {
        let layout = Arc::clone(&state.layout);
        layout.ensure_writable(&self.location.name)?;
        let rows: Vec<Line> = entries.iter().map(Line::from).collect();
        let batch = layout.encode(&self.location.name, &rows.iter().collect::<Vec<_>>())?;
        let started = self.location.now();
        let mut files = Vec::new();
        let (path, size) = commit::encode(&mut files, "", 0, &batch)
            .map_err(|source| self.location.cannot_encode(source))?;
        commit::put_files(&self.location, &files).await?;
        let times = entries.iter().map(|entry| entry.at);
        let (oldest, newest) = (times.clone().min().unwrap_or(started), times.max().unwrap_or(started));
        let stats = state::stats(entries.len(), oldest, newest);
        let added = [entry::add(&path, size, started.as_millisecond(), true, &stats)];
        let parameters = json!({"mode": "Append", "partitionBy": "[]"});
        let change = Change { operation: "WRITE", parameters: &parameters, actions: &added };
        while !self.put(state, &change).await? {
            *state = self.newest_or_created(Some(state.clone())).await?;
            state.layout.ensure_writable(&self.location.name)?;
            if state.layout.kernel_schema != layout.kernel_schema {
                commit::discard_files(&self.location, &files).await;
                return Ok(false);
            }
        }
        commit::put_again_when_late(&self.location, &files, started).await?;
        Ok(true)
    }

    async fn checkpoint_when_due(&self, state: &State) {
        let interval = state.layout.checkpoint_interval;
        let (version, asking) = (state.version, self.care.commit());
        let done = self.care.checkpoint_if_due(&self.location, version, state.checkpoint, interval, asking);
        if let Err(error) = done.await {
            tracing::warn!(table = %self.location.name, version, %error, "checkpoint failed");
        }
    }

    /// Writes the version after `state` and moves on to it; `false` when somebody else was first.
    async fn put(&self, state: &mut State, change: &Change<'_>) -> Result<bool, Error> {
        let id = Uuid::new_v4();
        let millis = self.location.now().as_millisecond();
        let in_commit_timestamp = state.in_commit_timestamp.map(|before| millis.max(before + 1));
        let version = state.version + 1;
        let info =
            entry::info(change.operation, change.parameters, state.version, id, millis, in_commit_timestamp);
        let mut actions = vec![info];
        actions.extend_from_slice(change.actions);
        let bytes = lines(&actions);
        match entry::put(&self.location, version, id, &bytes, state.entry.as_ref()).await? {
            Written::Ours(entry) => {
                // Without the entry's head the log is read anew next time.
                state.entry = entry.filter(|_| state.follow(&bytes));
                state.version = version;
                Ok(true)
            }
            Written::Theirs => Ok(false),
        }
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
