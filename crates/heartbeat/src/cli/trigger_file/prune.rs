//! `heartbeat trigger-file prune`.
//!
//! What may be deleted is decided by both tables as they are loaded at the beginning. They may move on meanwhile: up to
//! where a row is accounted for only moves ahead, so what was processed then is processed still. A row that is fed
//! meanwhile is about what lies in the folder when it is first looked at, as if it came a little later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, stream};
use heartbeat_core::acon::{Acon, SourceConfig, TriggerFiles};
use heartbeat_core::files::{is_trigger, processed};
use heartbeat_core::position::{FilesPosition, Position};
use heartbeat_core::prune::{Watcher, watchers};
use heartbeat_core::sensor::View;
use heartbeat_core::source::SourceError;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::{DeltaEngine, Outcome, Session, acons, args, output};
use super::{CALL, within};
use crate::error_chain::chain;
use crate::secrets::Secrets;
use crate::sources::trigger_file::judge::is_same;
use crate::sources::trigger_file::runs::Runs;
use crate::sources::trigger_file::{Beside, NoRuns, TriggerFileSource};
use crate::stores::{Fault, Listed, Listing, Start, Store, StoreError};

/// Folders that are worked on at a time.
const FOLDERS: usize = 8;

/// Files of a folder that are deleted at a time.
const DELETIONS: usize = 8;

/// Files of one page, where the store lets us choose.
const PAGE: usize = 1000;

/// How long the listing of a folder of this machine may take, which is one page.
const LISTING: Duration = Duration::from_mins(10);

pub(crate) async fn run(session: &Session, args: &args::PruneTriggerFiles) -> Result<Outcome> {
    let loaded = acons::load(session, &args.acons.acon)?;
    if loaded.iter().any(|acon| matches!(acon.source, SourceConfig::Kafka(_))) {
        bail!("--acon: an ACON of kafka has no trigger files; give those of trigger_file");
    }
    let older_than = SignedDuration::try_from(args.older_than).context("--older-than is too long")?;
    let how = How { older_than, dry_run: args.dry_run, keep_paths: session.printer.is_json() };
    let mut tables = Vec::new();
    for group in acons::by_tables(session, loaded)? {
        let engine = session.engine(&group.control, &group.sensor, "heartbeat trigger-file prune").await?;
        let view = engine.view().await.map(|(view, _)| view);
        let runs = Runs::new(Arc::new(Beside(engine.blobs().clone())));
        tables.push((Tables { engine, runs, control: group.control }, view, group.acons));
    }
    let mut reports = Vec::new();
    for base in bases(&tables) {
        let progress = session.progress(format!("pruning {}", base.files.base));
        reports.extend(base.prune(how).await);
        progress.finish_and_clear();
    }
    reports.sort_by(|one, two| one.folder.cmp(&two.folder));
    for Report { folder, problem, .. } in &reports {
        if let Some(problem) = problem {
            session.printer.error(&format!("error: folder `{folder}`: {problem}"));
        }
    }
    session.printer.data(&document(&reports, how), || text(&reports, how))?;
    let good = reports.iter().all(|report| report.problem.is_none());
    Ok(if good { Outcome::Good } else { Outcome::Partly })
}

#[derive(Clone, Copy)]
struct How {
    older_than: SignedDuration,
    dry_run: bool,
    /// Whether paths are kept for the report.
    keep_paths: bool,
}

/// A pair of tables.
struct Tables {
    engine: DeltaEngine,
    runs: Runs,
    control: String,
}

type Loaded = (Tables, Result<Arc<View>, crate::engine::EngineError>, Vec<Acon>);

/// A base folder, with all tables whose rows are about it.
struct Base<'a> {
    acon: &'a Acon,
    files: &'a TriggerFiles,
    tables: Vec<&'a Loaded>,
}

/// The base folders of all ACONs, each once. ACONs of one base may be of different tables.
fn bases(loaded: &[Loaded]) -> Vec<Base<'_>> {
    let mut bases: BTreeMap<String, Base<'_>> = BTreeMap::new();
    for tables in loaded {
        for acon in &tables.2 {
            let SourceConfig::TriggerFile(files) = &acon.source else { continue };
            let spelt = match &files.base {
                heartbeat_core::location::Location::Local(path) => crate::paths::absolute(path)
                    .map_or_else(|_| path.clone(), |path| path.display().to_string()),
                other => other.to_string(),
            };
            let base = bases.entry(spelt).or_insert_with(|| Base { acon, files, tables: Vec::new() });
            if !base.tables.iter().any(|known| std::ptr::eq(*known, tables)) {
                base.tables.push(tables);
            }
        }
    }
    bases.into_values().collect()
}

impl Base<'_> {
    /// All its folders, each with what became of it.
    async fn prune(&self, how: How) -> Vec<Report> {
        let whole = |problem: String| vec![Report::failed(self.files.base.to_string(), problem)];
        let mut folders: BTreeMap<&str, Vec<(&Tables, Watcher<'_>)>> = BTreeMap::new();
        for (tables, view, _) in &self.tables {
            let view = match view {
                Ok(view) => view,
                // Its rows may be about any folder.
                Err(error) => return whole(format!("left alone: {}", chain(error))),
            };
            for (name, rows) in watchers(view) {
                folders.entry(name).or_default().extend(rows.into_iter().map(|row| (tables, row)));
            }
        }
        let secrets = Arc::new(Secrets::of(&self.acon.domain, self.acon.token.as_ref()));
        let store = match Store::open(&self.files.base, &self.files.storage, &secrets).await {
            Ok(store) => store,
            Err(error) => return whole(chain(&error)),
        };
        let source = TriggerFileSource::new(self.files, &secrets, Arc::new(NoRuns));
        let work: Vec<_> = folders
            .into_iter()
            .map(|(name, rows)| {
                let url = source.folder_url(&store, name);
                folder(&store, name, url, rows, how)
            })
            .collect();
        stream::iter(work).buffer_unordered(FOLDERS).collect().await
    }
}

/// One folder, with all rows that are about it.
async fn folder(
    store: &Store,
    name: &str,
    url: String,
    rows: Vec<(&Tables, Watcher<'_>)>,
    how: How,
) -> Report {
    let jobs: BTreeSet<&str> = rows.iter().map(|(_, row)| row.job).collect();
    let mut report = Report { jobs: jobs.into_iter().map(str::to_owned).collect(), ..Report::of(url) };
    let mut accounted = Vec::with_capacity(rows.len());
    for (tables, row) in rows {
        match position(tables, &row, &report.folder).await {
            Ok(position) => accounted.push(Row { position, runs: &tables.runs }),
            Err(problem) => {
                report.problem =
                    Some(format!("left alone, the row of job {} in {}: {problem}", row.job, tables.control));
                return report;
            }
        }
    }
    if let Err(problem) = (Folder { store, name, rows: accounted, how }).prune(&mut report).await {
        report.problem = Some(problem);
    }
    report
}

/// Up to where a row is accounted for in a folder; `None`: nothing in it.
async fn position(tables: &Tables, row: &Watcher<'_>, folder: &str) -> Result<Option<FilesPosition>, String> {
    let Some(stored) = row.accounted.clone()? else { return Ok(None) };
    Ok(match tables.engine.position(stored).await? {
        // One of another base, or of a topic, says nothing about these files.
        Position::Files(position) if is_same(&position.folder, folder) => Some(position),
        Position::Files(_) | Position::Kafka(_) | Position::Topics(_) => None,
    })
}

/// A folder whose rows can all be read.
struct Folder<'a> {
    store: &'a Store,
    name: &'a str,
    rows: Vec<Row<'a>>,
    how: How,
}

struct Row<'a> {
    /// Up to where it is accounted for; `None`: nothing is.
    position: Option<FilesPosition>,
    runs: &'a Runs,
}

impl Folder<'_> {
    /// Goes through it page by page. What was done before a failure stands in the report.
    async fn prune(&self, report: &mut Report) -> Result<(), String> {
        let prefix = format!("{}/", self.name);
        let mut token: Option<String> = None;
        loop {
            let start = token.as_deref().map_or(Start::Beginning, Start::Token);
            let listing = Listing { prefix: &prefix, start, limit: PAGE };
            let what = || format!("folder `{}`", report.folder);
            let page =
                within(LISTING, what, async |deadline| self.store.list(&listing, deadline).await).await;
            let page = match page {
                Ok(page) => page,
                Err(error) if self.is_not_made_yet(&error) => return Ok(()),
                Err(error) => return Err(chain(&error)),
            };
            let now = page.now.unwrap_or_else(Timestamp::now);
            let files = page.files.into_iter().filter_map(|file| self.in_folder(file)).collect();
            let files = self.deletable(files, now, report).await.map_err(|error| chain(&error))?;
            self.delete(files, report).await.map_err(|error| chain(&error))?;
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    /// Stores with real directories have none before the first file. Elsewhere it is the bucket that is missing.
    fn is_not_made_yet(&self, error: &StoreError) -> bool {
        self.store.has_directories() && matches!(error.fault, Fault::Missing)
    }

    /// A file that could be a trigger file, by its path in the folder.
    fn in_folder(&self, file: Listed) -> Option<Listed> {
        let path = file.path.strip_prefix(self.name)?.strip_prefix('/')?;
        is_trigger(path).then(|| Listed { path: path.to_owned(), ..file })
    }

    /// Those that are old enough and that every row is through with; the others are counted.
    async fn deletable(
        &self,
        mut files: Vec<Listed>,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<Vec<Listed>, SourceError> {
        files.sort_unstable_by(|one, two| one.path.cmp(&two.path));
        files.dedup_by(|one, two| one.path == two.path);
        let found = files.len();
        // What has no age is young.
        files.retain(|file| {
            file.modified.is_some_and(|modified| now.duration_since(modified) > self.how.older_than)
        });
        report.young += (found - files.len()) as u64;
        let mut left: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        for row in &self.rows {
            left = row.through_with(left).await?;
        }
        let left: BTreeSet<String> = left.into_iter().map(str::to_owned).collect();
        report.unprocessed += (files.len() - left.len()) as u64;
        files.retain(|file| left.contains(&file.path));
        Ok(files)
    }

    /// Deletes files. After a failure none is begun; those under way are waited for, so that the report has them all.
    async fn delete(&self, files: Vec<Listed>, report: &mut Report) -> Result<(), StoreError> {
        let has_failed = AtomicBool::new(false);
        let work: Vec<_> = files
            .into_iter()
            .map(async |file: Listed| {
                if has_failed.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let path = format!("{}/{}", self.name, file.path);
                let url = self.store.url(&path);
                if self.how.dry_run {
                    tracing::info!(file = %url, "would be deleted");
                    return Ok(Some(file));
                }
                let what = || format!("file `{url}`");
                within(CALL, what, async |deadline| self.store.delete(&path, deadline).await).await?;
                tracing::info!(file = %url, "deleted");
                Ok(Some(file))
            })
            .collect();
        let mut deletions = stream::iter(work).buffer_unordered(DELETIONS);
        let mut outcome = Ok(());
        while let Some(done) = deletions.next().await {
            match done {
                Ok(None) => {}
                Ok(Some(file)) => {
                    report.files += 1;
                    report.bytes += file.size;
                    if self.how.keep_paths {
                        report.paths.push(file.path);
                    }
                }
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    outcome = Err(error);
                }
            }
        }
        report.paths.sort_unstable();
        outcome
    }
}

impl Row<'_> {
    /// Of sorted names, those that it is through with.
    async fn through_with<'n>(&self, names: Vec<&'n str>) -> Result<Vec<&'n str>, SourceError> {
        let Some(position) = &self.position else { return Ok(Vec::new()) };
        let needed = position.needed_for(&names).into_iter().map(|run| run.sha256.clone()).collect();
        let files = self.runs.load(needed).await?;
        processed(position, &names, &files).map_err(crate::sources::trigger_file::runs::damaged)
    }
}

/// What became of a folder.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    folder: String,
    /// Jobs whose rows are about it.
    jobs: Vec<String>,
    /// Deleted, or to be.
    files: u64,
    bytes: u64,
    /// In the folder, where they are kept.
    paths: Vec<String>,
    /// Kept because they are too young.
    young: u64,
    /// Kept because not every row is through with them.
    unprocessed: u64,
    problem: Option<String>,
}

impl Report {
    fn of(folder: String) -> Self {
        Self { folder, ..Self::default() }
    }

    fn failed(folder: String, problem: String) -> Self {
        Self { problem: Some(problem), ..Self::of(folder) }
    }
}

fn totals(reports: &[Report]) -> (u64, u64) {
    reports.iter().fold((0, 0), |(files, bytes), report| (files + report.files, bytes + report.bytes))
}

fn document(reports: &[Report], how: How) -> Value {
    let folder = |report: &Report| {
        json!({
            "folder": report.folder, "jobs": report.jobs, "files": report.files, "bytes": report.bytes,
            "paths": report.paths, "kept": {"young": report.young, "not_processed": report.unprocessed},
            "error": report.problem,
        })
    };
    let (files, bytes) = totals(reports);
    let folders: Vec<Value> = reports.iter().map(folder).collect();
    json!({"dry_run": how.dry_run, "files": files, "bytes": bytes, "folders": folders})
}

fn text(reports: &[Report], how: How) -> String {
    let rows = reports.iter().filter(|report| report.files + report.young + report.unprocessed > 0);
    let rows: Vec<Vec<String>> = rows
        .map(|report| {
            let counts = [report.files, report.bytes, report.young, report.unprocessed];
            std::iter::once(report.folder.clone()).chain(counts.map(|count| count.to_string())).collect()
        })
        .collect();
    let (files, bytes) = totals(reports);
    let (verb, column) = if how.dry_run { ("would be deleted", "to go") } else { ("deleted", "deleted") };
    let summary = format!("{files} files ({bytes} bytes) {verb}\n");
    if rows.is_empty() {
        return summary;
    }
    output::table(&["folder", column, "bytes", "too young", "not processed"], &rows) + &summary
}

#[cfg(test)]
mod tests;
