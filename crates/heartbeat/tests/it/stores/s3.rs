//! S3 against moto, and against a gateway that checks signatures.

use heartbeat::stores::{Created, Fault, Listing, Start, Store};

use super::contract::{NO_PATHS, contract, create, many};
use crate::support::stores::{Lossy, Servers, fresh, open, soon};

async fn moto(url: &str, bucket: &str) -> Store {
    let options = [("aws_endpoint", url), ("aws_access_key_id", "key"), ("aws_secret_access_key", "secret")];
    open(&format!("s3://{bucket}/{}", fresh()), &options).await.unwrap()
}

#[tokio::test]
async fn s3_keeps_the_contract() {
    let Some(servers) = Servers::real() else { return };
    let store = moto(servers.get("MOTO"), "heartbeat").await;
    contract(&store, &[&NO_PATHS[..], &["a\\b"]].concat()).await;
    many(&store).await;
}

/// The gateway over files.
async fn gateway(servers: &Servers, secret: &str) -> Store {
    let options = [
        ("aws_endpoint", servers.get("S3B")),
        ("aws_access_key_id", servers.get("S3B_ACCESS_KEY")),
        ("aws_secret_access_key", secret),
        ("aws_region", "us-east-1"),
    ];
    open(&format!("s3://heartbeat/{}", fresh()), &options).await.unwrap()
}

#[tokio::test]
async fn s3_over_files_keeps_the_contract() {
    let Some(servers) = Servers::real() else { return };
    let store = gateway(&servers, servers.get("S3B_SECRET_KEY")).await;
    contract(&store, &[]).await;
    many(&store).await;
}

#[tokio::test]
async fn wrong_secret_of_s3_is_told_and_not_shown() {
    let Some(servers) = Servers::real() else { return };
    let store = gateway(&servers, "wrong-secret").await;
    let listing = Listing { prefix: "", start: Start::Beginning, limit: 10 };
    let error = store.list(&listing, soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Credentials(_)), "{error}");
    assert!(!format!("{error:?} {store:?}").contains("wrong-secret"));
}

#[tokio::test]
async fn creation_whose_answer_was_lost_is_known_for_ours_on_s3() {
    let Some(servers) = Servers::real() else { return };
    let lossy = Lossy::before(servers.get("MOTO"), "PUT").await;
    let store = moto(&lossy.url, "heartbeat").await;
    assert_eq!(create(&store, "x", b"ours").await, Created::Done);
    assert!(lossy.has_lost());
    assert_eq!(create(&store, "x", b"again").await, Created::Taken);
}

#[tokio::test]
async fn missing_bucket_of_s3_is_told() {
    let Some(servers) = Servers::real() else { return };
    let store = moto(servers.get("MOTO"), "no-such-bucket").await;
    let listing = Listing { prefix: "", start: Start::Beginning, limit: 10 };
    let error = store.list(&listing, soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Missing), "{error}");
    let error = store.read("x", soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Missing), "{error}");
}
