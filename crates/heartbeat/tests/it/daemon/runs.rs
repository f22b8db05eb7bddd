//! Runs that do not end well, and calls that hang.

use heartbeat::jobs_api::{Fault, FaultKind, FaultTarget, Phase, RunResult};

use crate::support::daemon::Daemon;
use crate::support::wait::until;
use crate::support::yard::{CONTROL, SENSOR, Yard, told};

/// Folders have been looked at, from begin to end.
async fn some_looks(daemon: &Daemon) {
    let source = "source=\"trigger_file\"";
    let checks = daemon.metric("heartbeat_checks_total", &[source]).await;
    daemon.metric_reaches("heartbeat_checks_total", &[source], checks + 3.0).await;
}

/// The same, and runs have been asked for.
async fn some_passes(yard: &Yard, daemon: &Daemon) {
    let asked = yard.workspace.count("runs/list") + yard.workspace.count("runs/get");
    some_looks(daemon).await;
    until("questions about runs", async || {
        let now = yard.workspace.count("runs/list") + yard.workspace.count("runs/get");
        if now >= asked + 3 { Ok(()) } else { Err((now, daemon.log().text())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn job_whose_run_failed_rests_until_somebody_has_run_it_well() {
    let yard = Yard::new("jobs: {21: {results: [FAILED, FAILED, SUCCESS]}, 22: {}}").await;
    yard.feed("folder x 21 TRUE\nfolder y 22 TRUE").await;
    let daemon = yard.daemon().await;
    yard.file("x", "1.txt");
    yard.runs_end(21, 1, &daemon).await;
    daemon.metric_reaches("heartbeat_runs", &["state=\"failed\""], 1.0).await;
    yard.file("x", "2.txt");
    yard.file("y", "1.txt");
    yard.runs_end(22, 1, &daemon).await;
    some_passes(&yard, &daemon).await;
    assert_eq!(yard.runs(21).len(), 1, "it rests");
    yard.run_by_hand(21).await;
    some_passes(&yard, &daemon).await;
    assert_eq!(yard.runs(21).len(), 2, "the run by hand failed as well");

    yard.run_by_hand(21).await;
    yard.runs_end(21, 4, &daemon).await;
    yard.status(21, "COMPLETED", &daemon).await;
    let runs = yard.runs(21);
    assert_eq!(told(&runs[0])["x"], ["1.txt"]);
    assert_eq!(told(&runs[3])["x"], ["2.txt"], "what arrived meanwhile fires then");
    assert!(daemon.metric("heartbeat_completions_total", &["outcome=\"failed\""]).await >= 1.0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_that_was_skipped_leaves_its_news_to_the_next() {
    let yard = Yard::new("jobs: {21: {duration: 100h}}").await;
    yard.feed("folder x 21 TRUE").await;
    yard.run_by_hand(21).await;
    let by_hand = yard.runs(21)[0].run_id;
    let daemon = yard.daemon().await;
    yard.file("x", "1.txt");
    until("a run that was skipped", async || {
        let runs = yard.runs(21);
        let is_skipped = runs.iter().any(|run| run.phase == Phase::Done(RunResult::Skipped));
        if is_skipped { Ok(()) } else { Err((runs, daemon.log().text())) }
    })
    .await;
    daemon.metric_reaches("heartbeat_completions_total", &["outcome=\"skipped\""], 1.0).await;
    assert!(yard.workspace.finish(by_hand, RunResult::Success));
    let run = until("a run of the same news", async || {
        let runs = yard.runs(21);
        let running = runs.iter().find(|run| run.phase == Phase::Running).cloned();
        running.ok_or_else(|| (runs, daemon.log().text()))
    })
    .await;
    assert_eq!(told(&run)["x"], ["1.txt"]);
    yard.status(21, "IN_PROGRESS", &daemon).await;
    assert!(yard.workspace.finish(run.run_id, RunResult::Success));
    yard.status(21, "COMPLETED", &daemon).await;
    let ran = yard.runs(21).into_iter().filter(|run| run.phase != Phase::Done(RunResult::Skipped));
    assert_eq!(ran.count(), 2, "the one by hand, and ours");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_that_hangs_delays_neither_other_jobs_nor_the_end() {
    let yard = Yard::new("jobs: {21: {}, 22: {}}").await;
    yard.feed("folder x 21 TRUE\nfolder y 22 TRUE").await;
    let hang = Fault { job_id: Some(21), times: 1_000, ..Fault::once(FaultTarget::RunNow, FaultKind::Hang) };
    yard.workspace.inject(hang);
    let daemon = yard.daemon().await;
    yard.file("x", "1.txt");
    until(
        "a call",
        async || if yard.workspace.count("run-now") > 0 { Ok(()) } else { Err(daemon.log().text()) },
    )
    .await;
    for round in 1..=2 {
        yard.file("y", &format!("{round}.txt"));
        yard.runs_end(22, round, &daemon).await;
        yard.status(22, "COMPLETED", &daemon).await;
    }
    daemon.stop().await;

    yard.workspace.clear_faults();
    let daemon = yard.daemon().await;
    yard.runs_end(21, 1, &daemon).await;
    yard.status(21, "COMPLETED", &daemon).await;
    daemon.stop().await;
    let tokens = yard.workspace.run_now_calls().into_iter().filter_map(|call| call.json());
    let mut tokens: Vec<_> = tokens
        .filter(|body| body["job_id"].to_string().contains("21"))
        .map(|body| body["idempotency_token"].clone())
        .collect();
    tokens.dedup();
    assert_eq!(tokens.len(), 1, "one token for one set of news");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrigger_starts_a_job_again_with_the_same_news() {
    let yard = Yard::new("jobs: {21: {results: [FAILED, SUCCESS]}}").await;
    yard.feed("folder x 21 TRUE").await;
    let daemon = yard.daemon().await;
    yard.file("x", "1.txt");
    yard.runs_end(21, 1, &daemon).await;
    daemon.metric_reaches("heartbeat_runs", &["state=\"failed\""], 1.0).await;
    yard.run(&["retrigger", "21", "--control-table", CONTROL, "--sensor-table", SENSOR]).await;
    yard.runs_end(21, 2, &daemon).await;
    yard.status(21, "COMPLETED", &daemon).await;
    let runs = yard.runs(21);
    assert_eq!(
        (told(&runs[0]), told(&runs[1])),
        (told(&runs[1]), [("x".into(), vec!["1.txt".into()])].into())
    );
    daemon.stop().await;
    let entries = yard.journal(Some(21)).await;
    assert!(entries.iter().any(|entry| entry.event == "retriggered"), "{entries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_rows_start_nothing_until_they_are_resumed() {
    let yard = Yard::new("jobs: {21: {}, 22: {}}").await;
    yard.feed("folder x 21 TRUE\nfolder y 22 TRUE").await;
    let daemon = yard.daemon().await;
    yard.run(&["pause", "--job-id", "21", "--control-table", CONTROL]).await;
    yard.file("x", "1.txt");
    for round in 1..=3 {
        yard.file("y", &format!("{round}.txt"));
        yard.runs_end(22, round, &daemon).await;
    }
    some_looks(&daemon).await;
    assert_eq!(yard.runs(21), []);
    yard.run(&["resume", "--job-id", "21", "--control-table", CONTROL]).await;
    yard.runs_end(21, 1, &daemon).await;
    assert_eq!(told(&yard.runs(21)[0])["x"], ["1.txt"], "what came meanwhile is found");
    daemon.stop().await;
}
