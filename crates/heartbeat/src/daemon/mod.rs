//! `heartbeat run`: watches continuously, starts each job once, follows every run.
//!
//! | task | does |
//! |---|---|
//! | one per lane (`looking`) | looks at its rows when the schedule says so, writes what is new (S, C1), wakes the decision |
//! | one per pair of tables (`starting`) | decides and claims (K), calls run-now beside that (R), writes the answers (K2, C2) |
//! | one per pair (`tracking`) | follows runs to their end (D1, D2) |
//! | two per pair (`upkeep`) | writes the journal; checkpoints and cleans the tables |
//! | one (`mod`) | signals, reload, health, systemd |
//!
//! Tasks share the tables and what was read of them, and nothing else that a decision depends on. Each may be cut off
//! at any point: what it leaves behind is what a crash leaves, and whoever comes next repairs it. A task that ends by
//! itself ends the process: a daemon that does half of its work is worse than one that is started again.

mod context;
mod lanes;
mod looking;
mod pacing;
mod pair;
mod starting;
mod stop;
mod tracking;
mod upkeep;
mod watcher;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_delta::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::context::Context;
use self::pair::{Pair, Places};
use self::stop::Stopper;
use crate::config::{Config, Watch};
use crate::engine::{Clock as _, SystemClock};
use crate::error_chain::chain;
use crate::jobs::Observer;
use crate::metrics::Metrics;
use crate::paths;
use crate::server::{Board, Plan, Server, ServerError, Shown, TickKind, routes};
use crate::stores::StoreError;
use crate::stores::tables::TableStores;
use crate::systemd::Systemd;
use crate::workspaces::Workspaces;

/// Why the daemon ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Nothing can be served.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A table cannot be used.
    #[error("table `{table}`")]
    Table {
        /// Its location.
        table: String,
        /// Cause.
        #[source]
        cause: heartbeat_delta::Error,
    },
    /// A location is no place of a table, or its store cannot be opened.
    #[error(transparent)]
    Place(#[from] StoreError),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for")]
    Signals(#[source] std::io::Error),
    /// A task ended by itself.
    #[error("{0}; this is a fault of heartbeat, please report it")]
    Broken(String),
}

/// A running daemon.
struct Daemon {
    config: Config,
    pairs: Vec<Pair>,
    stopper: Stopper,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
}

/// Signals that the daemon answers.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

/// What ended a wait.
enum Event {
    Stop,
    Reload,
    Broken(String),
    /// Time to look at the health.
    Look,
}

/// Name of a reload, for health.
const RELOAD: &str = "reload";

/// How often the health is looked at where no watchdog asks for it more often.
const HEALTH_PERIOD: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT. `read` reads the configuration anew for a reload (SIGHUP); where it cannot, it has
/// told why, and the daemon goes on as it was.
pub async fn run(config: Config, read: impl Fn() -> Option<Config>) -> Result<(), DaemonError> {
    let mut signals = Signals::new().map_err(DaemonError::Signals)?;
    let systemd = Systemd::from_env();
    let metrics = Arc::new(Metrics::new(SystemClock.now()));
    let board = Arc::new(Board::default());
    let mut listening = config.listen;
    let mut server = serve(listening, &metrics, &board).await?;
    let places = check_tables(&config).await?;
    let mut daemon = Daemon::start(config, &places, metrics, board)?;
    systemd.ready(&daemon.summary());
    let mut sick = false;
    loop {
        let period = systemd.watchdog_interval().unwrap_or(HEALTH_PERIOD).min(HEALTH_PERIOD);
        match daemon.next(&mut signals, period).await {
            Event::Stop => break,
            Event::Broken(why) => {
                tracing::error!(why, "daemon ends");
                return Err(DaemonError::Broken(why));
            }
            Event::Look => daemon.look_after(&systemd, &mut sick),
            Event::Reload => {
                systemd.reloading();
                if let Some((config, places)) = sound(read()).await {
                    if config.listen != listening {
                        match serve(config.listen, &daemon.metrics, &daemon.board).await {
                            Ok(new) => {
                                listening = config.listen;
                                if let Some(old) = std::mem::replace(&mut server, new) {
                                    old.stop().await;
                                }
                            }
                            Err(error) => {
                                let error = chain(&error);
                                tracing::error!(error, "metrics and health stay where they are");
                            }
                        }
                    }
                    daemon = daemon.reloaded(config, &places).await?;
                }
                systemd.ready(&daemon.summary());
            }
        }
    }
    tracing::info!("daemon stops");
    systemd.stopping("stopping");
    // A part of the time is for the process to end.
    let grace = daemon.config.shutdown_grace.mul_f64(0.9);
    let served = async {
        if let Some(server) = server {
            server.stop().await;
        }
    };
    let stopped = async { tokio::join!(daemon.stop(), served) };
    if tokio::time::timeout(grace, stopped).await.is_err() {
        tracing::warn!("what did not end in time is left to the next daemon");
    }
    Ok(())
}

/// The configuration, unless a table that it names cannot be used: then the daemon goes on as it was.
async fn sound(config: Option<Config>) -> Option<(Config, Vec<Places>)> {
    let config = config?;
    for source in config.watches.iter().flat_map(|watch| &watch.sources) {
        if let Err(error) = crate::secrets::credentials(&source.domain, source.token.as_ref()) {
            let error = chain(&error);
            tracing::error!(domain = %source.domain, error, "no credentials, the daemon goes on as it was");
            return None;
        }
    }
    match check_tables(&config).await {
        Ok(places) => Some((config, places)),
        Err(error) => {
            let error = chain(&error);
            tracing::error!(
                error,
                "the new configuration cannot be used, the daemon goes on with the one before"
            );
            None
        }
    }
}

/// The places of the tables, by pair. Refuses tables that are not there, or that this version cannot write. A storage that
/// does not answer now may later.
async fn check_tables(config: &Config) -> Result<Vec<Places>, DaemonError> {
    let stores = TableStores::new(config.storage.clone());
    let mut all = Vec::with_capacity(config.watches.len());
    for watch in &config.watches {
        let places = places(watch, &stores).await?;
        let named = |table: &str, cause| DaemonError::Table { table: table.to_owned(), cause };
        let control = places.control.table::<ControlRow>().map_err(|e| named(&watch.control.name, e))?;
        let sensor = places.sensor.table::<SensorRow>().map_err(|e| named(&watch.sensor.name, e))?;
        for (name, checked) in [
            (&watch.control.name, control.ensure_writable().await),
            (&watch.sensor.name, sensor.ensure_writable().await),
        ] {
            match checked {
                Ok(()) => {}
                Err(cause @ Error::Storage { .. }) => {
                    tracing::warn!(table = name, error = chain(&cause), "table cannot be read yet");
                }
                Err(cause) => return Err(named(name, cause)),
            }
        }
        all.push(places);
    }
    Ok(all)
}

async fn serve(
    address: Option<SocketAddr>,
    metrics: &Arc<Metrics>,
    board: &Arc<Board>,
) -> Result<Option<Server>, ServerError> {
    let Some(address) = address else { return Ok(None) };
    let shown = Shown { metrics: Arc::clone(metrics), board: Arc::clone(board) };
    Server::start(address, routes(shown)).await.map(Some)
}

impl Daemon {
    /// `places` are those of the configuration's pairs.
    fn start(
        config: Config,
        places: &[Places],
        metrics: Arc<Metrics>,
        board: Arc<Board>,
    ) -> Result<Self, DaemonError> {
        let (stopper, stop) = stop::stop();
        let context = Context {
            metrics: Arc::clone(&metrics),
            board: Arc::clone(&board),
            stop,
            grace: config.shutdown_grace,
            clusters: Arc::default(),
        };
        let workspaces = Arc::new(workspaces(&config, &metrics, &board));
        let mut pairs = Vec::with_capacity(config.watches.len());
        for (watch, places) in config.watches.iter().zip(places) {
            let pair = Pair::start(watch, places, &config, &workspaces, &context);
            pairs
                .push(pair.map_err(|cause| DaemonError::Table { table: watch.control.name.clone(), cause })?);
        }
        let daemon = Self { config, pairs, stopper, metrics, board };
        tracing::info!(watches = daemon.summary(), "daemon started");
        Ok(daemon)
    }

    /// Stops all tasks and starts them by another configuration. What they have learned is read again.
    async fn reloaded(self, config: Config, places: &[Places]) -> Result<Self, DaemonError> {
        if config == self.config {
            tracing::info!("configuration is as it was; secrets and certificates are read again");
        }
        let (metrics, board) = (Arc::clone(&self.metrics), Arc::clone(&self.board));
        let grace = self.config.shutdown_grace;
        let now = Instant::now();
        let plan = Plan { kind: TickKind::Task, planned: now, period: grace, deadline: grace };
        board.planned(RELOAD, plan, now);
        if tokio::time::timeout(grace, self.stop()).await.is_err() {
            tracing::warn!("what did not end in time is given up, and found again in the tables");
        }
        board.removed(RELOAD);
        Self::start(config, places, metrics, board)
    }

    async fn stop(self) {
        self.stopper.stop();
        futures::future::join_all(self.pairs.into_iter().map(Pair::finish)).await;
    }

    async fn next(&mut self, signals: &mut Signals, period: Duration) -> Event {
        let mut broken: futures::stream::FuturesUnordered<_> =
            self.pairs.iter_mut().map(Pair::broken).collect();
        tokio::select! {
            biased;
            _ = signals.terminate.recv() => Event::Stop,
            _ = signals.interrupt.recv() => Event::Stop,
            _ = signals.reload.recv() => Event::Reload,
            Some(why) = futures::StreamExt::next(&mut broken) => Event::Broken(why),
            () = tokio::time::sleep(period) => Event::Look,
        }
    }

    /// Says when something is overdue, and keeps the watchdog quiet only while nothing is.
    fn look_after(&self, systemd: &Systemd, sick: &mut bool) {
        let report = self.board.report(Instant::now());
        let is_sick = !report.is_healthy();
        if is_sick && !*sick {
            for late in &report.overdue {
                tracing::error!(what = late.name, seconds = late.overdue_seconds, "overdue");
            }
        } else if *sick && !is_sick {
            tracing::info!("nothing is overdue any more");
        }
        *sick = is_sick;
        if !is_sick {
            systemd.alive();
        }
    }

    fn summary(&self) -> String {
        let sources: usize = self.config.watches.iter().map(|watch| watch.sources.len()).sum();
        format!("{} source(s) over {} pair(s) of tables", sources, self.config.watches.len())
    }
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }
}

/// Clients for the workspaces that the configuration names. One that cannot be had fails the starts in it, not the
/// others'.
fn workspaces(config: &Config, metrics: &Arc<Metrics>, board: &Board) -> Workspaces {
    let observer: Arc<dyn Observer> = Arc::clone(metrics) as _;
    let mut workspaces = Workspaces::observed(observer);
    for source in config.watches.iter().flat_map(|watch| &watch.sources) {
        let added = crate::secrets::credentials(&source.domain, source.token.as_ref())
            .map_err(|error| format!("token: {}", chain(&error)))
            .and_then(|found| workspaces.add(&source.domain, found).map_err(|error| chain(&error)));
        board.table(&format!("workspace {}", source.domain), added.is_ok());
        if let Err(why) = added {
            tracing::error!(domain = %source.domain, why, "workspace cannot be called");
            workspaces.add_unusable(&source.domain, why);
        }
    }
    workspaces
}

async fn places(watch: &Watch, stores: &TableStores) -> Result<Places, StoreError> {
    Ok(Places {
        control: stores.place(&watch.control.location).await?,
        sensor: stores.place(&watch.sensor.location).await?,
        journal: stores.place(&paths::journal_of(&watch.control.location)).await?,
    })
}

#[cfg(test)]
mod tests;
