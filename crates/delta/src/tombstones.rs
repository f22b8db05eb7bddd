//! Which files were removed from a table, and when.

use delta_kernel::DeltaResult;
use delta_kernel::actions::LOG_REMOVE_SCHEMA;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::snapshot::Snapshot;
use deltalake_core::arrow::array::{Array as _, AsArray as _, RecordBatch};
use deltalake_core::arrow::datatypes::{Int32Type, Int64Type};
use object_store::path::Path;
use serde_json::Value;
use url::Url;

use crate::error::Error;
use crate::file::LoggedFile;
use crate::location::Location;
use crate::log::{blocking, explain};

/// A file that was removed, or the deletion vector of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstone {
    pub(crate) path: Path,
    /// When, in milliseconds since 1970 by the clock of who removed it; `None` where it did not say.
    pub(crate) millis: Option<i64>,
}

/// All that the log still tells at a version: from its newest checkpoint, and from the entries since.
pub(crate) async fn of_log(location: &Location, version: u64) -> Result<Vec<Tombstone>, Error> {
    let engine = location.log_store.engine(None);
    let root = location.log_store.root_url().clone();
    let read = blocking(move || {
        let snapshot = Snapshot::builder_for(&root).at_version(version).build(engine.as_ref())?;
        let mut found = Vec::new();
        for batch in snapshot.log_segment().read_actions(engine.as_ref(), LOG_REMOVE_SCHEMA.clone())? {
            let batch = ArrowEngineData::try_from_engine_data(batch?.actions)?;
            collect(batch.record_batch(), &root, &mut found)?;
        }
        Ok(found)
    });
    match read.await {
        Ok(found) => Ok(found),
        Err(error) => Err(explain(location, error).await),
    }
}

/// Those of one entry; `None` when it cannot be understood.
pub(crate) fn of_entry(root: &Url, entry: &[u8]) -> Option<Vec<Tombstone>> {
    let mut found = Vec::new();
    for line in entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let action: Value = serde_json::from_slice(line).ok()?;
        let Some(remove) = action.get("remove") else { continue };
        let vector = &remove["deletionVector"];
        let vector = if vector.is_null() {
            None
        } else {
            let number = |key: &str| vector[key].as_i64();
            Some(
                DeletionVectorDescriptor::try_new(
                    vector["storageType"].as_str()?.parse().ok()?,
                    vector["pathOrInlineDv"].as_str()?,
                    number("offset").and_then(|offset| i32::try_from(offset).ok()),
                    i32::try_from(number("sizeInBytes")?).ok()?,
                    number("cardinality")?,
                )
                .ok()?,
            )
        };
        push(
            &mut found,
            root,
            remove["path"].as_str()?,
            vector.as_ref(),
            remove["deletionTimestamp"].as_i64(),
        )
        .ok()?;
    }
    Some(found)
}

/// Where a deletion vector lives; `None` when it lies in the log itself, or in another table.
pub(crate) fn vector_path(root: &Url, vector: &DeletionVectorDescriptor) -> DeltaResult<Option<Path>> {
    let Some(url) = vector.absolute_path(root)? else { return Ok(None) };
    let below = url.as_str().strip_prefix(root.as_str());
    Ok(below.and_then(|below| Path::from_url_path(below).ok()))
}

fn collect(batch: &RecordBatch, root: &Url, found: &mut Vec<Tombstone>) -> DeltaResult<()> {
    let missing = |name: &str| delta_kernel::Error::MissingColumn(name.to_owned());
    let removes = batch.column_by_name("remove").ok_or_else(|| missing("remove"))?.as_struct();
    let column = |name: &str| removes.column_by_name(name).ok_or_else(|| missing(name));
    let paths = column("path")?.as_string::<i32>();
    let times = column("deletionTimestamp")?.as_primitive::<Int64Type>();
    let vectors = column("deletionVector")?.as_struct();
    for row in (0..batch.num_rows()).filter(|row| removes.is_valid(*row) && paths.is_valid(*row)) {
        let part = |index: usize| vectors.column(index);
        let vector = if vectors.is_null(row) || part(0).is_null(row) {
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
        let millis = times.is_valid(row).then(|| times.value(row));
        push(found, root, paths.value(row), vector.as_ref(), millis)?;
    }
    Ok(())
}

fn push(
    found: &mut Vec<Tombstone>,
    root: &Url,
    path: &str,
    vector: Option<&DeletionVectorDescriptor>,
    millis: Option<i64>,
) -> DeltaResult<()> {
    let vector = vector.map(|vector| vector_path(root, vector)).transpose()?.flatten();
    let paths = LoggedFile::path_of(path).into_iter().chain(vector);
    found.extend(paths.map(|path| Tombstone { path, millis }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_tells_what_it_removed() {
        let root = Url::parse("file:///warehouse/t/").unwrap();
        let entry = concat!(
            "{\"commitInfo\":{}}\n",
            "{\"remove\":{\"path\":\"a%20b.parquet\",\"deletionTimestamp\":7,\"dataChange\":true}}\n",
            "{\"remove\":{\"path\":\"s3://other/c.parquet\",\"dataChange\":true}}\n",
            "{\"remove\":{\"path\":\"d.parquet\",\"dataChange\":true,\"deletionVector\":{\"storageType\":\"u\",",
            "\"pathOrInlineDv\":\"ab^-aqEH.-t@S}K{vb[*k^\",\"offset\":4,\"sizeInBytes\":40,\"cardinality\":6}}}\n",
        );
        let found = of_entry(&root, entry.as_bytes()).unwrap();
        let texts: Vec<(&str, Option<i64>)> =
            found.iter().map(|stone| (stone.path.as_ref(), stone.millis)).collect();
        let vector = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin";
        assert_eq!(texts, [("a b.parquet", Some(7)), ("d.parquet", None), (vector, None)]);
        assert_eq!(of_entry(&root, b"{\"remove\":{"), None);
    }
}
