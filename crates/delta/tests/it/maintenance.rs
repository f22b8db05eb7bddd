//! What maintenance deletes, and what it must not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Snapshot, Table as _};
use heartbeat_delta::{Backing, DeltaTable, Maintained, Retention};
use jiff::SignedDuration;

use crate::clock_store::ClockStore;
use crate::support::{commit, insert, is_entry, sensor, update};

/// Keeps nothing longer than it must.
pub(crate) fn tight() -> Retention {
    Retention { max_bytes: 0, max_entries: 0, every: Duration::ZERO, ..Retention::default() }
}

async fn made(
    properties: &[(&str, &str)],
) -> (Arc<ClockStore>, DeltaTable<SensorRow>, Snapshot<SensorRow, Backing>) {
    let store = ClockStore::new();
    store.create_sensors(properties).await;
    let table = store.sensors();
    let base = table.load().await.unwrap();
    let snapshot = commit(&table, base, insert(vec![sensor("a", 0), sensor("b", 0)])).await;
    (store, table, snapshot)
}

async fn change(
    table: &DeltaTable<SensorRow>,
    mut snapshot: Snapshot<SensorRow, Backing>,
    rounds: u64,
) -> Snapshot<SensorRow, Backing> {
    for _ in 0..rounds {
        let value = snapshot.version;
        snapshot = commit(table, snapshot, update(vec![(0, sensor("a", value))])).await;
    }
    snapshot
}

async fn data_files(store: &ClockStore) -> Vec<String> {
    store.names().await.into_iter().filter(|name| name.starts_with("part-")).collect()
}

async fn entries(store: &ClockStore) -> Vec<String> {
    store
        .names()
        .await
        .into_iter()
        .filter(|name| is_entry(name) && name.starts_with("_delta_log/0"))
        .collect()
}

async fn maintain(table: &DeltaTable<SensorRow>, store: &ClockStore, keep: &Retention) -> Maintained {
    table.maintain(keep, store.now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_and_the_table_stays() {
    let (store, table, snapshot) = made(&[("delta.checkpointInterval", "10")]).await;
    let snapshot = change(&table, snapshot, 30).await;
    assert_eq!(maintain(&table, &store, &tight()).await.log_files, 0, "all is young");
    assert_eq!(data_files(&store).await.len(), 31);
    store.pass(SignedDuration::from_mins(11));
    let done = maintain(&table, &store, &tight()).await;
    assert!(done.log_files >= 30 && done.data_files == 0, "{done:?}");
    store.pass(SignedDuration::from_mins(50));
    let done = maintain(&table, &store, &tight()).await;
    assert_eq!((done.data_files, data_files(&store).await.len()), (30, 1));
    let read = store.sensors().load().await.unwrap();
    assert_eq!((read.version, &read.rows), (31, &snapshot.rows));
    assert!(entries(&store).await.len() <= 2, "{:?}", entries(&store).await);
    let next = change(&table, snapshot, 1).await;
    assert_eq!(store.sensors().load().await.unwrap().rows, next.rows);
}

/// A file that lived for days is needed for as long as any other by who still reads the version before.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_removed_a_moment_ago_stays_however_old_it_is() {
    let (store, table, snapshot) = made(&[("delta.checkpointInterval", "2")]).await;
    store.pass(SignedDuration::from_hours(72));
    let old = data_files(&store).await;
    change(&table, snapshot, 3).await;
    store.pass(SignedDuration::from_mins(15));
    for process in 0..3 {
        // One that saw the removal, one that learns of it from the log, one from the checkpoint alone.
        let process = if process == 0 { &table } else { &store.sensors() };
        maintain(process, &store, &tight()).await;
        maintain(process, &store, &tight()).await;
        assert!(data_files(&store).await.contains(&old[0]));
        store.pass(SignedDuration::from_mins(15));
    }
    assert!(!entries(&store).await.contains(&"_delta_log/00000000000000000002.json".to_owned()));
    maintain(&table, &store, &tight()).await;
    assert_eq!(data_files(&store).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_kept_for_looking_back_as_long_as_they_fit() {
    let (store, table, snapshot) = made(&[("delta.checkpointInterval", "10")]).await;
    change(&table, snapshot, 20).await;
    store.pass(SignedDuration::from_hours(24 * 6));
    let keep = Retention { every: Duration::ZERO, ..Retention::default() };
    let done = maintain(&table, &store, &keep).await;
    assert_eq!((done.data_files, done.log_files, data_files(&store).await.len()), (0, 0, 21));
    store.pass(SignedDuration::from_hours(25));
    let done = maintain(&table, &store, &keep).await;
    assert_eq!(data_files(&store).await.len(), 1);
    assert!(done.log_files > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_delta_s_is_deleted() {
    let (store, table, _) = made(&[]).await;
    let foreign = [
        "_heartbeat/positions/0123",
        "_other/part-1.parquet",
        ".hidden/part-2.parquet",
        "_part.parquet",
        "README.txt",
        "notes/plan.csv",
        "_delta_log/_sidecars/part-3.parquet",
        "_delta_log/.tmp.json",
    ];
    for name in foreign {
        store.write(name, b"x".to_vec()).await;
    }
    for name in ["part-orphan.parquet", "below/part-orphan.parquet", "deletion_vector_1.bin"] {
        store.write(name, b"x".to_vec()).await;
    }
    maintain(&table, &store, &tight()).await;
    store.pass(SignedDuration::from_mins(59));
    store.write("part-young.parquet", b"x".to_vec()).await;
    assert_eq!(maintain(&table, &store, &tight()).await.data_files, 0);
    store.pass(SignedDuration::from_mins(2));
    assert_eq!(maintain(&table, &store, &tight()).await.data_files, 3);
    let names = store.names().await;
    for name in foreign {
        assert!(names.contains(&name.to_owned()), "{name} is gone");
    }
    assert!(names.contains(&"part-young.parquet".to_owned()));
    assert_eq!(store.sensors().load().await.unwrap().rows.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_lists_once_and_reads_each_entry_once() {
    let (store, table, snapshot) = made(&[("delta.checkpointInterval", "1000")]).await;
    let keep = Retention { every: Duration::from_mins(1), ..Retention::default() };
    maintain(&table, &store, &keep).await;
    change(&table, snapshot, 7).await;
    let counts = || (store.listings.load(Ordering::SeqCst), store.reads.load(Ordering::SeqCst));
    let before = counts();
    maintain(&table, &store, &keep).await;
    assert_eq!(counts(), before, "not due");
    store.pass(SignedDuration::from_secs(61));
    maintain(&table, &store, &keep).await;
    assert_eq!(counts(), (before.0 + 1, before.1 + 7));
    store.pass(SignedDuration::from_secs(61));
    maintain(&table, &store, &keep).await;
    assert_eq!(counts(), (before.0 + 2, before.1 + 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_maintained_is_checkpointed_between_commits() {
    let (store, table, snapshot) = made(&[]).await;
    maintain(&table, &store, &Retention::default()).await;
    let snapshot = change(&table, snapshot, 198).await;
    let checkpoints =
        async || store.names().await.into_iter().filter(|name| name.contains(".checkpoint.")).count();
    assert_eq!(
        (checkpoints().await, maintain(&table, &store, &Retention::default()).await.checkpoint),
        (0, None)
    );
    change(&table, snapshot, 1).await;
    assert_eq!(maintain(&table, &store, &Retention::default()).await.checkpoint, Some(200));
    assert_eq!(
        (checkpoints().await, maintain(&table, &store, &Retention::default()).await.checkpoint),
        (1, None)
    );
    assert_eq!(store.sensors().load().await.unwrap().version, 200);
}

/// At several commits a second a week of tombstones would be most of what a checkpoint holds.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_forgets_what_has_been_deleted() {
    let (store, table, mut snapshot) = made(&[("delta.checkpointInterval", "50")]).await;
    let mut sizes = Vec::new();
    for _ in 0..4 {
        snapshot = change(&table, snapshot, 50).await;
        store.pass(SignedDuration::from_mins(61));
        maintain(&table, &store, &tight()).await;
        snapshot = change(&table, snapshot, 50).await;
        let checkpoint = maintain(&table, &store, &tight()).await.checkpoint.unwrap();
        sizes.push(store.read(&format!("_delta_log/{checkpoint:020}.checkpoint.parquet")).await.len());
    }
    let (first, last) = (sizes[0], sizes[3]);
    assert!(last < first * 3 / 2, "{sizes:?}");
    assert_eq!(store.sensors().load().await.unwrap().rows, snapshot.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn change_files_go_with_the_entries_that_name_them() {
    let feed = ("delta.enableChangeDataFeed", "true");
    let (store, table, snapshot) = made(&[feed, ("delta.checkpointInterval", "2")]).await;
    let changes =
        async || store.names().await.into_iter().filter(|name| name.starts_with("_change_data/")).count();
    let snapshot = change(&table, snapshot, 5).await;
    assert_eq!(changes().await, 6);
    store.pass(SignedDuration::from_hours(3));
    maintain(&table, &store, &tight()).await;
    assert_eq!(changes().await, 6, "entries of that time were there when the run began");
    change(&table, snapshot, 3).await;
    for _ in 0..3 {
        // A checkpoint, the entries behind it, their files.
        maintain(&table, &store, &tight()).await;
        store.pass(SignedDuration::from_mins(15));
    }
    let left = changes().await;
    assert!(left < 6, "{left}");
    let oldest: u64 =
        entries(&store).await[0].trim_start_matches("_delta_log/").trim_end_matches(".json").parse().unwrap();
    assert!(left as u64 >= 9 - oldest, "{left} files for entries from {oldest} on");
}

/// Two processes clean one table at once, while a third commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_maintain_side_by_side() {
    let (store, table, mut snapshot) = made(&[("delta.checkpointInterval", "3")]).await;
    let (one, two) = (Arc::new(store.sensors()), Arc::new(store.sensors()));
    for round in 0..30 {
        store.pass(SignedDuration::from_mins(9));
        let maintain = |table: &Arc<DeltaTable<SensorRow>>| {
            let (table, now) = (Arc::clone(table), store.now());
            tokio::spawn(async move { table.maintain(&tight(), now).await })
        };
        let (a, b, next) = tokio::join!(maintain(&one), maintain(&two), change(&table, snapshot, 2));
        a.unwrap().unwrap();
        b.unwrap().unwrap();
        snapshot = next;
        let read = store.sensors().load().await.unwrap();
        assert_eq!((read.version, &read.rows), (snapshot.version, &snapshot.rows), "round {round}");
    }
    assert!(entries(&store).await.len() < 20 && data_files(&store).await.len() < 20);
}
