//! What a table looks like at one version: its columns, and what its protocol lets us do.

use std::collections::HashMap;
use std::sync::Arc;

use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use delta_kernel::schema::SchemaRef as KernelSchemaRef;
use deltalake_core::arrow::array::{ArrayRef, RecordBatch, new_null_array};
use deltalake_core::arrow::datatypes::{Schema, SchemaRef};
use serde_json::{Value, json};

use crate::cell;
use crate::error::{Access, ColumnProblem, Error, Problems};
use crate::protocol::{self, Protocol, Refusal};
use crate::record::{Column, DeltaRecord, Kind};

/// Columns and rules of one version of a table.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) kernel_schema: KernelSchemaRef,
    pub(crate) schema: SchemaRef,
    /// Index in `schema` of each column of the row type.
    pub(crate) columns: Vec<usize>,
    pub(crate) change_feed: bool,
    /// Commits between two checkpoints, where the table says.
    pub(crate) checkpoint_interval: Option<u64>,
    /// The table's properties.
    pub(crate) properties: HashMap<String, String>,
    write_refusal: Option<Refusal>,
}

impl Layout {
    /// Judges a table's protocol and schema against the columns that its rows need.
    pub(crate) fn new(
        path: &str,
        wanted: &[Column],
        protocol: &Protocol,
        configuration: &HashMap<String, String>,
        partition_columns: &[String],
        kernel_schema: KernelSchemaRef,
    ) -> Result<Self, Error> {
        if let Some(refusal) = protocol::read_refusal(protocol, configuration, partition_columns) {
            return Err(refused(path, Access::Read, &refusal));
        }
        let schema: Schema = kernel_schema.as_ref().try_into_arrow().map_err(|source| Error::Damaged {
            path: path.to_owned(),
            what: "its schema cannot be understood".into(),
            source: Some(Box::new(source)),
        })?;
        let columns = resolve(path, wanted, &schema, &kernel_schema)?;
        let is_true =
            |key: &str| configuration.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(Self {
            columns,
            change_feed: is_true("delta.enableChangeDataFeed"),
            checkpoint_interval: configuration
                .get("delta.checkpointInterval")
                .and_then(|interval| interval.parse().ok())
                .filter(|interval| *interval > 0),
            properties: configuration.clone(),
            write_refusal: protocol::write_refusal(protocol, configuration, &kernel_schema),
            schema: Arc::new(schema),
            kernel_schema,
        })
    }

    /// Refuses when the table may be read but not written.
    pub(crate) fn ensure_writable(&self, path: &str) -> Result<(), Error> {
        self.write_refusal.as_ref().map_or(Ok(()), |refusal| Err(refused(path, Access::Write, refusal)))
    }

    /// The rows of a batch that has this layout's schema.
    pub(crate) fn decode<R: DeltaRecord>(&self, path: &str, batch: &RecordBatch) -> Result<Vec<R>, Error> {
        let mut rows = vec![R::default(); batch.num_rows()];
        for (index, position) in self.columns.iter().enumerate() {
            cell::decode(&mut rows, index, batch.column(*position)).map_err(|source| Error::Damaged {
                path: path.to_owned(),
                what: format!("column `{}` cannot be read", R::COLUMNS[index].name),
                source: Some(Box::new(source)),
            })?;
        }
        Ok(rows)
    }

    /// The batch of new rows that has this layout's schema; columns that are not ours are null.
    pub(crate) fn encode<R: DeltaRecord>(&self, path: &str, rows: &[&R]) -> Result<RecordBatch, Error> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for (position, field) in self.schema.fields().iter().enumerate() {
            columns.push(match self.columns.iter().position(|known| *known == position) {
                Some(column) => self.encode_column(path, rows, column)?,
                None if field.is_nullable() => new_null_array(field.data_type(), rows.len()),
                None => {
                    let value = "a new row, which has no value for it".to_owned();
                    return Err(self.misfit(path, position, value));
                }
            });
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|source| Error::Damaged {
            path: path.to_owned(),
            what: "new rows cannot be given its columns".into(),
            source: Some(Box::new(source)),
        })
    }

    /// One column of the row type, in the type that the table has for it.
    pub(crate) fn encode_column<R: DeltaRecord>(
        &self,
        path: &str,
        rows: &[&R],
        column: usize,
    ) -> Result<ArrayRef, Error> {
        let position = self.columns[column];
        let field = &self.schema.fields()[position];
        cell::encode(rows, column, field).map_err(|value| self.misfit(path, position, value))
    }

    fn misfit(&self, path: &str, position: usize, value: String) -> Error {
        Error::Value {
            path: path.to_owned(),
            column: self.schema.field(position).name().clone(),
            column_type: self.type_name(position),
            value,
        }
    }

    /// The type of the column at `position`, as Delta calls it.
    fn type_name(&self, position: usize) -> String {
        let name = self.schema.field(position).name();
        let field = self.kernel_schema.field(name);
        let nullable = field.is_none_or(delta_kernel::schema::StructField::is_nullable);
        let type_name = field.map(|field| field.data_type().to_string()).unwrap_or_default();
        if nullable { type_name } else { format!("{type_name} NOT NULL") }
    }
}

/// The schema of a new table, as the log stores it.
pub(crate) fn schema_string(columns: &[Column]) -> String {
    let fields: Vec<Value> = columns
        .iter()
        .map(|column| {
            let data_type = match column.kind {
                Kind::Text => json!("string"),
                Kind::Time => json!("timestamp"),
                Kind::Number => json!("long"),
                Kind::Texts => json!({"type": "array", "elementType": "string", "containsNull": true}),
            };
            json!({"name": column.name, "type": data_type, "nullable": true, "metadata": {}})
        })
        .collect();
    json!({"type": "struct", "fields": fields}).to_string()
}

fn resolve(
    path: &str,
    wanted: &[Column],
    schema: &Schema,
    kernel_schema: &KernelSchemaRef,
) -> Result<Vec<usize>, Error> {
    let mut problems = Vec::new();
    let mut columns = Vec::with_capacity(wanted.len());
    for column in wanted {
        let position =
            schema.fields().iter().position(|field| field.name().eq_ignore_ascii_case(column.name));
        match position {
            Some(position) if cell::fits(column.kind, schema.field(position).data_type()) => {
                columns.push(position);
            }
            misfit => problems.push(ColumnProblem {
                column: column.name.to_owned(),
                found: misfit
                    .and_then(|position| kernel_schema.field(schema.field(position).name()))
                    .map(|field| field.data_type().to_string()),
                wanted: cell::wanted(column.kind),
            }),
        }
    }
    if problems.is_empty() {
        Ok(columns)
    } else {
        Err(Error::Schema { path: path.to_owned(), problems: Problems(problems) })
    }
}

fn refused(path: &str, access: Access, refusal: &Refusal) -> Error {
    let Refusal { feature, fix } = refusal.clone();
    Error::Unsupported { path: path.to_owned(), access, feature, fix }
}
