//! Real crashes: daemons are killed at random moments while records and files keep arriving, runs end well and badly, and
//! answers of the workspace are lost. Afterwards every record and every file lies in exactly one run of each job that
//! waits for it.
//!
//! `HEARTBEAT_TEST_KILLS` sets the number of kills (default 25), `HEARTBEAT_TEST_SEED` repeats the choices of a test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use heartbeat::jobs_api::{Fault, FaultKind, FaultTarget, Phase, RunResult, StatusFault};
use heartbeat_core::journal::Entry;
use heartbeat_core::row::{COMPLETED, ControlRow};
use serde_json::{Value, json};

use super::ledger::{Ledger, compare};
use crate::support::daemon::{Daemon, command};
use crate::support::wait::until;
use crate::support::yard::Yard;

/// Topics and folders, each.
const ASSETS: usize = 12;
/// One row of these jobs alone may not start them.
const LINKED: [i64; 3] = [300, 301, 302];

/// Jobs of one topic, of one folder, and of both with all kinds of flags; 400 shares its rows' assets with others.
fn rows() -> String {
    let mut rows = String::new();
    for index in 0..8 {
        rows += &format!("topic t{index} {} TRUE\nfolder f{index} {} TRUE\n", 100 + index, 200 + index);
    }
    for (job, (index, topic, folder)) in
        (300..).zip([(8, "TRUE", "TRUE"), (9, "TRUE", "TRUE"), (10, "FALSE", "TRUE"), (11, "FALSE", "FALSE")])
    {
        rows += &format!("topic t{index} {job} {topic}\nfolder f{index} {job} {folder}\n");
    }
    rows + "topic t0 400 FALSE\nfolder f0 400 FALSE\n"
}

/// Each job takes its own time, and a tenth of its runs fail.
fn jobs(rng: &mut Rng) -> String {
    let ids = (100..108).chain(200..208).chain(300..304).chain([400]);
    let jobs = ids.map(|job| {
        let result = |rng: &mut Rng| if rng.u8(..10) == 0 { "FAILED" } else { "SUCCESS" };
        let mut results: Vec<&str> = (0..2_000).map(|_| result(rng)).collect();
        results.push("SUCCESS");
        (job.to_string(), json!({"duration": format!("{}ms", rng.u32(..600)), "results": results}))
    });
    json!({"jobs": jobs.collect::<serde_json::Map<_, _>>()}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_doubled_when_daemons_are_killed() {
    let kills = setting("HEARTBEAT_TEST_KILLS").unwrap_or(25);
    let seed = setting("HEARTBEAT_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("HEARTBEAT_TEST_SEED={seed} HEARTBEAT_TEST_KILLS={kills}");
    let mut rng = Rng::with_seed(seed);
    let yard = Arc::new(Yard::new(&jobs(&mut rng)).await);
    let topics: Vec<String> = (0..ASSETS).map(|index| format!("t{index}")).collect();
    yard.create_topics(&topics, 2).await;
    yard.feed(&rows()).await;

    let ledger = Arc::new(Ledger::default());
    let ends = Arc::new(AtomicBool::new(false));
    let background = [
        tokio::spawn(produce(Arc::clone(&yard), Arc::clone(&ledger), Arc::clone(&ends), rng.fork(), "t")),
        tokio::spawn(produce(Arc::clone(&yard), Arc::clone(&ledger), Arc::clone(&ends), rng.fork(), "f")),
    ];
    let by_hand = tokio::spawn(start_failed_jobs_by_hand(Arc::clone(&yard)));

    let began = Instant::now();
    let mut left = BTreeMap::new();
    let mut done = 0;
    while done < kills {
        done += kill_once(&yard, &mut rng).await;
        for word in what_is_left(&yard).await {
            *left.entry(word).or_insert(0_u32) += 1;
        }
        disturb(&yard, &mut rng);
    }
    let killed = began.elapsed();
    ends.store(true, Ordering::Relaxed);
    for task in background {
        task.await.unwrap();
    }
    yard.workspace.clear_faults();
    let daemon = yard.daemon().await;
    come_to_rest(&yard, &ledger, &daemon).await;
    daemon.stop().await;
    by_hand.abort();

    let summary = match compare(&yard.workspace.runs(), &rows_by_job(&yard), &ledger.all()) {
        Ok(summary) => summary,
        Err(wrong) => panic!("{wrong}\n{}", dossier(&yard, wrong.job).await),
    };
    println!(
        "{done} kills in {:.0} s, at rest after {:.0} s more; {summary}; left by kills: {left:?}",
        killed.as_secs_f64(),
        began.elapsed().saturating_sub(killed).as_secs_f64(),
    );
    for row in yard.control().await {
        assert_eq!(row.status.as_deref(), Some(COMPLETED), "{row:?}");
    }
    yard.delete_topics(&topics).await;
}

/// Sensor ids by job.
fn rows_by_job(yard: &Yard) -> BTreeMap<i64, BTreeSet<String>> {
    let mut by_job: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for row in rows().lines() {
        let parts: Vec<&str> = row.split(' ').collect();
        by_job.entry(parts[2].parse().unwrap()).or_default().insert(yard.sensor_id(parts[1]));
    }
    by_job
}

/// Records or files arrive without end; each is noted once it is there.
async fn produce(yard: Arc<Yard>, ledger: Arc<Ledger>, ends: Arc<AtomicBool>, mut rng: Rng, kind: &str) {
    while !ends.load(Ordering::Relaxed) {
        arrive(&yard, &ledger, &format!("{kind}{}", rng.usize(..ASSETS)), rng.i32(0..2)).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(..60))).await;
    }
}

async fn arrive(yard: &Yard, ledger: &Ledger, asset: &str, partition: i32) {
    if asset.starts_with('t') {
        let offset = yard.record_in(asset, partition).await;
        ledger.note(&yard.sensor_id(asset), &format!("{partition} {offset}"));
    } else {
        let name = format!("{}.txt", ledger.next());
        yard.file(asset, &name);
        ledger.note(asset, &name);
    }
}

/// A job whose run failed rests until somebody has run it well.
async fn start_failed_jobs_by_hand(yard: Arc<Yard>) {
    loop {
        let newest: BTreeMap<i64, Phase> =
            yard.workspace.runs().iter().map(|run| (run.job_id, run.phase)).collect();
        for (job, _) in newest.iter().filter(|(_, phase)| **phase == Phase::Done(RunResult::Failed)) {
            yard.run_by_hand(*job).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// One daemon, or two at a time, until they are killed. How many were.
async fn kill_once(yard: &Yard, rng: &mut Rng) -> u64 {
    let first = Daemon::spawn(command(yard.path()));
    let Some(beside) = (rng.u8(..4) == 0).then(|| Daemon::spawn(command(yard.path()))) else {
        live(rng).await;
        first.kill().await;
        return 1;
    };
    live(rng).await;
    first.kill().await;
    live(rng).await;
    beside.kill().await;
    2
}

/// A random life: half of them end while the daemon has hardly begun.
async fn live(rng: &mut Rng) {
    let longest = if rng.bool() { 400 } else { 1_500 };
    tokio::time::sleep(Duration::from_millis(rng.u64(20..longest))).await;
}

/// The workspace fails some of the next calls.
fn disturb(yard: &Yard, rng: &mut Rng) {
    let status = |code| FaultKind::Status(StatusFault { code, body: None, headers: BTreeMap::new() });
    let kind = match rng.u8(..12) {
        0 => FaultKind::DropAfter,
        1 => FaultKind::DropBefore,
        2 => status(503),
        3 => status(429),
        4 => FaultKind::Delay(Duration::from_millis(300)),
        _ => return,
    };
    yard.workspace.inject(Fault::once(FaultTarget::RunNow, kind));
}

/// In which states claims were when the daemon died, and whether a projection was open.
async fn what_is_left(yard: &Yard) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    for row in yard.sensor().await {
        let state: Value = serde_json::from_str(row.upstream_value.as_deref().unwrap()).unwrap();
        let is_new = state["news"].as_u64() > state["news_done"].as_u64();
        match &state["claim"]["state"] {
            Value::Object(claim) => left.extend(claim.keys().cloned()),
            Value::String(word) => drop(left.insert(word.clone())),
            _ if is_new => drop(left.insert("news without a claim".into())),
            _ => {}
        }
    }
    left.remove("done");
    left
}

/// Waits until nothing is new and nothing runs. Where one of two rows lacks news, some more arrives in it.
async fn come_to_rest(yard: &Yard, ledger: &Ledger, daemon: &Daemon) {
    until("rest", async || {
        two_looks(daemon).await;
        let control = yard.control().await;
        let open: Vec<_> = control.iter().filter(|row| is_open(row)).collect();
        if open.is_empty() {
            // What was completed last may have left news for the next look.
            two_looks(daemon).await;
            return if yard.control().await.iter().any(is_open) { Err("news".to_owned()) } else { Ok(()) };
        }
        for job in LINKED {
            let rows: Vec<_> =
                control.iter().filter(|row| row.trigger_job_id == Some(job.to_string())).collect();
            let is_new = |index: usize| rows[index].status.as_deref() == Some("NEW_EVENT_AVAILABLE");
            if let Some(lacking) = (0..2).find(|index| !is_open(rows[*index]) && is_new(1 - *index)) {
                arrive(yard, ledger, &yard.asset(rows[lacking].sensor_id.as_deref().unwrap()), 0).await;
            }
        }
        Err(format!("{open:?} {}", daemon.log().text()))
    })
    .await;
}

fn is_open(row: &ControlRow) -> bool {
    row.status.as_deref().is_some_and(|word| word != COMPLETED)
}

/// All that is known of a job.
async fn dossier(yard: &Yard, job: i64) -> String {
    let mut lines = Vec::new();
    for run in yard.runs(job) {
        let news = run.parameters.get("heartbeat_news");
        let token = run.idempotency_token.unwrap_or_default();
        let line = format!(
            "{} run {} {:?} until {:?} {token} {news:?}",
            run.created, run.run_id, run.phase, run.ended
        );
        lines.push(line);
    }
    for entry in yard.journal(Some(job)).await {
        let Entry { at, writer, event, message, detail, .. } = entry;
        lines.push(format!("{at} {writer} {event}: {message} {detail:?}"));
    }
    lines.sort();
    for row in yard.sensor().await {
        if row.sensor_id.as_deref().is_some_and(|id| id.ends_with(&format!("_{job}"))) {
            lines.push(format!("{row:?}"));
        }
    }
    lines.join("\n")
}

/// Both sources are looked at anew, from begin to end.
async fn two_looks(daemon: &Daemon) {
    for source in ["kafka", "trigger_file"] {
        let label = format!("source=\"{source}\"");
        let checks = daemon.metric("heartbeat_checks_total", &[&label]).await;
        daemon.metric_reaches("heartbeat_checks_total", &[&label], checks + 2.0).await;
    }
}

#[expect(clippy::disallowed_methods, reason = "settings of this test")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
