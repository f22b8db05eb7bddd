//! What the engine wants from a table: one snapshot in, one compare-and-swap commit out.
//!
//! A commit is made against exactly the version that was read. A lost race is a value, not an error: the
//! caller reloads and decides again; nothing is ever re-applied to rows that were not decided on.

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;

use crate::row::{ControlRow, SensorRow};

/// A row type that a table can hold.
pub trait Record: Clone + Debug + PartialEq + Default + Send + Sync + 'static {}
impl Record for ControlRow {}
impl Record for SensorRow {}

/// All rows of one version of a table. `B` is what the store needs to commit against it.
#[derive(Debug, Clone)]
pub struct Snapshot<R, B> {
    /// Identity of the table, stable over its life (Delta: `metaData.id`).
    pub table_id: String,
    /// Version that was read.
    pub version: u64,
    /// The rows; their index is their identity in [`Changes`], so that duplicate keys stay apart.
    pub rows: Vec<R>,
    /// The store's own memory of where the rows came from.
    pub backing: B,
}

/// Row-level changes against one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<R> {
    /// Index in [`Snapshot::rows`] and the whole new row.
    pub update: Vec<(usize, R)>,
    /// New rows.
    pub insert: Vec<R>,
    /// Indices in [`Snapshot::rows`].
    pub delete: Vec<usize>,
}

impl<R> Default for Changes<R> {
    fn default() -> Self {
        Self { update: Vec::new(), insert: Vec::new(), delete: Vec::new() }
    }
}

impl<R> Changes<R> {
    /// True when there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.update.is_empty() && self.insert.is_empty() && self.delete.is_empty()
    }
}

impl<R: Clone> Changes<R> {
    /// The rows after the changes: updated rows in place, deleted ones gone, inserts at the end. Indices that
    /// the rows don't have are passed over.
    pub fn apply(&self, rows: &[R]) -> Vec<R> {
        let mut next: Vec<Option<R>> = rows.iter().cloned().map(Some).collect();
        for (index, row) in &self.update {
            if let Some(place) = next.get_mut(*index) {
                *place = Some(row.clone());
            }
        }
        for index in &self.delete {
            if let Some(place) = next.get_mut(*index) {
                *place = None;
            }
        }
        next.into_iter().flatten().chain(self.insert.iter().cloned()).collect()
    }
}

/// What became of a commit.
#[derive(Debug)]
#[must_use = "a lost race must be decided again"]
pub enum Commit<S> {
    /// The changes are in the table; the new snapshot holds them. The order of rows may differ from the base.
    Done(S),
    /// Somebody else committed since the snapshot was read; nothing of ours was written.
    Conflict,
}

/// A table of `R`.
pub trait Table<R: Record>: Send + Sync {
    /// The store's memory behind a snapshot. Cheap to clone.
    type Backing: Debug + Clone + Send + Sync;
    /// Errors of the store.
    type Error: Error + Send + Sync + 'static;

    /// Reads the newest version, all rows.
    fn load(&self) -> impl Future<Output = Result<Snapshot<R, Self::Backing>, Self::Error>> + Send;

    /// Whether nobody committed since `version` was read or written; cheaper than loading.
    fn is_current(
        &self,
        version: u64,
        backing: &Self::Backing,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Writes `changes` as version `base.version + 1`, or nothing at all.
    ///
    /// `step` names the commit in the table's history (`heartbeat S`, ...). A commit of ours whose answer was
    /// lost is recognised and reported as [`Commit::Done`]. Empty changes write nothing and return the base.
    fn commit(
        &self,
        base: Snapshot<R, Self::Backing>,
        changes: Changes<R>,
        step: &str,
    ) -> impl Future<Output = Result<Commit<Snapshot<R, Self::Backing>>, Self::Error>> + Send;
}

/// Content-addressed values that are too large for a cell, stored beside the sensor table.
pub trait Blobs: Send + Sync {
    /// Errors of the store.
    type Error: Error + Send + Sync + 'static;

    /// Stores `bytes` under their hex SHA-256 and returns it; storing the same bytes again is a no-op.
    fn put(&self, bytes: Vec<u8>) -> impl Future<Output = Result<String, Self::Error>> + Send;

    /// The bytes stored under `digest`, verified against it; `None` when absent.
    fn get(&self, digest: &str) -> impl Future<Output = Result<Option<Vec<u8>>, Self::Error>> + Send;
}
