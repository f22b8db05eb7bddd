//! One version of a table, written by compare-and-swap.
//!
//! The log entry of version N + 1 is created only if it is absent, after everybody who read N; whoever loses
//! reads again (`entry`, `stale`). Nothing else decides a race: no list of what was read, no clock.

use std::collections::HashMap;

use bytes::Bytes;
use deltalake_core::arrow::array::RecordBatch;
use deltalake_core::parquet::errors::ParquetError;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::entry::{self, Written, add, lines, remove};
use crate::error::Error;
use crate::file::{self, LoggedFile};
use crate::location::Location;
use crate::log::{CONCURRENT_FILES, TableState};
use crate::plan::Plan;

/// A commit that takes longer has its files written again; well below any `min_age` of maintenance.
const LONG_COMMIT: SignedDuration = SignedDuration::from_mins(10);

/// A commit that is ready to be written: every choice is made.
#[derive(Debug)]
pub(crate) struct Prepared {
    id: Uuid,
    /// Path and bytes of each data and change file.
    files: Vec<(Path, Bytes)>,
    entry: Bytes,
    version: u64,
    /// The data files as the log will name them, in the order of the plan's rows.
    pub(crate) added: Vec<LoggedFile>,
    pub(crate) in_commit_timestamp: Option<i64>,
}

/// Encodes the plan's files and the log entry that makes them the table's next version.
pub(crate) fn prepare(
    base: &TableState,
    plan: &Plan,
    step: &str,
    now: Timestamp,
) -> Result<Prepared, ParquetError> {
    let id = Uuid::new_v4();
    let millis = now.as_millisecond();
    let in_commit_timestamp = base.in_commit_timestamp.map(|before| millis.max(before + 1));
    let mut files = Vec::new();
    let mut added = Vec::new();
    let mut actions = vec![commit_info(base, plan, step, id, millis, in_commit_timestamp)];
    for (file, removed) in base.files.iter().zip(&plan.removed) {
        if *removed {
            actions.push(remove(&file.logged, millis, true));
        }
    }
    for (part, rows) in plan.added.iter().enumerate() {
        let (path, size) = encode(&mut files, "", part, rows)?;
        let stats = json!({"numRecords": rows.num_rows()});
        actions.push(add(&path, size, millis, true, &stats));
        added.push(LoggedFile { path, size, deletion_vector: None, stats: None, modified: millis });
    }
    if let Some(rows) = &plan.change_feed {
        let (path, size) = encode(&mut files, "_change_data/cdc-", 0, rows)?;
        actions.push(json!({"cdc": {
            "path": path, "partitionValues": {}, "size": size, "dataChange": false,
        }}));
    }
    Ok(Prepared { id, files, entry: lines(&actions), version: base.version + 1, added, in_commit_timestamp })
}

/// Writes the files, then the entry; files of a lost race are removed again. `read` is the base's entry.
pub(crate) async fn write(
    location: &Location,
    prepared: &Prepared,
    read: Option<&ObjectMeta>,
) -> Result<Written, Error> {
    let started = location.now();
    put_files(location, &prepared.files).await?;
    let written = entry::put(location, prepared.version, prepared.id, &prepared.entry, read).await?;
    match written {
        Written::Theirs => discard_files(location, &prepared.files).await,
        Written::Ours(_) => put_again_when_late(location, &prepared.files, started).await?,
    }
    Ok(written)
}

/// Writes files, many at a time.
pub(crate) async fn put_files(location: &Location, files: &[(Path, Bytes)]) -> Result<(), Error> {
    futures::stream::iter(files.to_vec())
        .map(|(path, bytes)| async move { location.put(&path, bytes).await })
        .buffer_unordered(CONCURRENT_FILES)
        .try_collect()
        .await
}

/// Removes files that no entry names.
pub(crate) async fn discard_files(location: &Location, files: &[(Path, Bytes)]) {
    for (path, _) in files {
        location.discard(path).await;
    }
}

/// A writer that was suspended between its files and their entry for as long as maintenance lets a file of
/// nobody lie may have lost them: they are written once more, as they were.
pub(crate) async fn put_again_when_late(
    location: &Location,
    files: &[(Path, Bytes)],
    started: Timestamp,
) -> Result<(), Error> {
    if location.now().duration_since(started) < LONG_COMMIT {
        return Ok(());
    }
    tracing::warn!(table = %location.name, "a commit took long, its files are written again");
    put_files(location, files).await
}

/// The entry that creates a table.
pub(crate) fn creation(table_id: Uuid, schema_string: &str, now: Timestamp) -> Bytes {
    let millis = now.as_millisecond();
    lines(&[
        json!({"commitInfo": {
            "timestamp": millis,
            "operation": "CREATE TABLE",
            "operationParameters": {"step": "heartbeat init"},
            "isolationLevel": "Serializable",
            "isBlindAppend": true,
            "engineInfo": entry::engine_info(),
        }}),
        json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
        json!({"metaData": {
            "id": table_id.to_string(),
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema_string,
            "partitionColumns": [],
            "configuration": {},
            "createdTime": millis,
        }}),
    ])
}

fn commit_info(
    base: &TableState,
    plan: &Plan,
    step: &str,
    id: Uuid,
    millis: i64,
    in_commit_timestamp: Option<i64>,
) -> Value {
    let removed = plan.removed.iter().filter(|removed| **removed).count();
    let metrics: HashMap<&str, String> = [
        ("numTargetRowsUpdated", plan.updated),
        ("numTargetRowsInserted", plan.inserted),
        ("numTargetRowsDeleted", plan.deleted),
        ("numTargetFilesAdded", plan.added.len()),
        ("numTargetFilesRemoved", removed),
    ]
    .map(|(name, count)| (name, count.to_string()))
    .into();
    let mut info =
        entry::info("MERGE", &json!({"step": step}), base.version, id, millis, in_commit_timestamp);
    info["commitInfo"]["operationMetrics"] = json!(metrics);
    info
}

/// Adds a file of these rows to `files`; its name needs no encoding in the log.
pub(crate) fn encode(
    files: &mut Vec<(Path, Bytes)>,
    prefix: &str,
    part: usize,
    rows: &RecordBatch,
) -> Result<(String, i64), ParquetError> {
    let bytes = file::write(rows)?;
    let (path, size) = name(prefix, part, &bytes);
    files.push((Path::from(path.as_str()), bytes));
    Ok((path, size))
}

/// A new name for a file, and its size.
pub(crate) fn name(prefix: &str, part: usize, bytes: &Bytes) -> (String, i64) {
    (format!("{prefix}part-{part:05}-{}-c000.zstd.parquet", Uuid::new_v4()), bytes.len() as i64)
}
