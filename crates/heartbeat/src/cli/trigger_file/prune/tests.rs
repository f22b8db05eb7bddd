//! Folders on a store in memory, whose clock stands where the test sets it.

use rstest::rstest;

use super::*;
use crate::stores::Order;
use crate::stores::memory::{Memory, Trouble};

const DAY: i64 = 24 * 60 * 60;

fn day(number: i64) -> Timestamp {
    Timestamp::from_second(number * DAY).unwrap()
}

/// A store whose files are as old as their numbers say.
fn store(order: Order, page: usize, files: &[(&str, i64)]) -> Store {
    let memory = Memory::new(order, page);
    for (path, days) in files {
        memory.set_now(day(100 - days));
        memory.put(path, "Success");
    }
    memory.set_now(day(100));
    Store::Memory(memory)
}

fn memory(store: &Store) -> &Memory {
    let Store::Memory(memory) = store else { panic!("a store in memory expected") };
    memory
}

fn seen(names: &[&str]) -> FilesPosition {
    let seen = names.iter().map(|name| (*name).to_owned()).collect();
    FilesPosition { seen, ..FilesPosition::of("memory:/a") }
}

async fn prune(store: &Store, rows: &[Option<FilesPosition>], dry_run: bool) -> (Report, Result<(), String>) {
    let runs = Runs::new(Arc::new(NoRuns));
    let rows = rows.iter().map(|position| Row { position: position.clone(), runs: &runs }).collect();
    let how = How { older_than: SignedDuration::from_hours(30 * 24), dry_run, keep_paths: true };
    let mut report = Report::default();
    let outcome = Folder { store, name: "a", rows, how }.prune(&mut report).await;
    (report, outcome)
}

#[rstest]
#[case(Order::ByPath, 2)]
#[case(Order::None, 2)]
#[case(Order::ByPath, 1000)]
#[tokio::test]
async fn only_what_is_old_and_processed_by_every_row_goes(#[case] order: Order, #[case] page: usize) {
    let files = [
        ("a/both.txt", 40),
        ("a/deep/er.txt", 40),
        ("a/one.txt", 40),
        ("a/young.txt", 30),
        ("a/.hidden", 40),
        ("a/_tmp/both.txt", 40),
        ("a/x.tmp", 40),
        ("a/", 40),
        ("a-b/both.txt", 40),
        ("a", 40),
        ("both.txt", 40),
        ("b/a/both.txt", 40),
    ];
    let store = store(order, page, &files);
    let all = ["both.txt", "deep/er.txt", "young.txt", "_tmp/both.txt", ".hidden", "x.tmp"];
    let rows = [seen(&[&all[..], &["one.txt"]].concat()), seen(&all)].map(Some);
    let before = memory(&store).paths();
    let (would, outcome) = prune(&store, &rows, true).await;
    assert_eq!((outcome, memory(&store).paths()), (Ok(()), before.clone()));
    let (report, outcome) = prune(&store, &rows, false).await;
    assert_eq!((outcome, &report), (Ok(()), &would));
    assert_eq!((report.files, report.bytes, report.young, report.unprocessed), (2, 14, 1, 1));
    assert_eq!(report.paths, ["both.txt", "deep/er.txt"]);
    let left: Vec<String> =
        before.into_iter().filter(|path| !["a/both.txt", "a/deep/er.txt"].contains(&path.as_str())).collect();
    assert_eq!(memory(&store).paths(), left);
}

#[tokio::test]
async fn row_that_has_processed_nothing_keeps_everything() {
    let store = store(Order::ByPath, 10, &[("a/1", 40), ("a/2", 40)]);
    let (report, outcome) = prune(&store, &[Some(seen(&["1", "2"])), None], false).await;
    assert_eq!((outcome, report.files, report.unprocessed), (Ok(()), 0, 2));
    assert_eq!(memory(&store).paths().len(), 2);
}

#[tokio::test]
async fn what_was_done_before_a_failure_is_told() {
    let store = store(Order::ByPath, 1, &[("a/1", 40), ("a/2", 40)]);
    memory(&store).trouble(Trouble::None);
    memory(&store).trouble(Trouble::Fails);
    let (report, outcome) = prune(&store, &[Some(seen(&["1", "2"]))], false).await;
    assert_eq!((outcome, report.files), (Err("store: cannot be reached: trouble".to_owned()), 1));
    assert_eq!(memory(&store).paths(), ["a/2"]);
}

#[tokio::test]
async fn list_of_seen_files_that_is_missing_keeps_the_folder() {
    let store = store(Order::ByPath, 10, &[("a/1", 40), ("a/2", 40)]);
    let mut builder = heartbeat_core::files::Builder::new("memory:/a", 1);
    for name in ["1", "2"] {
        assert_eq!(builder.push(name.to_owned()), None);
    }
    let (report, outcome) = prune(&store, &[Some(builder.finish().0)], false).await;
    assert!(outcome.as_ref().is_err_and(|problem| problem.contains("is missing beside")), "{outcome:?}");
    assert_eq!((report.files, memory(&store).paths().len()), (0, 2));
}
