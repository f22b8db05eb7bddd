//! Real Spark on tables that we maintain, and on the journal.

use std::path::Path;
use std::time::Duration;

use heartbeat_core::journal::{Filter, Journal as _};
use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Changes, Table as _};
use heartbeat_delta::{DeltaJournal, JournalRetention, Maintained, Retention};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::journal::entry;
use crate::spark::{SENSOR_DDL, Spark, SparkTable, values};
use crate::support::{commit, insert, position, sensor, update};

pub(crate) async fn all(spark: &mut Spark) {
    spark_reads_and_merges_after_cleanup_and_vacuum(spark).await;
    deletion_vectors_in_use_stay(spark).await;
    changes_of_what_is_left_can_be_read(spark).await;
    spark_reads_the_journal_after_it_was_merged(spark).await;
    the_journal_goes_on_after_spark_changed_it(spark).await;
}

/// Keeps nothing at all.
fn nothing() -> Retention {
    Retention {
        min_age: Duration::ZERO,
        min_log_age: Duration::ZERO,
        max_bytes: 0,
        max_entries: 0,
        every: Duration::ZERO,
        ..Retention::default()
    }
}

async fn maintain(table: &SparkTable<SensorRow>) -> Maintained {
    table.table.maintain(&nothing(), Timestamp::now()).await.unwrap()
}

fn count(path: &Path, wanted: impl Fn(&str) -> bool) -> usize {
    let entries = std::fs::read_dir(path).unwrap();
    entries.filter(|entry| wanted(&entry.as_ref().unwrap().file_name().to_string_lossy())).count()
}

fn is_data(name: &str) -> bool {
    name.starts_with("part-")
}

async fn spark_reads_and_merges_after_cleanup_and_vacuum(spark: &mut Spark) {
    for properties in [
        "'a' = 'b'",
        "'delta.checkpointPolicy' = 'v2', 'delta.feature.v2Checkpoint' = 'supported'",
        "'delta.enableInCommitTimestamps' = 'true'",
    ] {
        let table = spark.table::<SensorRow>();
        spark.sql(&format!(
            "CREATE TABLE {table} ({SENSOR_DDL}) USING delta \
             TBLPROPERTIES ('delta.checkpointInterval' = '5', {properties})"
        ));
        spark.sql(&format!("INSERT INTO {table} (sensor_id, upstream_value) VALUES ('a', '0'), ('b', '0')"));
        let mut snapshot = table.table.load().await.unwrap();
        for round in 0..23 {
            let row = position(&snapshot.rows, "a");
            snapshot = commit(&table.table, snapshot, update(vec![(row, sensor("a", round))])).await;
        }
        maintain(&table).await;
        let done = maintain(&table).await;
        assert!(!table.log_names().iter().any(|name| name.starts_with("00000000000000000003.")), "{done:?}");
        // What Spark has read before it remembers; a path that it does not know is read anew.
        let moved = table.path.with_extension("moved");
        std::fs::rename(&table.path, &moved).unwrap();
        let table = SparkTable::<SensorRow>::at(&moved);
        let rows = [("a".to_owned(), "22".to_owned()), ("b".to_owned(), "0".to_owned())];
        assert_eq!(spark.values(&table), rows);
        let live = spark.sql(&format!("DESCRIBE DETAIL {table}"))[0]["numFiles"].as_u64();
        assert_eq!(Some(count(&table.path, is_data) as u64), live, "{properties}");
        for round in 0..7 {
            spark.sql(&format!(
                "MERGE INTO {table} t USING (SELECT 'b' AS id UNION ALL SELECT 'new {round}') s \
                 ON t.sensor_id = s.id WHEN MATCHED THEN UPDATE SET upstream_value = 'spark {round}' \
                 WHEN NOT MATCHED THEN INSERT (sensor_id, upstream_value) VALUES (s.id, 'new')"
            ));
            maintain(&table).await;
            let base = table.table.load().await.unwrap();
            let row = position(&base.rows, "a");
            commit(&table.table, base, update(vec![(row, sensor("a", format!("ours {round}")))])).await;
            maintain(&table).await;
            assert_eq!(spark.values(&table), values(&table).await);
        }
        let rows = values(&table).await;
        assert_eq!(rows.len(), 9);
        assert!(
            rows.contains(&("b".into(), "spark 6".into())) && rows.contains(&("a".into(), "ours 6".into()))
        );
        spark.sql(&format!("OPTIMIZE {table}"));
        spark.sql(&format!("VACUUM {table} RETAIN 0 HOURS"));
        assert!(!spark.sql(&format!("DESCRIBE HISTORY {table}")).is_empty());
        maintain(&table).await;
        assert_eq!(spark.values(&table), rows);
        assert_eq!(values(&table).await, rows);
    }
}

async fn deletion_vectors_in_use_stay(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    spark.sql(&format!(
        "CREATE TABLE {table} ({SENSOR_DDL}) USING delta TBLPROPERTIES \
         ('delta.enableDeletionVectors' = 'true', 'delta.checkpointInterval' = '3')"
    ));
    spark.sql(&format!(
        "INSERT INTO {table} SELECT /*+ COALESCE(1) */ concat('s', id), array('a'), NULL, NULL, NULL, NULL, '0' FROM range(10)"
    ));
    let is_vector = |name: &str| name.starts_with("deletion_vector_");
    for id in 2..5 {
        spark.sql(&format!("DELETE FROM {table} WHERE sensor_id = 's{id}'"));
    }
    assert_eq!((values(&table).await.len(), count(&table.path, is_vector)), (7, 3));
    maintain(&table).await;
    maintain(&table).await;
    assert_eq!((values(&table).await.len(), count(&table.path, is_vector)), (7, 1));
    assert_eq!(spark.values(&table), values(&table).await);
    let base = table.table.load().await.unwrap();
    let row = position(&base.rows, "s7");
    commit(&table.table, base, Changes { delete: vec![row], ..Changes::default() }).await;
    maintain(&table).await;
    assert_eq!((count(&table.path, is_vector), count(&table.path, is_data)), (0, 1));
    assert_eq!(spark.values(&table), values(&table).await);
    assert_eq!(values(&table).await.len(), 6);
}

async fn changes_of_what_is_left_can_be_read(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    spark.sql(&format!(
        "CREATE TABLE {table} ({SENSOR_DDL}) USING delta TBLPROPERTIES \
         ('delta.enableChangeDataFeed' = 'true', 'delta.checkpointInterval' = '4')"
    ));
    let base = table.table.load().await.unwrap();
    let mut snapshot = commit(&table.table, base, insert(vec![sensor("a", 0), sensor("b", 0)])).await;
    for round in 0..10 {
        let row = position(&snapshot.rows, "a");
        snapshot = commit(&table.table, snapshot, update(vec![(row, sensor("a", round))])).await;
        maintain(&table).await;
    }
    let versions =
        table.log_names().into_iter().filter_map(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
    let oldest = versions.min().unwrap();
    assert!(oldest > 0);
    let changes = spark.ask(&json!({"changes": table.path, "from": oldest})).unwrap();
    let after = changes.iter().filter(|row| row["_change_type"] == "update_postimage").count() as u64;
    assert_eq!(after, snapshot.version - oldest + 1, "{changes:?}");
}

async fn spark_reads_the_journal_after_it_was_merged(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    let journal = DeltaJournal::new(&table.url).unwrap();
    let keep = JournalRetention {
        max_age: Duration::from_hours(24 * 36_500),
        versions: nothing(),
        ..JournalRetention::default()
    };
    for second in 0..70 {
        journal.append(&[entry(second, "12", second)]).await.unwrap();
        journal.maintain(&keep, Timestamp::now()).await.unwrap();
    }
    journal.maintain(&keep, Timestamp::now()).await.unwrap();
    assert!(count(&table.path, is_data) < 16, "{}", count(&table.path, is_data));
    let types = spark.sql(&format!("DESCRIBE {table}"));
    let types: Vec<String> = types
        .iter()
        .map(|row| format!("{} {}", row["col_name"], row["data_type"]).replace('"', ""))
        .collect();
    let expected = [
        "at timestamp",
        "event string",
        "sensor_source string",
        "sensor_id string",
        "trigger_job_id string",
        "run_id bigint",
        "writer string",
        "message string",
        "detail string",
    ];
    assert_eq!(types, expected);
    let rows = spark.sql(&format!("SELECT * FROM {table} ORDER BY at"));
    assert_eq!(rows.len(), 70);
    assert_eq!(rows[69]["at"], "2026-01-01 00:01:09.000000");
    assert_eq!((&rows[69]["run_id"], &rows[69]["message"]), (&json!(69), &json!("69")));
    assert_eq!(rows[69]["detail"], Value::Null);
    let late = format!("SELECT count(*) AS n FROM {table} WHERE at >= timestamp'2026-01-01 00:01:05'");
    assert_eq!(Value::from(spark.sql(&late)), json!([{"n": 5}]));
    let history = spark.sql(&format!("DESCRIBE HISTORY {table}"));
    assert!(history.iter().any(|row| row["operation"] == "WRITE"), "{history:?}");
    assert!(spark.directory.path().exists());
}

async fn the_journal_goes_on_after_spark_changed_it(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    let journal = DeltaJournal::new(&table.url).unwrap();
    for second in 0..9 {
        journal.append(&[entry(second, "12", second)]).await.unwrap();
    }
    spark.sql(&format!("DELETE FROM {table} WHERE run_id = 3"));
    spark.sql(&format!(
        "INSERT INTO {table} (at, event, message) VALUES (timestamp'2027-01-01', 'note', 'by hand')"
    ));
    spark.sql(&format!("ALTER TABLE {table} ADD COLUMN (owner STRING)"));
    journal.append(&[entry(9, "12", 9)]).await.unwrap();
    spark.sql(&format!("UPDATE {table} SET owner = 'me' WHERE run_id = 9"));
    spark.sql(&format!("OPTIMIZE {table}"));
    let keep = JournalRetention {
        max_age: Duration::from_hours(24 * 36_500),
        versions: nothing(),
        ..Default::default()
    };
    for second in 10..20 {
        journal.append(&[entry(second, "12", second)]).await.unwrap();
    }
    assert!(journal.maintain(&keep, Timestamp::now()).await.unwrap().merged >= 8);
    let all = journal.newest(&Filter::default(), 100).await.unwrap();
    let messages: Vec<&str> = all.iter().map(|entry| entry.message.as_str()).collect();
    let expected = [
        "by hand", "19", "18", "17", "16", "15", "14", "13", "12", "11", "10", "9", "8", "7", "6", "5", "4",
        "2", "1", "0",
    ];
    assert_eq!(messages, expected);
    let owners =
        spark.sql(&format!("SELECT owner, count(*) AS n FROM {table} GROUP BY owner ORDER BY owner"));
    assert_eq!(Value::from(owners), json!([{"owner": null, "n": 19}, {"owner": "me", "n": 1}]));
}
