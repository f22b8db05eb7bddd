//! Writers that race: of each version one wins, and nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use heartbeat_core::row::SensorRow;
use heartbeat_core::table::{Changes, Commit, Table as _};
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use rstest::rstest;
use serde_json::Value;

use super::proxy::{Manner, Proxy};
use super::{CONTROL, Server, Shop, sensor};
use crate::support::stores::Servers;

/// Adds a row, whoever else does; the versions that were lost on the way.
async fn add(table: &heartbeat_delta::DeltaTable<SensorRow>, id: &str) -> usize {
    let mut lost = 0;
    loop {
        let base = table.load().await.unwrap();
        let insert = Changes { insert: vec![sensor(id, "1")], ..Changes::default() };
        match table.commit(base, insert, "race").await.unwrap() {
            Commit::Done(_) => return lost,
            Commit::Conflict => lost += 1,
        }
    }
}

/// Writers with clients of their own.
#[rstest]
#[case::s3_in_memory(Server::moto())]
#[case::second_s3(Server::second())]
#[case::azure(Server::azurite())]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_commit_is_lost(#[case] server: Option<Server>) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 15;
    let Some(server) = server else { return };
    let server = Arc::new(server);
    let location = format!("{}/race", server.warehouse());
    server.stores().place(&location).await.unwrap().table::<SensorRow>().unwrap().init().await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let (server, location) = (Arc::clone(&server), location.clone());
        tokio::spawn(async move {
            let table = server.stores().place(&location).await.unwrap().table::<SensorRow>().unwrap();
            let mut lost = 0;
            for round in 0..ROUNDS {
                lost += add(&table, &format!("{writer}-{round}")).await;
            }
            lost
        })
    });
    let lost: usize = futures::future::join_all(writers).await.into_iter().map(Result::unwrap).sum();
    let end =
        server.stores().place(&location).await.unwrap().table::<SensorRow>().unwrap().load().await.unwrap();
    let ids: BTreeSet<_> = end.rows.iter().map(|row| row.sensor_id.clone().unwrap()).collect();
    assert_eq!((ids.len(), end.rows.len()), (WRITERS * ROUNDS, WRITERS * ROUNDS));
    assert_eq!(end.version as usize, WRITERS * ROUNDS, "a version for each commit, and no other");
    assert!(lost > 0, "nobody raced");
}

/// Processes: each pauses rows of its own while the other does.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_lose_nothing() {
    let Some(server) = Server::second() else { return };
    let shop = Shop::open(server).await;
    let jobs: Vec<i64> = (100..124).collect();
    shop.feed(&jobs).await;
    let pause = async |job: &i64| {
        let job = job.to_string();
        shop.good(&[&["pause", "--job-id", &job], &CONTROL[..]].concat()).await;
    };
    let (one, other) = jobs.split_at(jobs.len() / 2);
    for pair in one.iter().zip(other) {
        tokio::join!(pause(pair.0), pause(pair.1));
    }
    let rows = shop.control().await;
    assert_eq!(rows.len(), jobs.len());
    for row in &rows {
        assert_eq!(row.job_state.as_deref(), Some("PAUSED"), "{row:?}");
    }
    let entries = entries(&shop).await;
    let ids: BTreeSet<_> = entries.iter().collect();
    assert_eq!((entries.len(), ids.len()), (jobs.len() + 1, jobs.len() + 1), "{entries:?}");
}

/// The id of each commit behind the first.
async fn entries(shop: &Shop) -> Vec<String> {
    let log =
        Path::from(format!("{}/_delta_log", shop.table("control").trim_start_matches("s3://heartbeat/")));
    let client = shop.server.s3_client();
    let files: Vec<_> = client.list(Some(&log)).map(Result::unwrap).collect().await;
    let mut ids = Vec::new();
    for file in files.iter().filter(|file| file.location.extension() == Some("json")) {
        let text = client.get(&file.location).await.unwrap().bytes().await.unwrap();
        let first: Value = serde_json::from_slice(text.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
        ids.extend(first["commitInfo"]["txnId"].as_str().map(str::to_owned));
    }
    ids
}

/// S3 answers 409 to a conditional write while another write of the key is under way: nothing was written, nobody has won.
/// After an answer that was lost the client meets what it wrote itself.
#[rstest]
#[case::conflict_without_a_winner(Manner::Conflicting)]
#[case::lost_answer(Manner::Forgetting)]
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_made_once_whatever_is_answered(#[case] manner: Manner) {
    let Some(servers) = Servers::real() else { return };
    let plain = Server::s3(servers.get("MOTO"), "any", "any");
    let location = format!("{}/t", plain.warehouse());
    plain.stores().place(&location).await.unwrap().table::<SensorRow>().unwrap().init().await.unwrap();
    let proxy = Proxy::start(servers.get("MOTO"), manner).await;
    let stores = Server::s3(&proxy.url, "any", "any").stores();
    let table = stores.place(&location).await.unwrap().table::<SensorRow>().unwrap();
    assert_eq!(add(&table, "a").await, 0);
    let puts = proxy.take().iter().filter(|line| line.starts_with("PUT if absent")).count();
    assert_eq!(puts, 2);
    let end = table.load().await.unwrap();
    assert_eq!((end.version, end.rows.len()), (1, 1));
}
