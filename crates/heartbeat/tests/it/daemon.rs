//! `heartbeat run` as users have it: the real binary over topics, folders and a workspace.

mod beside;
mod cluster;
mod health;
mod kills;
mod ledger;
mod runs;
mod signals;

use crate::support::yard::{Yard, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_both_sources_start_jobs_that_complete_without_a_last_task() {
    let yard = Yard::new("jobs: {21: {}, 22: {duration: 200ms}, 23: {}}").await;
    yard.create_topics(&["a".into(), "b".into()], 1).await;
    yard.feed("topic a 21 TRUE\nfolder x 21 TRUE\ntopic b 22 TRUE\nfolder y 23 TRUE").await;
    let daemon = yard.daemon().await;
    daemon.ready().await;
    assert_eq!(yard.workspace.runs(), [], "there is no news yet");

    for round in 1..=3 {
        yard.record("a").await;
        yard.record("b").await;
        yard.file("y", &format!("{round}.txt"));
        yard.runs_end(22, round, &daemon).await;
        yard.runs_end(23, round, &daemon).await;
        // Job 21 waits for its second row.
        assert_eq!(yard.runs(21).len(), round - 1);
        yard.file("x", &format!("{round}.txt"));
        yard.runs_end(21, round, &daemon).await;
        for job in [21, 22, 23] {
            yard.status(job, "COMPLETED", &daemon).await;
        }
        let offset = round - 1;
        let run = &yard.runs(21)[round - 1];
        let expected = [
            (format!("sales: {}", yard.topic("a")), vec![format!("0 {offset}")]),
            ("x".to_owned(), vec![format!("{round}.txt")]),
        ];
        assert_eq!(told(run), expected.into());
    }
    for row in yard.sensor().await {
        assert_eq!(row.status.as_deref(), Some("PROCESSED_NEW_DATA"), "{row:?}");
    }
    for row in yard.control().await {
        assert!(row.job_start_timestamp.is_some() && row.job_end_timestamp.is_some(), "{row:?}");
    }
    daemon.stop().await;
    let words: Vec<String> = yard.journal(Some(23)).await.into_iter().map(|entry| entry.event).collect();
    for word in ["detected", "claimed", "started", "completed"] {
        assert_eq!(words.iter().filter(|event| *event == word).count(), 3, "{word} in {words:?}");
    }
}
