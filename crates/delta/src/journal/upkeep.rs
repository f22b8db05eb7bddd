//! Merging a journal's small files, and letting old entries go, while others append.

use std::sync::Arc;

use jiff::Timestamp;
use object_store::path::Path;
use serde_json::{Value, json};

use crate::checkpoint::Asking;
use crate::commit;
use crate::entry;
use crate::error::Error;
use crate::file::LoggedFile;
use crate::journal::state::{self, State};
use crate::journal::tiers::{self, JournalRetention};
use crate::journal::{Change, DeltaJournal, merge};
use crate::maintain::{self, Maintained, View};

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
            if self.put(state, &change).await? {
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
            if self.put(state, &change).await? {
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
}
