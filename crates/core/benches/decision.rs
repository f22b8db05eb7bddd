//! The decision over 50,000 control rows, each with a state: joining the tables, projecting, deciding.
//!
//! `cargo bench --manifest-path crates/core/Cargo.toml`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench stops at the first surprise and prints"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::acon::SourceKind;
use heartbeat_core::claim::{StartOutcome, TableIds, Workplace, claim, new_claim, record};
use heartbeat_core::decide::{Holds, Selection, decide};
use heartbeat_core::detect::{Mode, Seen, acquire, questions};
use heartbeat_core::domain::Domain;
use heartbeat_core::position::{KafkaPosition, Manifest, OffsetRange};
use heartbeat_core::project::project;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::sensor::View;
use heartbeat_core::state::StoredPosition;
use jiff::Timestamp;

const ROWS: usize = 50_000;
const ROUNDS: usize = 9;

fn main() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (control, sensor) = tables(now);
    let (control, sensor) = (Arc::new(control), Arc::new(sensor));
    let view = View::new(Arc::clone(&control), Arc::clone(&sensor));
    let first = || View::new(Arc::clone(&control), Arc::clone(&sensor));
    println!("50,000 rows with a state each                 median      min");
    measure("joining the tables, nothing known before", || drop(first()));
    measure("joining them again after a commit", || {
        drop(view.renewed(Arc::clone(&control), Arc::clone(&sensor)));
    });
    measure("projecting", || drop(project(&view, now)));
    measure("deciding", || drop(decide(&view, &Selection::All, &Holds::default(), now)));
    measure("what to ask the source", || drop(questions(&view, SourceKind::Kafka, Mode::Detect)));
}

fn measure(what: &str, work: impl Fn()) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("{what:42} {:>9} {:>9}", ms(times[ROUNDS / 2]), ms(times[0]));
}

/// Half of the rows completed, a quarter with news, a quarter with a run.
fn tables(now: Timestamp) -> (Vec<ControlRow>, Vec<SensorRow>) {
    let control: Vec<ControlRow> = (0..ROWS)
        .map(|row| ControlRow {
            sensor_source: Some("kafka".into()),
            sensor_id: Some(format!("my_product: some.topic.number.{row}")),
            asset_description: Some(format!("asset {row}")),
            trigger_job_id: Some((100_000 + row / 2).to_string()),
            job_state: Some("UNPAUSED".into()),
            dependency_flag: Some(if row % 2 == 0 { "TRUE" } else { "FALSE" }.into()),
            ..ControlRow::default()
        })
        .collect();
    let view = View::new(control.clone(), Vec::new());
    let seen: Vec<Seen> = (0..ROWS)
        .map(|sensor| Seen {
            sensor,
            position: position(sensor),
            news: (sensor % 4 < 2).then(|| news().into()),
            keep: false,
        })
        .collect();
    let sensor = acquire(&view, &seen, Mode::Baseline, now).apply(&[]);
    let control = project(&View::new(control.clone(), sensor.clone()), now).apply(&control);
    let view = View::new(control.clone(), sensor.clone());
    let ids = TableIds { control: "c".into(), sensor: "s".into() };
    let workplace = Workplace { domain: Domain::parse("dbc.example").unwrap(), pass_news: false };
    let starts = decide(&view, &Selection::All, &Holds::default(), now).starts;
    let claims: Vec<_> = starts
        .iter()
        .take(starts.len() / 2)
        .map(|start| (start.job.clone(), new_claim(&ids, start, workplace.clone(), now)))
        .collect();
    let sensor = claim(&view, &claims, &[], now).apply(&sensor);
    let outcomes = claims.iter().map(|(_, claim)| (claim.token.clone(), StartOutcome::Accepted(7))).collect();
    let view = View::new(control.clone(), sensor.clone());
    let sensor = record(&view, &outcomes).apply(&sensor);
    let control = project(&View::new(control.clone(), sensor.clone()), now).apply(&control);
    (control, sensor)
}

fn position(row: usize) -> StoredPosition {
    StoredPosition::Kafka(KafkaPosition {
        cluster: "4L6g3nShT-eMCtK--X86sw".into(),
        topic: format!("some.topic.number.{row}"),
        topic_id: Some("0c8e2f58-31f9-4b5e-9c70-3a3d2a5b7d11".into()),
        offsets: (0..3).map(|partition| (partition, 1_000_000)).collect(),
        epochs: (0..3).map(|partition| (partition, 4)).collect(),
    })
}

fn news() -> Manifest {
    Manifest::Offsets(vec![OffsetRange { partition: 0, from: 999_990, to: 1_000_000 }])
}
