//! The command line: one short function per command over the library.

mod acons;
mod args;
mod check;
mod complete;
mod demo;
mod feed;
mod history;
mod init;
mod jobs_api;
mod journal;
mod near;
mod output;
mod pause;
mod retrigger;
mod run;
mod status;
mod trigger;
mod trigger_file;
mod validate;
mod why;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{CommandFactory, Parser};
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::steer::JobState;
use heartbeat_core::table_name::{locate, problem_of_table_at};
use heartbeat_delta::{DeltaBlobs, DeltaTable};
use indicatif::{ProgressBar, ProgressStyle};

pub use self::args::Cli;
use self::args::{Command, Global, TriggerFile};
use self::output::Printer;
use crate::engine::Engine;
use crate::scribe::Scribe;
use crate::stores::tables::{Place, TableStores};

/// An engine over Delta tables.
pub(crate) type DeltaEngine = Engine<DeltaTable<ControlRow>, DeltaTable<SensorRow>, DeltaBlobs>;

/// What all commands share.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) warehouse: String,
    pub(crate) printer: Printer,
    /// Stores as the environment says.
    pub(crate) stores: Arc<TableStores>,
}

/// How a command went, apart from errors that end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All went well.
    Good,
    /// Something to mend, after everything else was done.
    Partly,
}

/// Reads the command line, runs the command, maps the outcome to an exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_help = !error.use_stderr();
            drop(error.print());
            return if is_help { ExitCode::SUCCESS } else { ExitCode::from(1) };
        }
    };
    init_logs(&cli.global);
    let printer = Printer::new(cli.global.output, cli.global.quiet);
    let session = Session { warehouse: cli.global.warehouse.clone(), printer, stores: Arc::default() };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            printer.error(&format!("error: no runtime: {error}"));
            return ExitCode::from(2);
        }
    };
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(carry_out(&session, cli))));
    // A folder on a mount that hangs must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(Ok(Outcome::Good)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::Partly)) => ExitCode::from(1),
        Ok(Err(error)) => {
            printer.error(&format!("error: {}", crate::error_chain::chain(error.as_ref())));
            ExitCode::from(1)
        }
        Err(_) => ExitCode::from(2),
    }
}

async fn carry_out(session: &Session, cli: Cli) -> Result<Outcome> {
    if let Some(problem) = problem_of_table_at(&session.warehouse) {
        bail!("--warehouse: {problem}");
    }
    match cli.command {
        Command::Init(tables) => init::run(session, &tables).await,
        Command::Feed(args) => feed::run(session, &args).await,
        Command::Check(args) => check::run(session, &args).await,
        Command::Trigger(args) => trigger::run(session, &args).await,
        Command::Complete(args) => complete::run(session, &args).await,
        Command::Run(args) => run::run(session, &args).await,
        Command::Status(args) => status::run(session, &args).await,
        Command::Why(args) => why::run(session, &args).await,
        Command::History(args) => history::run(session, &args).await,
        Command::Pause(args) => pause::run(session, &args, JobState::Paused).await,
        Command::Resume(args) => pause::run(session, &args, JobState::Unpaused).await,
        Command::Retrigger(args) => retrigger::run(session, &args).await,
        Command::Validate(args) => validate::run(session, &args).await,
        Command::TriggerFile(TriggerFile::Create(args)) => trigger_file::create(session, &args).await,
        Command::TriggerFile(TriggerFile::Prune(args)) => trigger_file::prune(session, &args).await,
        Command::JobsApi(args) => jobs_api::run(session, args).await,
        Command::Demo(args) => demo::run(session, &args).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "heartbeat", &mut script);
            session.printer.text(&String::from_utf8_lossy(&script))?;
            Ok(Outcome::Good)
        }
    }
}

impl Session {
    /// Location of a table by its name.
    pub(crate) fn locate(&self, name: &str) -> Result<String> {
        Ok(locate(name, &self.warehouse)?)
    }

    /// The folder of a table.
    pub(crate) async fn place(&self, location: &str) -> Result<Place> {
        Ok(self.stores.place(location).await?)
    }

    /// An engine over the tables at two locations. What `command` does is noted under that name, and written by
    /// [`journal::write`].
    pub(crate) async fn engine(&self, control: &str, sensor: &str, command: &str) -> Result<DeltaEngine> {
        let (control, sensor) = (self.place(control).await?, self.place(sensor).await?);
        let (blobs, scribe) = (sensor.blobs()?, Arc::new(Scribe::new(command)));
        Ok(Engine::new(control.table()?, sensor.table()?, blobs, scribe))
    }

    /// A spinner on stderr while something takes long; nothing when stderr is no terminal, or with --quiet.
    pub(crate) fn progress(&self, message: impl Into<String>) -> ProgressBar {
        if self.printer.is_quiet() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(message.into());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

fn init_logs(global: &Global) {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let level = match (global.quiet, global.verbose) {
        (true, _) => "off,heartbeat=error,heartbeat_delta=error",
        // What the libraries below log of their own is in our errors, in words for users.
        (false, 0) => "off,heartbeat=warn,heartbeat_delta=warn,heartbeat::daemon=info,heartbeat::server=info",
        (false, 1) => "off,heartbeat=info,heartbeat_delta=info",
        (false, 2) => "info,heartbeat=debug,heartbeat_delta=debug",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("HEARTBEAT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
