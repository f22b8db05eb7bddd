//! `heartbeat run` as a process: started, asked, signalled, and held to have never panicked.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::wait::until;

/// A running daemon. It is killed when it is dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Base of its pages, once they are served.
    url: String,
    http: reqwest::Client,
    log: Log,
}

/// What a daemon has written on stderr so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<String>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn add(&self, line: &str) {
        let mut text = self.0.lock().unwrap();
        text.push_str(line);
        text.push('\n');
    }
}

/// The command of a daemon in `dir`, for `heartbeat.yaml` there.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
    command.args(["-v", "run", "--config", "heartbeat.yaml"]).current_dir(dir);
    for name in ["HEARTBEAT_WAREHOUSE", "HEARTBEAT_FAIL_POINT", "HEARTBEAT_LOG", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Daemon {
    /// Starts a command of [`command`].
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Log::default();
        let lines = child.stderr.take().unwrap();
        let reader = log.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(lines).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                reader.add(&line);
            }
        });
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap();
        Self { child, url: String::new(), http, log }
    }

    /// Starts a command of [`command`] and waits until it serves its pages.
    pub(crate) async fn start(command: Command) -> Self {
        let mut daemon = Self::spawn(command);
        daemon.url = daemon.address(1).await;
        daemon
    }

    /// Base of the pages that are served for the `count`th time.
    pub(crate) async fn address(&self, count: usize) -> String {
        until("the address of the daemon", async || {
            let text = self.log.text();
            let told = |line: &str| {
                let (_, address) = line.split_once("serving metrics and health address=")?;
                Some(format!("http://{}", address.trim()))
            };
            text.lines().filter_map(told).nth(count - 1).ok_or(text)
        })
        .await
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Status and body of a page.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}: {}", self.log.text()));
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Status and body of a page that is JSON.
    pub(crate) async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.page(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Waits until every source was looked at once.
    pub(crate) async fn ready(&self) {
        until("readiness", async || match self.page("/readyz").await {
            (200, _) => Ok(()),
            other => Err((other, self.log.text())),
        })
        .await;
    }

    /// Sum of the samples of a metric that have all these labels (`name="value"`).
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sample(&self.page("/metrics").await.1, name, labels)
    }

    /// Waits until a metric is at least so much.
    pub(crate) async fn metric_reaches(&self, name: &str, labels: &[&str], least: f64) {
        until(name, async || {
            let value = self.metric(name, labels).await;
            if value >= least { Ok(()) } else { Err((value, self.log.text())) }
        })
        .await;
    }

    /// Waits until the log has a text this many times.
    pub(crate) async fn logs(&self, wanted: &str, times: usize) {
        until(wanted, async || {
            let text = self.log.text();
            if text.matches(wanted).count() >= times { Ok(()) } else { Err(text) }
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it at once, as `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
        self.never_panicked();
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let status = self.child.wait().await.unwrap();
        self.never_panicked();
        status
    }

    /// Asks it to end, and says how it did; ten seconds are the limit that users are promised.
    pub(crate) async fn terminate(self) -> ExitStatus {
        self.signal(Signal::TERM);
        let log = self.log.clone();
        let ended = tokio::time::timeout(Duration::from_secs(10), self.ended()).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", log.text()))
    }

    /// Ends it; it must have gone well.
    pub(crate) async fn stop(self) {
        let log = self.log.clone();
        let status = self.terminate().await;
        assert!(status.success(), "{status}: {}", log.text());
    }

    fn never_panicked(&self) {
        let text = self.log.text();
        assert!(!text.contains("panicked"), "{text}");
    }
}

/// Sum of the samples of a metric that have all these labels.
pub(crate) fn sample(page: &str, name: &str, labels: &[&str]) -> f64 {
    let of_metric = page.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    of_metric.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
