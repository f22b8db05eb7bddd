//! The command line: every command, option and example, and nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use heartbeat_core::time_span;

/// Starts Databricks jobs when their upstreams have news.
#[derive(Debug, Parser)]
#[command(name = "heartbeat", version, max_term_width = 100, propagate_version = true)]
#[command(
    after_help = "Exit status: 0 all went well; 1 something to mend, also when a single sensor or start \
failed after all the others ran; 2 unexpected.\n\nSee it at work, with nothing to install: heartbeat demo"
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where tables named `db.table` lie, as `<warehouse>/db.db/table`.
    #[arg(
        long,
        global = true,
        env = "HEARTBEAT_WAREHOUSE",
        default_value = "./warehouse",
        value_name = "DIR|URL"
    )]
    pub(crate) warehouse: String,
    /// How data is printed on stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// More on stderr; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Only errors on stderr.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Creates the control and the sensor table.
    #[command(
        after_help = "Example:\n  heartbeat init --control-table my_database.heartbeat_sensor \\\n    \
        --sensor-table my_database.lakehouse_engine_sensors"
    )]
    Init(Tables),
    /// Brings the control table to what a CSV says: inserts, updates, deletes, in one commit.
    #[command(
        after_help = "Every row is validated before anything is written. Run-time columns are kept.\n\nExamples:\n  \
        heartbeat feed --csv sensors.csv --control-table my_database.heartbeat_sensor --dry-run\n  \
        heartbeat feed --csv sensors.csv --control-table my_database.heartbeat_sensor"
    )]
    Feed(Feed),
    /// One detection pass: which sensors have news?
    #[command(after_help = "Examples:\n  heartbeat check --acon kafka.yaml\n  \
        heartbeat check --acon kafka.yaml trigger_files.json --output json")]
    Check(Check),
    /// One decision and start pass: which jobs may start, and starts them.
    #[command(
        after_help = "A job is started by the pass over the source of its newest news; --all starts it whatever \
        that source is.\n\nExamples:\n  heartbeat trigger --acon kafka.yaml --dry-run\n  \
        heartbeat trigger --acon kafka.yaml trigger_files.yaml"
    )]
    Trigger(Trigger),
    /// A job's last task: its news is processed, its sources are watched again.
    #[command(
        after_help = "Example, as the last task of a Databricks job:\n  heartbeat complete --job-id {{job.id}} \
        --run-id {{job.run_id}} \\\n    --control-table my_database.heartbeat_sensor --sensor-table \
        my_database.lakehouse_engine_sensors"
    )]
    Complete(Complete),
    /// The daemon: watches continuously, starts each job once, follows every run.
    #[command(
        after_help = "SIGHUP reads the configuration anew, SIGTERM ends it within `shutdown_grace`. Metrics and health: \
        /metrics, /healthz, /readyz.\n\nExamples:\n  heartbeat run --config heartbeat.yaml\n  \
        heartbeat run --acon kafka.yaml trigger_files.yaml"
    )]
    Run(Run),
    /// The control table, with the reason of every row.
    #[command(
        after_help = "Example:\n  heartbeat status --control-table my_database.heartbeat_sensor \\\n    \
        --sensor-table my_database.lakehouse_engine_sensors"
    )]
    Status(Status),
    /// One job: what it waits for and since when, its start, what happens next and what to do.
    #[command(
        after_help = "Example:\n  heartbeat why 101 --control-table my_database.heartbeat_sensor \\\n    \
        --sensor-table my_database.lakehouse_engine_sensors"
    )]
    Why(Why),
    /// What happened, from the journal, oldest first.
    #[command(
        after_help = "Examples:\n  heartbeat history --control-table my_database.heartbeat_sensor --since 2h\n  \
        heartbeat history --control-table my_database.heartbeat_sensor --job-id 101 --since 2026-01-02T03:04:05Z"
    )]
    History(History),
    /// Pauses rows: they are not looked at and start nothing.
    #[command(after_help = PAUSE_HELP)]
    Pause(Steer),
    /// Lets paused rows go on; what came meanwhile is found by the next look.
    #[command(after_help = RESUME_HELP)]
    Resume(Steer),
    /// Sets a job to start again after a run that did not succeed; the next trigger or the daemon starts it.
    #[command(
        after_help = "The news of the run that did not succeed is claimed again, with the next attempt.\n\nExample:\n  \
        heartbeat retrigger 101 --control-table my_database.heartbeat_sensor \\\n    \
        --sensor-table my_database.lakehouse_engine_sensors"
    )]
    Retrigger(Retrigger),
    /// Every mistake in ACONs at once, each with its key path.
    #[command(after_help = "Examples:\n  heartbeat validate --acon kafka.yaml trigger_files.json\n  \
        heartbeat validate --acon kafka.yaml --connect")]
    Validate(Validate),
    /// Trigger files, as upstream pipelines write them.
    #[command(subcommand)]
    TriggerFile(TriggerFile),
    /// A local stand-in for a Databricks workspace: Jobs API, secrets, access tokens, files in volumes; a job can run a shell
    /// command.
    #[command(after_help = JOBS_API_HELP)]
    JobsApi(JobsApi),
    /// The whole thing on this machine, nothing to install.
    #[command(after_help = "Example:\n  heartbeat demo --dir /tmp/heartbeat-demo")]
    Demo(Demo),
    /// Prints shell completions.
    #[command(
        after_help = "Example:\n  heartbeat completions bash > ~/.local/share/bash-completion/completions/heartbeat"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

const PAUSE_HELP: &str = "With both options: the row of that sensor and job. A hard row that is paused still counts \
by its status.\nThe next feed sets `job_state` to what the CSV says; to pause for longer, change the CSV.\n\nExamples:\n  \
heartbeat pause --control-table my_database.heartbeat_sensor --job-id 101\n  \
heartbeat pause --control-table my_database.heartbeat_sensor --sensor-id \"my_product: my.topic\"";

const RESUME_HELP: &str = "With both options: the row of that sensor and job.\nThe next feed sets `job_state` to what \
the CSV says.\n\nExample:\n  heartbeat resume --control-table my_database.heartbeat_sensor --job-id 101";

/// What stands below the options of `jobs-api`.
const JOBS_API_HELP: &str = r#"Example:
  heartbeat jobs-api --listen 127.0.0.1:8900 --jobs jobs.yaml
  mkdir -p lake/Volumes/main/default/landing && heartbeat jobs-api --volumes lake

jobs.yaml (everything is optional):
  token: local-token      # accepted as it is; without it and without principals any token is
  strict: true            # refuse jobs that are not listed; the default if any is
  rate_limit: 20          # starts per second, then 429
  version_2_2: false      # only version 2.1 of the Jobs API
  keep_runs: 100000       # ended runs that are remembered, with their tokens
  jobs:
    "7":
      name: my job
      command: echo run $HEARTBEAT_RUN_ID of job $HEARTBEAT_JOB_ID, $HEARTBEAT_PARAM_MSG
      timeout_seconds: 60
    "8":
      duration: 2s
      results: [FAILED, SUCCESS]   # one run after the other; or `result` for all
      parameters: {day: today}     # job parameters with their defaults
      max_concurrent_runs: 1       # runs beyond are skipped,
      queue: true                  # or wait,
      queue_size: 10               # so many at most
      skipped_without_result: true # the form of a skipped run that has no result_state
  oauth: {clients: {my-client: my-secret}, expires_in: 1h, describe: true}
  azure: {tenant: my-tenant, clients: {my-client: my-secret}, workspace_resource_id: /subscriptions/1}
  secrets: {my-scope: {my-key: the value}}
  faults:
    - {on: run-now, job_id: 7, times: 2, kind: {status: {code: 503}}}
    - {on: any, times: 50, kind: {status: {code: 429, headers: {Retry-After: "1"}}}}

Results: SUCCESS, SUCCESS_WITH_FAILURES, FAILED, TERMINATED_FAILED, TIMEDOUT, CANCELED, INTERNAL_ERROR, SKIPPED,
QUEUE_FULL, UNKNOWN (a state that no client has heard of).
Faults are on run-now, runs-get, runs-list, runs-cancel, runs-delete, runs-repair, secrets, files, dbfs, token, discovery
or any; kinds are status, html, redirect, hang, drop_before, drop_after, no_run_id and delay: 2s.

While it runs:
  GET  /stand-in/runs, /stand-in/calls        what there is, and what was asked
  POST /stand-in/runs/ID/finish               {"result": "TIMEDOUT"} ends a run
  POST /stand-in/runs/ID/repair, .../delete   runs it again under its id; deletes it
  POST, DELETE /stand-in/faults               makes faults; forgets them
  DELETE /stand-in/tokens                     lets all access tokens run out"#;

/// Both tables.
#[derive(Debug, Args)]
pub(crate) struct Tables {
    /// Control table: `db.table`, a path or a URL.
    #[arg(long, value_name = "T")]
    pub(crate) control_table: String,
    /// Sensor table: `db.table`, a path or a URL.
    #[arg(long, value_name = "S")]
    pub(crate) sensor_table: String,
}

/// What the daemon watches.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) from: RunFrom,
    /// Where metrics and health are served: an address, or `off`. Takes the place of `server.listen`.
    #[arg(long, value_name = "ADDR|off", value_parser = listen)]
    pub(crate) listen: Option<Listen>,
}

/// Where the configuration is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct RunFrom {
    /// Configuration file (docs/reference/config.md).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// ACON files, JSON or YAML, with defaults for everything else.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) acon: Vec<PathBuf>,
}

/// Where to serve, if anywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listen(pub(crate) Option<SocketAddr>);

fn listen(text: &str) -> Result<Listen, String> {
    if text == "off" {
        return Ok(Listen(None));
    }
    let address = text.parse().map_err(|_| "give an address such as 127.0.0.1:8787, or `off`".to_owned());
    address.map(|address| Listen(Some(address)))
}

/// ACON files.
#[derive(Debug, Args)]
pub(crate) struct Acons {
    /// ACON files, JSON or YAML.
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    pub(crate) acon: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    #[command(flatten)]
    pub(crate) acons: Acons,
    /// Also opens the tables, looks at every sensor's source and asks the workspace. Writes nothing but, beside tables on a
    /// store, a small file that it deletes again.
    #[arg(long)]
    pub(crate) connect: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Feed {
    /// The CSV: a path or a URL of any store.
    #[arg(long, value_name = "PATH|URL")]
    pub(crate) csv: String,
    /// Control table: `db.table`, a path or a URL.
    #[arg(long, value_name = "T")]
    pub(crate) control_table: String,
    /// Shows what would change and changes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Allows a CSV without rows, which deletes every row of the table.
    #[arg(long)]
    pub(crate) allow_empty: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) acons: Acons,
    /// What is there now is no news; later passes start from here.
    #[arg(long)]
    pub(crate) baseline: bool,
    /// How long a source may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) deadline: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Trigger {
    #[command(flatten)]
    pub(crate) acons: Acons,
    /// Jobs of every source, not only those whose newest news is of an ACON given.
    #[arg(long)]
    pub(crate) all: bool,
    /// Prints the plan, calls and writes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Complete {
    /// The job that has completed.
    #[arg(long, value_name = "J")]
    pub(crate) job_id: String,
    /// Its run, so that telling it twice accounts for nothing that came in between.
    #[arg(long, value_name = "R")]
    pub(crate) run_id: Option<i64>,
    #[command(flatten)]
    pub(crate) tables: Tables,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Control table: `db.table`, a path or a URL.
    #[arg(long, value_name = "T")]
    pub(crate) control_table: String,
    /// Sensor table, for run ids and claims in the reasons.
    #[arg(long, value_name = "S")]
    pub(crate) sensor_table: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The job's id.
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) tables: Tables,
    /// Entries of the journal that are shown at most.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Control table, whose journal lies beside it: `db.table`, a path or a URL.
    #[arg(long, value_name = "T")]
    pub(crate) control_table: String,
    /// Of this job only.
    #[arg(long, value_name = "J")]
    pub(crate) job_id: Option<String>,
    /// Of this sensor_id only.
    #[arg(long, value_name = "ID")]
    pub(crate) sensor_id: Option<String>,
    /// Not older than this: a length of time such as `2h` or `7d`, or a time such as 2026-01-02T03:04:05Z.
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// The newest entries, so many at most.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Steer {
    /// Control table: `db.table`, a path or a URL.
    #[arg(long, value_name = "T")]
    pub(crate) control_table: String,
    #[command(flatten)]
    pub(crate) which: Which,
}

/// Rows of the control table.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Which {
    /// Rows of this job.
    #[arg(long, value_name = "J")]
    pub(crate) job_id: Option<String>,
    /// Rows of this sensor_id.
    #[arg(long, value_name = "ID")]
    pub(crate) sensor_id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Retrigger {
    /// The job's id.
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) tables: Tables,
    /// Also while its run goes on as far as is known, or when nobody knows whether there is one: the job may then run
    /// twice for the same news.
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TriggerFile {
    /// Writes `<base>/<id>/<id>_YYYYmmdd_HHMMSS.txt` with the body `Success`, whole or not at all, and never over another
    /// file.
    #[command(after_help = CREATE_HELP)]
    Create(CreateTriggerFile),
    /// Deletes old trigger files that every row of their folder has processed.
    #[command(after_help = PRUNE_HELP)]
    Prune(PruneTriggerFiles),
}

const CREATE_HELP: &str =
    "The time in the name is UTC; a second file in one second gets the next second that is free.

\
Examples:\n  heartbeat trigger-file create --base /mnt/triggers --sensor-id my_trigger\n  \
heartbeat trigger-file create --acon trigger_files.yaml --sensor-id my_trigger\n  \
heartbeat trigger-file create --base s3://my-bucket/triggers --sensor-id my_trigger \\\n    \
--storage-option aws_region=eu-central-1 --signing-key env:TRIGGER_KEY\n  \
heartbeat trigger-file create --base s3://my-bucket/triggers --sensor-id my_trigger --print-snippet airflow";

const PRUNE_HELP: &str = "A file goes when each row of the control table with its sensor_id is through with it (all jobs, \
paused ones too): a run has\naccounted for it, or it was passed over as what starts nothing. Folders without a row, files \
that can be no news and\neverything else below the base are left alone. Rows of other control tables are not known: give the \
ACONs of all\ntables whose rows are about these folders.\n\nExamples:\n  \
heartbeat trigger-file prune --acon trigger_files.yaml --older-than 30d --dry-run -v\n  \
heartbeat trigger-file prune --acon trigger_files.yaml --older-than 30d";

#[derive(Debug, Args)]
pub(crate) struct CreateTriggerFile {
    /// `base_trigger_file_location`: a path, file://, s3://, abfss://, az://, gs://, /Volumes/... or dbfs:/.
    #[arg(long, value_name = "URL", required_unless_present = "acon")]
    pub(crate) base: Option<String>,
    /// The sensor_id.
    #[arg(long, value_name = "ID")]
    pub(crate) sensor_id: String,
    /// ACON whose base, `storage_options`, workspace and `signing_key` are used; the options here come first.
    #[arg(long, value_name = "FILE")]
    pub(crate) acon: Option<PathBuf>,
    /// Signs the file with this key: `env:NAME`, `file:PATH`, with --acon also `scope:SCOPE/KEY`.
    #[arg(long, value_name = "REF")]
    pub(crate) signing_key: Option<String>,
    /// An option of `storage_options`; secrets as `env:NAME` or `file:PATH`. May be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) storage_option: Vec<String>,
    /// Writes nothing and prints what drops such a file elsewhere, to be pasted there.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) print_snippet: Option<Snippet>,
}

/// Where a snippet runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Snippet {
    /// Python in a Databricks notebook.
    Dbutils,
    /// A task of an Airflow DAG.
    Airflow,
    /// A bash script, with the store's own command line.
    Bash,
}

#[derive(Debug, Args)]
pub(crate) struct PruneTriggerFiles {
    #[command(flatten)]
    pub(crate) acons: Acons,
    /// Only files whose last modification is longer ago, by the store's clock: `30d`, `12h`; at least `1h`.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Duration,
    /// Tells what would be deleted and deletes nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `create` names files up to a minute ahead, and a name that was seen and is gone is no news for a week: what is deleted
/// must be old enough for its name not to be given again.
const YOUNGEST_PRUNED: Duration = Duration::from_hours(1);

fn age(text: &str) -> Result<Duration, String> {
    let age = time_span::parse(text).filter(|age| *age >= YOUNGEST_PRUNED);
    age.ok_or_else(|| "is no length of time of at least 1h; write `30d` or `12h`".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct JobsApi {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8900")]
    pub(crate) listen: SocketAddr,
    /// Jobs, tokens, secrets, limits and faults, JSON or YAML. Without it every job id is accepted and its runs succeed.
    #[arg(long, value_name = "FILE")]
    pub(crate) jobs: Option<PathBuf>,
    /// Folder whose `Volumes/CATALOG/SCHEMA/VOLUME` are served over the Files API and whose `dbfs` over the API of DBFS. A
    /// volume is there when its folder is.
    #[arg(long, value_name = "DIR")]
    pub(crate) volumes: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where tables, trigger folders and ACONs are put; an earlier demo there is replaced.
    #[arg(long, value_name = "DIR", default_value = "./heartbeat-demo")]
    pub(crate) dir: PathBuf,
}
