//! A local stand-in for the Databricks Jobs API: `heartbeat jobs-api`, the demo and the tests.
//!
//! It serves run-now, runs/get, runs/list, runs/cancel, runs/delete and runs/repair in versions 2.1 and 2.2 as the
//! platform does where that is known: idempotency tokens, concurrency limits with and without queue, error bodies, both
//! forms of run state, paging; the Secrets API; access tokens for service principals of Databricks and Azure; and files
//! in volumes and in DBFS, from a folder of this machine. A run's job may be a shell command. Faults can be made on purpose, above all those in which a run is made and its
//! answer lost. State is in memory and bounded: a stand-in that is started again knows nothing, and the oldest ended
//! runs are forgotten with their tokens.
//!
//! Where the platform is not documented we chose: a token counts for the whole workspace, and the token of a
//! deleted run is a 400 INVALID_PARAMETER_VALUE; an access token that has run out is a 401.

mod admin;
mod api;
mod commands;
mod config;
mod fault;
mod files;
mod identity;
mod job_spec;
mod line;
mod listing;
mod record;
mod reply;
mod run_now;
mod server;
mod state;
mod vault;
mod view;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::config::{AzureConfig, ConfigError, FilesConfig, OAuthConfig, StandInConfig};
pub use self::fault::{Fault, FaultKind, FaultTarget, StatusFault};
pub use self::job_spec::{JobSpec, RunResult};
pub use self::record::{Phase, RecordedCall, RunRecord};
use self::server::Shared;
use self::state::State;

/// How long a stop waits for answers that are under way.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// The stand-in, before it runs.
#[derive(Debug)]
pub struct StandIn;

/// A running stand-in. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct StandInHandle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// Why a stand-in doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// The address can't be listened on.
    #[error("can't listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The folder of files can't be used.
    #[error("the folder {folder} of volumes and dbfs can't be used; make it first", folder = folder.display())]
    Files {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StandIn {
    /// Listens and serves, on the current tokio runtime. It answers from the moment this returns.
    pub async fn start(mut config: StandInConfig) -> Result<StandInHandle, StandInError> {
        if let Some(files) = &mut config.files {
            let named = |source| StandInError::Files { folder: files.folder.clone(), source };
            files.folder = files::prepare(&files.folder).map_err(named)?;
        }
        let named = |source| StandInError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(named)?;
        let addr = listener.local_addr().map_err(named)?;
        let shared = Shared::new(State::new(config, format!("http://{addr}"), Timestamp::now()));
        let service = Router::new().fallback(server::handle).with_state(Arc::clone(&shared));
        let service = service.into_make_service_with_connect_info::<line::Line>();
        let until = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            let stopped = async move { until.stopped().await };
            let served = axum::serve(line::Lines(listener), service).with_graceful_shutdown(stopped).await;
            if let Err(error) = served {
                tracing::error!(%error, "jobs api stand-in ended");
            }
        });
        Ok(StandInHandle { addr, shared, server })
    }
}

impl StandInHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The domain to give to a client: `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// All runs as they stand now, deleted ones too, oldest first.
    pub fn runs(&self) -> Vec<RunRecord> {
        self.shared.step(|state, now| {
            state.advance(now);
            state.runs().cloned().collect()
        })
    }

    /// Every run-now call so far, refused and lost ones too, oldest first.
    pub fn run_now_calls(&self) -> Vec<RecordedCall> {
        self.shared.step(|state, _| state.calls.iter().cloned().collect())
    }

    /// Makes a fault, after those that are still to come.
    pub fn inject(&self, fault: Fault) {
        self.shared.step(|state, _| state.faults.push(fault));
    }

    /// Forgets the faults that are still to come.
    pub fn clear_faults(&self) {
        self.shared.step(|state, _| state.faults.clear());
    }

    /// Ends a run by hand. `false`: there is no such run, or it is over.
    pub fn finish(&self, run_id: i64, result: RunResult) -> bool {
        self.shared.step(|state, now| state.finish(run_id, result, now).is_ok())
    }

    /// Lets a run that ended badly run again under its id. `false`: there is no such run, or nothing to repair.
    pub fn repair(&self, run_id: i64) -> bool {
        self.shared.step(|state, now| state.repair(run_id, now).is_ok())
    }

    /// Deletes a run that is over; its token stays taken. `false`: there is no such run, or it is not over.
    pub fn delete(&self, run_id: i64) -> bool {
        self.shared.step(|state, now| state.delete(run_id, now).is_ok())
    }

    /// Calls so far, lost ones too: `run-now`, `runs/get`, `runs/list`, `runs/cancel`, `runs/delete`, `runs/repair`,
    /// `secrets`, `files`, `dbfs`, `token`, `discovery` or `other`.
    pub fn count(&self, call: &str) -> u64 {
        self.shared.step(|state, _| state.counts.get(call).copied().unwrap_or_default())
    }

    /// Access tokens handed out so far.
    pub fn granted_tokens(&self) -> u64 {
        self.shared.step(|state, _| state.identity.count)
    }

    /// Lets every access token that was handed out run out.
    pub fn expire_tokens(&self) {
        self.shared.step(|state, now| state.identity.expire_all(now));
    }

    /// Stops: no new connections, answers under way are sent, waiting callers are cut off, commands are killed
    /// with all they started.
    pub async fn stop(mut self) {
        self.shared.stop();
        self.shared.commands.kill_all().await;
        if tokio::time::timeout(STOP_LIMIT, &mut self.server).await.is_err() {
            self.server.abort();
        }
        // A call that was under way may have started one more.
        self.shared.commands.kill_all().await;
    }
}

impl Drop for StandInHandle {
    fn drop(&mut self) {
        self.shared.stop();
        self.shared.commands.abort_all();
    }
}
