//! Checkpoints: one version's log in one file.
//!
//! The kernel reconciles the log; we write the file, for two reasons. Tombstones of files that maintenance has
//! deleted name nothing any more, and at several commits a second a week of them would be most of a checkpoint.
//! And the hint `_last_checkpoint` must not go back when two writers checkpoint at once. What they write under
//! one name means the same, so the later of two equal checkpoints does no harm.

use bytes::Bytes;
use delta_kernel::DeltaResult;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::snapshot::Snapshot;
use deltalake_core::arrow::array::{Array as _, AsArray as _, BooleanArray, RecordBatch};
use deltalake_core::arrow::compute::filter_record_batch;
use deltalake_core::arrow::datatypes::Int64Type;
use deltalake_core::parquet::errors::ParquetError;
use object_store::path::Path;
use serde_json::{Value, json};

use crate::error::Error;
use crate::file;
use crate::location::Location;
use crate::log::{blocking, explain};

/// Commits between two checkpoints where the table does not say and nobody maintains it.
const INTERVAL: u64 = 50;
/// Commits between two checkpoints where the table does not say and somebody maintains it.
const MAINTAINED_INTERVAL: u64 = 200;
/// A maintained table whose checkpoint is overdue by this factor gets one from a commit.
const OVERDUE: u64 = 4;

/// Who asks for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// A commit to a table that this process does not maintain.
    Commit,
    /// A commit to a table that this process maintains: it need not wait for a checkpoint, unless maintenance
    /// does not come round.
    MaintainedCommit,
    /// Maintenance.
    Maintenance,
}

/// Whether a checkpoint is due this many commits after the last one.
pub(crate) fn is_due(commits: u64, interval: Option<u64>, asking: Asking) -> bool {
    let due = match asking {
        Asking::Commit => interval.unwrap_or(INTERVAL),
        Asking::Maintenance => interval.unwrap_or(MAINTAINED_INTERVAL),
        Asking::MaintainedCommit => interval.unwrap_or(MAINTAINED_INTERVAL).saturating_mul(OVERDUE),
    };
    commits >= due
}

/// Writes a checkpoint of exactly this version, without tombstones of files that were removed before
/// `forget_before` (milliseconds since 1970).
pub(crate) async fn write(location: &Location, version: u64, forget_before: i64) -> Result<(), Error> {
    let engine = location.log_store.engine(None);
    let root = location.log_store.root_url().clone();
    let made = blocking(move || {
        let snapshot = Snapshot::builder_for(root).at_version(version).build(engine.as_ref())?;
        if snapshot.log_segment().checkpoint_version == Some(version) {
            return Ok(None);
        }
        let writer = snapshot.create_checkpoint_writer(engine.as_ref())?;
        let mut batches = Vec::new();
        for batch in writer.checkpoint_data(engine.as_ref())? {
            let data = ArrowEngineData::try_from_engine_data(batch?.apply_selection_vector()?)?;
            batches.push(without_old_tombstones(data.record_batch(), forget_before)?);
        }
        Ok(Some(batches))
    });
    let batches = match made.await {
        Ok(Some(batches)) => batches,
        Ok(None) => return Ok(()),
        Err(error) => return Err(explain(location, error).await),
    };
    let actions: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let files: usize = batches.iter().map(added).sum();
    let bytes = encode(&batches).map_err(|source| location.cannot_encode(source))?;
    let size = bytes.len();
    let path = Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"));
    location.put(&path, bytes).await?;
    let hint = Path::from("_delta_log/_last_checkpoint");
    let newest = location.get(&hint).await?.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if newest.is_some_and(|newest| newest["version"].as_u64() >= Some(version)) {
        return Ok(());
    }
    let text = json!({"version": version, "size": actions, "sizeInBytes": size, "numOfAddFiles": files});
    location.put(&hint, text.to_string().into()).await
}

fn without_old_tombstones(batch: &RecordBatch, forget_before: i64) -> DeltaResult<RecordBatch> {
    let Some(removes) = batch.column_by_name("remove").and_then(|column| column.as_struct_opt()) else {
        return Ok(batch.clone());
    };
    let Some(times) =
        removes.column_by_name("deletionTimestamp").and_then(|column| column.as_primitive_opt::<Int64Type>())
    else {
        return Ok(batch.clone());
    };
    let stays = |row: usize| removes.is_null(row) || times.is_null(row) || times.value(row) >= forget_before;
    let keep: BooleanArray = (0..batch.num_rows()).map(|row| Some(stays(row))).collect();
    Ok(filter_record_batch(batch, &keep)?)
}

fn added(batch: &RecordBatch) -> usize {
    batch.column_by_name("add").map_or(0, |adds| adds.len() - adds.null_count())
}

fn encode(batches: &[RecordBatch]) -> Result<Bytes, ParquetError> {
    let Some(first) = batches.first() else { return Err(ParquetError::General("an empty log".into())) };
    let mut writer = file::writer(first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?.into())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(49, None, Asking::Commit, false)]
    #[case(50, None, Asking::Commit, true)]
    #[case(3, Some(3), Asking::Commit, true)]
    #[case(50, None, Asking::Maintenance, false)]
    #[case(200, None, Asking::Maintenance, true)]
    #[case(799, None, Asking::MaintainedCommit, false)]
    #[case(800, None, Asking::MaintainedCommit, true)]
    #[case(3, Some(3), Asking::Maintenance, true)]
    #[case(11, Some(3), Asking::MaintainedCommit, false)]
    #[case(12, Some(3), Asking::MaintainedCommit, true)]
    fn when_a_checkpoint_is_due(
        #[case] commits: u64,
        #[case] interval: Option<u64>,
        #[case] asking: Asking,
        #[case] expected: bool,
    ) {
        assert_eq!(is_due(commits, interval, asking), expected);
    }
}
