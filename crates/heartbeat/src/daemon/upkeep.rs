//! The loops beside the work: the journal is written, and the tables are kept small.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_core::journal::Journal as _;
use heartbeat_delta::{DeltaJournal, JournalRetention, Maintained, Retention};
use tokio::time::Instant;

use super::context::{Complaint, Context, DeltaWatcher};
use crate::config::{Journal, Maintenance};
use crate::engine::{Clock as _, SystemClock};
use crate::error_chain::chain;
use crate::metrics::{JournalResult, TableLabel};

/// One round may take this long.
const LIMIT: Duration = Duration::from_mins(5);
/// How often a table is asked whether a checkpoint is due; its directory is listed at the configured interval.
const CHECKPOINT_PERIOD: Duration = Duration::from_secs(10);

/// Writes the journal of a pair of tables.
pub(super) struct Writing {
    pub(super) context: Context,
    pub(super) watcher: Arc<DeltaWatcher>,
    pub(super) name: String,
    pub(super) journal: Arc<DeltaJournal>,
    pub(super) label: TableLabel,
    pub(super) config: Journal,
}

impl Writing {
    /// Runs until it is asked to stop; [`Self::flush`] writes the rest.
    pub(super) async fn run(&self) {
        let mut stop = self.context.stop.clone();
        let mut complaint = Complaint::default();
        let period = self.config.flush_interval;
        let mut hangs = false;
        loop {
            self.context.plan_unless(hangs, &self.name, period, LIMIT);
            if stop.sleep(period).await.is_none() {
                break;
            }
            let flushed = tokio::time::timeout(LIMIT, self.flush()).await;
            hangs = flushed.is_err();
            match flushed {
                Ok(Ok(())) => complaint.over(&self.name),
                Ok(Err(error)) => complaint.tell(&self.name, error),
                Err(_) => complaint.tell(&self.name, "the table did not answer in time".to_owned()),
            }
        }
        self.context.board.removed(&self.name);
    }

    /// Writes what waits. What cannot be written is kept, as far as there is room.
    pub(super) async fn flush(&self) -> Result<(), String> {
        let scribe = self.watcher.engine().scribe();
        let (entries, lost) = scribe.take();
        if lost > 0 {
            self.context.metrics.journal_entries(JournalResult::Dropped, usize::try_from(lost).unwrap_or(0));
        }
        if entries.is_empty() {
            return Ok(());
        }
        match self.journal.append(&entries).await {
            Ok(()) => {
                self.context.metrics.journal_entries(JournalResult::Written, entries.len());
                self.context.metrics.appended(&self.label);
                Ok(())
            }
            Err(error) => {
                scribe.give_back(entries);
                Err(chain(&error))
            }
        }
    }
}

/// Keeps the tables small.
pub(super) struct Keeping {
    pub(super) context: Context,
    pub(super) watcher: Arc<DeltaWatcher>,
    pub(super) name: String,
    pub(super) config: Maintenance,
    pub(super) tables: [TableLabel; 2],
    /// The journal, where it is written, and how long its entries are kept.
    pub(super) journal: Option<(Arc<DeltaJournal>, TableLabel, Duration)>,
}

impl Keeping {
    /// Runs until it is asked to stop.
    pub(super) async fn run(self) {
        let mut stop = self.context.stop.clone();
        let mut complaint = Complaint::default();
        let period = self.config.interval.min(CHECKPOINT_PERIOD);
        let mut prune_at = Instant::now() + self.config.interval;
        let mut hangs = false;
        loop {
            self.context.plan_unless(hangs, &self.name, period, LIMIT);
            if stop.sleep(period).await.is_none() {
                break;
            }
            let prunes = prune_at <= Instant::now();
            if prunes {
                prune_at = Instant::now() + self.config.interval;
            }
            let maintained = stop.unless_asked(tokio::time::timeout(LIMIT, self.maintain(prunes))).await;
            let Some(maintained) = maintained else { break };
            hangs = maintained.is_err();
            match maintained {
                Ok(Ok(())) => complaint.over(&self.name),
                Ok(Err(error)) => complaint.tell(&self.name, error),
                Err(_) => complaint.tell(&self.name, "the tables did not answer in time".to_owned()),
            }
        }
        self.context.board.removed(&self.name);
    }

    async fn maintain(&self, prunes: bool) -> Result<(), String> {
        let keep = Retention {
            max_age: self.config.keep,
            max_bytes: self.config.keep_bytes,
            every: self.config.interval,
            ..Retention::default()
        };
        let now = SystemClock.now();
        let engine = self.watcher.engine();
        let control = engine.control().maintain(&keep, now).await.map_err(|error| chain(&error))?;
        let sensor = engine.sensor().maintain(&keep, now).await.map_err(|error| chain(&error))?;
        self.count(&self.tables[0], &control);
        self.count(&self.tables[1], &sensor);
        if let Some((journal, label, keep_entries)) = &self.journal {
            let keep = JournalRetention {
                max_age: *keep_entries,
                versions: keep.clone(),
                ..JournalRetention::default()
            };
            let done = journal.maintain(&keep, now).await.map_err(|error| chain(&error))?;
            self.count(label, &done.table);
        }
        if prunes {
            let (view, _) = engine.view().await.map_err(|error| chain(&error))?;
            if view.tells_all_digests() {
                let pruned = engine.blobs().prune(&view.digests(), keep.min_age, now).await;
                pruned.map_err(|error| chain(&error))?;
            }
        }
        Ok(())
    }

    fn count(&self, table: &TableLabel, done: &Maintained) {
        let files = (done.log_files + done.data_files) as u64;
        self.context.metrics.files_deleted(table, files, done.bytes);
        if files > 0 {
            tracing::debug!(what = self.name, files, bytes = done.bytes, "old files were deleted");
        }
    }
}
