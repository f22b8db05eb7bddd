//! From changes of rows to new files: which files go, and what the new ones hold. Pure.
//!
//! A file that holds a changed row is written anew without it being any larger than the limits below, so that
//! a commit stays small however large the table is. What is left of small files, and new rows, are pooled:
//! each commit that inserts takes the smallest untouched file into the pool, and many of them once they pile up.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use deltalake_core::arrow::array::{BooleanArray, RecordBatch, StringArray, UInt32Array};
use deltalake_core::arrow::compute::{concat_batches, filter_record_batch, interleave, take_record_batch};
use deltalake_core::arrow::datatypes::{DataType, Field, Schema};
use deltalake_core::arrow::error::ArrowError;
use heartbeat_core::table::Changes;

use crate::error::Error;
use crate::file::{DataFile, raw_size};
use crate::layout::Layout;
use crate::record::DeltaRecord;

/// Rows that a new file may hold.
const MAX_ROWS: usize = 1_000;
/// Bytes before compression that a new file may hold, unless a single row is larger.
const MAX_RAW: usize = 64 * 1024;
/// Files below a quarter of both limits are small.
const SMALL: usize = 4;
/// Small files that may lie about before a commit that inserts gathers them.
const MANY_SMALL: usize = 16;

/// What a commit does to the files of a table.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each file of the base: whether the commit removes it.
    pub(crate) removed: Vec<bool>,
    /// The rows of each new file.
    pub(crate) added: Vec<RecordBatch>,
    /// The changed rows with their `_change_type`, where the table has a change data feed.
    pub(crate) change_feed: Option<RecordBatch>,
    pub(crate) updated: usize,
    pub(crate) inserted: usize,
    pub(crate) deleted: usize,
}

impl Plan {
    /// True when no row changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.updated + self.inserted + self.deleted == 0
    }
}

/// Plans `changes` against `files`, whose rows are `rows` in order.
pub(crate) fn plan<R: DeltaRecord>(
    table: &str,
    layout: &Layout,
    files: &[Arc<DataFile>],
    rows: &[R],
    changes: &Changes<R>,
) -> Result<Plan, Error> {
    let mut planner = Planner {
        table,
        layout,
        plan: Plan {
            removed: vec![false; files.len()],
            added: Vec::new(),
            change_feed: None,
            updated: 0,
            inserted: changes.insert.len(),
            deleted: 0,
        },
        pool: Vec::new(),
        feed: Vec::new(),
    };
    for (index, touched) in by_file(table, files, rows, changes)? {
        planner.rewrite(index, &files[index].rows, rows, &touched)?;
    }
    planner.insert(files, &changes.insert)?;
    planner.finish()
}

/// Changes of one file: local row to new value, or to nothing. Holds the file's first row in the snapshot.
struct Touched<'a, R> {
    start: usize,
    rows: BTreeMap<usize, Option<&'a R>>,
}

fn by_file<'a, R: DeltaRecord>(
    table: &str,
    files: &[Arc<DataFile>],
    rows: &[R],
    changes: &'a Changes<R>,
) -> Result<BTreeMap<usize, Touched<'a, R>>, Error> {
    let wrong = |what: String| Error::Changes { path: table.to_owned(), what };
    let mut ends = Vec::with_capacity(files.len());
    for file in files {
        ends.push(ends.last().copied().unwrap_or(0) + file.rows.num_rows());
    }
    if ends.last().copied().unwrap_or(0) != rows.len() {
        return Err(wrong(format!("the snapshot has {} rows, its files another number", rows.len())));
    }
    let mut touched = BTreeMap::new();
    let updates = changes.update.iter().map(|(index, row)| (*index, Some(row)));
    for (index, row) in updates.chain(changes.delete.iter().map(|index| (*index, None))) {
        if index >= rows.len() {
            return Err(wrong(format!("there is no row {index}")));
        }
        let file = ends.partition_point(|end| *end <= index);
        let start = file.checked_sub(1).map_or(0, |before| ends[before]);
        let in_file = touched.entry(file).or_insert_with(|| Touched { start, rows: BTreeMap::new() });
        match in_file.rows.entry(index - start) {
            Entry::Vacant(vacant) => vacant.insert(row),
            Entry::Occupied(_) => return Err(wrong(format!("row {index} is changed twice"))),
        };
    }
    // A row that equals the stored one is no change: its file need not be written.
    for in_file in touched.values_mut() {
        let start = in_file.start;
        in_file.rows.retain(|local, new| new.is_none_or(|new| *new != rows[start + local]));
    }
    touched.retain(|_, in_file| !in_file.rows.is_empty());
    Ok(touched)
}

struct Planner<'a> {
    table: &'a str,
    layout: &'a Layout,
    plan: Plan,
    /// Rows that may share a file.
    pool: Vec<RecordBatch>,
    feed: Vec<RecordBatch>,
}

impl Planner<'_> {
    fn rewrite<R: DeltaRecord>(
        &mut self,
        index: usize,
        stored: &RecordBatch,
        rows: &[R],
        touched: &Touched<'_, R>,
    ) -> Result<(), Error> {
        let updates: Vec<(usize, &R)> =
            touched.rows.iter().filter_map(|(local, new)| new.map(|new| (*local, new))).collect();
        let deletes: Vec<usize> =
            touched.rows.iter().filter_map(|(local, new)| new.is_none().then_some(*local)).collect();
        let after = self.updated_rows(stored, &rows[touched.start..], &updates)?;
        if self.layout.change_feed {
            let places: Vec<usize> = updates.iter().map(|(local, _)| *local).collect();
            self.record(stored, &places, "update_preimage")?;
            self.record(&after, &places, "update_postimage")?;
            self.record(stored, &deletes, "delete")?;
        }
        let mut keep = vec![true; stored.num_rows()];
        for local in &deletes {
            keep[*local] = false;
        }
        let kept = self.arrow(filter_record_batch(&after, &BooleanArray::from(keep)))?;
        self.plan.removed[index] = true;
        self.plan.updated += updates.len();
        self.plan.deleted += deletes.len();
        if is_small(&kept) {
            self.pool.push(kept);
        } else {
            self.plan.added.extend(split(&kept));
        }
        Ok(())
    }

    /// Cells whose value is that of the base keep what is stored, also where we read less than is there.
    fn updated_rows<R: DeltaRecord>(
        &self,
        stored: &RecordBatch,
        base: &[R],
        updates: &[(usize, &R)],
    ) -> Result<RecordBatch, Error> {
        let mut columns = stored.columns().to_vec();
        for (column, position) in self.layout.columns.iter().enumerate() {
            let changed: Vec<(usize, &R)> = updates
                .iter()
                .filter(|(local, new)| new.cell(column) != base[*local].cell(column))
                .copied()
                .collect();
            if changed.is_empty() {
                continue;
            }
            let new_rows: Vec<&R> = changed.iter().map(|(_, new)| *new).collect();
            let encoded = self.layout.encode_column(self.table, &new_rows, column)?;
            let mut source: Vec<(usize, usize)> = (0..stored.num_rows()).map(|row| (0, row)).collect();
            for (place, (local, _)) in changed.iter().enumerate() {
                source[*local] = (1, place);
            }
            columns[*position] =
                self.arrow(interleave(&[columns[*position].as_ref(), encoded.as_ref()], &source))?;
        }
        self.arrow(RecordBatch::try_new(stored.schema(), columns))
    }

    fn insert<R: DeltaRecord>(&mut self, files: &[Arc<DataFile>], insert: &[R]) -> Result<(), Error> {
        if insert.is_empty() {
            return Ok(());
        }
        let rows: Vec<&R> = insert.iter().collect();
        let new = self.layout.encode(self.table, &rows)?;
        let all: Vec<usize> = (0..new.num_rows()).collect();
        if self.layout.change_feed {
            self.record(&new, &all, "insert")?;
        }
        let mut small: Vec<usize> = (0..files.len())
            .filter(|file| !self.plan.removed[*file] && is_small(&files[*file].rows))
            .collect();
        small.sort_by_key(|file| files[*file].rows.num_rows());
        let gathered = if small.len() > MANY_SMALL { MANY_SMALL } else { 1 };
        for file in small.into_iter().take(gathered) {
            self.plan.removed[file] = true;
            self.pool.push(files[file].rows.clone());
        }
        self.pool.push(new);
        Ok(())
    }

    fn finish(mut self) -> Result<Plan, Error> {
        let pooled = self.arrow(concat_batches(&self.layout.schema, &self.pool))?;
        self.plan.added.extend(split(&pooled));
        if !self.feed.is_empty() {
            let feed = concat_batches(&self.feed[0].schema(), &self.feed);
            self.plan.change_feed = Some(self.arrow(feed)?);
        }
        Ok(self.plan)
    }

    /// Notes rows for the change data feed.
    fn record(&mut self, rows: &RecordBatch, places: &[usize], change: &str) -> Result<(), Error> {
        if places.is_empty() {
            return Ok(());
        }
        let places: UInt32Array =
            places.iter().map(|place| u32::try_from(*place).unwrap_or(u32::MAX)).collect();
        let taken = self.arrow(take_record_batch(rows, &places))?;
        let mut fields: Vec<Arc<Field>> = taken.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("_change_type", DataType::Utf8, true)));
        let mut columns = taken.columns().to_vec();
        columns.push(Arc::new(StringArray::from(vec![change; places.len()])));
        self.feed.push(self.arrow(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns))?);
        Ok(())
    }

    fn arrow<T>(&self, result: Result<T, ArrowError>) -> Result<T, Error> {
        result.map_err(|source| Error::Damaged {
            path: self.table.to_owned(),
            what: "its rows cannot be put together with the changes".into(),
            source: Some(Box::new(source)),
        })
    }
}

fn is_small(rows: &RecordBatch) -> bool {
    rows.num_rows() < MAX_ROWS / SMALL && raw_size(rows) < MAX_RAW / SMALL
}

/// Even parts within the limits; a part that skewed rows leave too large is split again.
fn split(rows: &RecordBatch) -> Vec<RecordBatch> {
    let count = rows.num_rows();
    if count == 0 {
        return Vec::new();
    }
    let parts = count.div_ceil(MAX_ROWS).max(raw_size(rows).div_ceil(MAX_RAW)).min(count);
    if parts == 1 {
        return vec![rows.clone()];
    }
    let size = count.div_ceil(parts);
    (0..count).step_by(size).flat_map(|start| split(&rows.slice(start, size.min(count - start)))).collect()
}
