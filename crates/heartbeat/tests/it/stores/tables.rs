//! Control, sensor and journal tables on stores.

mod daemon;
mod life;
mod proxy;
mod races;
mod rights;
mod upkeep;

use std::path::Path;
use std::process::Stdio;

use heartbeat::stores::tables::TableStores;
use heartbeat_core::row::{ControlRow, SensorRow};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::support::stores::{Servers, options};

/// A server, and how it is reached.
pub(super) struct Server {
    /// Its bucket as a URL.
    bucket: String,
    options: Vec<(&'static str, String)>,
}

const HEADER: &str = "sensor_source,sensor_id,sensor_read_type,asset_description,upstream_key,preprocess_query,\
                      trigger_job_id,trigger_job_name,job_state,dependency_flag\n";

impl Server {
    fn s3(endpoint: &str, key: &str, secret: &str) -> Self {
        let options = vec![
            ("aws_endpoint", endpoint.to_owned()),
            ("aws_access_key_id", key.to_owned()),
            ("aws_secret_access_key", secret.to_owned()),
        ];
        Self { bucket: "s3://heartbeat".to_owned(), options }
    }

    /// S3 in memory, which takes any signature.
    fn moto() -> Option<Self> {
        Some(Self::s3(Servers::real()?.get("MOTO"), "any", "secret-of-any"))
    }

    /// S3 over files, which checks signatures.
    fn second() -> Option<Self> {
        let servers = Servers::real()?;
        Some(Self::s3(servers.get("S3B"), servers.get("S3B_ACCESS_KEY"), servers.get("S3B_SECRET_KEY")))
    }

    fn azurite() -> Option<Self> {
        let servers = Servers::real()?;
        let account = servers.get("AZURITE_ACCOUNT");
        let options = vec![
            ("azure_endpoint", format!("{}/{account}", servers.get("AZURITE"))),
            ("azure_storage_account_key", servers.get("AZURITE_KEY").to_owned()),
        ];
        Some(Self { bucket: format!("abfss://heartbeat@{account}.dfs.core.windows.net"), options })
    }

    /// Google's, whose stand-in is spoken to through `endpoint`.
    fn gcs(endpoint: &str) -> Self {
        let options =
            vec![("google_base_url", endpoint.to_owned()), ("google_skip_signature", "true".to_owned())];
        Self { bucket: "gs://heartbeat".to_owned(), options }
    }

    /// A warehouse that nobody else has.
    fn warehouse(&self) -> String {
        format!("{}/wh {}", self.bucket, Uuid::new_v4().simple())
    }

    fn stores(&self) -> TableStores {
        let pairs: Vec<_> = self.options.iter().map(|(name, value)| (*name, value.as_str())).collect();
        TableStores::new(options(&pairs))
    }

    /// The options as variables.
    fn environment(&self) -> impl Iterator<Item = (String, &str)> {
        self.options.iter().map(|(name, value)| (name.to_ascii_uppercase(), value.as_str()))
    }

    /// The bucket by a client of its own, where it is of S3.
    fn s3_client(&self) -> impl ObjectStore {
        let [endpoint, key, secret] = [0, 1, 2].map(|index| self.options[index].1.as_str());
        AmazonS3Builder::new()
            .with_bucket_name("heartbeat")
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_access_key_id(key)
            .with_secret_access_key(secret)
            .build()
            .unwrap()
    }
}

/// A user's folder whose tables lie on a store.
pub(super) struct Shop {
    server: Server,
    warehouse: String,
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(super) struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

const TABLES: [&str; 4] = ["--control-table", "db.control", "--sensor-table", "db.sensor"];
const CONTROL: [&str; 2] = ["--control-table", "db.control"];

impl Shop {
    fn new(server: Server) -> Self {
        let warehouse = server.warehouse();
        Self { server, warehouse, dir: tempfile::tempdir().unwrap() }
    }

    /// With empty tables.
    async fn open(server: Server) -> Self {
        let shop = Self::new(server);
        shop.good(&[&["init"], &TABLES[..]].concat()).await;
        shop
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// An ACON of trigger files in `triggers`.
    fn acon(&self, domain: &str) {
        let base = self.path().join("triggers");
        let text = format!(
            "sensor_source: trigger_file\ndata_format: cloudfiles\nheartbeat_sensor_db_table: db.control\n\
             lakehouse_engine_sensor_db_table: db.sensor\nbase_trigger_file_location: {}\ndomain: {domain}\n\
             token: secret\n",
            base.display()
        );
        self.write("files.yaml", &text);
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat"));
        command.current_dir(self.path()).env("HEARTBEAT_WAREHOUSE", &self.warehouse);
        command.envs(self.server.environment()).env_remove("HEARTBEAT_LOG");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Done {
        let output = self.command().args(arguments).output().await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    async fn good(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments).await;
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
        done.out
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let done = self.run(&[arguments, &["--output", "json"]].concat()).await;
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {done:?}"))
    }

    /// Feeds a row for each job, of a folder of its own: `f101` for job 101.
    async fn feed(&self, jobs: &[i64]) {
        self.write("feed.csv", &csv(jobs));
        for job in jobs {
            std::fs::create_dir_all(self.path().join(format!("triggers/f{job}"))).unwrap();
        }
        self.good(&[&["feed", "--csv", "feed.csv"], &CONTROL[..]].concat()).await;
    }

    fn table(&self, name: &str) -> String {
        format!("{}/db.db/{name}", self.warehouse)
    }

    async fn control(&self) -> Vec<ControlRow> {
        use heartbeat_core::table::Table as _;
        let place = self.server.stores().place(&self.table("control")).await.unwrap();
        place.table::<ControlRow>().unwrap().load().await.unwrap().rows
    }
}

fn csv(jobs: &[i64]) -> String {
    let rows =
        jobs.iter().map(|job| format!("trigger_file,f{job},streaming,a,,,{job},job {job},UNPAUSED,TRUE\n"));
    HEADER.to_owned() + &rows.collect::<String>()
}

fn sensor(id: &str, value: &str) -> SensorRow {
    SensorRow {
        sensor_id: Some(id.to_owned()),
        upstream_value: Some(value.to_owned()),
        ..SensorRow::default()
    }
}
