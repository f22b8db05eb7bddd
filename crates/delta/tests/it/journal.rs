//! The journal: several writers, few reads, the newest first.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use heartbeat_core::journal::{Entry, Filter, Journal as _};
use heartbeat_delta::{DeltaJournal, Error, JournalMaintained, JournalRetention, Retention};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use url::Url;

use crate::clock_store::ClockStore;
use crate::support::is_entry;

/// An entry of a job, this many seconds after the start of 2026.
pub(crate) fn entry(second: i64, job: &str, message: impl ToString) -> Entry {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Entry {
        at: start + SignedDuration::from_secs(second),
        event: "waiting".into(),
        sensor_source: Some("kafka".into()),
        sensor_id: Some(format!("sensor of {job}")),
        trigger_job_id: Some(job.to_owned()),
        run_id: Some(second),
        writer: "test".into(),
        message: message.to_string(),
        detail: None,
    }
}

fn everything() -> Filter {
    Filter::default()
}

fn messages(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.message.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_does_not_exist_is_empty_and_reading_makes_none() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("control_journal");
    let journal = DeltaJournal::new(&Url::from_directory_path(&path).unwrap()).unwrap();
    assert_eq!(journal.newest(&everything(), 10).await.unwrap(), []);
    journal.append(&[]).await.unwrap();
    assert!(!path.exists());
    let full = Entry { detail: Some("{}".into()), ..entry(0, "1", "a") };
    let bare = Entry {
        sensor_source: None,
        sensor_id: None,
        trigger_job_id: None,
        run_id: None,
        ..entry(1, "1", "b")
    };
    journal.append(&[full.clone(), bare.clone()]).await.unwrap();
    let anew = DeltaJournal::new(&Url::from_directory_path(&path).unwrap()).unwrap();
    assert_eq!(anew.newest(&everything(), 10).await.unwrap(), [bare, full]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_entries_come_first_whoever_wrote_them() {
    let store = ClockStore::new();
    let (one, two) = (store.journal(), store.journal());
    for second in 0..6 {
        let writer = if second % 2 == 0 { &one } else { &two };
        writer
            .append(&[entry(second * 10, "1", second), entry(second * 10 - 25, "2", "late")])
            .await
            .unwrap();
    }
    let newest = one.newest(&Filter { job: Some("1".into()), ..everything() }, 4).await.unwrap();
    assert_eq!(messages(&newest), ["5", "4", "3", "2"]);
    let sensor = Filter { sensor_id: Some("sensor of 2".into()), ..everything() };
    assert_eq!(two.newest(&sensor, 100).await.unwrap().len(), 6);
    let since = Filter { since: Some(entry(30, "1", "").at), ..everything() };
    assert_eq!(messages(&two.newest(&since, 100).await.unwrap()), ["5", "4", "3"]);
    assert_eq!(two.newest(&everything(), 100).await.unwrap().len(), 12);
    assert_eq!(two.newest(&everything(), 0).await.unwrap(), []);
    let nobody = Filter { job: Some("3".into()), ..everything() };
    assert_eq!(two.newest(&nobody, 5).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_time_the_last_written_comes_first() {
    let store = ClockStore::new();
    let journal = store.journal();
    journal.append(&[entry(1, "1", "a"), entry(1, "1", "b"), entry(1, "1", "c")]).await.unwrap();
    assert_eq!(messages(&journal.newest(&everything(), 2).await.unwrap()), ["c", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_entry_of_many_writers_is_lost() {
    const WRITERS: i64 = 5;
    const APPENDS: i64 = 12;
    let directory = TempDir::new().unwrap();
    let url = Url::from_directory_path(directory.path().join("journal")).unwrap();
    join_all((0..WRITERS).map(|writer| {
        let url = url.clone();
        tokio::spawn(async move {
            let journal = DeltaJournal::new(&url).unwrap();
            for append in 0..APPENDS {
                let second = append * WRITERS + writer;
                journal.append(&[entry(second, &writer.to_string(), second)]).await.unwrap();
            }
        })
    }))
    .await
    .into_iter()
    .for_each(Result::unwrap);
    let all = DeltaJournal::new(&url).unwrap().newest(&everything(), 1_000).await.unwrap();
    let expected: Vec<String> = (0..WRITERS * APPENDS).rev().map(|second| second.to_string()).collect();
    assert_eq!(messages(&all), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_lists_nothing_and_reads_what_is_new() {
    let store = ClockStore::new();
    let (one, two) = (store.journal(), store.journal());
    one.append(&[entry(0, "1", 0)]).await.unwrap();
    two.append(&[entry(1, "1", 1)]).await.unwrap();
    let counts = || (store.listings.load(Ordering::SeqCst), store.reads.load(Ordering::SeqCst));
    let before = counts();
    two.append(&[entry(2, "1", 2)]).await.unwrap();
    assert_eq!(counts(), before, "nothing is new");
    one.append(&[entry(3, "1", 3)]).await.unwrap();
    // Two entries of the other writer, and the look for a third.
    assert_eq!(counts(), (before.0, before.1 + 3));
    assert_eq!(messages(&two.newest(&everything(), 9).await.unwrap()), ["3", "2", "1", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_are_found_without_reading_old_files() {
    let store = ClockStore::new();
    let journal = store.journal();
    for second in 0..60 {
        journal.append(&[entry(second, "1", second)]).await.unwrap();
    }
    let reads = store.reads.load(Ordering::SeqCst);
    let newest = journal.newest(&everything(), 3).await.unwrap();
    assert_eq!(messages(&newest), ["59", "58", "57"]);
    let read = store.reads.load(Ordering::SeqCst) - reads;
    assert!(read <= 12, "{read} files were read for three entries");
    let reads = store.reads.load(Ordering::SeqCst);
    let since = Filter { since: Some(entry(58, "1", "").at), ..everything() };
    assert_eq!(messages(&journal.newest(&since, 100).await.unwrap()), ["59", "58"]);
    assert!(store.reads.load(Ordering::SeqCst) - reads <= 3);
}

/// The process dies after its file and before the entry: the file belongs to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_its_entry_is_not_in_the_journal() {
    let store = ClockStore::new();
    store.journal().append(&[entry(0, "1", "kept")]).await.unwrap();
    let (entered, has_entered) = tokio::sync::oneshot::channel::<()>();
    store.before_writing("table/_delta_log/00000000000000000002.json", async move {
        entered.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let writer = store.journal();
    let dying = tokio::spawn(async move { writer.append(&[entry(1, "1", "lost")]).await });
    has_entered.await.unwrap();
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    assert_eq!(store.names().await.iter().filter(|name| name.starts_with("part-")).count(), 2);
    let journal = store.journal();
    journal.append(&[entry(2, "1", "next")]).await.unwrap();
    assert_eq!(messages(&journal.newest(&everything(), 9).await.unwrap()), ["next", "kept"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_was_dropped_and_made_anew_gets_no_gap() {
    let store = ClockStore::new();
    let journal = store.journal();
    for second in 0..3 {
        journal.append(&[entry(second, "1", "old")]).await.unwrap();
    }
    for name in store.names().await {
        store.remove(&name).await;
    }
    store.pass(SignedDuration::from_secs(5));
    store.journal().append(&[entry(3, "1", "theirs")]).await.unwrap();
    journal.append(&[entry(4, "1", "ours")]).await.unwrap();
    let anew = store.journal();
    assert_eq!(messages(&anew.newest(&everything(), 9).await.unwrap()), ["ours", "theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_other_columns_is_no_journal() {
    let table = crate::support::TestTable::<heartbeat_core::row::SensorRow>::create().await;
    let journal = DeltaJournal::new(&table.url).unwrap();
    let error = journal.append(&[entry(0, "1", "x")]).await.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error}");
    assert!(error.to_string().contains("column `at` is missing"), "{error}");
}

/// The store's clock is far ahead of the entries.
fn keep() -> JournalRetention {
    let max_age = Duration::from_hours(24 * 366 * 300);
    JournalRetention { max_age, versions: crate::maintenance::tight(), ..JournalRetention::default() }
}

async fn data_files(store: &ClockStore) -> usize {
    store.names().await.iter().filter(|name| name.starts_with("part-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_stays_in_few_files_and_keeps_every_entry() {
    let store = ClockStore::new();
    let journal = store.journal();
    let mut merged = 0;
    for second in 0..150 {
        journal
            .append(&[entry(second * 2, "1", second * 2), entry(second * 2 + 1, "2", second * 2 + 1)])
            .await
            .unwrap();
        store.pass(SignedDuration::from_mins(4));
        merged += journal.maintain(&keep(), store.now()).await.unwrap().merged;
    }
    assert!(merged > 150, "{merged}");
    let all = store.journal().newest(&everything(), 1_000).await.unwrap();
    let expected: Vec<String> = (0..300).rev().map(|second| second.to_string()).collect();
    assert_eq!(messages(&all), expected);
    let job = Filter { job: Some("2".into()), ..everything() };
    assert_eq!(messages(&store.journal().newest(&job, 2).await.unwrap()), ["299", "297"]);
    // What was merged an hour ago is gone, and so is the log behind a checkpoint.
    let files = data_files(&store).await;
    assert!(files < 70, "{files}");
    let entries = store.names().await.iter().filter(|name| is_entry(name)).count();
    assert!(entries < 230, "{entries}");
    store.pass(SignedDuration::from_hours(2));
    journal.maintain(&keep(), store.now()).await.unwrap();
    assert!(data_files(&store).await <= 14);
    assert_eq!(store.journal().newest(&everything(), 1_000).await.unwrap().len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintaining_a_journal_that_does_not_exist_makes_none() {
    let store = ClockStore::new();
    let done = store.journal().maintain(&keep(), store.now()).await.unwrap();
    assert_eq!((done, store.names().await), (JournalMaintained::default(), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_entries_go_with_their_files() {
    let store = ClockStore::new();
    let journal = store.journal();
    for day in 0..10 {
        journal.append(&[entry(day * 86_400, "1", day)]).await.unwrap();
    }
    let now = entry(10 * 86_400, "1", "").at;
    let three_days = JournalRetention { max_age: Duration::from_hours(72), ..JournalRetention::default() };
    assert_eq!(journal.maintain(&three_days, now).await.unwrap().expired, 7);
    assert_eq!(messages(&store.journal().newest(&everything(), 99).await.unwrap()), ["9", "8", "7"]);
    let one_byte = JournalRetention { max_bytes: 1, ..three_days };
    assert_eq!(journal.maintain(&one_byte, now).await.unwrap().expired, 3);
    assert_eq!(store.journal().newest(&everything(), 99).await.unwrap(), []);
    journal.append(&[entry(0, "1", "again")]).await.unwrap();
    assert_eq!(messages(&store.journal().newest(&everything(), 99).await.unwrap()), ["again"]);
}

/// Two processes merge what two others append; no entry is lost, none is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_append_and_merge_side_by_side() {
    const APPENDS: i64 = 60;
    let directory = TempDir::new().unwrap();
    let url = Url::from_directory_path(directory.path().join("journal")).unwrap();
    let writers = (0..2_i64).map(|writer| {
        let url = url.clone();
        tokio::spawn(async move {
            let journal = DeltaJournal::new(&url).unwrap();
            for append in 0..APPENDS {
                let second = append * 2 + writer;
                journal.append(&[entry(second, "1", second)]).await.unwrap();
                if append % 5 == 0 {
                    journal.maintain(&JournalRetention::default(), entry(second, "1", "").at).await.unwrap();
                }
            }
        })
    });
    join_all(writers).await.into_iter().for_each(Result::unwrap);
    let journal = DeltaJournal::new(&url).unwrap();
    journal.maintain(&JournalRetention::default(), entry(999, "1", "").at).await.unwrap();
    let all = DeltaJournal::new(&url).unwrap().newest(&everything(), 1_000).await.unwrap();
    let expected: Vec<String> = (0..APPENDS * 2).rev().map(|second| second.to_string()).collect();
    assert_eq!(messages(&all), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_costs_nothing_when_nothing_is_due() {
    let store = ClockStore::new();
    let journal = store.journal();
    let keep = JournalRetention {
        versions: Retention { every: Duration::from_mins(1), ..Retention::default() },
        ..keep()
    };
    journal.append(&[entry(0, "1", 0)]).await.unwrap();
    journal.maintain(&keep, store.now()).await.unwrap();
    let counts = || (store.listings.load(Ordering::SeqCst), store.reads.load(Ordering::SeqCst));
    let before = counts();
    journal.maintain(&keep, store.now()).await.unwrap();
    assert_eq!(counts(), before);
}
