use bytes::Bytes;
use futures::{StreamExt as _, stream};
use heartbeat::stores::{Created, Store};

use super::watch::Watch;
use crate::support::stores::{Servers, fresh, open, soon};

async fn put(store: &Store, path: &str) {
    let created = store.create(path, Bytes::from_static(b"Success"), soon()).await.unwrap();
    assert_eq!(created, Created::Done, "{path}");
}

/// What counts, and that each counts once, whatever the store.
async fn finds(location: &str, options: &[(&str, &str)], keeps_markers: bool) {
    let location = &format!("{location}/{}", fresh());
    let store = open(location, options).await.unwrap();
    let folders = ["a", "a-b", "odd name+%é", "z.z"];
    for folder in folders {
        put(&store, &format!("{folder}/{folder}_20260102_000000.txt")).await;
    }
    put(&store, "foreign/x.txt").await;
    let mut watch = Watch::over(location, options, &folders);
    let first = watch.news().await;
    assert_eq!(first.len(), 4, "{first:?}");
    assert_eq!(watch.news().await, [""; 0]);

    put(&store, "a/a_20260103_000000.txt").await;
    put(&store, "a/a_20250101_000000.txt").await;
    put(&store, "a-b/2026/deep/late.csv").await;
    put(&store, "odd name+%é/odd #name?.txt").await;
    for path in ["a/_SUCCESS", "a/.hidden", "a/b.tmp", "z.z/_temporary/0/part", "az/x", "foreign/y"] {
        put(&store, path).await;
    }
    if keeps_markers {
        put(&store, "a/sub/").await;
    }
    let expected = [
        "a-b/2026/deep/late.csv",
        "a/a_20250101_000000.txt",
        "a/a_20260103_000000.txt",
        "odd name+%é/odd #name?.txt",
    ];
    assert_eq!(watch.news().await, expected);
    assert_eq!(watch.news().await, [""; 0]);

    // Overwritten, or deleted and made again: the path is not new.
    store.delete("a/a_20260103_000000.txt", soon()).await.unwrap();
    watch.restart();
    assert_eq!(watch.news().await, [""; 0]);
    put(&store, "a/a_20260103_000000.txt").await;
    assert_eq!(watch.news().await, [""; 0]);
    // An empty file is news.
    store.create("z.z/empty", Bytes::new(), soon()).await.unwrap();
    assert_eq!(watch.news().await, ["z.z/empty"]);
}

/// A folder with more files than its row holds.
async fn finds_among_many(location: &str, options: &[(&str, &str)]) {
    let location = &format!("{location}/{}", fresh());
    let store = open(location, options).await.unwrap();
    let paths = (0..700).map(|number| {
        format!("many/many_20260102_{:02}{:02}{:02}.txt", number / 3600, number / 60 % 60, number % 60)
    });
    let paths: Vec<String> = paths.collect();
    let puts: Vec<_> = paths.iter().map(|path| put(&store, path)).collect();
    stream::iter(puts).buffer_unordered(16).collect::<Vec<()>>().await;
    let mut watch = Watch::over(location, options, &["many"]);
    let mut news = Vec::new();
    while news.is_empty() {
        news = watch.news().await;
    }
    assert_eq!(news.len(), 700);
    watch.news().await;
    put(&store, "many/many_20260103_000000.txt").await;
    assert_eq!(watch.news().await, ["many/many_20260103_000000.txt"]);
    put(&store, "many/an older one").await;
    // A full listing finds it, the first of which begins at once after a restart.
    watch.restart();
    assert_eq!(watch.news().await, ["many/an older one"]);
    assert_eq!(watch.news().await, [""; 0]);
}

#[tokio::test]
async fn on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let location = dir.path().to_str().unwrap();
    finds(location, &[], false).await;
    finds_among_many(location, &[]).await;
}

#[tokio::test]
async fn on_s3() {
    let Some(servers) = Servers::real() else { return };
    let options =
        [("aws_endpoint", servers.get("MOTO")), ("aws_access_key_id", "k"), ("aws_secret_access_key", "s")];
    finds("s3://heartbeat", &options, true).await;
    finds_among_many("s3a://heartbeat", &options).await;
}

#[tokio::test]
async fn on_an_s3_that_seeks() {
    let Some(servers) = Servers::real() else { return };
    let options =
        [("aws_endpoint", servers.get("S3C")), ("aws_access_key_id", "k"), ("aws_secret_access_key", "s")];
    finds("s3://heartbeat", &options, true).await;
    finds_among_many("s3://heartbeat", &options).await;
}

#[tokio::test]
async fn on_an_s3_that_checks_signatures() {
    let Some(servers) = Servers::real() else { return };
    let options = [
        ("aws_endpoint", servers.get("S3B")),
        ("aws_access_key_id", servers.get("S3B_ACCESS_KEY")),
        ("aws_secret_access_key", servers.get("S3B_SECRET_KEY")),
    ];
    finds("s3://heartbeat", &options, false).await;
    finds_among_many("s3://heartbeat", &options).await;
}

#[tokio::test]
async fn on_azure() {
    let Some(servers) = Servers::real() else { return };
    let endpoint = format!("{}/{}", servers.get("AZURITE"), servers.get("AZURITE_ACCOUNT"));
    let options = [
        ("azure_endpoint", endpoint.as_str()),
        ("azure_storage_account_name", servers.get("AZURITE_ACCOUNT")),
        ("azure_storage_account_key", servers.get("AZURITE_KEY")),
    ];
    finds("az://heartbeat", &options, true).await;
    finds_among_many("az://heartbeat", &options).await;
}

#[tokio::test]
async fn on_google_cloud_storage() {
    let Some(servers) = Servers::real() else { return };
    let options = [("google_base_url", servers.get("GCS")), ("google_skip_signature", "true")];
    finds("gs://heartbeat", &options, true).await;
    finds_among_many("gs://heartbeat", &options).await;
}
