//! Random commits, restarts, pauses and maintenance by two processes, against a plain list of rows.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Changes, Commit, Snapshot, Table as _};
use heartbeat_delta::{Backing, DeltaTable, Retention};
use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::clock_store::ClockStore;
use crate::maintenance::tight;
use crate::support::{is_entry, runner, sensor, sorted};

#[derive(Debug, Clone)]
enum Step {
    /// A process loads and keeps the snapshot.
    Load(usize),
    /// It commits against the snapshot that it has, however old that is.
    Commit {
        process: usize,
        pick: usize,
        value: u16,
    },
    Insert {
        process: usize,
        value: u16,
    },
    Delete {
        process: usize,
        pick: usize,
    },
    Maintain(usize),
    /// It forgets everything.
    Restart(usize),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..2_usize;
    prop_oneof![
        3 => process.clone().prop_map(Step::Load),
        8 => (process.clone(), any::<usize>(), any::<u16>())
            .prop_map(|(process, pick, value)| Step::Commit { process, pick, value }),
        3 => (process.clone(), any::<u16>()).prop_map(|(process, value)| Step::Insert { process, value }),
        1 => (process.clone(), any::<usize>()).prop_map(|(process, pick)| Step::Delete { process, pick }),
        4 => process.clone().prop_map(Step::Maintain),
        1 => process.prop_map(Step::Restart),
        4 => (1..30_i64).prop_map(Step::Pass),
        1 => (30..3_000_i64).prop_map(Step::Pass),
    ]
}

#[test]
fn maintenance_never_changes_what_a_table_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runner(20).run(&vec(step(), 20..100), |steps| runtime.block_on(follow(steps))).unwrap();
}

struct Process {
    table: DeltaTable<SensorRow>,
    held: Option<Snapshot<SensorRow, Backing>>,
}

/// The files of versions that were current not long ago.
struct Readers {
    live: BTreeSet<String>,
    version: u64,
    gone: VecDeque<(Timestamp, BTreeSet<String>)>,
}

impl Readers {
    async fn follow(&mut self, store: &ClockStore) {
        loop {
            let entry = format!("_delta_log/{:020}.json", self.version + 1);
            if !store.names().await.contains(&entry) {
                break;
            }
            self.gone.push_back((store.now(), self.live.clone()));
            for line in String::from_utf8(store.read(&entry).await).unwrap().lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                if let Some(path) = action["add"]["path"].as_str() {
                    self.live.insert(path.to_owned());
                }
                if let Some(path) = action["remove"]["path"].as_str() {
                    self.live.remove(path);
                }
            }
            self.version += 1;
        }
    }

    /// Whoever reads a version that was current within the minimum age finds its files.
    async fn check(&mut self, store: &ClockStore, keep: &Retention) -> Result<(), TestCaseError> {
        let oldest = store.now() - SignedDuration::try_from(keep.min_age).unwrap();
        self.gone.retain(|(until, _)| *until > oldest);
        let names: BTreeSet<String> = store.names().await.into_iter().collect();
        for files in self.gone.iter().map(|(_, files)| files).chain([&self.live]) {
            let missing: Vec<_> = files.difference(&names).collect();
            prop_assert!(missing.is_empty(), "{missing:?} are gone at version {}", self.version);
        }
        Ok(())
    }
}

async fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let store = ClockStore::new();
    store.create_sensors(&[("delta.checkpointInterval", "3")]).await;
    let mut processes: Vec<Process> =
        (0..2).map(|_| Process { table: store.sensors(), held: None }).collect();
    let mut model: Vec<SensorRow> = Vec::new();
    let mut readers = Readers { live: BTreeSet::new(), version: 0, gone: VecDeque::new() };
    let keep = Retention { max_entries: 4, ..tight() };
    for step in steps {
        if let Some(rows) = take(&store, &mut processes, step, &keep).await? {
            model = rows;
        }
        readers.follow(&store).await;
        readers.check(&store, &keep).await?;
        let read = store.sensors().load().await.unwrap();
        prop_assert_eq!(sorted(&read.rows), sorted(&model));
        prop_assert_eq!(read.version, readers.version);
    }
    // In the end nothing is left but what the table has, and the log from its last checkpoints on.
    for _ in 0..2 {
        store.pass(SignedDuration::from_hours(2));
        processes[0].table.maintain(&keep, store.now()).await.unwrap();
    }
    let names = store.names().await;
    let left: BTreeSet<String> = names.iter().filter(|name| name.starts_with("part-")).cloned().collect();
    prop_assert_eq!(left, readers.live);
    let entries = names.iter().filter(|name| is_entry(name)).count();
    prop_assert!(entries <= 10, "{names:?}");
    Ok(())
}

/// The rows after the step, where it committed.
async fn take(
    store: &Arc<ClockStore>,
    processes: &mut [Process],
    step: Step,
    keep: &Retention,
) -> Result<Option<Vec<SensorRow>>, TestCaseError> {
    let (process, changes) = match step {
        Step::Load(process) => {
            processes[process].held = Some(processes[process].table.load().await.unwrap());
            return Ok(None);
        }
        Step::Maintain(process) => {
            processes[process].table.maintain(keep, store.now()).await.unwrap();
            return Ok(None);
        }
        Step::Restart(process) => {
            processes[process] = Process { table: store.sensors(), held: None };
            return Ok(None);
        }
        Step::Pass(minutes) => {
            store.pass(SignedDuration::from_mins(minutes));
            return Ok(None);
        }
        Step::Commit { process, pick, value } => {
            let base = held(&mut processes[process]).await;
            let index = pick % base.rows.len().max(1);
            let row = base
                .rows
                .get(index)
                .map(|row| (index, SensorRow { upstream_value: Some(value.to_string()), ..row.clone() }));
            (process, Changes { update: row.into_iter().collect(), ..Changes::default() })
        }
        Step::Insert { process, value } => {
            (process, Changes { insert: vec![sensor(value, value)], ..Changes::default() })
        }
        Step::Delete { process, pick } => {
            let base = held(&mut processes[process]).await;
            let delete = if base.rows.is_empty() { vec![] } else { vec![pick % base.rows.len()] };
            (process, Changes { delete, ..Changes::default() })
        }
    };
    let Process { table, held: kept } = &mut processes[process];
    let base = match kept.take() {
        Some(base) => base,
        None => table.load().await.unwrap(),
    };
    let before = store.sensors().load().await.unwrap().version;
    let (version, expected) = (base.version, changes.apply(&base.rows));
    let changed = !changes.is_empty() && sorted(&expected) != sorted(&base.rows);
    match table.commit(base, changes, "test").await.unwrap() {
        Commit::Conflict => {
            prop_assert!(version < before, "a conflict against the newest version");
            Ok(None)
        }
        Commit::Done(_) if !changed => Ok(None),
        Commit::Done(next) => {
            prop_assert!(version == before, "version {version} was not the newest, {before} was");
            *kept = Some(next);
            Ok(Some(expected))
        }
    }
}

async fn held(process: &mut Process) -> &Snapshot<SensorRow, Backing> {
    if process.held.is_none() {
        process.held = Some(process.table.load().await.unwrap());
    }
    process.held.as_ref().unwrap()
}
