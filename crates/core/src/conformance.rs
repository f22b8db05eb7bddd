//! What every [`Table`] must do, as functions for the tests of its implementations.
//!
//! Each takes a table with the rows that it names; none needs an async runtime of its own. They panic, as tests do.

#![allow(clippy::missing_panics_doc, reason = "a suite of assertions: panicking is what it is for")]

use std::fmt::Debug;

use crate::table::{Changes, Commit, Record, Snapshot, Table};

/// Runs all of them. `make` makes a new table that holds the given rows; `rows` are three different rows.
pub async fn all<R, T, F>(make: impl Fn(Vec<R>) -> F, rows: [R; 3])
where
    R: Record,
    T: Table<R>,
    F: Future<Output = T>,
{
    let [a, b, c] = rows;
    a_commit_is_seen_by_a_fresh_load(&make(vec![a.clone(), b.clone()]).await, &c).await;
    a_commit_against_an_old_version_is_a_conflict_and_writes_nothing(&make(vec![a.clone()]).await, &b, &c)
        .await;
    rows_with_one_key_stay_apart(&make(vec![a.clone(), a.clone()]).await, &b).await;
    updates_inserts_and_deletes_go_by_index(&make(vec![a.clone(), b.clone()]).await, &c).await;
    empty_changes_write_nothing(&make(vec![a]).await, &b).await;
}

/// The snapshot that a commit returns is what a fresh load reads, up to the order of rows.
pub async fn a_commit_is_seen_by_a_fresh_load<R: Record, T: Table<R>>(table: &T, new: &R) {
    let base = load(table).await;
    let expected = insert(new).apply(&base.rows);
    let (id, version) = (base.table_id.clone(), base.version);
    let done = done(table, base, insert(new)).await;
    same(&done.rows, &expected);
    assert!(done.version > version, "a commit makes a version");
    let fresh = load(table).await;
    same(&fresh.rows, &expected);
    assert_eq!((fresh.version, fresh.table_id), (done.version, id));
    // The returned snapshot is a base as good as a loaded one.
    let index = place(&done.rows, new);
    let next = self::done(table, done, Changes { delete: vec![index], ..Changes::default() }).await;
    same(&load(table).await.rows, &next.rows);
}

/// Compare-and-swap: of two commits against one version the second is a conflict, and changes nothing.
pub async fn a_commit_against_an_old_version_is_a_conflict_and_writes_nothing<R: Record, T: Table<R>>(
    table: &T,
    first: &R,
    second: &R,
) {
    let (one, other) = (load(table).await, load(table).await);
    let done = done(table, one, insert(first)).await;
    assert!(is_conflict(table, other, insert(second)).await);
    let fresh = load(table).await;
    same(&fresh.rows, &done.rows);
    assert_eq!(fresh.version, done.version);
    self::done(table, fresh, insert(second)).await;
}

/// Two rows with the same values are two rows: a change of one leaves the other alone.
pub async fn rows_with_one_key_stay_apart<R: Record, T: Table<R>>(table: &T, other: &R) {
    let base = load(table).await;
    assert_eq!(base.rows.len(), 2);
    let old = base.rows[0].clone();
    let changed = done(table, base, Changes { update: vec![(1, other.clone())], ..Changes::default() }).await;
    same(&changed.rows, &[old.clone(), other.clone()]);
    let index = place(&changed.rows, &old);
    let left = done(table, changed, Changes { delete: vec![index], ..Changes::default() }).await;
    same(&left.rows, std::slice::from_ref(other));
    same(&load(table).await.rows, &left.rows);
}

/// One commit may update, insert and delete; indices are those of the base.
pub async fn updates_inserts_and_deletes_go_by_index<R: Record, T: Table<R>>(table: &T, new: &R) {
    let base = load(table).await;
    let changes = Changes {
        update: vec![(1, new.clone())],
        insert: vec![base.rows[1].clone(), new.clone()],
        delete: vec![0],
    };
    let expected = changes.apply(&base.rows);
    let done = done(table, base, changes).await;
    same(&done.rows, &expected);
    same(&load(table).await.rows, &expected);
    let everything = Changes { delete: (0..done.rows.len()).collect(), ..Changes::default() };
    self::done(table, done, everything).await;
    assert!(load(table).await.rows.is_empty());
}

/// Empty changes make no version, and return the base even when it is old.
pub async fn empty_changes_write_nothing<R: Record, T: Table<R>>(table: &T, new: &R) {
    let (base, old) = (load(table).await, load(table).await);
    let version = base.version;
    let same_base = done(table, base, Changes::default()).await;
    assert_eq!((same_base.version, load(table).await.version), (version, version));
    done(table, same_base, insert(new)).await;
    assert_eq!(done(table, old, Changes::default()).await.version, version);
}

async fn load<R: Record, T: Table<R>>(table: &T) -> Snapshot<R, T::Backing> {
    match table.load().await {
        Ok(snapshot) => snapshot,
        Err(error) => panic!("the table cannot be read: {error}"),
    }
}

async fn done<R: Record, T: Table<R>>(
    table: &T,
    base: Snapshot<R, T::Backing>,
    changes: Changes<R>,
) -> Snapshot<R, T::Backing> {
    match table.commit(base, changes, "conformance").await {
        Ok(Commit::Done(snapshot)) => snapshot,
        Ok(Commit::Conflict) => panic!("a conflict without another writer"),
        Err(error) => panic!("the table cannot be written: {error}"),
    }
}

async fn is_conflict<R: Record, T: Table<R>>(
    table: &T,
    base: Snapshot<R, T::Backing>,
    changes: Changes<R>,
) -> bool {
    match table.commit(base, changes, "conformance").await {
        Ok(commit) => matches!(commit, Commit::Conflict),
        Err(error) => panic!("a lost race is no error: {error}"),
    }
}

fn insert<R: Clone>(row: &R) -> Changes<R> {
    Changes { insert: vec![row.clone()], ..Changes::default() }
}

fn place<R: PartialEq + Debug>(rows: &[R], row: &R) -> usize {
    rows.iter().position(|stored| stored == row).unwrap_or_else(|| panic!("{row:?} is not in {rows:?}"))
}

fn same<R: Debug>(left: &[R], right: &[R]) {
    let sorted = |rows: &[R]| {
        let mut texts: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(left), sorted(right));
}
