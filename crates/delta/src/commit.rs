//! One version of a table, written by compare-and-swap.
//!
//! The log entry of version N + 1 is created only if it is absent, after everybody who read N; whoever loses
//! reads again. An entry carries an id of ours, so that one whose answer was lost is recognised. Nothing else
//! decides a race: no list of what was read, no clock.

use std::collections::HashMap;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use deltalake_core::arrow::array::RecordBatch;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::CommitOrBytes;
use deltalake_core::parquet::errors::ParquetError;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::path::Path;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::Error;
use crate::file::{self, LoggedFile};
use crate::location::Location;
use crate::log::{CONCURRENT_FILES, TableState};
use crate::plan::Plan;

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

/// What became of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Ours,
    Theirs,
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
            actions.push(remove(&file.logged, millis));
        }
    }
    for (part, rows) in plan.added.iter().enumerate() {
        let (path, size) = encode(&mut files, "", part, rows)?;
        actions.push(json!({"add": {
            "path": path,
            "partitionValues": {},
            "size": size,
            "modificationTime": millis,
            "dataChange": true,
            "stats": json!({"numRecords": rows.num_rows()}).to_string(),
        }}));
        added.push(LoggedFile { path, size, deletion_vector: None });
    }
    if let Some(rows) = &plan.change_feed {
        let (path, size) = encode(&mut files, "_change_data/cdc-", 0, rows)?;
        actions.push(json!({"cdc": {
            "path": path, "partitionValues": {}, "size": size, "dataChange": false,
        }}));
    }
    Ok(Prepared { id, files, entry: lines(&actions), version: base.version + 1, added, in_commit_timestamp })
}

/// Writes the files, then the entry; files of a lost race are removed again.
pub(crate) async fn write(location: &Location, prepared: &Prepared) -> Result<Written, Error> {
    futures::stream::iter(prepared.files.clone())
        .map(|(path, bytes)| async move { location.put(&path, bytes).await })
        .buffer_unordered(CONCURRENT_FILES)
        .try_collect::<()>()
        .await?;
    let written = write_entry(location, prepared).await?;
    if written == Written::Theirs {
        for (path, _) in &prepared.files {
            location.discard(path).await;
        }
    }
    Ok(written)
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
            "engineInfo": engine_info(),
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

async fn write_entry(location: &Location, prepared: &Prepared) -> Result<Written, Error> {
    let entry = CommitOrBytes::LogBytes(prepared.entry.clone());
    let Err(failure) = location.log_store.write_commit_entry(prepared.version, entry, prepared.id).await
    else {
        return Ok(Written::Ours);
    };
    // Also after "already exists": a retry inside the storage client meets the entry that it wrote before.
    match location.get(&Location::entry(prepared.version)).await {
        Ok(Some(stored)) if is_ours(&stored, prepared.id) => Ok(Written::Ours),
        Ok(Some(_)) => Ok(Written::Theirs),
        Ok(None) if crate::error::is_refusal(&failure) => {
            Err(crate::error::storage(&location.name, "commit to", failure))
        }
        Ok(None) | Err(_) => Err(unknown(location, prepared.version, failure)),
    }
}

fn unknown(location: &Location, version: u64, failure: TransactionError) -> Error {
    Error::OutcomeUnknown { path: location.name.clone(), version, source: Box::new(failure) }
}

fn is_ours(stored: &[u8], id: Uuid) -> bool {
    let id = id.to_string();
    stored.split(|byte| *byte == b'\n').any(|line| {
        serde_json::from_slice::<Value>(line).is_ok_and(|action| action["commitInfo"]["txnId"] == id.as_str())
    })
}

/// Comes first in an entry: in-commit timestamps demand it.
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
    let mut info = json!({
        "timestamp": millis,
        "operation": "MERGE",
        "operationParameters": {"step": step},
        "readVersion": base.version,
        "isolationLevel": "Serializable",
        "isBlindAppend": false,
        "operationMetrics": metrics,
        "engineInfo": engine_info(),
        "txnId": id.to_string(),
    });
    if let Some(timestamp) = in_commit_timestamp {
        info["inCommitTimestamp"] = timestamp.into();
    }
    json!({"commitInfo": info})
}

fn remove(file: &LoggedFile, millis: i64) -> Value {
    let mut remove = json!({
        "path": file.path,
        "deletionTimestamp": millis,
        "dataChange": true,
        "extendedFileMetadata": true,
        "partitionValues": {},
        "size": file.size,
    });
    if let Some(vector) = &file.deletion_vector {
        remove["deletionVector"] = deletion_vector(vector);
    }
    json!({"remove": remove})
}

fn deletion_vector(vector: &DeletionVectorDescriptor) -> Value {
    let mut json = json!({
        "storageType": vector.storage_type.to_string(),
        "pathOrInlineDv": vector.path_or_inline_dv,
        "sizeInBytes": vector.size_in_bytes,
        "cardinality": vector.cardinality,
    });
    if let Some(offset) = vector.offset {
        json["offset"] = offset.into();
    }
    json
}

/// Adds a file of these rows to `files`; its name needs no encoding in the log.
fn encode(
    files: &mut Vec<(Path, Bytes)>,
    prefix: &str,
    part: usize,
    rows: &RecordBatch,
) -> Result<(String, i64), ParquetError> {
    let bytes = file::write(rows)?;
    let size = bytes.len() as i64;
    let path = format!("{prefix}part-{part:05}-{}-c000.zstd.parquet", Uuid::new_v4());
    files.push((Path::from(path.as_str()), bytes));
    Ok((path, size))
}

fn engine_info() -> &'static str {
    concat!("heartbeat/", env!("CARGO_PKG_VERSION"))
}

fn lines(actions: &[Value]) -> Bytes {
    let mut text = String::new();
    for action in actions {
        text.push_str(&action.to_string());
        text.push('\n');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_ours_by_its_id_alone() {
        let (ours, theirs) = (Uuid::new_v4(), Uuid::new_v4());
        let entry =
            lines(&[json!({"commitInfo": {"txnId": ours.to_string()}}), json!({"add": {"path": "p"}})]);
        assert!(is_ours(&entry, ours));
        assert!(!is_ours(&entry, theirs));
        assert!(!is_ours(b"{\"commitInfo\":{}}\nnot json", ours));
        assert!(!is_ours(b"", ours));
    }
}
