//! The whole life of a job over tables on each store.

use heartbeat::jobs_api::{FilesConfig, StandIn, StandInConfig};
use heartbeat_core::conformance::all;
use heartbeat_core::row::{ControlRow, SensorRow};
use heartbeat_core::table::{Changes, Commit, Table as _};
use heartbeat_delta::{DeltaRecord, DeltaTable};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use rstest::rstest;
use serde_json::Value;
use uuid::Uuid;

use super::proxy::{Manner, Proxy};
use super::{CONTROL, Server, Shop, TABLES, csv, sensor};
use crate::support::stores::Servers;

async fn life(server: Server) {
    let workspace = StandIn::start(StandInConfig::parse("jobs: {'101': {}, '102': {}}", "jobs").unwrap());
    let workspace = workspace.await.unwrap();
    let shop = Shop::new(server);
    let tables = |command: &'static str| [&[command], &TABLES[..]].concat();
    let made = shop.json(&tables("init")).await;
    assert_eq!(made["control_table"]["created"], true, "{made}");
    assert_eq!(made["control_table"]["url"], format!("{}/", shop.table("control")), "{made}");
    assert_eq!(shop.json(&tables("init")).await["sensor_table"]["created"], false);
    assert_eq!(std::fs::read_dir(shop.path()).unwrap().count(), 0, "init wrote to this machine");
    shop.feed(&[101, 102]).await;
    shop.acon(&workspace.url());
    let told = shop.json(&["validate", "--connect", "--acon", "files.yaml"]).await;
    assert_eq!(told["valid"], true, "{told}");

    let acon = ["--acon", "files.yaml"];
    let looked =
        |told: &Value| told["looked_at"].as_array().unwrap().iter().filter(|row| row["news"] == true).count();
    assert_eq!(looked(&shop.json(&[&["check"], &acon[..]].concat()).await), 0);
    shop.write("triggers/f101/one.txt", "Success");
    assert_eq!(looked(&shop.json(&[&["check"], &acon[..]].concat()).await), 1);
    let started = shop.json(&[&["trigger"], &acon[..]].concat()).await;
    assert_eq!(started["started"][0]["job_id"], "101", "{started}");
    assert_eq!(workspace.run_now_calls().len(), 1);
    let run = started["started"][0]["run_id"].to_string();
    let completed = ["complete", "--job-id", "101", "--run-id", &run];
    let completed = shop.json(&[&completed[..], &TABLES[..]].concat()).await;
    assert_eq!(completed["outcome"], "completed", "{completed}");
    shop.good(&[&["pause", "--job-id", "102"], &CONTROL[..]].concat()).await;

    let status = shop.json(&tables("status")).await;
    let row = |job: &str| {
        let rows = status["rows"].as_array().unwrap();
        rows.iter().find(|row| row["trigger_job_id"] == job).unwrap().clone()
    };
    assert_eq!(row("101")["status"], "COMPLETED", "{status}");
    assert_eq!(row("102")["job_state"], "PAUSED", "{status}");
    shop.good(&[&["resume", "--job-id", "102"], &CONTROL[..]].concat()).await;
    let why = shop.json(&[&["why", "101"], &TABLES[..]].concat()).await;
    assert_eq!(why["job_id"], "101", "{why}");
    let history = shop.json(&[&["history"], &CONTROL[..]].concat()).await;
    let events: Vec<_> =
        history["entries"].as_array().unwrap().iter().map(|entry| entry["event"].as_str().unwrap()).collect();
    for event in ["fed", "detected", "started", "completed", "paused", "resumed"] {
        assert!(events.contains(&event), "{event}: {events:?}");
    }
    // A run that is over leaves nothing to release.
    assert_eq!(shop.run(&[&["retrigger", "101"], &TABLES[..]].concat()).await.code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_s3_in_memory() {
    let Some(server) = Server::moto() else { return };
    life(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_second_s3() {
    let Some(server) = Server::second() else { return };
    life(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_azure() {
    let Some(server) = Server::azurite() else { return };
    life(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_google() {
    let Some(servers) = Servers::real() else { return };
    let proxy = Proxy::start(servers.get("GCS"), Manner::Google).await;
    life(Server::gcs(&proxy.url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_is_read_from_a_store() {
    let Some(server) = Server::moto() else { return };
    let shop = Shop::open(server).await;
    let name = format!("feeds {}/rows.csv", Uuid::new_v4().simple());
    let many: Vec<i64> = (1..=2_000).collect();
    let text = csv(&many);
    assert!(text.len() > 64 << 10);
    shop.server.s3_client().put(&Path::from(name.as_str()), text.into()).await.unwrap();
    let fed =
        shop.json(&[&["feed", "--csv", &format!("s3a://heartbeat/{name}")], &CONTROL[..]].concat()).await;
    assert_eq!(fed["inserted"].as_array().unwrap().len(), 2_000);
    let missing = shop.run(&[&["feed", "--csv", "s3://heartbeat/none.csv"], &CONTROL[..]].concat()).await;
    assert!(missing.err.contains("file `s3://heartbeat/none.csv`: does not exist"), "{missing:?}");
}

#[rstest]
#[case::volume("Volumes/c/s/v/rows.csv", "/Volumes/c/s/v/rows.csv")]
#[case::dbfs("dbfs/feeds/rows.csv", "dbfs:/feeds/rows.csv")]
#[tokio::test(flavor = "multi_thread")]
async fn a_csv_is_read_from_a_workspace(#[case] file: &str, #[case] location: &str) {
    let served = tempfile::tempdir().unwrap();
    let many: Vec<i64> = (1..=30_000).collect();
    let path = served.path().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, csv(&many)).unwrap();
    assert!(path.metadata().unwrap().len() > 1_000_000);
    let files = Some(FilesConfig::of(served.path()));
    let workspace = StandIn::start(StandInConfig { files, ..StandInConfig::default() }).await.unwrap();
    let project = crate::support::project::Project::new();
    let feed = |location: &str| {
        project.run_with(
            &["feed", "--csv", location, "--output", "json", "--control-table", "db.control"],
            |command| {
                command.env("DATABRICKS_HOST", workspace.url()).env("DATABRICKS_TOKEN", "any");
            },
        )
    };
    let fed = feed(location);
    assert_eq!(fed.code, Some(0), "{fed:?}");
    let told: Value = serde_json::from_str(&fed.out).unwrap();
    assert_eq!(told["inserted"].as_array().unwrap().len(), 30_000);
    let missing = feed(&location.replace("rows", "none"));
    assert!(missing.err.contains("does not exist"), "{missing:?}");
}

/// Tables may be named by URLs, of which each place has several.
#[tokio::test(flavor = "multi_thread")]
async fn tables_are_named_by_urls() {
    let Some(server) = Server::moto() else { return };
    let shop = Shop::open(server).await;
    shop.feed(&[101]).await;
    let url = shop.table("control").replace("s3://", "s3a://") + "/";
    let status = shop.json(&["status", "--control-table", &url]).await;
    assert_eq!(status["rows"].as_array().unwrap().len(), 1, "{status}");
    let same = shop.table("control");
    let twice = shop.run(&["init", "--control-table", &url, "--sensor-table", &same]).await;
    assert!(twice.err.contains("names the control table"), "{twice:?}");
}

async fn conform<R: DeltaRecord + heartbeat_core::table::Record>(server: &Server, rows: [R; 3]) {
    let stores = server.stores();
    let warehouse = server.warehouse();
    let make = async |rows: Vec<R>| -> DeltaTable<R> {
        let location = format!("{warehouse}/{}", Uuid::new_v4().simple());
        let table = stores.place(&location).await.unwrap().table::<R>().unwrap();
        table.init().await.unwrap();
        let base = table.load().await.unwrap();
        let insert = Changes { insert: rows, ..Changes::default() };
        assert!(matches!(table.commit(base, insert, "test").await.unwrap(), Commit::Done(_)));
        table
    };
    all(make, rows).await;
}

#[rstest]
#[case::s3_in_memory(Server::moto())]
#[case::second_s3(Server::second())]
#[case::azure(Server::azurite())]
#[tokio::test(flavor = "multi_thread")]
async fn tables_conform(#[case] server: Option<Server>) {
    let Some(server) = server else { return };
    conform(&server, ["a", "b", "c"].map(|id| sensor(id, "1"))).await;
    let control = |id: &str| ControlRow { sensor_id: Some(id.to_owned()), ..ControlRow::default() };
    conform(&server, ["a", "b", "c"].map(control)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_conforms() {
    let Some(servers) = Servers::real() else { return };
    let proxy = Proxy::start(servers.get("GCS"), Manner::Google).await;
    conform::<SensorRow>(&Server::gcs(&proxy.url), ["a", "b", "c"].map(|id| sensor(id, "1"))).await;
}
