//! The newest version of a table: its log by the Delta kernel, its files by ourselves, all at once.

use std::collections::HashMap;
use std::sync::Arc;

use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::scan::state::DvInfo;
use delta_kernel::snapshot::Snapshot;
use delta_kernel::{DeltaResult, Engine, Error as KernelError};
use deltalake_core::arrow::array::{Array, AsArray, RecordBatch};
use deltalake_core::arrow::datatypes::{Int32Type, Int64Type};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectMeta;
use url::Url;

use crate::error::{Access, Error, is_refusal, is_storage_failure};
use crate::file::{self, DataFile, LoggedFile};
use crate::layout::Layout;
use crate::location::{Location, Log};
use crate::protocol::Protocol;
use crate::record::Column;

/// Files that are fetched at the same time.
pub(crate) const CONCURRENT_FILES: usize = 16;

/// One version of a table, whole.
#[derive(Debug)]
pub(crate) struct TableState {
    pub(crate) table_id: String,
    pub(crate) version: u64,
    pub(crate) layout: Arc<Layout>,
    pub(crate) files: Vec<Arc<DataFile>>,
    /// What the storage says of this version's log entry: it tells a table made anew from this one.
    pub(crate) entry: Option<ObjectMeta>,
    /// The version of the checkpoint that the log begins with, as far as we know.
    pub(crate) checkpoint: Option<u64>,
    /// Milliseconds; known where the table has in-commit timestamps.
    pub(crate) in_commit_timestamp: Option<i64>,
}

/// What the log says of the newest version; nothing but the log is read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) table_id: String,
    pub(crate) version: u64,
    pub(crate) layout: Arc<Layout>,
    pub(crate) files: Vec<LoggedFile>,
    pub(crate) entry: Option<ObjectMeta>,
    pub(crate) checkpoint: Option<u64>,
    pub(crate) in_commit_timestamp: Option<i64>,
}

/// Reads the log up to the newest version.
pub(crate) async fn find(location: &Location, columns: &[Column]) -> Result<Found, Error> {
    let listing = match list(location).await {
        Ok(listing) => listing,
        Err(error) => return Err(explain(location, error).await),
    };
    let layout = Layout::new(
        &location.name,
        columns,
        &listing.protocol,
        &listing.configuration,
        &listing.partition_columns,
        listing.schema,
    )?;
    Ok(Found {
        table_id: listing.table_id,
        version: listing.version,
        layout: Arc::new(layout),
        files: listing.files,
        entry: location.head(&Location::entry(listing.version)).await?,
        checkpoint: listing.checkpoint,
        in_commit_timestamp: listing.in_commit_timestamp,
    })
}

/// Reads the newest version; files that `known` already holds are not fetched again.
pub(crate) async fn read(
    location: &Location,
    columns: &[Column],
    known: Option<&TableState>,
) -> Result<TableState, Error> {
    let found = find(location, columns).await?;
    let layout = found.layout;
    let known = known.filter(|known| known.layout.kernel_schema == layout.kernel_schema);
    let held: HashMap<_, _> =
        known.iter().flat_map(|known| &known.files).map(|file| (file.logged.identity(), file)).collect();
    let engine = location.log_store.engine(None);
    let files = futures::stream::iter(found.files)
        .map(|logged| {
            let held = held.get(&logged.identity()).map(|file| Arc::clone(file));
            let (layout, engine) = (Arc::clone(&layout), Arc::clone(&engine));
            async move {
                match held {
                    Some(file) => Ok(file),
                    // Nobody asks for the statistics of rows that are in memory.
                    None => fetch(location, &layout, engine, LoggedFile { stats: None, ..logged })
                        .await
                        .map(Arc::new),
                }
            }
        })
        .buffered(CONCURRENT_FILES)
        .try_collect()
        .await?;
    Ok(TableState {
        table_id: found.table_id,
        version: found.version,
        layout,
        files,
        entry: found.entry,
        checkpoint: found.checkpoint,
        in_commit_timestamp: found.in_commit_timestamp,
    })
}

/// What the log says of the newest version.
struct Listing {
    table_id: String,
    version: u64,
    protocol: Protocol,
    configuration: HashMap<String, String>,
    partition_columns: Vec<String>,
    schema: delta_kernel::schema::SchemaRef,
    files: Vec<LoggedFile>,
    checkpoint: Option<u64>,
    in_commit_timestamp: Option<i64>,
}

async fn list(location: &Location) -> DeltaResult<Listing> {
    let engine = location.log_store.engine(None);
    let root = location.log_store.root_url().clone();
    blocking(move || replay(&root, engine.as_ref())).await
}

fn replay(root: &Url, engine: &dyn Engine) -> DeltaResult<Listing> {
    let snapshot = Snapshot::builder_for(root).build(engine)?;
    let table = snapshot.table_configuration();
    let names =
        |features: Option<&[_]>| features.unwrap_or_default().iter().map(ToString::to_string).collect();
    let protocol = Protocol {
        reader_version: table.protocol().min_reader_version(),
        writer_version: table.protocol().min_writer_version(),
        reader_features: names(table.protocol().reader_features()),
        writer_features: names(table.protocol().writer_features()),
    };
    let metadata = table.metadata();
    let configuration = metadata.configuration().clone();
    let stamped = configuration.get("delta.enableInCommitTimestamps").is_some_and(|value| value == "true");
    let mut files = Vec::new();
    let scan = Arc::clone(&snapshot).scan_builder().without_row_transforms().build()?;
    for found in scan.scan_metadata(engine)? {
        let found = found?.scan_files;
        let (data, selected) = found.into_parts();
        let batch = ArrowEngineData::try_from_engine_data(data)?;
        collect_files(batch.record_batch(), &selected, &mut files)?;
    }
    Ok(Listing {
        table_id: metadata.id().to_owned(),
        version: snapshot.version(),
        checkpoint: snapshot.log_segment().checkpoint_version,
        protocol,
        partition_columns: metadata.partition_columns().to_vec(),
        schema: snapshot.schema(),
        files,
        in_commit_timestamp: if stamped { Some(snapshot.get_timestamp(engine)?) } else { None },
        configuration,
    })
}

/// Takes the files of one batch of the scan; its columns are fixed by `delta_kernel::scan::scan_row_schema`.
fn collect_files(batch: &RecordBatch, selected: &[bool], files: &mut Vec<LoggedFile>) -> DeltaResult<()> {
    let column = |name: &'static str| {
        batch.column_by_name(name).ok_or_else(|| KernelError::MissingColumn(name.to_owned()))
    };
    let paths = column("path")?.as_string::<i32>();
    let sizes = column("size")?.as_primitive::<Int64Type>();
    let modified = column("modificationTime")?.as_primitive::<Int64Type>();
    let stats = column("stats")?.as_string::<i32>();
    let vectors = column("deletionVector")?.as_struct();
    for row in 0..batch.num_rows() {
        if !selected.get(row).copied().unwrap_or(true) || paths.is_null(row) {
            continue;
        }
        let part = |index: usize| vectors.column(index);
        let deletion_vector = if vectors.is_null(row) || part(0).is_null(row) {
            None
        } else {
            let offset = part(2).as_primitive::<Int32Type>();
            Some(DeletionVectorDescriptor::try_new(
                part(0).as_string::<i32>().value(row).parse()?,
                part(1).as_string::<i32>().value(row),
                offset.is_valid(row).then(|| offset.value(row)),
                part(3).as_primitive::<Int32Type>().value(row),
                part(4).as_primitive::<Int64Type>().value(row),
            )?)
        };
        files.push(LoggedFile {
            path: paths.value(row).to_owned(),
            size: sizes.value(row),
            modified: modified.value(row),
            stats: stats.is_valid(row).then(|| stats.value(row).to_owned()),
            deletion_vector,
        });
    }
    Ok(())
}

/// Reads one data file, deleted rows left out.
pub(crate) async fn fetch(
    location: &Location,
    layout: &Arc<Layout>,
    engine: Arc<dyn Engine>,
    logged: LoggedFile,
) -> Result<DataFile, Error> {
    let damaged = |what: String, source: Option<crate::error::Cause>| Error::Damaged {
        path: location.name.clone(),
        what,
        source,
    };
    let path = logged.location().ok_or_else(|| Error::Unsupported {
        path: location.name.clone(),
        access: Access::Read,
        feature: format!("the file `{}` of another table (a shallow clone)", logged.path),
        fix: "make a deep clone".into(),
    })?;
    let bytes = location
        .get(&path)
        .await?
        .ok_or_else(|| damaged(format!("its data file `{path}` is missing"), None))?;
    let root = location.log_store.root_url().clone();
    let layout = Arc::clone(layout);
    let decoded = tokio::task::spawn_blocking(move || {
        let deleted = match &logged.deletion_vector {
            Some(vector) => {
                DvInfo::from(vector.clone()).get_row_indexes(engine.as_ref(), &root)?.unwrap_or_default()
            }
            None => Vec::new(),
        };
        let rows = file::read(bytes, &layout.kernel_schema, &layout.schema, &deleted)?;
        Ok::<_, file::ReadError>(DataFile { logged, rows })
    });
    match decoded.await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(source)) if is_storage_failure(&source) => {
            Err(crate::error::storage(&location.file(&path), "read", source))
        }
        Ok(Err(source)) => {
            Err(damaged(format!("its data file `{path}` cannot be read"), Some(Box::new(source))))
        }
        Err(source) => Err(damaged(format!("its data file `{path}` cannot be read"), Some(Box::new(source)))),
    }
}

/// Gives the kernel's failure to read a log its meaning for the user.
pub(crate) async fn explain(location: &Location, error: KernelError) -> Error {
    let path = location.name.clone();
    if is_refusal(&error) {
        return crate::error::storage(&path, "read", error);
    }
    match location.log().await {
        Err(error) => return error,
        Ok(Log::Absent) => return Error::NotATable { path },
        Ok(Log::Empty) => {
            let what = "its log `_delta_log` is empty".to_owned();
            return Error::Damaged { path, what, source: Some(Box::new(error)) };
        }
        Ok(Log::Entries) => {}
    }
    if let KernelError::Unsupported(what) = error {
        let fix = "copy the rows into a plain table, or use a newer heartbeat".to_owned();
        return Error::Unsupported { path, access: Access::Read, feature: what, fix };
    }
    if is_storage_failure(&error) {
        return crate::error::storage(&path, "read", error);
    }
    Error::Damaged { path, what: "its log cannot be read".into(), source: Some(Box::new(error)) }
}

/// The kernel waits for its storage calls, so it must not run on a thread of the async runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> DeltaResult<T> + Send + 'static,
) -> DeltaResult<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(KernelError::JoinFailure(error.to_string())))
}
