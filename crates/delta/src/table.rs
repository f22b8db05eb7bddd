//! The table itself: create, load, commit.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heartbeat_core::table::{Changes, Commit, Snapshot, Table};
use jiff::Timestamp;
use object_store::{ObjectMeta, ObjectStore};
use url::Url;
use uuid::Uuid;

use crate::checkpoint::Asking;
use crate::commit::{self, Prepared};
use crate::entry::Written;
use crate::error::Error;
use crate::file::DataFile;
use crate::layout::schema_string;
use crate::location::{Location, Log};
use crate::log::{self, TableState};
use crate::maintain::{self, Care, Maintained, View};
use crate::plan::{self, Plan};
use crate::record::DeltaRecord;
use crate::retention::Retention;

/// A Delta table of `R`. Cheap to keep: it remembers the version it saw last, so that loading an unchanged
/// table asks the storage for two file heads and reads nothing.
///
/// ```
/// # use heartbeat_core::row::SensorRow;
/// # use heartbeat_core::table::{Changes, Commit, Table};
/// # use heartbeat_delta::{DeltaTable, Error};
/// # async fn example(url: &url::Url) -> Result<(), Error> {
/// DeltaTable::<SensorRow>::create(url).await?;
/// let table = DeltaTable::<SensorRow>::new(url)?;
/// let base = table.load().await?;
/// let changes = Changes { insert: vec![SensorRow::default()], ..Changes::default() };
/// match table.commit(base, changes, "heartbeat S").await? {
///     Commit::Done(snapshot) => assert_eq!(snapshot.rows.len(), 1),
///     Commit::Conflict => { /* load and decide again */ }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DeltaTable<R> {
    location: Location,
    newest: Mutex<Option<Arc<TableState>>>,
    care: Care,
    rows: PhantomData<fn() -> R>,
}

/// What [`DeltaTable::create`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// There was no table; there is one now.
    Created,
    /// There is a table whose columns fit.
    AlreadyThere,
}

/// What is needed to commit against a snapshot: the version's files with their stored rows.
#[derive(Debug, Clone)]
pub struct Backing(Arc<TableState>);

impl<R: DeltaRecord> DeltaTable<R> {
    /// The table at `url`; nothing is read yet. Schemes other than `file` and `memory` are those that were
    /// registered with deltalake's store factories.
    pub fn new(url: &Url) -> Result<Self, Error> {
        Ok(Self::at(Location::new(url)?))
    }

    /// The table at `url` in a given storage, whose root is that of the URL.
    pub fn with_store(url: &Url, store: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        Ok(Self::at(Location::with_store(url, store)?))
    }

    /// The same table, whose commits are stamped by another clock than the machine's; for tests.
    #[must_use]
    pub fn with_clock(self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { location: self.location.with_clock(Arc::new(clock)), ..self }
    }

    /// Creates an empty table, or checks that the one which is there has columns that fit; columns that are
    /// not ours are fine.
    pub async fn create(url: &Url) -> Result<Init, Error> {
        Self::new(url)?.init().await
    }

    /// [`Self::create`] for a table that is at hand.
    pub async fn init(&self) -> Result<Init, Error> {
        if self.is_there().await? {
            return Ok(Init::AlreadyThere);
        }
        let id = Uuid::new_v4();
        let entry = commit::creation(id, &schema_string(R::COLUMNS), self.location.now());
        let created = self.location.put_if_absent(&Location::entry(0), entry).await?;
        let found = log::read(&self.location, R::COLUMNS, None).await?;
        // Also when it was there already: a retry inside the storage client meets the entry that it wrote before.
        if found.table_id == id.to_string() {
            return Ok(Init::Created);
        }
        // Ours came so late that the first entry of another table had been cleaned away.
        if created && found.checkpoint.is_some() {
            self.location.discard(&Location::entry(0)).await;
        }
        Ok(Init::AlreadyThere)
    }

    /// Whether this build may commit to the table; the error names what stands in the way.
    pub async fn ensure_writable(&self) -> Result<(), Error> {
        self.refresh().await?.layout.ensure_writable(&self.location.name)
    }

    /// Writes a checkpoint when one is due, and deletes what nobody needs any more: log files behind the newest
    /// checkpoint and files that the table no longer has, as `keep` and the table's properties say.
    ///
    /// Costs nothing when nothing is due, so it may be called after every pass; the directory is listed every
    /// `keep.every`. Any number of processes may do this, while others read and commit.
    pub async fn maintain(&self, keep: &Retention, now: Timestamp) -> Result<Maintained, Error> {
        let read = || async {
            let state = self.refresh().await?;
            state.layout.ensure_writable(&self.location.name)?;
            Ok(View {
                table_id: state.table_id.clone(),
                version: state.version,
                properties: state.layout.properties.clone(),
                live: maintain::live(&self.location, state.files.iter().map(|file| &file.logged))?,
            })
        };
        let mut done = self.care.clean_if_due(&self.location, keep, now, read).await?;
        let Some(state) = self.newest().clone() else { return Ok(done) };
        let (interval, asking) = (state.layout.checkpoint_interval, Asking::Maintenance);
        let due =
            self.care.checkpoint_if_due(&self.location, state.version, state.checkpoint, interval, asking);
        done.checkpoint = due.await?;
        Ok(done)
    }

    fn at(location: Location) -> Self {
        Self { location, newest: Mutex::new(None), care: Care::default(), rows: PhantomData }
    }

    async fn is_there(&self) -> Result<bool, Error> {
        match self.location.log().await? {
            Log::Absent | Log::Empty => Ok(false),
            Log::Entries => log::read(&self.location, R::COLUMNS, None).await.map(|_| true),
        }
    }

    async fn refresh(&self) -> Result<Arc<TableState>, Error> {
        let known = self.newest().clone();
        if let Some(known) = &known
            && self.is_newest(known).await?
        {
            return Ok(Arc::clone(known));
        }
        let state = Arc::new(log::read(&self.location, R::COLUMNS, known.as_deref()).await?);
        self.remember(&state);
        Ok(state)
    }

    /// Whether no later entry exists, and the version's own entry is still the one that was read: a table
    /// that was dropped and made anew may have come to the same version.
    async fn is_newest(&self, state: &TableState) -> Result<bool, Error> {
        let (own, next) = (Location::entry(state.version), Location::entry(state.version + 1));
        let (own, next) = futures::try_join!(self.location.head(&own), self.location.head(&next))?;
        Ok(next.is_none() && own == state.entry)
    }

    fn newest(&self) -> MutexGuard<'_, Option<Arc<TableState>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, state: &Arc<TableState>) {
        *self.newest() = Some(Arc::clone(state));
    }

    /// The state after our own commit, from what is in memory.
    fn next_state(
        base: &TableState,
        plan: &Plan,
        prepared: &Prepared,
        entry: Option<ObjectMeta>,
    ) -> Arc<TableState> {
        let kept =
            base.files.iter().zip(&plan.removed).filter(|(_, removed)| !**removed).map(|(file, _)| file);
        let added = prepared.added.iter().zip(&plan.added);
        let added =
            added.map(|(logged, rows)| Arc::new(DataFile { logged: logged.clone(), rows: rows.clone() }));
        let version = base.version + 1;
        Arc::new(TableState {
            table_id: base.table_id.clone(),
            version,
            layout: Arc::clone(&base.layout),
            files: kept.cloned().chain(added).collect(),
            // Unknown only makes the next load read the log.
            entry,
            checkpoint: base.checkpoint,
            in_commit_timestamp: prepared.in_commit_timestamp,
        })
    }

    async fn checkpoint_when_due(&self, state: &TableState) {
        let interval = state.layout.checkpoint_interval;
        let (version, asking) = (state.version, self.care.commit());
        let done = self.care.checkpoint_if_due(&self.location, version, state.checkpoint, interval, asking);
        if let Err(error) = done.await {
            tracing::warn!(table = %self.location.name, version, %error, "checkpoint failed");
        }
    }
}

impl<R: DeltaRecord> Table<R> for DeltaTable<R> {
    type Backing = Backing;
    type Error = Error;

    async fn load(&self) -> Result<Snapshot<R, Backing>, Error> {
        let state = self.refresh().await?;
        let name = self.location.name.clone();
        self.location
            .work(move || {
                let mut rows = Vec::with_capacity(state.files.iter().map(|file| file.rows.num_rows()).sum());
                for file in &state.files {
                    rows.append(&mut state.layout.decode(&name, &file.rows)?);
                }
                let table_id = state.table_id.clone();
                Ok(Snapshot { table_id, version: state.version, rows, backing: Backing(state) })
            })
            .await
    }

    /// Two file heads, where loading an unchanged table besides makes all its rows anew.
    async fn is_current(&self, _version: u64, backing: &Backing) -> Result<bool, Error> {
        self.is_newest(&backing.0).await
    }

    async fn commit(
        &self,
        base: Snapshot<R, Backing>,
        changes: Changes<R>,
        step: &str,
    ) -> Result<Commit<Snapshot<R, Backing>>, Error> {
        if changes.is_empty() {
            return Ok(Commit::Done(base));
        }
        let state = Arc::clone(&base.backing.0);
        state.layout.ensure_writable(&self.location.name)?;
        let (name, step, now) = (self.location.name.clone(), step.to_owned(), self.location.now());
        let location = self.location.clone();
        let planned = self.location.work(move || {
            let state = &base.backing.0;
            let plan = plan::plan(&name, &state.layout, &state.files, &base.rows, &changes)?;
            let prepared =
                commit::prepare(state, &plan, &step, now).map_err(|source| location.cannot_encode(source))?;
            Ok((base, plan, prepared))
        });
        let (base, plan, prepared) = planned.await?;
        if plan.is_empty() {
            return Ok(Commit::Done(base));
        }
        if !self.is_newest(&state).await? {
            return Ok(Commit::Conflict);
        }
        let entry = match commit::write(&self.location, &prepared, state.entry.as_ref()).await? {
            Written::Ours(entry) => entry,
            Written::Theirs => return Ok(Commit::Conflict),
        };
        let next = Self::next_state(&state, &plan, &prepared, entry);
        self.remember(&next);
        self.checkpoint_when_due(&next).await;
        let name = self.location.name.clone();
        self.location.work(move || snapshot_after(&name, base, &plan, next)).await.map(Commit::Done)
    }
}

/// Rows of files that stay are moved; those of new files are read back from what was stored.
fn snapshot_after<R: DeltaRecord>(
    table: &str,
    base: Snapshot<R, Backing>,
    plan: &Plan,
    next: Arc<TableState>,
) -> Result<Snapshot<R, Backing>, Error> {
    let mut rows = Vec::with_capacity(base.rows.len() + plan.inserted);
    let mut old_rows = base.rows.into_iter();
    for (file, removed) in base.backing.0.files.iter().zip(&plan.removed) {
        let of_file = old_rows.by_ref().take(file.rows.num_rows());
        if *removed { of_file.for_each(drop) } else { rows.extend(of_file) }
    }
    for batch in &plan.added {
        rows.append(&mut next.layout.decode(table, batch)?);
    }
    Ok(Snapshot { table_id: next.table_id.clone(), version: next.version, rows, backing: Backing(next) })
}
