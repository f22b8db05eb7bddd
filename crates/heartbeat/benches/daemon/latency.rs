//! From the event to the run: 1,000 sensors with a job each, ten events a second, each in a sensor that was idle.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::load::{Sensor, Usage, feed, topic_names};
use crate::support::wait::until;
use crate::support::yard::{Settings, Yard};

const EACH: usize = 500;
const EVENTS_PER_SECOND: f64 = 10.0;

/// Usual periods: 1 s for topics, 5 s for folders and runs.
pub(crate) async fn thousand_sensors(length: Duration) {
    let yard = Yard::new("{}").await;
    yard.configure(&Settings {
        kafka_period: "1s".into(),
        files_period: "5s".into(),
        runs_period: "5s".into(),
        jitter: 0.1,
        ..Settings::default()
    });
    let sensors = in_turn(&feed(&yard, EACH, EACH).await);
    let daemon = yard.daemon().await;
    daemon.ready().await;

    let count = ((length.as_secs_f64() * EVENTS_PER_SECOND) as usize).min(sensors.len());
    let before = Usage::of(&daemon);
    let began = Instant::now();
    let mut arrived = HashMap::new();
    for (index, sensor) in sensors[..count].iter().enumerate() {
        // Anywhere in its own tenth of a second, so that events fall evenly on all moments of a period.
        let planned = Duration::from_secs_f64((index as f64 + fastrand::f64()) / EVENTS_PER_SECOND);
        tokio::time::sleep_until((began + planned).into()).await;
        arrived.insert(sensor.job(), (*sensor, sensor.arrive(&yard).await));
    }
    let pace = count as f64 / began.elapsed().as_secs_f64();
    until("a run for each event", async || {
        let runs = yard.workspace.runs().len();
        if runs >= count { Ok(()) } else { Err((runs, count, daemon.log().text())) }
    })
    .await;
    let after = Usage::of(&daemon);
    let lasted = began.elapsed();

    let (mut topics, mut folders) = (Vec::new(), Vec::new());
    for run in yard.workspace.runs() {
        let (sensor, at) = arrived.remove(&run.job_id).unwrap();
        let took = run.created.duration_since(at).as_secs_f64();
        match sensor {
            Sensor::Topic(_) => topics.push(took),
            Sensor::Folder(_) => folders.push(took),
        }
    }
    println!("\nnews to accepted run-now, {} sensors, {pace:.1} events a second", 2 * EACH);
    println!("source         events      p50      p99      max   bar p50   bar p99");
    report("kafka, 1 s", &mut topics, 1.0);
    report("files, 5 s", &mut folders, 5.0);
    let cpu = (after.cpu.saturating_sub(before.cpu)).as_secs_f64() / lasted.as_secs_f64();
    println!("CPU {:.1} % of one core, anonymous {:.1} MB", cpu * 100.0, after.anonymous_mb);
    daemon.stop().await;
    yard.delete_topics(&topic_names(EACH)).await;
}

/// A topic, a folder, a topic, and so on, in any order of each.
fn in_turn(sensors: &[Sensor]) -> Vec<Sensor> {
    let (mut topics, mut folders): (Vec<Sensor>, Vec<Sensor>) =
        sensors.iter().partition(|sensor| matches!(sensor, Sensor::Topic(_)));
    fastrand::shuffle(&mut topics);
    fastrand::shuffle(&mut folders);
    topics.into_iter().zip(folders).flat_map(|(topic, folder)| [topic, folder]).collect()
}

fn report(what: &str, times: &mut [f64], period: f64) {
    times.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    let (bar50, bar99) = (period / 2.0 + 0.3, period + 1.0);
    let verdict = if p50 <= bar50 && p99 <= bar99 { "held" } else { "MISSED" };
    println!(
        "{what:12} {:>8} {p50:>6.2} s {p99:>6.2} s {max:>6.2} s {bar50:>7.2} s {bar99:>7.2} s   {verdict}",
        times.len()
    );
}
