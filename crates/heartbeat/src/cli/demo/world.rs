//! The demo's surroundings: folders, configuration, broker, workspace.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::process::Command;

use crate::broker::{Broker, BrokerHandle, TransactionEnd};
use crate::cli::output::Printer;
use crate::jobs_api::{Fault, FaultKind, FaultTarget, StandIn, StandInConfig, StandInError, StandInHandle};

pub(super) const CONTROL: &str = "demo.heartbeat_sensor";
pub(super) const SENSOR: &str = "demo.lakehouse_engine_sensors";
/// A directory with this file in it is an earlier demo and may be replaced.
const MARKER: &str = ".heartbeat-demo";
/// Listened on when it is free, so that the ACONs stay right for what the reader tries next.
const USUAL_PORT: u16 = 8900;

/// The upstreams and the workspace.
pub(super) struct World {
    pub(super) dir: PathBuf,
    pub(super) workspace: StandInHandle,
    pub(super) exe: PathBuf,
    broker: BrokerHandle,
    printer: Printer,
}

impl World {
    pub(super) async fn build(dir: &Path, printer: Printer) -> Result<Self> {
        let dir = std::path::absolute(dir)?;
        make_room(&dir)?;
        let exe = std::env::current_exe().context("the path of this binary is not known")?;
        let broker = Broker::start("127.0.0.1:0").await.context("the embedded broker cannot listen")?;
        for topic in ["orders", "returns"] {
            broker.create_topic(topic, 3)?;
        }
        for sensor in ["customers_loaded", "day_closed"] {
            std::fs::create_dir_all(dir.join("triggers").join(sensor))?;
        }
        std::fs::write(dir.join("sensors.csv"), SENSORS)?;
        let jobs = dir.join("jobs.yaml");
        std::fs::write(&jobs, jobs_file(&exe, &dir))?;
        let workspace = start_workspace(&jobs).await?;
        std::fs::write(dir.join("kafka.yaml"), kafka_acon(&broker.bootstrap(), &workspace.url()))?;
        std::fs::write(dir.join("trigger_file.yaml"), trigger_file_acon(&dir, &workspace.url()))?;
        Ok(Self { dir, workspace, exe, broker, printer })
    }

    /// Prints a paragraph.
    pub(super) fn say(&self, text: &str) -> Result<()> {
        Ok(self.printer.text(&format!("{text}\n"))?)
    }

    /// Prints a command line, runs it with this binary and lets it print.
    pub(super) async fn heartbeat(&self, line: &str) -> Result<()> {
        self.say(&format!("\n  $ heartbeat {line}"))?;
        let output = Command::new(&self.exe)
            .args(line.split_whitespace())
            .current_dir(&self.dir)
            .env("HEARTBEAT_WAREHOUSE", "warehouse")
            .stdin(Stdio::null())
            .output()
            .await?;
        let printed = [output.stdout, output.stderr].concat();
        for line in String::from_utf8_lossy(&printed).lines() {
            self.say(&format!("  {line}"))?;
        }
        if !output.status.success() {
            bail!("`heartbeat {line}` ended with {}", output.status);
        }
        Ok(())
    }

    /// Records arrive.
    pub(super) fn produce(&self, topic: &str, count: usize) -> Result<()> {
        self.broker.append(topic, 0, &records(count))?;
        Ok(())
    }

    /// Records arrive in a transaction that is aborted.
    pub(super) fn produce_aborted(&self, topic: &str, count: usize) -> Result<()> {
        self.broker.append_transaction(topic, 0, &records(count), TransactionEnd::Abort)?;
        Ok(())
    }

    /// The network loses the answer of the next start.
    pub(super) fn lose_next_answer(&self) {
        self.workspace.inject(Fault::once(FaultTarget::RunNow, FaultKind::DropAfter));
    }

    /// Waits until every run has ended, which each does in about a second.
    pub(super) async fn runs_end(&self) -> Result<()> {
        let all_ended = async {
            while self.workspace.runs().iter().any(|run| run.ended.is_none()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), all_ended)
            .await
            .context("the runs did not end in a minute")
    }

    pub(super) async fn stop(self) {
        self.broker.stop();
        self.workspace.stop().await;
    }
}

fn records(count: usize) -> Vec<Bytes> {
    (0..count).map(|number| Bytes::from(format!("{{\"number\":{number}}}"))).collect()
}

fn make_room(dir: &Path) -> Result<()> {
    let is_empty = std::fs::read_dir(dir).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !dir.join(MARKER).exists() {
        bail!("`{}` holds something else than an earlier demo; give another --dir", dir.display());
    }
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| format!("`{}` cannot be emptied", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("`{}` cannot be made", dir.display()))?;
    std::fs::write(dir.join(MARKER), "made by `heartbeat demo`, replaced by the next one\n")?;
    Ok(())
}

async fn start_workspace(jobs: &Path) -> Result<StandInHandle> {
    let config = StandInConfig::from_file(jobs)?;
    let usual = StandInConfig { listen: SocketAddr::from(([127, 0, 0, 1], USUAL_PORT)), ..config.clone() };
    match StandIn::start(usual).await {
        Ok(handle) => Ok(handle),
        Err(error @ StandInError::Listen { .. }) => {
            tracing::debug!(error = %error, "the usual port is taken, any other will do");
            Ok(StandIn::start(config).await?)
        }
        Err(error @ StandInError::Files { .. }) => Err(error.into()),
    }
}

const SENSORS: &str = "\
sensor_source,sensor_id,sensor_read_type,asset_description,upstream_key,preprocess_query,trigger_job_id,trigger_job_name,job_state,dependency_flag
kafka,\"sales: orders\",streaming,orders topic,,,101,load_orders,UNPAUSED,TRUE
trigger_file,customers_loaded,streaming,customers,,,101,load_orders,UNPAUSED,TRUE
trigger_file,day_closed,streaming,end of day,,,102,daily_report,UNPAUSED,TRUE
kafka,\"sales: returns\",streaming,returns topic,,,102,daily_report,UNPAUSED,FALSE
";

/// Two jobs; the last task of each tells heartbeat that it has completed.
fn jobs_file(exe: &Path, dir: &Path) -> String {
    let job = |id: u32, name: &str| {
        format!(
            "  \"{id}\":\n    name: {name}\n    command: >-\n      sleep 1 && cd '{dir}' && HEARTBEAT_WAREHOUSE=warehouse '{exe}' complete\n      \
             --job-id {id} --run-id $HEARTBEAT_RUN_ID --control-table {CONTROL} --sensor-table {SENSOR} > /dev/null\n",
            dir = dir.display(),
            exe = exe.display(),
        )
    };
    format!("token: demo-token\njobs:\n{}{}", job(101, "load_orders"), job(102, "daily_report"))
}

fn acon(source: &str, data_format: &str, workspace: &str, rest: &str) -> String {
    format!(
        "sensor_source: {source}\ndata_format: {data_format}\nheartbeat_sensor_db_table: {CONTROL}\n\
         lakehouse_engine_sensor_db_table: {SENSOR}\ndomain: {workspace}\ntoken: demo-token\n{rest}"
    )
}

fn kafka_acon(bootstrap: &str, workspace: &str) -> String {
    let rest = format!(
        "kafka_configs:\n  sales:\n    kafka_bootstrap_servers_list: {bootstrap}\n    \
         kafka_ssl_truststore_location: \"\"\n    kafka_ssl_keystore_location: \"\"\n"
    );
    acon("kafka", "kafka", workspace, &rest)
}

fn trigger_file_acon(dir: &Path, workspace: &str) -> String {
    let rest = format!("base_trigger_file_location: {}\n", dir.join("triggers").display());
    acon("trigger_file", "cloudfiles", workspace, &rest)
}
