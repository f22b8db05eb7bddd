//! What the port promises: exact compare-and-swap, bounded commits, rows kept apart and whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use futures::stream::BoxStream;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Blobs, Changes, Commit, Table};
use heartbeat_delta::{Access, DeltaBlobs, DeltaTable, Error, Init};
use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use url::Url;

use crate::support::{TestTable, commit, control, has_extension, insert, position, sensor, sorted, update};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_has_the_original_s_columns_and_is_found_again() {
    let table = TestTable::<ControlRow>::create().await;
    assert_eq!(DeltaTable::<ControlRow>::create(&table.url).await.unwrap(), Init::AlreadyThere);
    let entry = std::fs::read_to_string(table.path.join("_delta_log/00000000000000000000.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(entry.lines().nth(2).unwrap()).unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(metadata["metaData"]["schemaString"].as_str().unwrap()).unwrap();
    let columns: Vec<String> = schema["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| format!("{} {} {}", field["name"], field["type"], field["nullable"]).replace('"', ""))
        .collect();
    let expected = [
        "sensor_source string true",
        "sensor_id string true",
        "sensor_read_type string true",
        "asset_description string true",
        "upstream_key string true",
        "preprocess_query string true",
        "latest_event_fetched_timestamp timestamp true",
        "trigger_job_id string true",
        "trigger_job_name string true",
        "status string true",
        "status_change_timestamp timestamp true",
        "job_start_timestamp timestamp true",
        "job_end_timestamp timestamp true",
        "job_state string true",
        "dependency_flag string true",
    ];
    assert_eq!(columns, expected);
    let snapshot = table.table.load().await.unwrap();
    assert_eq!((snapshot.version, snapshot.rows.len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn init_names_the_columns_of_a_table_that_differ() {
    let table = TestTable::<SensorRow>::create().await;
    let error = DeltaTable::<ControlRow>::create(&table.url).await.unwrap_err();
    let Error::Schema { problems, .. } = &error else { panic!("{error:?}") };
    let columns: Vec<&str> = problems.0.iter().map(|problem| problem.column.as_str()).collect();
    assert!(columns.contains(&"sensor_source") && columns.contains(&"dependency_flag"), "{columns:?}");
    assert!(!columns.contains(&"sensor_id"));
    assert!(error.to_string().contains("column `sensor_source` is missing, wanted string"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_what_the_next_reader_sees() {
    let time: Timestamp = "2025-01-02T03:04:05.123456789Z".parse().unwrap();
    let rows = vec![
        ControlRow {
            status_change_timestamp: Some(time),
            status: Some("é\n\"x\"".into()),
            ..control("a", 1)
        },
        ControlRow::default(),
        control("a", 1),
    ];
    let (table, snapshot) = TestTable::with_rows(rows).await;
    let read = table.anew().load().await.unwrap();
    assert_eq!((read.version, &read.rows), (snapshot.version, &snapshot.rows));
    let micros = "2025-01-02T03:04:05.123456Z".parse().unwrap();
    assert_eq!(read.rows[0].status_change_timestamp, Some(micros));
    assert_eq!(read.rows[1], ControlRow::default());
    assert_eq!(read.table_id, snapshot.table_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_one_key_stay_apart() {
    let (table, base) = TestTable::with_rows(vec![control("a", 1), control("a", 1)]).await;
    let changed = ControlRow { status: Some("COMPLETED".into()), ..base.rows[1].clone() };
    let snapshot = commit(&table.table, base, update(vec![(1, changed)])).await;
    let statuses: Vec<_> = snapshot.rows.iter().map(|row| row.status.as_deref()).collect();
    assert_eq!(statuses, [None, Some("COMPLETED")]);
    assert_eq!(sorted(&table.anew().load().await.unwrap().rows), sorted(&snapshot.rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_on_one_base_exactly_one_is_done() {
    let (table, _) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    let (one, two) = (table.anew(), table.anew());
    let (base_one, base_two) = (one.load().await.unwrap(), two.load().await.unwrap());
    let files = table.data_files().len();
    let old = base_two.clone();
    assert!(two.is_current(old.version, &old.backing).await.unwrap());
    assert!(matches!(
        one.commit(base_one, update(vec![(0, sensor("a", 1))]), "one").await.unwrap(),
        Commit::Done(_)
    ));
    assert!(matches!(
        two.commit(base_two, update(vec![(0, sensor("a", 2))]), "two").await.unwrap(),
        Commit::Conflict
    ));
    assert!(!two.is_current(old.version, &old.backing).await.unwrap());
    assert_eq!(table.anew().load().await.unwrap().rows, [sensor("a", 1)]);
    assert_eq!(table.data_files().len(), files + 1, "a lost race leaves no file behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_increment_of_many_concurrent_writers_is_lost() {
    const WRITERS: usize = 6;
    const INCREMENTS: u64 = 10;
    let (table, _) = TestTable::with_rows(vec![sensor("counter", 0), sensor("other", 0)]).await;
    let conflicts = AtomicUsize::new(0);
    join_all((0..WRITERS).map(|_| async {
        let writer = table.anew();
        let mut done = 0;
        while done < INCREMENTS {
            let base = writer.load().await.unwrap();
            let row = position(&base.rows, "counter");
            let count: u64 = base.rows[row].upstream_value.as_deref().unwrap().parse().unwrap();
            match writer.commit(base, update(vec![(row, sensor("counter", count + 1))]), "add").await.unwrap()
            {
                Commit::Done(_) => done += 1,
                Commit::Conflict => drop(conflicts.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }))
    .await;
    let rows = table.anew().load().await.unwrap().rows;
    let total = rows[position(&rows, "counter")].upstream_value.clone();
    assert_eq!(total, Some((WRITERS as u64 * INCREMENTS).to_string()));
    println!("conflicts: {}", conflicts.into_inner());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_alone_conflicts_with_anything_committed_since() {
    let (table, base) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    let other = table.anew();
    let theirs = other.load().await.unwrap();
    commit(&other, theirs, insert(vec![sensor("b", 0)])).await;
    let ours = table.table.commit(base, insert(vec![sensor("c", 0)]), "S").await.unwrap();
    assert!(matches!(ours, Commit::Conflict));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_survives_in_memory_from_commit_to_commit() {
    let (table, mut snapshot) = TestTable::with_rows((0..10).map(|id| sensor(id, 0)).collect()).await;
    for round in 1..=5 {
        let row = position(&snapshot.rows, "3");
        snapshot = commit(&table.table, snapshot, update(vec![(row, sensor(3, round))])).await;
    }
    let read = table.anew().load().await.unwrap();
    assert_eq!(read.version, snapshot.version);
    assert_eq!(sorted(&read.rows), sorted(&snapshot.rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_change_nothing_write_nothing() {
    let (table, base) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    let files = table.files();
    let same = base.rows[0].clone();
    let snapshot = commit(&table.table, base, update(vec![(0, same)])).await;
    let snapshot = commit(&table.table, snapshot, Changes::default()).await;
    assert_eq!((snapshot.version, table.files()), (1, files));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_do_not_fit_their_snapshot_are_refused() {
    let (table, base) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    let twice = Changes { update: vec![(0, sensor("a", 1))], delete: vec![0], ..Changes::default() };
    for changes in [twice, update(vec![(1, sensor("b", 0))])] {
        let error = table.table.commit(base.clone(), changes, "test").await.unwrap_err();
        assert!(matches!(error, Error::Changes { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_row_commit_to_fifty_thousand_rows_is_small() {
    // About what a position with its digest looks like, and does not compress well.
    let value = |id: u64| {
        let noise: Vec<String> = (0..8).map(|part| format!("{:016x}", mixed(id * 8 + part))).collect();
        let noise = noise.concat();
        format!("{{\"v\":1,\"accounted\":\"{noise}\",\"acquired\":{id}}}")
    };
    let rows: Vec<SensorRow> = (0..50_000).map(|id| sensor(id, value(id))).collect();
    let (table, mut snapshot) = TestTable::with_rows(rows).await;
    assert!(table.data_files().len() > 50);
    for (round, id) in [7_u64, 25_000, 49_999].into_iter().enumerate() {
        let before = table.files();
        let row = position(&snapshot.rows, &id.to_string());
        snapshot = commit(&table.table, snapshot, update(vec![(row, sensor(id, "new"))])).await;
        let written: u64 =
            table.files().iter().filter(|file| !before.contains(file)).map(|(_, size)| size).sum();
        println!("one-row commit {round}: {written} bytes");
        assert!(written <= 40_000, "{written} bytes");
    }
    let before = table.files();
    commit(&table.table, snapshot, insert(vec![sensor("new", 0)])).await;
    let written: u64 = table.files().iter().filter(|file| !before.contains(file)).map(|(_, size)| size).sum();
    assert!(written <= 40_000, "{written} bytes");
    assert_eq!(table.anew().load().await.unwrap().rows.len(), 50_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_row_gets_a_file_to_itself() {
    let rows = vec![sensor("a", "x".repeat(500_000)), sensor("b", "y"), sensor("c", "z".repeat(300_000))];
    let (table, snapshot) = TestTable::with_rows(rows).await;
    assert_eq!(table.data_files().len(), 3);
    assert_eq!(sorted(&table.anew().load().await.unwrap().rows), sorted(&snapshot.rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_single_inserts_do_not_pile_up() {
    let table = TestTable::<SensorRow>::create().await;
    let mut snapshot = table.table.load().await.unwrap();
    for id in 0..60 {
        snapshot = commit(&table.table, snapshot, insert(vec![sensor(id, 0)])).await;
    }
    let read = table.anew().load().await.unwrap();
    assert_eq!(read.rows.len(), 60);
    assert!(live_files(&table) <= 17, "{}", live_files(&table));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_every_row_leaves_an_empty_table_that_can_be_filled_again() {
    let (table, base) = TestTable::with_rows((0..5).map(|id| sensor(id, 0)).collect()).await;
    let all = Changes { delete: (0..5).collect(), ..Changes::default() };
    let snapshot = commit(&table.table, base, all).await;
    assert_eq!((snapshot.rows.len(), live_files(&table)), (0, 0));
    let snapshot = commit(&table.table, snapshot, insert(vec![sensor("a", 1)])).await;
    assert_eq!(table.anew().load().await.unwrap().rows, snapshot.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_written_and_read() {
    let (table, mut snapshot) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    for round in 0..52 {
        snapshot = commit(&table.table, snapshot, update(vec![(0, sensor("a", round + 1))])).await;
    }
    let checkpoint = table.path.join("_delta_log/00000000000000000050.checkpoint.parquet");
    assert!(checkpoint.exists(), "{:?}", table.files());
    for version in 0..50 {
        std::fs::remove_file(table.path.join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let read = table.anew().load().await.unwrap();
    assert_eq!((read.version, read.rows), (snapshot.version, snapshot.rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_log_is_nothing_but_a_checkpoint_is_read_and_written() {
    let (table, mut snapshot) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    for round in 0..49 {
        snapshot = commit(&table.table, snapshot, update(vec![(0, sensor("a", round + 1))])).await;
    }
    for version in 0..=50 {
        std::fs::remove_file(table.path.join(format!("_delta_log/{version:020}.json"))).unwrap();
    }
    let other = table.anew();
    let base = other.load().await.unwrap();
    assert_eq!((base.version, &base.rows), (50, &snapshot.rows));
    let base = commit(&other, base, update(vec![(0, sensor("a", "new"))])).await;
    assert_eq!(table.anew().load().await.unwrap().rows, base.rows);
}

#[tokio::test]
async fn a_runtime_with_one_thread_will_do() {
    let (table, mut snapshot) = TestTable::with_rows(vec![sensor("a", 0)]).await;
    for round in 0..50 {
        snapshot = commit(&table.table, snapshot, update(vec![(0, sensor("a", round + 1))])).await;
    }
    assert_eq!(table.anew().load().await.unwrap().rows, snapshot.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_anew_is_not_taken_for_the_old_one() {
    let (table, base) = TestTable::with_rows(vec![sensor("old", 0)]).await;
    std::fs::remove_dir_all(&table.path).unwrap();
    DeltaTable::<SensorRow>::create(&table.url).await.unwrap();
    let other = table.anew();
    let empty = other.load().await.unwrap();
    commit(&other, empty, insert(vec![sensor("new", 0)])).await;
    let old_id = base.table_id.clone();
    let lost = table.table.commit(base, insert(vec![sensor("old2", 0)]), "S").await.unwrap();
    assert!(matches!(lost, Commit::Conflict));
    let read = table.table.load().await.unwrap();
    assert_eq!(read.rows, [sensor("new", 0)]);
    assert_ne!(read.table_id, old_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_is_recognised() {
    let store = Arc::new(Unreliable { inner: InMemory::new(), fault: Fault::LoseAnswer });
    let table = memory_table(store).await;
    let base = table.load().await.unwrap();
    let snapshot = commit(&table, base, insert(vec![sensor("a", 0)])).await;
    let snapshot = commit(&table, snapshot, update(vec![(0, sensor("a", 1))])).await;
    assert_eq!(snapshot.version, 2);
    assert_eq!(table.load().await.unwrap().rows, [sensor("a", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_inside_the_storage_client_that_meets_its_own_entry_is_recognised() {
    let store = Arc::new(Unreliable { inner: InMemory::new(), fault: Fault::RetryInside });
    let table = memory_table(store).await;
    let base = table.load().await.unwrap();
    let snapshot = commit(&table, base, insert(vec![sensor("a", 0)])).await;
    assert_eq!((snapshot.version, snapshot.rows.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_did_not_arrive_is_an_unknown_outcome_and_nothing_changes() {
    let store = Arc::new(Unreliable { inner: InMemory::new(), fault: Fault::LoseEntry });
    let table = memory_table(store).await;
    let base = table.load().await.unwrap();
    let error = table.commit(base, insert(vec![sensor("a", 0)]), "S").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { version: 1, .. }), "{error}");
    assert_eq!(table.load().await.unwrap().rows, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_stored_once_and_verified() {
    let table = TestTable::<SensorRow>::create().await;
    let blobs = DeltaBlobs::new(&table.url).unwrap();
    let digest = blobs.put(b"position".to_vec()).await.unwrap();
    assert_eq!(digest, "5a452459503be70d2ed2fca46dd91e05e820a957f175686a77d03fff80f664fe");
    assert_eq!(blobs.put(b"position".to_vec()).await.unwrap(), digest);
    assert_eq!(blobs.get(&digest).await.unwrap().as_deref(), Some(&b"position"[..]));
    assert_eq!(blobs.get(&"0".repeat(64)).await.unwrap(), None);
    let file = table.path.join("_heartbeat/positions").join(&digest);
    std::fs::write(&file, b"other").unwrap();
    assert!(matches!(blobs.get(&digest).await.unwrap_err(), Error::Digest { .. }));
    blobs.put(b"position".to_vec()).await.unwrap();
    assert_eq!(blobs.get(&digest).await.unwrap().unwrap(), b"position", "written anew");
    assert_eq!(table.table.load().await.unwrap().rows.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_only_table_is_read_but_not_written() {
    let table = TestTable::<SensorRow>::create().await;
    let entry = table.path.join("_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&entry).unwrap();
    std::fs::write(
        &entry,
        text.replace("\"configuration\":{}", "\"configuration\":{\"delta.appendOnly\":\"true\"}"),
    )
    .unwrap();
    let base = table.table.load().await.unwrap();
    let error = table.table.commit(base, insert(vec![sensor("a", 0)]), "S").await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { access: Access::Write, .. }), "{error}");
    assert!(error.to_string().contains("delta.appendOnly"), "{error}");
    assert!(table.table.ensure_writable().await.is_err());
}

/// Numbers without a pattern that a compressor would find (splitmix64).
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn live_files(table: &TestTable<SensorRow>) -> usize {
    let mut live = std::collections::BTreeSet::new();
    for (path, _) in table.files().iter().filter(|(path, _)| has_extension(path, "json")) {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(path) = action["add"]["path"].as_str() {
                live.insert(path.to_owned());
            }
            if let Some(path) = action["remove"]["path"].as_str() {
                live.remove(path);
            }
        }
    }
    live.len()
}

/// A store that misbehaves when a log entry other than the first is written.
#[derive(Debug)]
struct Unreliable {
    inner: InMemory,
    fault: Fault,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The entry is written, the answer is an error.
    LoseAnswer,
    /// The entry is written, and written again by the client itself.
    RetryInside,
    /// The entry is not written.
    LoseEntry,
}

impl std::fmt::Display for Unreliable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "unreliable")
    }
}

#[async_trait::async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(&self, path: &Path, bytes: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        let lost = || object_store::Error::Generic { store: "unreliable", source: "connection reset".into() };
        if !path.as_ref().contains("_delta_log/") || path.as_ref().contains("00000000000000000000.json") {
            return self.inner.put_opts(path, bytes, options).await;
        }
        match self.fault {
            Fault::LoseEntry => Err(lost()),
            Fault::LoseAnswer => {
                self.inner.put_opts(path, bytes, options).await?;
                Err(lost())
            }
            Fault::RetryInside => {
                self.inner.put_opts(path, bytes.clone(), options.clone()).await?;
                self.inner.put_opts(path, bytes, options).await
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A sensor table in a given store.
async fn memory_table(store: Arc<dyn ObjectStore>) -> DeltaTable<SensorRow> {
    let made = TestTable::<SensorRow>::create().await;
    let entry = std::fs::read(made.path.join("_delta_log/00000000000000000000.json")).unwrap();
    let path = Path::from("table/_delta_log/00000000000000000000.json");
    store.put_opts(&path, entry.into(), PutOptions::default()).await.unwrap();
    DeltaTable::with_store(&Url::parse("memory:///table").unwrap(), store).unwrap()
}
