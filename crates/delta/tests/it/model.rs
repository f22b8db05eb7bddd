//! Random changes against a model that is a plain list of rows; the table is read anew after every step.

use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Changes, Table};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{TestTable, commit, sorted};

/// One row-level change; `pick` chooses among the rows there are.
#[derive(Debug, Clone)]
enum Op {
    Update { pick: usize, value: Option<String> },
    Insert { id: u8, value: Option<String> },
    InsertMany(usize),
    Delete { pick: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let value = || proptest::option::of("[a-zé]{0,8}|x{2000}");
    prop_oneof![
        6 => (any::<usize>(), value()).prop_map(|(pick, value)| Op::Update { pick, value }),
        4 => (any::<u8>(), value()).prop_map(|(id, value)| Op::Insert { id, value }),
        1 => (1_usize..1_500).prop_map(Op::InsertMany),
        3 => any::<usize>().prop_map(|pick| Op::Delete { pick }),
    ]
}

#[test]
fn a_table_behaves_as_a_list_of_rows() {
    let mut runner = crate::support::runner(24);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runner.run(&vec(vec(op(), 1..12), 1..8), |steps| runtime.block_on(follow(steps))).unwrap();
}

async fn follow(steps: Vec<Vec<Op>>) -> Result<(), TestCaseError> {
    let table = TestTable::<SensorRow>::create().await;
    let mut snapshot = table.table.load().await.unwrap();
    for step in steps {
        let (changes, expected) = apply(&snapshot.rows, step);
        let is_change = !changes.is_empty();
        // Every other base comes from a reload, the others from the commit before.
        if snapshot.version % 2 == 0 {
            let read = table.anew().load().await.unwrap();
            prop_assert_eq!(read.version, snapshot.version);
        }
        snapshot = commit(&table.table, snapshot, changes).await;
        prop_assert_eq!(sorted(&snapshot.rows), sorted(&expected));
        let read = table.anew().load().await.unwrap();
        prop_assert_eq!(sorted(&read.rows), sorted(&expected));
        prop_assert!(!is_change || read.version == snapshot.version);
        if snapshot.version % 3 == 0 {
            snapshot = table.table.load().await.unwrap();
        }
    }
    Ok(())
}

/// The changes of a step, and the rows that must be there after it.
fn apply(rows: &[SensorRow], step: Vec<Op>) -> (Changes<SensorRow>, Vec<SensorRow>) {
    let mut changes = Changes::default();
    let mut new: Vec<Option<SensorRow>> = rows.iter().cloned().map(Some).collect();
    let mut taken = std::collections::BTreeSet::new();
    let mut free = |pick: usize| {
        let index = pick.checked_rem(rows.len())?;
        taken.insert(index).then_some(index)
    };
    for op in step {
        match op {
            Op::Update { pick, value } => {
                let Some(index) = free(pick) else { continue };
                let row = SensorRow {
                    upstream_value: value.clone(),
                    assets: value.map(|v| vec![v; 2]),
                    ..rows[index].clone()
                };
                new[index] = Some(row.clone());
                changes.update.push((index, row));
            }
            Op::Delete { pick } => {
                let Some(index) = free(pick) else { continue };
                new[index] = None;
                changes.delete.push(index);
            }
            Op::Insert { id, value } => changes.insert.push(row(id, value)),
            Op::InsertMany(count) => {
                changes.insert.extend((0..count).map(|id| row(id, Some(id.to_string()))));
            }
        }
    }
    let expected = new.into_iter().flatten().chain(changes.insert.iter().cloned()).collect();
    (changes, expected)
}

fn row(id: impl ToString, value: Option<String>) -> SensorRow {
    SensorRow { sensor_id: Some(id.to_string()), upstream_value: value, ..SensorRow::default() }
}
