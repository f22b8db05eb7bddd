//! Shell commands of runs: one process group each, gone when the run is.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::job_spec::RunResult;

/// What to run for a run.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) run_id: i64,
    pub(super) command: String,
    pub(super) environment: Vec<(String, String)>,
    pub(super) timeout: Option<Duration>,
}

/// The name under which a command finds a parameter: `HEARTBEAT_PARAM_` and the name in capitals, other
/// characters than letters and digits as `_`.
pub(super) fn parameter_variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("HEARTBEAT_PARAM_{}", name.chars().map(plain).collect::<String>())
}

/// The commands that run now.
#[derive(Debug, Default)]
pub(super) struct Commands {
    tasks: Mutex<HashMap<i64, JoinHandle<()>>>,
}

impl Commands {
    /// Starts a command; `done` is told how it ended, unless it is killed before.
    pub(super) fn start(&self, job: Job, done: impl FnOnce(RunResult) + Send + 'static) {
        // Held while spawning, so that the task can't leave before it is in.
        let mut tasks = self.lock();
        let run_id = job.run_id;
        tasks.insert(run_id, tokio::spawn(async move { done(run(job).await) }));
    }

    /// Kills the command of a run with all it started, if it still runs.
    pub(super) fn kill(&self, run_id: i64) {
        if let Some(task) = self.lock().remove(&run_id) {
            task.abort();
        }
    }

    /// The command of a run has ended by itself.
    pub(super) fn forget(&self, run_id: i64) {
        self.lock().remove(&run_id);
    }

    /// Kills all commands without waiting.
    pub(super) fn abort_all(&self) -> Vec<JoinHandle<()>> {
        let tasks: Vec<_> = self.lock().drain().map(|(_, task)| task).collect();
        for task in &tasks {
            task.abort();
        }
        tasks
    }

    /// Kills all commands and waits until they are gone.
    pub(super) async fn kill_all(&self) {
        for task in self.abort_all() {
            // A cancelled task is what was asked for.
            let _ = task.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(job: Job) -> RunResult {
    let child = Command::new("sh")
        .arg("-c")
        .arg(&job.command)
        .envs(job.environment)
        .stdin(Stdio::null())
        // Our own stdout carries data; what a job says belongs with the logs.
        .stdout(std::io::stderr())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(job.run_id, %error, "command of a run could not be started");
            return RunResult::InternalError;
        }
    };
    let group = Group(child.id().and_then(|id| Pid::from_raw(id as i32)));
    let ended = match job.timeout {
        Some(timeout) => tokio::time::timeout(timeout, child.wait()).await,
        None => Ok(child.wait().await),
    };
    match ended {
        Err(_) => RunResult::TimedOut,
        Ok(status) => {
            group.spare();
            if status.is_ok_and(|status| status.success()) { RunResult::Success } else { RunResult::Failed }
        }
    }
}

/// A process group that dies with this value, however the task that holds it ends.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    /// The leader is gone and reaped: its number may be another's by now.
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended in this very moment.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_variables() {
        assert_eq!(parameter_variable("msg"), "HEARTBEAT_PARAM_MSG");
        assert_eq!(parameter_variable("run-date.utc"), "HEARTBEAT_PARAM_RUN_DATE_UTC");
    }
}
