//! Google Cloud Storage against fake-gcs-server, which asks for no token.

use heartbeat::stores::{Created, Fault, Listing, Start, Store};

use super::contract::{NO_PATHS, contract, create, many};
use crate::support::stores::{Lossy, Servers, fresh, open, soon};

async fn fake(url: &str, bucket: &str) -> Store {
    let options = [("google_base_url", url), ("google_skip_signature", "true")];
    open(&format!("gs://{bucket}/{}", fresh()), &options).await.unwrap()
}

#[tokio::test]
async fn gcs_keeps_the_contract() {
    let Some(servers) = Servers::real() else { return };
    let store = fake(servers.get("GCS"), "heartbeat").await;
    contract(&store, &[&NO_PATHS[..], &["a\\b"]].concat()).await;
    many(&store).await;
}

#[tokio::test]
async fn creation_whose_answer_was_lost_is_known_for_ours_on_gcs() {
    let Some(servers) = Servers::real() else { return };
    let lossy = Lossy::before(servers.get("GCS"), "POST").await;
    let store = fake(&lossy.url, "heartbeat").await;
    assert_eq!(create(&store, "x", b"ours").await, Created::Done);
    assert!(lossy.has_lost());
    assert_eq!(create(&store, "x", b"again").await, Created::Taken);
}

#[tokio::test]
async fn missing_bucket_of_gcs_is_told() {
    let Some(servers) = Servers::real() else { return };
    let store = fake(servers.get("GCS"), "no-such-bucket").await;
    let listing = Listing { prefix: "", start: Start::Beginning, limit: 10 };
    let error = store.list(&listing, soon()).await.unwrap_err();
    assert!(matches!(error.fault, Fault::Missing), "{error}");
}
