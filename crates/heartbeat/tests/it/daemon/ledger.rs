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
    #[expect(clippy::unused_self, reason = "names are the ledger's to give")]
    pub(super) fn next(&self) -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }

    pub(super) fn all(&self) -> Vec<Arrival> {
        self.0.lock().unwrap().clone()
    }
}

/// Runs by what they were given: job, sensor, item. Runs that were skipped never ran, and runs by hand are given nothing.
fn given(runs: &[RunRecord]) -> HashMap<(i64, String, String), Vec<i64>> {
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

/// Something that a job was not given, or not once.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The first of the jobs concerned.
    pub(super) job: i64,
    text: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether each job was given each arrival of its sensors once, in order, and never ran twice at a time.
pub(super) fn compare(
    runs: &[RunRecord],
    sensors: &BTreeMap<i64, BTreeSet<String>>,
    arrived: &[Arrival],
) -> Result<String, Wrong> {
    let mut given = given(runs);
    let mut wrong = Vec::new();
    for (job, sensors) in sensors {
        for arrival in arrived.iter().filter(|arrival| sensors.contains(&arrival.sensor)) {
            let Arrival { sensor, item, at } = arrival;
            match given.remove(&(*job, sensor.clone(), item.clone())) {
                None => wrong.push((*job, format!("job {job} lost {sensor} {item}, arrived {at}"))),
                Some(runs) if runs.len() > 1 => {
                    wrong.push((*job, format!("job {job} doubled {sensor} {item}, arrived {at}: {runs:?}")));
                }
                Some(_) => {}
            }
        }
    }
    let never_arrived = given.keys().map(|(job, sensor, item)| {
        (*job, format!("job {job} was given {sensor} {item}, which never arrived"))
    });
    wrong.extend(never_arrived);
    wrong.extend(out_of_order(runs));
    wrong.extend(at_once(runs));
    if let Some((job, _)) = wrong.first() {
        let lines: Vec<&str> = wrong.iter().map(|(_, line)| line.as_str()).collect();
        return Err(Wrong { job: *job, text: lines.join("\n") });
    }
    let count = |is: &dyn Fn(&RunRecord) -> bool| runs.iter().filter(|run| is(run)).count();
    Ok(format!(
        "{} arrivals, {} runs ({} failed, {} by hand, {} skipped), 0 lost, 0 doubled",
        arrived.len(),
        runs.len(),
        count(&|run| run.phase == Phase::Done(RunResult::Failed)),
        count(&|run| run.idempotency_token.is_none()),
        count(&was_skipped),
    ))
}

fn was_skipped(run: &RunRecord) -> bool {
    run.phase == Phase::Done(RunResult::Skipped)
}

/// Ranges of a partition that do not begin where the one before ended.
fn out_of_order(runs: &[RunRecord]) -> Vec<(i64, String)> {
    let mut ends: HashMap<(i64, String, String), i64> = HashMap::new();
    let mut wrong = Vec::new();
    for run in runs.iter().filter(|run| run.idempotency_token.is_some() && !was_skipped(run)) {
        for (sensor, items) in told(run) {
            for item in items.iter().filter(|item| item.contains(' ')) {
                let (partition, offset) = item.split_once(' ').unwrap();
                let offset: i64 = offset.parse().unwrap();
                let end = ends.entry((run.job_id, sensor.clone(), partition.to_owned())).or_insert(0);
                if *end != offset {
                    wrong.push((
                        run.job_id,
                        format!("run {} begins at {item} of {sensor}, not at {end}", run.run_id),
                    ));
                }
                *end = offset + 1;
            }
        }
    }
    wrong
}

/// Runs that began before the one before had ended.
fn at_once(runs: &[RunRecord]) -> Vec<(i64, String)> {
    let mut ends: BTreeMap<i64, Timestamp> = BTreeMap::new();
    let mut wrong = Vec::new();
    for run in runs.iter().filter(|run| !was_skipped(run)) {
        let (started, ended) = (run.started.unwrap(), run.ended.unwrap());
        let before = ends.insert(run.job_id, ended);
        if before.is_some_and(|before| before > started) {
            wrong.push((
                run.job_id,
                format!("job {} had two runs at a time, the second {}", run.job_id, run.run_id),
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn run(run_id: i64, token: Option<&str>, paths: &[&str]) -> RunRecord {
        let files: Vec<_> = paths.iter().map(|path| json!({"path": path, "size": 7})).collect();
        let rows = json!([{"sensor_source": "trigger_file", "sensor_id": "f", "files": files}]);
        let news = json!({"format": "heartbeat.news/1", "rows": rows}).to_string();
        let at = Timestamp::UNIX_EPOCH + Duration::from_secs(run_id.unsigned_abs());
        RunRecord {
            run_id,
            job_id: 1,
            phase: Phase::Done(RunResult::Success),
            idempotency_token: token.map(str::to_owned),
            parameters: token.map(|_| ("heartbeat_news".to_owned(), news)).into_iter().collect(),
            overriding: serde_json::Map::new(),
            created: at,
            started: Some(at),
            ended: Some(at),
            deleted: false,
            repairs: 0,
        }
    }

    fn verdict(runs: &[RunRecord]) -> String {
        let ledger = Ledger::default();
        ledger.note("f", "1.txt");
        ledger.note("f", "2.txt");
        let sensors = [(1, ["f".to_owned()].into())].into();
        compare(runs, &sensors, &ledger.all()).unwrap_or_else(|wrong| wrong.to_string())
    }

    #[test]
    fn what_is_lost_doubled_or_made_up_is_told() {
        let good = [run(1, Some("a"), &["1.txt"]), run(2, Some("b"), &["2.txt"])];
        assert!(verdict(&good).ends_with("0 lost, 0 doubled"));
        assert!(verdict(&good[..1]).starts_with("job 1 lost f 2.txt"));
        let doubled = [good[0].clone(), run(2, Some("b"), &["1.txt", "2.txt"])];
        assert!(verdict(&doubled).starts_with("job 1 doubled f 1.txt"));
        let made_up = [good[0].clone(), run(2, Some("b"), &["2.txt", "3.txt"])];
        assert!(verdict(&made_up).starts_with("job 1 was given f 3.txt"));
        let skipped = RunRecord { phase: Phase::Done(RunResult::Skipped), ..good[1].clone() };
        assert!(verdict(&[good[0].clone(), skipped]).starts_with("job 1 lost f 2.txt"));
        let by_hand = [good[0].clone(), run(2, None, &[])];
        assert!(verdict(&by_hand).starts_with("job 1 lost f 2.txt"));
        let beside = RunRecord { ended: Some(Timestamp::MAX), ..good[0].clone() };
        assert!(verdict(&[beside, good[1].clone()]).contains("two runs at a time"));
    }
}
