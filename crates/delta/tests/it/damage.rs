//! Tables that are absent, half-written, or made by others with columns and features of their own.

use std::path::PathBuf;
use std::sync::Arc;

use deltalake_core::arrow::array::{
    ArrayRef, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use deltalake_core::arrow::datatypes::{DataType, Field, Int32Type};
use deltalake_core::arrow::util::display::array_value_to_string;
use deltalake_core::parquet::arrow::ArrowWriter;
use deltalake_core::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Table};
use heartbeat_delta::{Access, DeltaTable, Error};
use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{TestTable, commit, control, insert, sensor, update};

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_table_says_how_to_make_one() {
    let table = TestTable::<SensorRow>::absent();
    let error = table.table.load().await.unwrap_err();
    assert!(matches!(error, Error::NotATable { .. }), "{error:?}");
    assert!(error.to_string().contains("heartbeat init"), "{error}");
    assert!(error.to_string().contains("my warehouse/tablé"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_is_damage_and_init_mends_it() {
    let table = TestTable::<SensorRow>::absent();
    std::fs::create_dir_all(table.path.join("_delta_log")).unwrap();
    assert_damaged(table.table.load().await.unwrap_err(), "`_delta_log` is empty");
    DeltaTable::<SensorRow>::create(&table.url).await.unwrap();
    assert_eq!(table.table.load().await.unwrap().rows, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_data_file_is_named() {
    let (table, _) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    let (file, _) = table.data_files().remove(0);
    std::fs::remove_file(&file).unwrap();
    assert_damaged(table.anew().load().await.unwrap_err(), file.file_name().unwrap().to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_data_file_is_named() {
    let (table, _) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    let (file, _) = table.data_files().remove(0);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_damaged(table.anew().load().await.unwrap_err(), file.file_name().unwrap().to_str().unwrap());
}

#[rstest]
#[case::broken_json(1, Some("{\"add\":{\"pa"))]
#[case::empty_entry(0, Some(""))]
#[case::missing_entry(1, None)]
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_log_is_damage(#[case] version: u64, #[case] content: Option<&str>) {
    let (table, base) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    commit(&table.table, base, insert(vec![sensor("b", 0)])).await;
    let entry = log_entry(&table, version);
    match content {
        Some(content) => std::fs::write(entry, content).unwrap(),
        None => std::fs::remove_file(entry).unwrap(),
    }
    assert_damaged(table.anew().load().await.unwrap_err(), "log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_protocol_from_the_future_is_refused() {
    let table = TestTable::<SensorRow>::create().await;
    rewrite_entry(&table, 0, |action| {
        if action.get("protocol").is_some() {
            *action = json!({"protocol": {
                "minReaderVersion": 3, "minWriterVersion": 7,
                "readerFeatures": ["timeTravelBackwards"], "writerFeatures": ["timeTravelBackwards"],
            }});
        }
    });
    let error = table.anew().load().await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { access: Access::Read, .. }), "{error:?}");
    assert!(error.to_string().contains("timeTravelBackwards"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_the_wrong_type_are_all_named() {
    let table = TestTable::<SensorRow>::create().await;
    retype(&table, &[("status", json!("binary")), ("assets", json!("string"))]);
    let error = table.anew().load().await.unwrap_err();
    assert!(error.to_string().contains("column `assets` is string, wanted array<string>"), "{error}");
    assert!(error.to_string().contains("column `status` is binary, wanted string"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn job_ids_stored_as_numbers_and_times_as_text_are_read_and_written_as_they_are() {
    let table = TestTable::<ControlRow>::create().await;
    retype(&table, &[("trigger_job_id", json!("long")), ("status_change_timestamp", json!("string"))]);
    let base = table.table.load().await.unwrap();
    let time = "2025-01-02T03:04:05.5Z".parse().unwrap();
    let row = ControlRow { status_change_timestamp: Some(time), ..control("a", 42) };
    let snapshot = commit(&table.table, base, insert(vec![row.clone()])).await;
    assert_eq!(snapshot.rows, vec![row.clone()]);
    assert_eq!(table.anew().load().await.unwrap().rows, vec![row.clone()]);
    let wrong = ControlRow { trigger_job_id: Some("4x2".into()), ..row };
    let error = table.table.commit(snapshot, update(vec![(0, wrong)]), "C1").await.unwrap_err();
    let expected = "the text `4x2` cannot be stored in column `trigger_job_id`, which is long";
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn null_in_a_column_that_forbids_it_is_refused() {
    let table = TestTable::<SensorRow>::create().await;
    rewrite_schema(&table, |fields| fields[0]["nullable"] = json!(false));
    let base = table.table.load().await.unwrap();
    let error = table.table.commit(base, insert(vec![SensorRow::default()]), "S").await.unwrap_err();
    assert!(
        error.to_string().contains("null cannot be stored in column `sensor_id`, which is string NOT NULL"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_row_is_refused_where_a_foreign_column_forbids_null() {
    let table = TestTable::<SensorRow>::create().await;
    rewrite_schema(&table, |fields| {
        fields.push(json!({"name": "owner", "type": "string", "nullable": false, "metadata": {}}));
    });
    let base = table.table.load().await.unwrap();
    let error = table.table.commit(base, insert(vec![sensor("a", 0)]), "S").await.unwrap_err();
    assert!(error.to_string().contains("column `owner`, which is string NOT NULL"), "{error}");
}

/// Columns of others, in another order and case, and cells of ours that we read as less than they are.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_columns_and_unreadable_cells_survive() {
    let table = foreign_table().await;
    let base = table.table.load().await.unwrap();
    assert_eq!(base.rows[1].status_change_timestamp, None, "text that is no time");
    let times: Vec<_> = base.rows.iter().map(|row| row.status_change_timestamp.is_some()).collect();
    assert_eq!(times, [true, false, true]);
    let time = "2026-01-01T00:00:00Z".parse().unwrap();
    let changes = Changes {
        update: vec![
            (1, SensorRow { status: Some("ACQUIRED_NEW_DATA".into()), ..base.rows[1].clone() }),
            (2, SensorRow { status_change_timestamp: Some(time), ..base.rows[2].clone() }),
        ],
        insert: vec![sensor("new", 1)],
        delete: vec![0],
    };
    commit(&table.table, base, changes).await;
    let ours = "checkpoint_location=|upstream_key=|upstream_value=";
    let expected = [
        format!(
            "Owner=owner b|Sensor_ID=b|assets=|status=ACQUIRED_NEW_DATA|status_change_timestamp=soon|{ours}|\
             extra={{x: 2, y: [3, 4]}}|seen=1970-01-01T00:00:00.000002Z"
        ),
        format!(
            "Owner=owner c|Sensor_ID=c|assets=|status=|status_change_timestamp=2026-01-01 00:00:00.000000|{ours}|\
             extra={{x: , y: }}|seen=1970-01-01T00:00:00.000003Z"
        ),
        format!(
            "Owner=|Sensor_ID=new|assets=[asset_new]|status=|status_change_timestamp=|{ours}1|extra=|seen="
        ),
    ];
    assert_eq!(dump(&table), expected);
}

fn assert_damaged(error: Error, expected: &str) {
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains(expected), "{error}");
}

fn log_entry<R>(table: &TestTable<R>, version: u64) -> PathBuf {
    table.path.join(format!("_delta_log/{version:020}.json"))
}

fn rewrite_entry<R>(table: &TestTable<R>, version: u64, change: impl Fn(&mut Value)) {
    let entry = log_entry(table, version);
    let lines: Vec<String> = std::fs::read_to_string(&entry)
        .unwrap()
        .lines()
        .map(|line| {
            let mut action = serde_json::from_str(line).unwrap();
            change(&mut action);
            action.to_string()
        })
        .collect();
    std::fs::write(entry, lines.join("\n")).unwrap();
}

fn rewrite_schema<R>(table: &TestTable<R>, change: impl Fn(&mut Vec<Value>)) {
    rewrite_entry(table, 0, |action| {
        let Some(text) = action["metaData"]["schemaString"].as_str() else { return };
        let mut schema: Value = serde_json::from_str(text).unwrap();
        change(schema["fields"].as_array_mut().unwrap());
        action["metaData"]["schemaString"] = schema.to_string().into();
    });
}

fn retype<R>(table: &TestTable<R>, types: &[(&str, Value)]) {
    rewrite_schema(table, |fields| {
        for field in fields {
            if let Some((_, data_type)) = types.iter().find(|(name, _)| field["name"] == *name) {
                field["type"] = data_type.clone();
            }
        }
    });
}

/// Three rows in one file; `status_change_timestamp` is text, `Owner` and `extra` are not ours.
async fn foreign_table() -> TestTable<SensorRow> {
    let table = TestTable::<SensorRow>::create().await;
    rewrite_schema(&table, |fields| {
        fields[3]["type"] = json!("string");
        fields[0]["name"] = json!("Sensor_ID");
        fields.insert(0, json!({"name": "Owner", "type": "string", "nullable": true, "metadata": {}}));
        let ints = json!({"type": "array", "elementType": "integer", "containsNull": true});
        let pair = json!({"type": "struct", "fields": [
            {"name": "x", "type": "long", "nullable": true, "metadata": {}},
            {"name": "y", "type": ints, "nullable": true, "metadata": {}},
        ]});
        fields.push(json!({"name": "extra", "type": pair, "nullable": true, "metadata": {}}));
        fields.push(json!({"name": "seen", "type": "timestamp", "nullable": true, "metadata": {}}));
    });
    let ints = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1)]),
        Some(vec![Some(3), Some(4)]),
        None,
    ]);
    let extra = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Int64, true)),
            Arc::new(Int64Array::from(vec![Some(1), Some(2), None])) as ArrayRef,
        ),
        (Arc::new(Field::new("y", ints_type(&ints), true)), Arc::new(ints) as ArrayRef),
    ]);
    let text = |values: [&str; 3]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let rows = RecordBatch::try_from_iter_with_nullable(vec![
        ("extra", Arc::new(extra) as ArrayRef, true),
        ("Sensor_ID", text(["a", "b", "c"]), true),
        ("status_change_timestamp", text(["2025-01-02 03:04:05", "soon", "2030-01-01"]), true),
        ("Owner", text(["owner a", "owner b", "owner c"]), true),
        ("not in the schema", Arc::new(Int32Array::from(vec![1, 2, 3])) as ArrayRef, true),
        (
            "seen",
            Arc::new(TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("UTC")) as ArrayRef,
            true,
        ),
    ])
    .unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    let bytes = writer.into_inner().unwrap();
    let add = json!({"add": {
        "path": "part%20one.parquet", "partitionValues": {}, "size": bytes.len(),
        "modificationTime": 0, "dataChange": true,
    }});
    std::fs::write(table.path.join("part one.parquet"), bytes).unwrap();
    std::fs::write(log_entry(&table, 1), add.to_string()).unwrap();
    table
}

fn ints_type(ints: &ListArray) -> DataType {
    use deltalake_core::arrow::array::Array;
    ints.data_type().clone()
}

/// Every row that we wrote, cell by cell, as text.
fn dump(table: &TestTable<SensorRow>) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, _) in table.data_files() {
        if path.ends_with("part one.parquet") {
            continue;
        }
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().zip(batch.schema_ref().fields()).map(|(column, field)| {
                    format!("{}={}", field.name(), array_value_to_string(column, row).unwrap())
                });
                lines.push(cells.collect::<Vec<_>>().join("|"));
            }
        }
    }
    lines.sort();
    lines
}
