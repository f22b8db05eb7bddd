//! This machine's files.

use super::contract::{contract, many};
use crate::support::stores::open;

#[tokio::test]
async fn local_files_keep_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().display().to_string(), &[]).await.unwrap();
    contract(&store, &["a\\b"]).await;
    many(&store).await;
}
