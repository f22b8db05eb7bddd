//! `validate --connect` says what keeps tables from working on a store.

use heartbeat::jobs_api::{StandIn, StandInConfig};
use rstest::rstest;

use super::proxy::{Kind, Manner, Proxy};
use super::{Server, Shop};
use crate::support::stores::Servers;

/// What is told of tables that are spoken to through a proxy.
async fn told(manner: Manner) -> Option<(Proxy, serde_json::Value)> {
    let servers = Servers::real()?;
    let workspace = StandIn::start(StandInConfig::default()).await.unwrap();
    let mut shop = Shop::open(Server::s3(servers.get("MOTO"), "any", "secret-of-any")).await;
    shop.acon(&workspace.url());
    std::fs::create_dir(shop.path().join("triggers")).unwrap();
    let proxy = Proxy::start(servers.get("MOTO"), manner).await;
    shop.server = Server::s3(&proxy.url, "any", "secret-of-any");
    let told = shop.json(&["validate", "--connect", "--acon", "files.yaml"]).await;
    Some((proxy, told))
}

#[rstest]
#[case(
    Kind::List,
    "no right to list: s3:ListBucket on the bucket is needed (AccessDenied: Access Denied by policy)"
)]
#[case(Kind::Write, "no right to write: s3:PutObject is needed (AccessDenied: Access Denied by policy)")]
#[case(Kind::Read, "no right to read: s3:GetObject is needed (AccessDenied: Access Denied by policy)")]
#[case(Kind::Delete, "no right to delete: s3:DeleteObject is needed")]
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named(#[case] kind: Kind, #[case] expected: &str) {
    let Some((_proxy, told)) = told(Manner::Refusing(kind)).await else { return };
    let errors = told["files"][0]["errors"].as_array().unwrap();
    let of_control: Vec<_> =
        errors.iter().filter(|error| error["path"] == "heartbeat_sensor_db_table").collect();
    assert_eq!(of_control.len(), 1, "{told}");
    let problem = of_control[0]["problem"].as_str().unwrap();
    assert!(problem.contains(expected) && problem.contains("/db.db/control`"), "{problem}");
    assert!(errors.iter().any(|error| error["path"] == "lakehouse_engine_sensor_db_table"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_is_refused() {
    let Some((_proxy, told)) = told(Manner::Overwriting).await else { return };
    let problem = told["files"][0]["errors"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("this store overwrites"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_leaves_nothing() {
    let Some((proxy, told)) = told(Manner::Plain).await else { return };
    assert_eq!(
        (&told["valid"], &told["files"][0]["warnings"]),
        (&true.into(), &serde_json::json!([])),
        "{told}"
    );
    let seen = proxy.take();
    let probes =
        seen.iter().filter(|line| line.starts_with("PUT if absent") && line.contains("/_heartbeat/probe-"));
    assert_eq!(probes.count(), 6, "two for each table and the journal: {seen:?}");
    assert_eq!(seen.iter().filter(|line| line.contains("?delete")).count(), 3, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_nobody_answers_for_is_told_in_few_words() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shop = Shop::new(Server::s3(&format!("http://127.0.0.1:{port}"), "any", "any"));
    let done = shop.run(&["status", "--control-table", "db.c"]).await;
    let error = done.err.lines().find(|line| line.starts_with("error: ")).unwrap();
    assert!(error.starts_with("error: could not list `s3://heartbeat/wh "), "{done:?}");
    assert!(error.contains("/db.db/c`: Connection refused"), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_and_not_shown() {
    let Some(servers) = Servers::real() else { return };
    let shop = Shop::new(Server::s3(servers.get("S3B"), servers.get("S3B_ACCESS_KEY"), "a-wrong-secret"));
    let done = shop.run(&["init", "--control-table", "db.c", "--sensor-table", "db.s"]).await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(done.err.contains("the credentials are not accepted: SignatureDoesNotMatch"), "{done:?}");
    assert!(!done.err.contains("a-wrong-secret") && !done.err.contains("no right"), "{done:?}");
    let csv = format!("{}/feed.csv", shop.warehouse);
    let done = shop.run(&["feed", "--control-table", "db.c", "--csv", &csv]).await;
    assert!(done.err.contains("the credentials are not accepted (SignatureDoesNotMatch"), "{done:?}");
    let workspace = StandIn::start(StandInConfig::default()).await.unwrap();
    shop.acon(&workspace.url());
    std::fs::create_dir(shop.path().join("triggers")).unwrap();
    let told = shop.json(&["validate", "--connect", "--acon", "files.yaml"]).await;
    let problem = told["files"][0]["errors"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("the credentials are not accepted (SignatureDoesNotMatch"), "{told}");
}
