//! What arrived, and what runs were told, compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use heartbeat::jobs_api::{Phase, RunRecord, RunResult};
use jiff::Timestamp;

use crate::support::yard::told;

/// Everything that arrived.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Vec<Arrival>>);

/// One record or file.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    /// `sensor_id` of the rows that are to see it.
    pub(super) sensor: String,
    /// Partition and offset, or path.
    pub(super) item: String,
    /// When it was there.
    pub(super) at: Timestamp,
}

impl Ledger {
    pub(super) fn note(&self, sensor: &str, item: &str) {
        let arrival = Arrival { sensor: sensor.to_owned(), item: item.to_owned(), at: Timestamp::now() };
        self.0.lock().unwrap().push(arrival);
    }

    /// A number that no name has had.
    pub(super) fn next(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    pub(super) fn all(&self) -> Vec<Arrival> {
        self.0.lock().unwrap().clone()
    }
}

/// Runs by what they were given: job, sensor, item. Runs that were skipped never ran, and runs by hand are given nothing.
pub(super) fn given(runs: &[RunRecord]) -> HashMap<(i64, String, String), Vec<i64>> {
    let mut given: HashMap<_, Vec<i64>> = HashMap::new();
    for run in runs.iter().filter(|run| run.idempotency_token.is_some() && !was_skipped(run)) {
        for (sensor, items) in told(run) {
            for item in items {
                given.entry((run.job_id, sensor.clone(), item)).or_default().push(run.run_id);
            }
        }
    }
    given
}

/// Panics unless each job was given each arrival of its sensors once, in order, and never ran twice at a time.
pub(super) fn compare(
    runs: &[RunRecord],
    sensors: &BTreeMap<i64, BTreeSet<String>>,
    arrived: &[Arrival],
) -> String {
    let mut given = given(runs);
    let (mut lost, mut doubled) = (Vec::new(), Vec::new());
    for (job, sensors) in sensors {
        for arrival in arrived.iter().filter(|arrival| sensors.contains(&arrival.sensor)) {
            match given.remove(&(*job, arrival.sensor.clone(), arrival.item.clone())) {
                None => lost.push((job, arrival)),
                Some(runs) if runs.len() > 1 => doubled.push((job, arrival, runs)),
                Some(_) => {}
            }
        }
    }
    assert!(lost.is_empty(), "{} lost: {lost:#?}", lost.len());
    assert!(doubled.is_empty(), "{} doubled: {doubled:#?}", doubled.len());
    assert!(given.is_empty(), "given, but never arrived: {given:?}");
    in_order(runs);
    never_at_once(runs);
    let by_hand = runs.iter().filter(|run| run.idempotency_token.is_none()).count();
    let skipped = runs.iter().filter(|run| was_skipped(run)).count();
    let failed = runs.iter().filter(|run| run.phase == Phase::Done(RunResult::Failed)).count();
    format!(
        "{} arrivals, {} runs ({failed} failed, {by_hand} by hand, {skipped} skipped), 0 lost, 0 doubled",
        arrived.len(),
        runs.len()
    )
}

fn was_skipped(run: &RunRecord) -> bool {
    run.phase == Phase::Done(RunResult::Skipped)
}

/// What a later run was given of a partition lies behind what earlier ones were given.
fn in_order(runs: &[RunRecord]) {
    let mut ends: HashMap<(i64, String, String), i64> = HashMap::new();
    for run in runs.iter().filter(|run| run.idempotency_token.is_some() && !was_skipped(run)) {
        for (sensor, items) in told(run) {
            for item in items.iter().filter(|item| !item.ends_with(".txt")) {
                let (partition, offset) = item.split_once(' ').unwrap();
                let offset: i64 = offset.parse().unwrap();
                let end = ends.entry((run.job_id, sensor.clone(), partition.to_owned())).or_insert(0);
                assert_eq!(*end, offset, "a gap or an overlap before {run:?}");
                *end += 1;
            }
        }
    }
}

fn never_at_once(runs: &[RunRecord]) {
    let mut ends: BTreeMap<i64, Timestamp> = BTreeMap::new();
    for run in runs.iter().filter(|run| !was_skipped(run)) {
        let (started, ended) = (run.started.unwrap(), run.ended.unwrap());
        let before = ends.insert(run.job_id, ended);
        assert!(before.is_none_or(|before| before <= started), "two runs at a time: {run:?}");
    }
}
