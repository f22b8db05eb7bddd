//! One log entry: its actions, and how it is written by compare-and-swap.
//!
//! An entry carries an id of ours, so that one whose answer was lost is recognised.

use std::time::Duration;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::CommitOrBytes;
use object_store::ObjectMeta;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::Error;
use crate::file::LoggedFile;
use crate::location::Location;
use crate::stale;

/// What became of a log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is the table's next version; with what the storage says of it, where that is known.
    Ours(Option<ObjectMeta>),
    /// The version is somebody else's.
    Theirs,
}

/// Writes the entry of `version`. `read` is what the storage said of the entry before it when that was read.
pub(crate) async fn put(
    location: &Location,
    version: u64,
    id: Uuid,
    bytes: &Bytes,
    read: Option<&ObjectMeta>,
) -> Result<Written, Error> {
    for tried in 1.. {
        let entry = CommitOrBytes::LogBytes(bytes.clone());
        let Err(failure) = location.log_store.write_commit_entry(version, entry, id).await else { break };
        // Also after "already exists": a retry inside the storage client meets the entry that it wrote before.
        match location.get(&Location::entry(version)).await {
            Ok(Some(stored)) if is_ours(&stored, id) => break,
            Ok(Some(_)) => return Ok(Written::Theirs),
            Ok(None) if crate::error::is_refusal(&failure) => {
                return Err(crate::error::storage(&location.name, "commit to", failure));
            }
            // S3 answers a conflict while another write or deletion of the same key is under way, and nothing was written.
            Ok(None) if tried < TRIES && matches!(failure, TransactionError::VersionAlreadyExists(_)) => {
                tokio::time::sleep(PAUSE * tried).await;
            }
            Ok(None) | Err(_) => return Err(unknown(location, version, failure)),
        }
    }
    stale::settle(location, version, read).await
}

/// How often an entry is written that is said to be there, and is not.
const TRIES: u32 = 4;

/// Wait before the second time.
const PAUSE: Duration = Duration::from_millis(50);

/// What an entry says of itself. Comes first: in-commit timestamps demand it.
pub(crate) fn info(
    operation: &str,
    parameters: &Value,
    read_version: u64,
    id: Uuid,
    millis: i64,
    in_commit_timestamp: Option<i64>,
) -> Value {
    let mut info = json!({
        "timestamp": millis,
        "operation": operation,
        "operationParameters": parameters,
        "readVersion": read_version,
        "isolationLevel": "Serializable",
        "isBlindAppend": false,
        "engineInfo": engine_info(),
        "txnId": id.to_string(),
    });
    if let Some(timestamp) = in_commit_timestamp {
        info["inCommitTimestamp"] = timestamp.into();
    }
    json!({"commitInfo": info})
}

/// The action that adds a file.
pub(crate) fn add(path: &str, size: i64, millis: i64, data_change: bool, stats: &Value) -> Value {
    json!({"add": {
        "path": path,
        "partitionValues": {},
        "size": size,
        "modificationTime": millis,
        "dataChange": data_change,
        "stats": stats.to_string(),
    }})
}

/// The action that removes a file.
pub(crate) fn remove(file: &LoggedFile, millis: i64, data_change: bool) -> Value {
    let mut remove = json!({
        "path": file.path,
        "deletionTimestamp": millis,
        "dataChange": data_change,
        "extendedFileMetadata": true,
        "partitionValues": {},
        "size": file.size,
    });
    if let Some(vector) = &file.deletion_vector {
        remove["deletionVector"] = deletion_vector(vector);
    }
    json!({"remove": remove})
}

/// The actions as the log stores them.
pub(crate) fn lines(actions: &[Value]) -> Bytes {
    let mut text = String::new();
    for action in actions {
        text.push_str(&action.to_string());
        text.push('\n');
    }
    text.into()
}

/// What wrote an entry.
pub(crate) fn engine_info() -> &'static str {
    concat!("heartbeat/", env!("CARGO_PKG_VERSION"))
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
