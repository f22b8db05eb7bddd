//! The journal: a table that is only ever added to.
//!
//! An append writes one file and one log entry, whatever anybody else has appended since: it reads no rows and
//! lists nothing. A process remembers the newest version that it knows and follows the log from there.

mod line;
mod read;
mod state;

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
}

impl DeltaJournal {
    /// The journal at `url`; nothing is read or made yet.
    pub fn new(url: &Url) -> Result<Self, Error> {
        Ok(Self { location: Location::new(url)?, known: Mutex::default() })
    }

    /// The journal at `url` in a given storage, whose root is that of the URL.
    pub fn with_store(url: &Url, store: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        Ok(Self { location: Location::with_store(url, store)?, known: Mutex::default() })
    }

    /// The same journal, whose commits are stamped by another clock than the machine's; for tests.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { location: self.location.with_clock(Arc::new(clock)), ..self }
    }

    /// The newest version, made if there is none.
    async fn newest_or_created(&self, known: Option<State>) -> Result<State, Error> {
        if let Some(state) = state::newest(&self.location, known).await? {
            return Ok(state);
        }
        let entry = commit::creation(Uuid::new_v4(), &schema_string(Line::COLUMNS), self.location.now());
        self.location.put_if_absent(&Location::entry(0), entry).await?;
        let state = state::newest(&self.location, None).await?;
        state.ok_or_else(|| Error::NotATable { path: self.location.name.clone() })
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
            state.follow(&bytes);
            state.version = version;
            state.entry.clone_from(entry);
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
        let state = {
            let mut known = self.known.lock().await;
            *known = state::newest(&self.location, known.take()).await?;
            known.clone()
        };
        let Some(state) = state else { return Ok(Vec::new()) };
        read::newest(&self.location, state, filter, limit).await
    }
}
