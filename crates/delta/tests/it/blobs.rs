//! Position files: those that no row names go, and none that a row is about to name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_core::table::Blobs as _;
use heartbeat_delta::Pruned;
use jiff::SignedDuration;

use crate::clock_store::ClockStore;

const HOUR: Duration = Duration::from_hours(1);

fn in_use(digests: &[&String]) -> BTreeSet<String> {
    digests.iter().map(|digest| (*digest).clone()).collect()
}

async fn prune(store: &Arc<ClockStore>, digests: &[&String]) -> Pruned {
    store.blobs().prune(&in_use(digests), HOUR, store.now()).await.unwrap()
}

#[tokio::test]
async fn what_no_row_names_is_set_aside_and_later_deleted() {
    let store = ClockStore::new();
    let blobs = store.blobs();
    let (kept, old) = (blobs.put(b"kept".to_vec()).await.unwrap(), blobs.put(b"old".to_vec()).await.unwrap());
    store.write("_heartbeat/positions/notes.txt", b"x".to_vec()).await;
    store.pass(SignedDuration::from_mins(59));
    assert_eq!(prune(&store, &[&kept]).await, Pruned::default(), "too young");
    store.pass(SignedDuration::from_mins(2));
    assert_eq!(prune(&store, &[&kept]).await, Pruned { set_aside: 1, ..Pruned::default() });
    assert_eq!(blobs.get(&old).await.unwrap().as_deref(), Some(&b"old"[..]), "found aside");
    store.pass(SignedDuration::from_mins(59));
    assert_eq!(prune(&store, &[&kept]).await, Pruned::default());
    store.pass(SignedDuration::from_mins(2));
    assert_eq!(prune(&store, &[&kept]).await, Pruned { deleted: 1, ..Pruned::default() });
    assert_eq!(blobs.get(&old).await.unwrap(), None);
    assert_eq!(blobs.get(&kept).await.unwrap().as_deref(), Some(&b"kept"[..]));
    assert!(store.names().await.contains(&"_heartbeat/positions/notes.txt".to_owned()));
}

/// Storing bytes that are there writes nothing; the file is taken for nobody's until the row is committed.
#[tokio::test]
async fn a_file_that_is_about_to_be_named_again_is_never_lost() {
    let store = ClockStore::new();
    let blobs = store.blobs();
    let digest = blobs.put(b"again".to_vec()).await.unwrap();
    store.pass(SignedDuration::from_hours(5));
    assert_eq!(blobs.put(b"again".to_vec()).await.unwrap(), digest);
    assert_eq!(prune(&store, &[]).await.set_aside, 1);
    assert_eq!(blobs.get(&digest).await.unwrap().as_deref(), Some(&b"again"[..]));
    // The row is there now.
    store.pass(SignedDuration::from_hours(5));
    assert_eq!(prune(&store, &[&digest]).await, Pruned { put_back: 1, ..Pruned::default() });
    assert_eq!(prune(&store, &[&digest]).await, Pruned::default());
    assert_eq!(blobs.get(&digest).await.unwrap().as_deref(), Some(&b"again"[..]));
}

/// The bytes are stored while the file is being set aside, just before it is deleted.
#[tokio::test]
async fn a_file_stored_while_it_is_set_aside_is_never_lost() {
    let store = ClockStore::new();
    let blobs = store.blobs();
    let digest = blobs.put(b"race".to_vec()).await.unwrap();
    store.pass(SignedDuration::from_hours(5));
    let writer = store.blobs();
    store.after_writing(&format!("table/_heartbeat/positions/unused/{digest}"), async move {
        writer.put(b"race".to_vec()).await.unwrap();
    });
    assert_eq!(prune(&store, &[]).await.set_aside, 1);
    assert_eq!(blobs.get(&digest).await.unwrap().as_deref(), Some(&b"race"[..]));
    store.pass(SignedDuration::from_mins(30));
    assert_eq!(prune(&store, &[&digest]).await.put_back, 1);
    assert_eq!(store.blobs().get(&digest).await.unwrap().as_deref(), Some(&b"race"[..]));
}
