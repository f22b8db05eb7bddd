//! The daemon over tables on a store.

use std::fmt::Write as _;

use heartbeat::jobs_api::{StandIn, StandInConfig, StandInHandle};

use super::proxy::{Manner, Proxy};
use super::{Server, Shop};
use crate::support::daemon::Daemon;
use crate::support::stores::Servers;
use crate::support::wait::until;

const SECRET: &str = "HEARTBEAT_TEST_OF_STORES_SECRET";

/// `heartbeat.yaml` with the options of the store in it; the secret is in a variable.
fn configure(shop: &Shop, workspace: &StandInHandle) {
    shop.acon(&workspace.url());
    let mut options = String::new();
    for (name, value) in &shop.server.options {
        let hidden = format!("env:{SECRET}");
        let value = if *name == "aws_secret_access_key" { &hidden } else { value };
        writeln!(options, "  {name}: {value}").unwrap();
    }
    let text = format!(
        "warehouse: {}\nstorage_options:\n{options}acons:\n  - {{path: files.yaml, poll_interval: 500ms, jitter: 0}}\n\
         runs: {{poll_interval: 500ms}}\nserver: {{listen: \"127.0.0.1:0\"}}\njournal: {{flush_interval: 500ms}}\n",
        shop.warehouse
    );
    shop.write("heartbeat.yaml", &text);
}

async fn daemon(shop: &Shop) -> Daemon {
    let mut command = crate::support::daemon::command(shop.path());
    let secret = shop.server.options.iter().find(|(name, _)| *name == "aws_secret_access_key");
    command.env(SECRET, &secret.unwrap().1);
    Daemon::start(command).await
}

/// Waits until a job has had so many runs, all of which are accounted for.
async fn rests(shop: &Shop, workspace: &StandInHandle, job: i64, runs: usize, daemon: &Daemon) {
    until(&format!("{runs} runs of job {job}"), async || {
        let seen = workspace.runs().iter().filter(|run| run.job_id == job).count();
        let rows = shop.control().await;
        let status = rows
            .iter()
            .find(|row| row.trigger_job_id == Some(job.to_string()))
            .and_then(|row| row.status.clone());
        let rests = seen == runs && status.as_deref() == Some("COMPLETED");
        if rests { Ok(()) } else { Err((seen, status, daemon.log().text())) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_is_taken_up_from_the_store() {
    let Some(server) = Server::second() else { return };
    let jobs = "jobs: {'101': {duration: 300ms}, '102': {duration: 300ms}}";
    let workspace = StandIn::start(StandInConfig::parse(jobs, "jobs").unwrap()).await.unwrap();
    let shop = Shop::open(server).await;
    shop.feed(&[101, 102]).await;
    configure(&shop, &workspace);
    let first = daemon(&shop).await;
    first.ready().await;
    shop.write("triggers/f101/one.txt", "Success");
    rests(&shop, &workspace, 101, 1, &first).await;
    shop.write("triggers/f102/one.txt", "Success");
    until("a start", async || {
        if workspace.runs().iter().any(|run| run.job_id == 102) { Ok(()) } else { Err(first.log().text()) }
    })
    .await;
    first.kill().await;
    shop.write("triggers/f101/two.txt", "Success");
    let second = daemon(&shop).await;
    rests(&shop, &workspace, 102, 1, &second).await;
    rests(&shop, &workspace, 101, 2, &second).await;
    let log = second.log().text();
    assert!(!log.contains(&shop.server.options[2].1), "{log}");
    second.stop().await;
    assert_eq!(workspace.runs().len(), 3);
    let history = shop.json(&["history", "--control-table", "db.control", "--job-id", "102"]).await;
    let told =
        history["entries"].as_array().unwrap().iter().filter(|entry| entry["event"] == "completed").count();
    assert_eq!(told, 1, "{history}");
    assert!(!shop.path().join("warehouse").exists(), "the daemon wrote to this machine");
}

/// An idle pass costs heads of log entries, and lists nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_pass_costs_a_handful_of_requests() {
    let Some(servers) = Servers::real() else { return };
    let workspace = StandIn::start(StandInConfig::default()).await.unwrap();
    let mut shop = Shop::open(Server::s3(servers.get("MOTO"), "any", "any")).await;
    shop.feed(&[101, 102]).await;
    let proxy = Proxy::start(servers.get("MOTO"), Manner::Plain).await;
    shop.server = Server::s3(&proxy.url, "any", "any");
    configure(&shop, &workspace);
    let daemon = daemon(&shop).await;
    daemon.ready().await;
    let passes = async || daemon.metric("heartbeat_checks_total", &[]).await;
    daemon.metric_reaches("heartbeat_checks_total", &[], passes().await + 3.0).await;
    let before = passes().await;
    proxy.take();
    // Less than the ten seconds after which the tables are cleaned for the first time, which does list them.
    daemon.metric_reaches("heartbeat_checks_total", &[], before + 10.0).await;
    let (seen, passed) = (proxy.take(), passes().await - before);
    let per_pass = seen.len() as f64 / passed;
    println!("{per_pass:.1} requests for a look and a round of following, {passed} times");
    for line in &seen {
        assert!(line.starts_with("HEAD ") && line.contains("/_delta_log/"), "{line}");
    }
    // Two heads for each of two tables, each time; now and then the decision looks too.
    assert!(per_pass <= 10.0, "{per_pass}: {seen:?}");
    daemon.stop().await;
}
