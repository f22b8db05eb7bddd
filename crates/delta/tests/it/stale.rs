//! A writer that was suspended for so long that the log has been cleaned past its base.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_core::journal::{Filter, Journal as _};
use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Commit, Table as _};
use heartbeat_delta::{DeltaTable, Error, Init, JournalRetention};
use jiff::SignedDuration;

use crate::clock_store::ClockStore;
use crate::support::{commit, insert, sensor, update};

async fn created(store: &Arc<ClockStore>) -> DeltaTable<SensorRow> {
    let table = store.sensors();
    assert_eq!(table.init().await.unwrap(), Init::Created);
    let base = table.load().await.unwrap();
    commit(&table, base, insert(vec![sensor("a", "old")])).await;
    table
}

fn entry(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// Commits until a checkpoint has been written, then cleans all entries behind it.
async fn go_on_and_clean(store: Arc<ClockStore>) {
    let table = store.sensors();
    let mut snapshot = table.load().await.unwrap();
    while snapshot.version < 50 {
        let value = snapshot.version;
        snapshot = commit(&table, snapshot, update(vec![(0, sensor("a", value))])).await;
    }
    assert!(store.names().await.contains(&"_delta_log/00000000000000000050.checkpoint.parquet".to_owned()));
    for version in 0..50 {
        store.remove(&entry(version)).await;
    }
    store.pass(SignedDuration::from_mins(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_whose_next_entry_was_cleaned_away_has_lost() {
    let store = ClockStore::new();
    let table = created(&store).await;
    let base = table.load().await.unwrap();
    store.before_writing(&format!("table/{}", entry(2)), go_on_and_clean(Arc::clone(&store)));
    let lost = table.commit(base, update(vec![(0, sensor("a", "zombie"))]), "S").await.unwrap();
    assert!(matches!(lost, Commit::Conflict));
    assert!(!store.names().await.contains(&entry(2)), "the void entry is removed");
    let (mine, anew) = (table.load().await.unwrap(), store.sensors().load().await.unwrap());
    assert_eq!((mine.version, &mine.rows), (50, &vec![sensor("a", 49)]));
    assert_eq!((anew.version, &anew.rows), (50, &mine.rows));
    let files = store.names().await.iter().filter(|name| name.starts_with("part-")).count();
    assert_eq!(files, 50, "the void commit's file is removed, all others stay");
    commit(&table, mine, update(vec![(0, sensor("a", "new"))])).await;
}

/// As long as the base's entry stands, nothing behind it was cleaned.
#[tokio::test(flavor = "multi_thread")]
async fn cleaning_behind_the_base_does_not_touch_a_commit() {
    let store = ClockStore::new();
    let table = created(&store).await;
    go_on_and_clean(Arc::clone(&store)).await;
    let base = table.load().await.unwrap();
    let next = commit(&table, base, insert(vec![sensor("b", 1)])).await;
    assert_eq!(next.version, 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_commit_that_others_built_on_is_never_taken_back() {
    let store = ClockStore::new();
    let table = created(&store).await;
    let base = table.load().await.unwrap();
    // The answer to entry 2 is so late that others have gone on from it and cleaned its base.
    let meanwhile = Arc::clone(&store);
    store.after_writing(&format!("table/{}", entry(2)), go_on_and_clean(meanwhile));
    let error = table.commit(base, update(vec![(0, sensor("a", "ours"))]), "S").await.unwrap_err();
    assert!(matches!(error, Error::OutcomeUnknown { version: 2, .. }), "{error}");
    let read = store.sensors().load().await.unwrap();
    assert_eq!((read.version, read.rows), (50, vec![sensor("a", 49)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_entry_that_comes_after_the_log_was_cleaned_makes_no_table() {
    let store = ClockStore::new();
    let late = store.sensors();
    let meanwhile = Arc::clone(&store);
    store.before_writing(&format!("table/{}", entry(0)), async move {
        created(&meanwhile).await;
        go_on_and_clean(meanwhile).await;
    });
    assert_eq!(late.init().await.unwrap(), Init::AlreadyThere);
    assert!(!store.names().await.contains(&entry(0)));
    assert_eq!(store.sensors().load().await.unwrap().rows, [sensor("a", 49)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_journal_that_came_too_late_are_appended_again() {
    let store = ClockStore::new();
    let journal = store.journal();
    journal.append(&[crate::journal::entry(0, "1", "first")]).await.unwrap();
    let meanwhile = Arc::clone(&store);
    store.before_writing(&format!("table/{}", entry(2)), async move {
        let other = meanwhile.journal();
        for second in 1..60 {
            other.append(&[crate::journal::entry(second, "1", "theirs")]).await.unwrap();
        }
        meanwhile.pass(SignedDuration::from_mins(20));
        let now = meanwhile.now();
        let keep = JournalRetention {
            max_age: Duration::from_hours(24 * 366 * 300),
            versions: crate::maintenance::tight(),
            ..JournalRetention::default()
        };
        assert!(other.maintain(&keep, now).await.unwrap().table.log_files >= 49);
    });
    journal.append(&[crate::journal::entry(99, "1", "late")]).await.unwrap();
    assert!(!store.names().await.contains(&entry(2)));
    let all = store.journal().newest(&Filter::default(), 1_000).await.unwrap();
    assert_eq!((all.len(), all[0].message.as_str()), (61, "late"));
}
