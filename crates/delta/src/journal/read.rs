//! The newest entries, from as few files as will do.

use std::cmp::Reverse;
use std::sync::Arc;

use deltalake_core::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch, UInt32Array};
use deltalake_core::arrow::compute::take_record_batch;
use deltalake_core::arrow::datatypes::TimestampMicrosecondType;
use heartbeat_core::journal::{Entry, Filter};
use jiff::Timestamp;

use crate::error::Error;
use crate::journal::line::{AT, JOB, Line, SENSOR_ID};
use crate::journal::state::{JournalFile, State};
use crate::layout::Layout;
use crate::location::Location;
use crate::log;

/// Files that are fetched at once, as long as they are small.
const AT_ONCE: usize = 8;
/// Bytes that are fetched at once, unless a single file is larger.
const BYTES_AT_ONCE: i64 = 512 * 1024;

/// The newest entries that match, newest first. Files are read from the one with the newest entry on, until no
/// other can hold a newer entry than those that were found.
pub(crate) async fn newest(
    location: &Location,
    state: State,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let layout = state.layout;
    let files = in_order(state.files.into_values(), filter.since);
    let engine = location.log_store.engine(None);
    let mut best: Vec<Entry> = Vec::new();
    let mut files = files.as_slice();
    while let Some(first) = files.first() {
        let worst = best.get(limit - 1).map(|entry| entry.at);
        if worst.is_some_and(|worst| first.newest.is_some_and(|newest| newest <= worst)) {
            break;
        }
        let (group, rest) = files.split_at(at_once(files));
        files = rest;
        let fetched =
            group.iter().map(|file| log::fetch(location, &layout, Arc::clone(&engine), file.logged.clone()));
        for file in futures::future::try_join_all(fetched).await? {
            let (name, layout, filter) = (location.name.clone(), Arc::clone(&layout), filter.clone());
            best.extend(location.work(move || matching(&name, &layout, &file.rows, &filter, limit)).await?);
        }
        // A stable sort: of one time, what was found first stays first.
        best.sort_by_key(|entry| Reverse(entry.at));
        best.truncate(limit);
    }
    Ok(best)
}

/// How many of the next files are fetched at once.
fn at_once(files: &[JournalFile]) -> usize {
    let mut bytes = 0;
    let fits = |file: &&JournalFile| {
        bytes += file.logged.size;
        bytes <= BYTES_AT_ONCE
    };
    files.iter().take(AT_ONCE).take_while(fits).count().max(1)
}

/// The files that may hold a wanted entry, those with the newest first; unknown ones before all.
fn in_order(files: impl Iterator<Item = JournalFile>, since: Option<Timestamp>) -> Vec<JournalFile> {
    let may_hold = |file: &JournalFile| match (since, file.newest) {
        (Some(since), Some(newest)) => newest >= since,
        _ => true,
    };
    let mut files: Vec<JournalFile> = files.filter(may_hold).collect();
    files.sort_by_key(|file| Reverse(file.newest.unwrap_or(Timestamp::MAX)));
    files
}

/// The newest matching entries of one file, newest first.
fn matching(
    name: &str,
    layout: &Layout,
    rows: &RecordBatch,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Entry>, Error> {
    let column = |index: usize| rows.column(layout.columns[index]);
    let mut places: Vec<u32> = (0..rows.num_rows() as u32).rev().collect();
    keep_equal(&mut places, column(JOB), filter.job.as_deref());
    keep_equal(&mut places, column(SENSOR_ID), filter.sensor_id.as_deref());
    if let Some(at) = column(AT).as_primitive_opt::<TimestampMicrosecondType>() {
        if let Some(since) = filter.since {
            let since = since.as_microsecond();
            places.retain(|row| at.is_valid(*row as usize) && at.value(*row as usize) >= since);
        }
        places.retain(|row| at.is_valid(*row as usize));
        places.sort_by_key(|row| Reverse(at.value(*row as usize)));
        places.truncate(limit);
    }
    let taken = take_record_batch(rows, &UInt32Array::from(places)).map_err(|source| Error::Damaged {
        path: name.to_owned(),
        what: "rows cannot be taken from a file".into(),
        source: Some(Box::new(source)),
    })?;
    let lines = layout.decode::<Line>(name, &taken)?;
    let mut entries: Vec<Entry> =
        lines.into_iter().filter_map(Line::into_entry).filter(|entry| filter.matches(entry)).collect();
    entries.sort_by_key(|entry| Reverse(entry.at));
    entries.truncate(limit);
    Ok(entries)
}

/// Keeps the rows whose text is the wanted one. A column of another type is left to the filter itself.
fn keep_equal(places: &mut Vec<u32>, column: &ArrayRef, wanted: Option<&str>) {
    let (Some(wanted), Some(texts)) = (wanted, column.as_string_opt::<i32>()) else { return };
    places.retain(|row| texts.is_valid(*row as usize) && texts.value(*row as usize) == wanted);
}
