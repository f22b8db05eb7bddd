//! Maintenance: checkpoints, and deleting what nobody needs any more.
//!
//! A file of the table's directory is deleted when the current version does not have it, when it was written
//! long enough ago that no commit under way can still be about to name it, and when its removal lies long enough
//! back that nobody still reads a version that had it. Removals are known from the log: entries are read once
//! in a process's life, older removals come from the newest checkpoint. Of a file whose removal is not known it
//! is known that it was not removed since the process began to watch. Log files are deleted one after the other, oldest first, which `stale` relies on.
//!
//! All of it may be done by several processes at once, while others commit: a file that is deleted already is
//! nobody's loss, and what is looked at in this order (directory, version, log) can only be judged too young.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta};
use tokio::sync::Mutex;

use crate::checkpoint::{self, Asking};
use crate::error::{Access, Error, storage};
use crate::file::LoggedFile;
use crate::location::Location;
use crate::log::CONCURRENT_FILES;
use crate::log_dir::{LogFile, log_files};
use crate::retention::{Cuts, Garbage, LogMeta, Retention};
use crate::tombstones::{self, Tombstone};

/// Data files that one run deletes at most.
const MAX_FILES: usize = 10_000;
/// Data files that are deleted by one request, where the storage can.
const BATCH: usize = 500;
/// Log files that one run deletes at most.
const MAX_LOG_FILES: usize = 5_000;
/// More entries than this are not read one by one.
const MAX_FOLLOWED: u64 = 5_000;
/// What is in a directory is not acted on later than this: the table may have been dropped and made anew.
const LISTING_HOLDS: SignedDuration = SignedDuration::from_mins(5);

/// What maintenance did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintained {
    /// The version that a checkpoint was written of.
    pub checkpoint: Option<u64>,
    /// Log files deleted.
    pub log_files: usize,
    /// Data files deleted.
    pub data_files: usize,
    /// Bytes that the deleted files had.
    pub bytes: u64,
}

/// What a process keeps in mind to maintain one table.
#[derive(Debug)]
pub(crate) struct Care {
    memory: Mutex<Memory>,
    maintained: AtomicBool,
    /// Version of the last checkpoint that was tried.
    tried: AtomicU64,
    /// Tombstones before this name no file.
    forget_before: AtomicI64,
}

/// One version of a table, as far as maintenance is concerned.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) table_id: String,
    pub(crate) version: u64,
    pub(crate) properties: HashMap<String, String>,
    /// Data files and deletion vectors of the version.
    pub(crate) live: HashSet<Path>,
}

/// What is known of a table between two runs.
#[derive(Debug, Default)]
struct Memory {
    listed: Option<Timestamp>,
    table_id: String,
    /// The version up to which removals are known.
    known_to: Option<u64>,
    /// Since when no removal can have been missed, in milliseconds since 1970.
    complete_since: i64,
    removals: HashMap<Path, Removal>,
}

/// When a file was removed from the table, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Removal {
    /// By the clock of who removed it.
    stamp: i64,
    /// That, or when the storage got the entry, whichever is later.
    since: i64,
}

impl Default for Care {
    fn default() -> Self {
        Self {
            memory: Mutex::default(),
            maintained: AtomicBool::new(false),
            tried: AtomicU64::new(0),
            forget_before: AtomicI64::new(i64::MIN),
        }
    }
}

impl Care {
    /// Who asks when a commit does.
    pub(crate) fn commit(&self) -> Asking {
        if self.maintained.load(Ordering::Relaxed) { Asking::MaintainedCommit } else { Asking::Commit }
    }

    /// Writes a checkpoint of a version, if one is due after the last that is known.
    pub(crate) async fn checkpoint_if_due(
        &self,
        location: &Location,
        version: u64,
        last: Option<u64>,
        interval: Option<u64>,
        asking: Asking,
    ) -> Result<Option<u64>, Error> {
        // A version beyond the newest is that of a table which was dropped and made anew.
        let tried = Some(self.tried.load(Ordering::Relaxed)).filter(|tried| *tried <= version);
        let last = last.max(tried).unwrap_or(0);
        if !checkpoint::is_due(version.saturating_sub(last), interval, asking) {
            return Ok(None);
        }
        // Also when it fails: the next commit need not try again at once.
        self.tried.store(version, Ordering::Relaxed);
        checkpoint::write(location, version, self.forget_before.load(Ordering::Relaxed)).await?;
        Ok(Some(version))
    }

    /// Cleans up, when it is time to. `view` reads the newest version, and is called after the directory was
    /// listed.
    pub(crate) async fn clean_if_due<F: Future<Output = Result<View, Error>>>(
        &self,
        location: &Location,
        keep: &Retention,
        now: Timestamp,
        view: impl FnOnce() -> F,
    ) -> Result<Maintained, Error> {
        self.maintained.store(true, Ordering::Relaxed);
        let Ok(mut memory) = self.memory.try_lock() else { return Ok(Maintained::default()) };
        let every = SignedDuration::try_from(keep.every).unwrap_or(SignedDuration::MAX);
        if memory.listed.is_some_and(|listed| now.duration_since(listed).abs() < every) {
            return Ok(Maintained::default());
        }
        memory.listed = Some(now);
        let started = location.now();
        let listing = location.list(None).await?;
        let view = view().await?;
        memory.learn(location, &view, now).await?;
        let cuts = Cuts::new(keep, &view.properties, now);
        let found = memory.judge(&listing, &view, &cuts);
        let mut done = Maintained::default();
        let deadline = started.saturating_add(LISTING_HOLDS).unwrap_or(Timestamp::MAX);
        let deleted = delete_files(location, &found.files, deadline, &mut done).await?;
        self.forget_before.store(memory.forget(&listing, &deleted, &cuts), Ordering::Relaxed);
        delete_log(location, &found.log, deadline, &mut done).await?;
        Ok(done)
    }
}

/// The files of a version, and where its deletion vectors lie.
pub(crate) fn live<'a>(
    location: &Location,
    files: impl Iterator<Item = &'a LoggedFile>,
) -> Result<HashSet<Path>, Error> {
    let root = location.log_store.root_url();
    let mut live = HashSet::new();
    for file in files {
        let path = file.location().ok_or_else(|| Error::Unsupported {
            path: location.name.clone(),
            access: Access::Write,
            feature: format!("the file `{}` of another table (a shallow clone)", file.path),
            fix: "make a deep clone".into(),
        })?;
        live.insert(path);
        if let Some(vector) = &file.deletion_vector {
            let vector = tombstones::vector_path(root, vector);
            live.extend(vector.map_err(|source| storage(&location.name, "read", source))?);
        }
    }
    Ok(live)
}

/// What a run deletes, oldest first.
struct Doomed {
    files: Vec<ObjectMeta>,
    log: Vec<ObjectMeta>,
}

impl Memory {
    /// Learns of all removals up to the version.
    async fn learn(&mut self, location: &Location, view: &View, now: Timestamp) -> Result<(), Error> {
        if self.table_id != view.table_id {
            *self = Self { listed: self.listed, table_id: view.table_id.clone(), ..Self::default() };
        }
        if let Some(known) = self.known_to
            && known <= view.version
            && view.version - known <= MAX_FOLLOWED
            && let Some(removals) = follow(location, known + 1..=view.version).await?
        {
            self.removals.extend(removals);
        } else {
            let all = tombstones::of_log(location, view.version).await?;
            self.removals = all
                .into_iter()
                .map(|Tombstone { path, millis }| {
                    let stamp = millis.unwrap_or(now.as_millisecond());
                    (path, Removal { stamp, since: stamp })
                })
                .collect();
            self.complete_since = now.as_millisecond();
        }
        self.known_to = Some(view.version);
        Ok(())
    }

    fn judge(&self, listing: &[ObjectMeta], view: &View, cuts: &Cuts) -> Doomed {
        let mut log: Vec<(LogMeta, &ObjectMeta)> = log_files(listing)
            .map(|(file, meta)| (LogMeta { file, millis: millis(meta), size: meta.size }, meta))
            .collect();
        log.sort_by_key(|(file, _)| file.file.version());
        let (metas, sources): (Vec<LogMeta>, Vec<&ObjectMeta>) = log.into_iter().unzip();
        let checkpoints = metas.iter().filter_map(|meta| match meta.file {
            LogFile::Checkpoint(version) if version <= view.version => Some(version),
            _ => None,
        });
        let start = checkpoints.max().and_then(|newest| cuts.log_start(&metas, newest)).unwrap_or(0);
        let goes = metas.partition_point(|meta| meta.file.version() < start);
        let log_bytes = metas[goes..].iter().map(|meta| meta.size).sum();
        let entries = metas.iter().filter(|meta| matches!(meta.file, LogFile::Entry(_)));
        let oldest_entry = entries.map(|entry| entry.millis).min().unwrap_or(i64::MIN);

        let (mut garbage, mut files) = (Vec::new(), Vec::new());
        for meta in listing {
            if let Some(found) = self.garbage(meta, view, oldest_entry, cuts) {
                garbage.push(found);
                files.push(meta);
            }
        }
        let doomed = cuts.doomed(&garbage, log_bytes);
        Doomed {
            files: doomed.into_iter().take(MAX_FILES).map(|index| files[index].clone()).collect(),
            log: sources[..goes].iter().take(MAX_LOG_FILES).map(|meta| (*meta).clone()).collect(),
        }
    }

    /// What a file is when the current version does not have it; `None` when it has it, or is not Delta's.
    fn garbage(&self, meta: &ObjectMeta, view: &View, oldest_entry: i64, cuts: &Cuts) -> Option<Garbage> {
        let written = millis(meta);
        let name = meta.location.filename()?;
        if meta.location.as_ref().starts_with("_change_data/") {
            // It was written just before its entry, which has been cleaned when none is as old.
            let cleaned =
                has_extension(name, "parquet") && written.saturating_add(cuts.in_flight) < oldest_entry;
            return cleaned.then_some(Garbage { size: meta.size, since: written, orphan: true });
        }
        let hidden = meta.location.parts().any(|part| part.as_ref().starts_with(['_', '.']));
        let is_vector = name.starts_with("deletion_vector_") && has_extension(name, "bin");
        if hidden || !(is_vector || has_extension(name, "parquet")) || view.live.contains(&meta.location) {
            return None;
        }
        Some(match self.removals.get(&meta.location) {
            Some(removal) => Garbage { size: meta.size, since: removal.since.max(written), orphan: false },
            // Never committed; or removed before we began to watch, and a checkpoint has forgotten when.
            None => Garbage { size: meta.size, since: written.max(self.complete_since), orphan: true },
        })
    }

    /// Forgets removals that matter no more; tells the time before which no tombstone is of use.
    fn forget(&mut self, listing: &[ObjectMeta], deleted: &HashSet<Path>, cuts: &Cuts) -> i64 {
        let there: HashSet<&Path> =
            listing.iter().map(|meta| &meta.location).filter(|path| !deleted.contains(*path)).collect();
        self.removals.retain(|path, removal| removal.since > cuts.files_young || there.contains(path));
        let oldest = self.removals.values().map(|removal| removal.stamp).min();
        oldest.map_or(cuts.files_young, |oldest| oldest.min(cuts.files_young))
    }
}

/// The removals of some entries; `None` when one of them has been cleaned.
async fn follow(
    location: &Location,
    versions: std::ops::RangeInclusive<u64>,
) -> Result<Option<Vec<(Path, Removal)>>, Error> {
    let entries: Vec<_> = futures::stream::iter(versions)
        .map(|version| async move {
            let found = location.get_with_meta(&Location::entry(version)).await?;
            Ok::<_, Error>((version, found))
        })
        .buffered(CONCURRENT_FILES)
        .try_collect()
        .await?;
    let mut removals = Vec::new();
    for (version, entry) in entries {
        let Some((meta, bytes)) = entry else { return Ok(None) };
        let root = location.log_store.root_url();
        let found = tombstones::of_entry(root, &bytes).ok_or_else(|| Error::Damaged {
            path: location.name.clone(),
            what: format!("its log entry {version} cannot be read"),
            source: None,
        })?;
        removals.extend(found.into_iter().map(|Tombstone { path, millis: stamp }| {
            let written = millis(&meta);
            let stamp = stamp.unwrap_or(written);
            (path, Removal { stamp, since: stamp.max(written) })
        }));
    }
    Ok(Some(removals))
}

async fn delete_files(
    location: &Location,
    files: &[ObjectMeta],
    deadline: Timestamp,
    done: &mut Maintained,
) -> Result<HashSet<Path>, Error> {
    let mut deleted = HashSet::new();
    for batch in files.chunks(BATCH) {
        if location.now() > deadline {
            break;
        }
        let paths = futures::stream::iter(batch.to_vec()).map(|meta| Ok(meta.location)).boxed();
        let mut results = location.store().delete_stream(paths);
        while let Some(result) = results.next().await {
            match result {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(source) => return Err(storage(&location.name, "delete files of", source)),
            }
        }
        done.data_files += batch.len();
        done.bytes += batch.iter().map(|meta| meta.size).sum::<u64>();
        deleted.extend(batch.iter().map(|meta| meta.location.clone()));
    }
    Ok(deleted)
}

/// One after the other: an entry is gone before the next one goes.
async fn delete_log(
    location: &Location,
    files: &[ObjectMeta],
    deadline: Timestamp,
    done: &mut Maintained,
) -> Result<(), Error> {
    for meta in files {
        if location.now() > deadline {
            break;
        }
        location.delete(&meta.location).await?;
        done.log_files += 1;
        done.bytes += meta.size;
    }
    Ok(())
}

fn has_extension(name: &str, extension: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, found)| found == extension)
}

fn millis(meta: &ObjectMeta) -> i64 {
    meta.last_modified.timestamp_millis()
}
