//! One data file: from Parquet bytes to rows in Arrow, and back.

use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::engine::arrow_utils::{fixup_parquet_read, parquet_read_plan};
use delta_kernel::schema::SchemaRef as KernelSchemaRef;
use deltalake_core::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use deltalake_core::arrow::compute::{cast, concat_batches, filter_record_batch};
use deltalake_core::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use deltalake_core::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use deltalake_core::parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use deltalake_core::parquet::basic::{Compression, ZstdLevel};
use deltalake_core::parquet::errors::ParquetError;
use deltalake_core::parquet::file::properties::{EnabledStatistics, WriterProperties};
use object_store::path::Path;

/// A file as the log names it.
#[derive(Debug, Clone)]
pub(crate) struct LoggedFile {
    /// Percent-encoded and relative to the table, exactly as in the log.
    pub(crate) path: String,
    pub(crate) size: i64,
    /// Milliseconds since 1970, by the writer's clock.
    pub(crate) modified: i64,
    /// JSON, as the log has it; kept only where somebody asks for it.
    pub(crate) stats: Option<String>,
    pub(crate) deletion_vector: Option<DeletionVectorDescriptor>,
}

impl LoggedFile {
    /// Where the file lives below the table; `None` for files of other tables (shallow clones).
    pub(crate) fn location(&self) -> Option<Path> {
        Self::path_of(&self.path)
    }

    /// Where a file that the log names so lives below the table; `None` for files of other tables.
    pub(crate) fn path_of(path: &str) -> Option<Path> {
        if url::Url::parse(path).is_ok() {
            return None;
        }
        Path::from_url_path(path).ok()
    }

    /// Two entries with one identity hold the same rows.
    pub(crate) fn identity(&self) -> (&str, Option<String>) {
        (&self.path, self.deletion_vector.as_ref().map(DeletionVectorDescriptor::unique_id))
    }
}

/// A file with its rows, deleted ones left out.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) logged: LoggedFile,
    pub(crate) rows: RecordBatch,
}

/// Why a file's bytes gave no rows.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("not a Parquet file")]
    Parquet(#[from] ParquetError),
    #[error("its columns are not those of the table")]
    Columns(#[from] delta_kernel::Error),
    #[error("its rows cannot be decoded")]
    Rows(#[from] deltalake_core::arrow::error::ArrowError),
}

/// Reads all rows but the `deleted` ones, in the table's columns, order and types.
pub(crate) fn read(
    bytes: Bytes,
    kernel_schema: &KernelSchemaRef,
    schema: &SchemaRef,
    deleted: &[u64],
) -> Result<RecordBatch, ReadError> {
    let options = || ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let mut metadata = ArrowReaderMetadata::load(&bytes, options())?;
    if let Some(widened) = without_nanoseconds(metadata.schema()) {
        metadata = ArrowReaderMetadata::load(&bytes, options().with_schema(widened))?;
    }
    let (order, mask) = parquet_read_plan(kernel_schema, &metadata)?;
    let file_rows = usize::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or_default();
    let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes, metadata)
        .with_batch_size(file_rows.clamp(1, 65_536));
    if let Some(mask) = mask {
        reader = reader.with_projection(mask);
    }
    let mut batches = Vec::new();
    for batch in reader.build()? {
        let fixed: RecordBatch = fixup_parquet_read(batch?, &order, None, None, Some(kernel_schema))?.into();
        let columns = fixed.columns().iter().zip(schema.fields());
        // What still differs are the names that other writers give to the items of lists and maps.
        let columns = columns.map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        });
        batches.push(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?);
    }
    let rows = concat_batches(schema, &batches)?;
    if deleted.is_empty() {
        return Ok(rows);
    }
    let mut keep = vec![true; rows.num_rows()];
    for row in deleted {
        if let Some(keep) = usize::try_from(*row).ok().and_then(|row| keep.get_mut(row)) {
            *keep = false;
        }
    }
    Ok(filter_record_batch(&rows, &BooleanArray::from(keep))?)
}

/// Writes rows as Spark reads them: timestamps as adjusted microseconds, lists in three levels.
pub(crate) fn write(rows: &RecordBatch) -> Result<Bytes, ParquetError> {
    let mut writer = writer(rows.schema())?;
    writer.write(rows)?;
    Ok(writer.into_inner()?.into())
}

/// Writes Parquet with as little around the rows as there can be.
pub(crate) fn writer(schema: SchemaRef) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_created_by(concat!("heartbeat version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .build();
    let options = ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
    ArrowWriter::try_new_with_options(Vec::new(), schema, options)
}

/// Bytes that the rows take before compression.
pub(crate) fn raw_size(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(array_size).sum()
}

/// Unlike Arrow's own measures, counts only the part of a nested array that a slice covers.
fn array_size(array: &ArrayRef) -> usize {
    let items = |offsets: &[i32], values: &ArrayRef| {
        let start = offsets.first().map_or(0, |offset| *offset as usize);
        let end = offsets.last().map_or(0, |offset| *offset as usize);
        size_of_val(offsets) + array_size(&values.slice(start, end - start))
    };
    match array.data_type() {
        DataType::List(_) => items(array.as_list::<i32>().value_offsets(), array.as_list::<i32>().values()),
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            items(map.value_offsets(), &entries)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(array_size).sum(),
        _ => array.to_data().get_slice_memory_size().unwrap_or_default(),
    }
}

/// Spark stores timestamps as INT96 by default, which would overflow if it were read as nanoseconds.
fn without_nanoseconds(schema: &Schema) -> Option<SchemaRef> {
    let fields: Vec<FieldRef> = schema.fields().iter().map(field_in_micros).collect();
    let changed = fields.iter().zip(schema.fields()).any(|(new, old)| new != old);
    changed.then(|| Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

fn field_in_micros(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field_in_micros).collect()),
        DataType::List(item) => DataType::List(field_in_micros(item)),
        DataType::Map(entries, sorted) => DataType::Map(field_in_micros(entries), *sorted),
        _ => return Arc::clone(field),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}
