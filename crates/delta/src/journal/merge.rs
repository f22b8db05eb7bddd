//! Several files of entries as one.

use std::sync::Arc;

use bytes::Bytes;
use deltalake_core::arrow::array::{AsArray as _, RecordBatch};
use deltalake_core::arrow::compute::{max, min};
use deltalake_core::arrow::datatypes::TimestampMicrosecondType;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::Error;
use crate::file::{self, LoggedFile};
use crate::journal::line::AT;
use crate::journal::state;
use crate::layout::Layout;
use crate::location::Location;
use crate::log;

/// A file that holds the entries of others.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) bytes: Bytes,
    pub(crate) stats: Value,
}

/// Reads files one after the other and writes their rows into one; columns that are not ours go along.
pub(crate) async fn merge(
    location: &Location,
    layout: &Arc<Layout>,
    files: &[LoggedFile],
) -> Result<Merged, Error> {
    let engine = location.log_store.engine(None);
    let cannot = |source| location.cannot_encode(source);
    let mut writer = file::writer(Arc::clone(&layout.schema)).map_err(cannot)?;
    let (mut rows, mut bounds) = (0, None);
    for file in files {
        let read = log::fetch(location, layout, Arc::clone(&engine), file.clone()).await?.rows;
        rows += read.num_rows();
        bounds = wider(bounds, times(layout, &read));
        let written = tokio::task::spawn_blocking(move || writer.write(&read).map(|()| writer)).await;
        let written = written.map_err(|source| crate::error::storage(&location.name, "work on", source))?;
        writer = written.map_err(cannot)?;
    }
    let bytes = writer.into_inner().map_err(cannot)?.into();
    let stats = match bounds {
        Some((oldest, newest)) => state::stats(rows, oldest, newest),
        None => json!({"numRecords": rows}),
    };
    Ok(Merged { bytes, stats })
}

/// The oldest and the newest time; `None` where the table has times as text.
fn times(layout: &Layout, rows: &RecordBatch) -> Option<(Timestamp, Timestamp)> {
    let at = rows.column(layout.columns[AT]).as_primitive_opt::<TimestampMicrosecondType>()?;
    Some((Timestamp::from_microsecond(min(at)?).ok()?, Timestamp::from_microsecond(max(at)?).ok()?))
}

fn wider(
    one: Option<(Timestamp, Timestamp)>,
    other: Option<(Timestamp, Timestamp)>,
) -> Option<(Timestamp, Timestamp)> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
        (one, other) => one.or(other),
    }
}
