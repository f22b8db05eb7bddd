//! Real Spark on the same tables: each reads what the other writes, and races are lost cleanly.
//!
//! One JVM serves all scenarios. It starts only with `HEARTBEAT_TEST_SPARK=1`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Blobs as _, Changes, Commit, Table};
use heartbeat_delta::{Access, DeltaBlobs, DeltaRecord, DeltaTable, Error};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use crate::support::{commit, control, insert, position, sensor, update};

pub(crate) const SENSOR_DDL: &str = "sensor_id string, assets array<string>, status string, \
    status_change_timestamp timestamp, checkpoint_location string, upstream_key string, upstream_value string";

#[tokio::test(flavor = "multi_thread")]
async fn spark_and_we_share_tables() {
    if std::env::var_os("HEARTBEAT_TEST_SPARK").is_none_or(|value| value != "1") {
        assert!(
            std::env::var_os("CI").is_none_or(|value| value != "true"),
            "CI must set HEARTBEAT_TEST_SPARK=1"
        );
        eprintln!("SKIPPED, NOTHING WAS HELD AGAINST SPARK: set HEARTBEAT_TEST_SPARK=1 (needs a JDK 17)");
        return;
    }
    let mut spark = Spark::start();
    crate::spark_maintenance::all(&mut spark).await;
    spark_reads_what_we_write(&mut spark).await;
    a_table_from_the_documentation_keeps_its_types_and_foreign_columns(&mut spark).await;
    deletion_vectors_are_read_and_dropped_with_their_file(&mut spark).await;
    checkpoints_of_spark_are_read(&mut spark).await;
    spark_reads_our_checkpoints(&mut spark).await;
    merges_in_turn_see_each_other(&mut spark).await;
    spark_loses_a_race_against_us(&mut spark).await;
    we_lose_a_race_against_spark(&mut spark).await;
    the_change_data_feed_tells_of_our_changes(&mut spark).await;
    in_commit_timestamps_go_on(&mut spark).await;
    a_huge_file_is_split_when_it_is_touched(&mut spark).await;
    vacuum_and_optimize_leave_us_alone(&mut spark).await;
    what_is_not_honoured_is_refused_by_name(&mut spark).await;
    spark.stop();
}

async fn spark_reads_what_we_write(spark: &mut Spark) {
    let table = spark.table::<ControlRow>();
    DeltaTable::<ControlRow>::create(&table.url).await.unwrap();
    let time: Timestamp = "2025-01-02T03:04:05.123456Z".parse().unwrap();
    let full = ControlRow {
        status_change_timestamp: Some(time),
        status: Some("é \"x\"\n".into()),
        ..control("a", 1)
    };
    let base = table.table.load().await.unwrap();
    commit(&table.table, base, insert(vec![full, ControlRow::default()])).await;
    let rows = spark.sql(&format!("SELECT * FROM {table} ORDER BY sensor_id NULLS LAST"));
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["status"], "é \"x\"\n");
    assert_eq!(rows[0]["status_change_timestamp"], "2025-01-02 03:04:05.123456");
    assert!(rows[1].as_object().unwrap().values().all(Value::is_null), "{rows:?}");
    let history = spark.sql(&format!("DESCRIBE HISTORY {table}"));
    assert_eq!(history[0]["operation"], "MERGE");
    assert_eq!(history[0]["operationParameters"]["step"], "test");
    assert_eq!(history[0]["operationMetrics"]["numTargetRowsInserted"], "2");
    assert!(history[0]["engineInfo"].as_str().unwrap().starts_with("heartbeat/"), "{history:?}");

    let sensors = spark.table::<SensorRow>();
    DeltaTable::<SensorRow>::create(&sensors.url).await.unwrap();
    let base = sensors.table.load().await.unwrap();
    let lists = vec![
        SensorRow { assets: Some(vec!["x".into(), "é".into()]), ..sensor("a", 1) },
        SensorRow { assets: Some(vec![]), ..sensor("b", 1) },
        SensorRow { assets: None, ..sensor("c", 1) },
    ];
    commit(&sensors.table, base, insert(lists)).await;
    let rows = spark.sql(&format!("SELECT assets FROM {sensors} ORDER BY sensor_id"));
    assert_eq!(Value::from(rows), json!([{"assets": ["x", "é"]}, {"assets": []}, {"assets": null}]));
    let types = spark.sql(&format!("DESCRIBE {sensors}"));
    let types: Vec<&str> = types.iter().map(|row| row["data_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["string", "array<string>", "string", "timestamp", "string", "string", "string"]);
}

async fn a_table_from_the_documentation_keeps_its_types_and_foreign_columns(spark: &mut Spark) {
    let table = spark.table::<ControlRow>();
    spark.sql(&format!(
        "CREATE TABLE {table} (owner STRING, Sensor_Source STRING, sensor_id STRING, sensor_read_type STRING, \
         asset_description STRING, upstream_key STRING, preprocess_query STRING, \
         latest_event_fetched_timestamp TIMESTAMP, trigger_job_id BIGINT, trigger_job_name STRING, status STRING, \
         status_change_timestamp STRING, job_start_timestamp TIMESTAMP, job_end_timestamp TIMESTAMP, \
         job_state STRING, dependency_flag STRING, cost DECIMAL(10,2), tags MAP<STRING, STRING>, \
         nested STRUCT<a: INT, b: ARRAY<STRUCT<c: DATE>>>, seen TIMESTAMP, ratio DOUBLE, raw BINARY) USING delta"
    ));
    for id in ["a", "b", "c"] {
        spark.sql(&format!(
            "INSERT INTO {table} SELECT 'owner {id}', 'kafka', '{id}', 'streaming', 'd', NULL, NULL, \
             timestamp'1600-01-01 00:00:00', 7, 'job', 'COMPLETED', '2025-01-02 03:04:05', NULL, NULL, 'UNPAUSED', \
             'TRUE', 1.25, map('k', '{id}'), \
             named_struct('a', 1, 'b', array(named_struct('c', date'2020-02-02'))), \
             timestamp'9999-12-31 23:59:59.999999', 0.5, x'00ff'"
        ));
    }
    let all = format!("SELECT * FROM {table} ORDER BY sensor_id NULLS LAST");
    let before = spark.sql(&all);
    let base = table.table.load().await.unwrap();
    let at = base.rows.iter().position(|row| row.sensor_id.as_deref() == Some("b")).unwrap();
    assert_eq!(base.rows[at].trigger_job_id.as_deref(), Some("7"));
    assert_eq!(base.rows[at].sensor_source.as_deref(), Some("kafka"));
    assert_eq!(base.rows[at].status_change_timestamp, Some("2025-01-02T03:04:05Z".parse().unwrap()));
    assert_eq!(base.rows[at].latest_event_fetched_timestamp, Some("1600-01-01T00:00:00Z".parse().unwrap()));
    let time = "2026-11-21T09:00:00.25Z".parse().unwrap();
    let started = ControlRow {
        status: Some("IN_PROGRESS".into()),
        status_change_timestamp: Some(time),
        ..base.rows[at].clone()
    };
    let changes =
        Changes { update: vec![(at, started)], insert: vec![control("d", 8)], ..Changes::default() };
    commit(&table.table, base, changes).await;
    let after = spark.sql(&all);
    let mut expected = before.clone();
    expected[1]["status"] = "IN_PROGRESS".into();
    expected[1]["status_change_timestamp"] = "2026-11-21 09:00:00.250000".into();
    assert_eq!(after[..3], expected[..]);
    assert_eq!((&after[3]["trigger_job_id"], &after[3]["owner"]), (&json!(8), &Value::Null));
}

async fn deletion_vectors_are_read_and_dropped_with_their_file(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    spark.sql(&format!(
        "CREATE TABLE {table} ({SENSOR_DDL}) USING delta TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"
    ));
    spark.sql(&format!(
        "INSERT INTO {table} SELECT /*+ COALESCE(1) */ concat('s', id), array('a'), NULL, NULL, NULL, NULL, '0' FROM range(10)"
    ));
    spark.sql(&format!("DELETE FROM {table} WHERE sensor_id = 's3'"));
    spark.sql(&format!("UPDATE {table} SET upstream_value = '1' WHERE sensor_id = 's4'"));
    spark.sql(&format!(
        "MERGE INTO {table} t USING (SELECT 's5' AS id) s ON t.sensor_id = s.id \
         WHEN MATCHED THEN UPDATE SET upstream_value = '2'"
    ));
    assert!(table.log_mentions("deletionVector"), "Spark wrote no deletion vector");
    let ours = values(&table).await;
    assert_eq!(ours, spark.values(&table));
    assert_eq!(ours.len(), 9);
    let base = table.table.load().await.unwrap();
    let (s6, s7) = (position(&base.rows, "s6"), position(&base.rows, "s7"));
    let changes = Changes { update: vec![(s6, sensor("s6", 3))], delete: vec![s7], ..Changes::default() };
    commit(&table.table, base, changes).await;
    let seen = spark.values(&table);
    assert_eq!(seen, values(&table).await);
    assert!(seen.contains(&("s6".into(), "3".into())) && seen.len() == 8, "{seen:?}");
    spark.sql(&format!("DELETE FROM {table} WHERE sensor_id = 's6'"));
    assert_eq!(spark.values(&table), values(&table).await);
}

async fn checkpoints_of_spark_are_read(spark: &mut Spark) {
    for properties in [
        "'delta.checkpointInterval' = '2'",
        "'delta.checkpointInterval' = '2', 'delta.checkpointPolicy' = 'v2', 'delta.feature.v2Checkpoint' = 'supported'",
    ] {
        let table = spark.table::<SensorRow>();
        spark.sql(&format!("CREATE TABLE {table} ({SENSOR_DDL}) USING delta TBLPROPERTIES ({properties})"));
        for id in 0..5 {
            spark.sql(&format!("INSERT INTO {table} (sensor_id, upstream_value) VALUES ('s{id}', '{id}')"));
        }
        let log = table.path.join("_delta_log");
        assert!(table.log_names().iter().any(|name| name.contains("4.checkpoint.")), "{properties}");
        for version in 0..4 {
            std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
        }
        assert_eq!(values(&table).await, spark.values(&table));
        let base = table.table.load().await.unwrap();
        let row = position(&base.rows, "s2");
        commit(&table.table, base, update(vec![(row, sensor("s2", "ours"))])).await;
        assert_eq!(values(&table).await, spark.values(&table));
        assert!(values(&table).await.contains(&("s2".into(), "ours".into())));
    }
}

async fn spark_reads_our_checkpoints(spark: &mut Spark) {
    for properties in
        ["'a' = 'b'", "'delta.checkpointPolicy' = 'v2', 'delta.feature.v2Checkpoint' = 'supported'"]
    {
        let table = spark.table::<SensorRow>();
        spark.sql(&format!(
            "CREATE TABLE {table} ({SENSOR_DDL}) USING delta \
             TBLPROPERTIES ('delta.checkpointInterval' = '3', 'delta.enableDeletionVectors' = 'true', {properties})"
        ));
        spark
            .sql(&format!("INSERT INTO {table} (sensor_id, upstream_value) VALUES ('s0', '0'), ('s1', '1')"));
        let mut snapshot = table.table.load().await.unwrap();
        for round in 0..3 {
            let row = position(&snapshot.rows, "s1");
            snapshot = commit(&table.table, snapshot, update(vec![(row, sensor("s1", round))])).await;
        }
        let log = table.path.join("_delta_log");
        assert!(table.log_names().iter().any(|name| name.contains("3.checkpoint.")), "{properties}");
        for version in 0..3 {
            std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
        }
        // A path that Spark has not read yet, so that nothing is remembered.
        let moved =
            table.path.with_file_name(format!("{} moved", table.path.file_name().unwrap().to_string_lossy()));
        std::fs::rename(&table.path, &moved).unwrap();
        let moved = SparkTable::<SensorRow>::at(&moved);
        assert_eq!(spark.values(&moved), values(&moved).await);
        spark.sql(&format!("UPDATE {moved} SET upstream_value = 'spark' WHERE sensor_id = 's0'"));
        assert_eq!(spark.values(&moved), values(&moved).await);
    }
}

async fn merges_in_turn_see_each_other(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    DeltaTable::<SensorRow>::create(&table.url).await.unwrap();
    let mut snapshot = table.table.load().await.unwrap();
    for round in 0..5 {
        let mut changes = insert(vec![sensor(format!("ours{round}"), round)]);
        if round > 0 {
            let row = position(&snapshot.rows, &format!("spark{}", round - 1));
            changes.update.push((row, sensor(format!("spark{}", round - 1), "ours")));
        }
        commit(&table.table, snapshot, changes).await;
        spark.sql(&format!(
            "MERGE INTO {table} t USING (SELECT 'ours{round}' AS id UNION ALL SELECT 'spark{round}') s \
             ON t.sensor_id = s.id WHEN MATCHED THEN UPDATE SET upstream_value = 'spark' \
             WHEN NOT MATCHED THEN INSERT (sensor_id, upstream_value) VALUES (s.id, 'new')"
        ));
        snapshot = table.table.load().await.unwrap();
        assert_eq!(spark.values(&table), values(&table).await);
    }
    let rows = values(&table).await;
    assert_eq!(rows.len(), 10);
    assert!(
        rows.contains(&("ours4".into(), "spark".into())) && rows.contains(&("spark3".into(), "ours".into())),
        "{rows:?}"
    );
}

/// Spark is stopped between reading its snapshot and committing; meanwhile we change the same row.
async fn spark_loses_a_race_against_us(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    DeltaTable::<SensorRow>::create(&table.url).await.unwrap();
    let base = table.table.load().await.unwrap();
    let base = commit(&table.table, base, insert(vec![sensor("a", "base"), sensor("b", "base")])).await;
    let gate = Gate::new(&spark.directory);
    spark.send(&json!({"sql": format!(
        "MERGE INTO {table} t USING (SELECT 'a' AS id, gate('{}') AS gate) s ON t.sensor_id = s.id \
         WHEN MATCHED AND s.gate = 'go' THEN UPDATE SET upstream_value = 'spark'", gate.directory.display()
    )}));
    gate.wait_until_entered();
    let row = position(&base.rows, "a");
    commit(&table.table, base, update(vec![(row, sensor("a", "ours"))])).await;
    gate.open();
    let lost = spark.receive().unwrap_err();
    assert!(lost.contains("Concurrent"), "{lost}");
    assert_eq!(spark.values(&table), [("a".into(), "ours".into()), ("b".into(), "base".into())]);
}

async fn we_lose_a_race_against_spark(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    DeltaTable::<SensorRow>::create(&table.url).await.unwrap();
    let base = table.table.load().await.unwrap();
    let base = commit(&table.table, base, insert(vec![sensor("a", "base")])).await;
    spark.sql(&format!("UPDATE {table} SET upstream_value = 'spark'"));
    let lost = table.table.commit(base, update(vec![(0, sensor("a", "ours"))]), "S").await.unwrap();
    assert!(matches!(lost, Commit::Conflict));
    assert_eq!(spark.values(&table), [("a".into(), "spark".into())]);
}

async fn the_change_data_feed_tells_of_our_changes(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    spark.sql(&format!(
        "CREATE TABLE {table} ({SENSOR_DDL}) USING delta TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"
    ));
    spark.sql(&format!(
        "INSERT INTO {table} (sensor_id, upstream_value) VALUES ('a', '0'), ('b', '0'), ('c', '0')"
    ));
    let base = table.table.load().await.unwrap();
    let (a, b) = (position(&base.rows, "a"), position(&base.rows, "b"));
    let changes =
        Changes { update: vec![(a, sensor("a", 1))], delete: vec![b], insert: vec![sensor("d", 1)] };
    commit(&table.table, base, changes).await;
    let changes = spark.ask(&json!({"changes": table.path, "from": 2})).unwrap();
    let mut seen: Vec<String> = changes
        .iter()
        .map(|row| {
            format!("{} {} {}", row["_change_type"], row["sensor_id"], row["upstream_value"]).replace('"', "")
        })
        .collect();
    seen.sort();
    assert_eq!(seen, ["delete b 0", "insert d 1", "update_postimage a 1", "update_preimage a 0"]);
    spark.sql(&format!("UPDATE {table} SET upstream_value = 'spark' WHERE sensor_id = 'd'"));
    assert_eq!(spark.values(&table), values(&table).await);
}

async fn in_commit_timestamps_go_on(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    spark.sql(&format!(
        "CREATE TABLE {table} ({SENSOR_DDL}) USING delta TBLPROPERTIES ('delta.enableInCommitTimestamps' = 'true')"
    ));
    let mut snapshot = table.table.load().await.unwrap();
    for round in 0..3 {
        snapshot = commit(&table.table, snapshot, insert(vec![sensor(round, round)])).await;
    }
    spark.sql(&format!("UPDATE {table} SET upstream_value = 'spark' WHERE sensor_id = '1'"));
    let base = table.table.load().await.unwrap();
    commit(&table.table, base, insert(vec![sensor("last", 1)])).await;
    let history = spark.sql(&format!("DESCRIBE HISTORY {table}"));
    let mut stamps: Vec<i64> = Vec::new();
    for version in 0..history.len() {
        let entry = table.path.join(format!("_delta_log/{version:020}.json"));
        let text = std::fs::read_to_string(entry).unwrap();
        let info: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        stamps.push(info["commitInfo"]["inCommitTimestamp"].as_i64().expect("first action has the stamp"));
    }
    assert!(stamps.windows(2).all(|pair| pair[0] < pair[1]), "{stamps:?}");
    assert_eq!(spark.values(&table), values(&table).await);
}

async fn a_huge_file_is_split_when_it_is_touched(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    spark.sql(&format!("CREATE TABLE {table} ({SENSOR_DDL}) USING delta"));
    spark.sql(&format!(
        "INSERT INTO {table} SELECT /*+ COALESCE(1) */ concat('s', id), array('a'), NULL, NULL, NULL, NULL, '0' FROM range(5000)"
    ));
    let snapshot = table.table.load().await.unwrap();
    let row = position(&snapshot.rows, "s4321");
    let snapshot = commit(&table.table, snapshot, update(vec![(row, sensor("s4321", 1))])).await;
    let detail = spark.sql(&format!("DESCRIBE DETAIL {table}"));
    assert_eq!(detail[0]["numFiles"], 5);
    let row = position(&snapshot.rows, "s1");
    commit(&table.table, snapshot, update(vec![(row, sensor("s1", 1))])).await;
    let counted =
        spark.sql(&format!("SELECT upstream_value AS v, count(*) AS n FROM {table} GROUP BY 1 ORDER BY 1"));
    assert_eq!(Value::from(counted), json!([{"v": "0", "n": 4998}, {"v": "1", "n": 2}]));
}

async fn vacuum_and_optimize_leave_us_alone(spark: &mut Spark) {
    let table = spark.table::<SensorRow>();
    DeltaTable::<SensorRow>::create(&table.url).await.unwrap();
    let digest = DeltaBlobs::new(&table.url).unwrap().put(b"position".to_vec()).await.unwrap();
    let mut snapshot = table.table.load().await.unwrap();
    for round in 0..4 {
        snapshot = commit(&table.table, snapshot, insert(vec![sensor(round, round)])).await;
    }
    spark.sql(&format!("OPTIMIZE {table}"));
    spark.sql(&format!("VACUUM {table} RETAIN 0 HOURS"));
    assert_eq!(spark.values(&table), values(&table).await);
    assert!(matches!(
        table.table.commit(snapshot, insert(vec![sensor("late", 1)]), "S").await.unwrap(),
        Commit::Conflict
    ));
    let base = table.table.load().await.unwrap();
    commit(&table.table, base, insert(vec![sensor("late", 1)])).await;
    let stored = DeltaBlobs::new(&table.url).unwrap().get(&digest).await.unwrap();
    assert_eq!(stored.as_deref(), Some(&b"position"[..]));
    assert_eq!(spark.values(&table).len(), 5);
}

async fn what_is_not_honoured_is_refused_by_name(spark: &mut Spark) {
    let cases = [
        (
            "",
            "",
            "ALTER TABLE TABLE ADD CONSTRAINT positive CHECK (upstream_value <> '')",
            Access::Write,
            "DROP CONSTRAINT positive",
        ),
        ("", "TBLPROPERTIES ('delta.appendOnly' = 'true')", "", Access::Write, "delta.appendOnly"),
        ("", "TBLPROPERTIES ('delta.enableRowTracking' = 'true')", "", Access::Write, "rowTracking"),
        ("", "CLUSTER BY (sensor_id)", "", Access::Write, "clustering"),
        (
            ", d INT DEFAULT 3",
            "TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported')",
            "",
            Access::Write,
            "a default for column `d`",
        ),
        ("", "TBLPROPERTIES ('delta.columnMapping.mode' = 'name')", "", Access::Read, "column mapping"),
        ("", "PARTITIONED BY (status)", "", Access::Read, "partitioning by `status`"),
        ("", "TBLPROPERTIES ('delta.enableTypeWidening' = 'true')", "", Access::Read, "typeWidening"),
    ];
    for (columns, properties, then, access, expected) in cases {
        let table = spark.table::<SensorRow>();
        spark.sql(&format!("CREATE TABLE {table} ({SENSOR_DDL}{columns}) USING delta {properties}"));
        if !then.is_empty() {
            spark.sql(&then.replace("TABLE TABLE", &format!("TABLE {table}")));
        }
        let error = match table.table.load().await {
            Ok(base) => table.table.commit(base, insert(vec![sensor("a", 1)]), "S").await.unwrap_err(),
            Err(error) => error,
        };
        assert!(matches!(&error, Error::Unsupported { access: found, .. } if *found == access), "{error:?}");
        assert!(error.to_string().contains(expected), "{expected} is not in: {error}");
    }
}

pub(crate) async fn values(table: &SparkTable<SensorRow>) -> Vec<(String, String)> {
    let rows = DeltaTable::<SensorRow>::new(&table.url).unwrap().load().await.unwrap().rows;
    let mut values: Vec<_> = rows
        .into_iter()
        .map(|row| (row.sensor_id.unwrap_or_default(), row.upstream_value.unwrap_or_default()))
        .collect();
    values.sort();
    values
}

/// A path with a blank that Spark calls ``delta.`path` ``.
pub(crate) struct SparkTable<R> {
    pub(crate) path: PathBuf,
    pub(crate) url: Url,
    pub(crate) table: DeltaTable<R>,
}

impl<R: DeltaRecord> SparkTable<R> {
    pub(crate) fn at(path: &Path) -> Self {
        let url = Url::from_directory_path(path).unwrap();
        Self { path: path.to_owned(), table: DeltaTable::new(&url).unwrap(), url }
    }

    pub(crate) fn log_names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path.join("_delta_log")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    pub(crate) fn log_mentions(&self, word: &str) -> bool {
        let read = |name| std::fs::read_to_string(self.path.join("_delta_log").join(name));
        self.log_names().into_iter().any(|name| read(name).is_ok_and(|text| text.contains(word)))
    }
}

impl<R> std::fmt::Display for SparkTable<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "delta.`{}`", self.path.display())
    }
}

/// Two pipes that stop Spark in the midst of a statement.
struct Gate {
    directory: PathBuf,
}

impl Gate {
    fn new(parent: &TempDir) -> Self {
        let directory = parent.path().join("gate");
        std::fs::create_dir(&directory).unwrap();
        let made = Command::new("mkfifo").arg(directory.join("started")).arg(directory.join("go")).status();
        assert!(made.unwrap().success());
        Self { directory }
    }

    fn wait_until_entered(&self) {
        let mut started = String::new();
        std::fs::File::open(self.directory.join("started")).unwrap().read_to_string(&mut started).unwrap();
    }

    fn open(&self) {
        std::fs::write(self.directory.join("go"), "x").unwrap();
    }
}

/// One JVM that answers a JSON line per JSON line (`tests/python/spark_delta.py`).
pub(crate) struct Spark {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    pub(crate) directory: TempDir,
    tables: usize,
}

impl Spark {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let made = Command::new(root.join("scripts/spark-env")).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "scripts/spark-env failed");
        let made = String::from_utf8(made.stdout).unwrap();
        let (python, ivy) = made.trim().split_once('\n').unwrap();
        let directory = TempDir::new().unwrap();
        let mut child = Command::new(python)
            .arg(root.join("tests/python/spark_delta.py").canonicalize().unwrap())
            .arg(ivy)
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut spark = Self { child, requests, replies, directory, tables: 0 };
        spark.receive().unwrap();
        spark
    }

    /// A table in a directory of its own; nothing is there yet.
    pub(crate) fn table<R: DeltaRecord>(&mut self) -> SparkTable<R> {
        self.tables += 1;
        SparkTable::at(&self.directory.path().join(format!("my warehouse/table {}", self.tables)))
    }

    pub(crate) fn sql(&mut self, sql: &str) -> Vec<Value> {
        self.ask(&json!({"sql": sql})).unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    pub(crate) fn values(&mut self, table: &SparkTable<SensorRow>) -> Vec<(String, String)> {
        let rows =
            self.sql(&format!("SELECT sensor_id AS a, upstream_value AS b FROM {table} ORDER BY 1, 2"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rows.iter().map(|row| (text(&row["a"]), text(&row["b"]))).collect()
    }

    pub(crate) fn ask(&mut self, request: &Value) -> Result<Vec<Value>, String> {
        self.send(request);
        self.receive()
    }

    fn send(&mut self, request: &Value) {
        writeln!(self.requests, "{request}").unwrap();
        self.requests.flush().unwrap();
    }

    fn receive(&mut self) -> Result<Vec<Value>, String> {
        let mut line = String::new();
        self.replies.read_line(&mut line).unwrap();
        let mut reply: Value = serde_json::from_str(&line).map_err(|_| format!("Spark is gone: {line:?}"))?;
        match reply["error"].take() {
            Value::String(error) => Err(error),
            _ => Ok(reply["rows"].as_array().cloned().unwrap_or_default()),
        }
    }

    fn stop(self) {
        let Self { mut child, requests, .. } = self;
        drop(requests);
        assert!(child.wait().unwrap().success());
    }
}
