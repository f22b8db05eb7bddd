use std::time::Duration;

use bytes::Bytes;
use heartbeat::stores::Store;
use heartbeat_core::source::SourceError;

use super::watch::Watch;
use crate::support::faults::{Fault, Faults};
use crate::support::stores::{Servers, fresh, open, soon};

struct Scene {
    faults: Faults,
    store: Store,
    watch: Watch,
}

impl Scene {
    async fn new() -> Option<Self> {
        let servers = Servers::real()?;
        let faults = Faults::before(servers.get("MOTO")).await;
        let options = [("aws_access_key_id", "k"), ("aws_secret_access_key", "s")];
        let direct = [&options[..], &[("aws_endpoint", servers.get("MOTO"))]].concat();
        let through = [&options[..], &[("aws_endpoint", faults.url.as_str())]].concat();
        let location = format!("s3://heartbeat/{}", fresh());
        let store = open(&location, &direct).await.unwrap();
        let watch = Watch::over(&location, &through, &["a", "b"]);
        Some(Self { faults, store, watch })
    }

    async fn put(&self, path: &str) {
        self.store.create(path, Bytes::from_static(b"Success"), soon()).await.unwrap();
    }
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.put("a/1").await;
    scene.faults.next(&[Fault::SlowDown, Fault::Cut, Fault::SlowDown]);
    assert_eq!(scene.watch.news().await, ["a/1"]);
    assert_eq!(scene.faults.listings(), 4);
}

#[tokio::test]
async fn a_store_that_hangs_is_an_error_of_its_rows_within_the_deadline() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.put("a/1").await;
    scene.faults.always(Fault::Hang);
    let (news, errors) = scene.watch.look(Duration::from_millis(500)).await;
    assert!(news.is_empty());
    assert!(matches!(errors[..], [SourceError::Timeout { .. }, SourceError::Timeout { .. }]), "{errors:?}");
    scene.faults.always(Fault::None);
    assert_eq!(scene.watch.news().await, ["a/1"]);
}

/// Files that a listing leaves out look deleted, and come back with the next: no news.
#[tokio::test]
async fn files_that_a_listing_leaves_out_make_no_news_later() {
    let Some(mut scene) = Scene::new().await else { return };
    for number in 0..10 {
        scene.put(&format!("a/{number}")).await;
    }
    assert_eq!(scene.watch.news().await.len(), 10);
    scene.faults.next(&[Fault::LeaveOut]);
    assert_eq!(scene.watch.news().await, [""; 0]);
    scene.put("b/new").await;
    scene.watch.restart();
    assert_eq!(scene.watch.news().await, ["b/new"]);
    assert_eq!(scene.watch.news().await, [""; 0]);
}

#[tokio::test]
async fn a_listing_that_breaks_off_without_saying_where_to_go_on_is_not_believed() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.put("a/1").await;
    scene.faults.next(&[Fault::Truncated]);
    let (news, errors) = scene.watch.look(Duration::from_mins(1)).await;
    assert!(news.is_empty());
    assert!(errors.iter().all(|error| matches!(error, SourceError::Doubtful { .. })), "{errors:?}");
    assert_eq!(scene.watch.news().await, ["a/1"]);
}

#[tokio::test]
async fn credentials_that_expire_are_looked_for_again() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.put("a/1").await;
    scene.faults.next(&[Fault::Expired]);
    assert_eq!(scene.watch.news().await, ["a/1"]);
    scene.faults.next(&[Fault::Expired, Fault::Expired]);
    let (_, errors) = scene.watch.look(Duration::from_mins(1)).await;
    let told = format!("{:?}", errors[0]);
    assert!(told.contains("ExpiredToken"), "{told}");
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.faults.always(Fault::Denied);
    let (_, errors) = scene.watch.look(Duration::from_mins(1)).await;
    let told = errors[0].to_string();
    assert!(told.contains("s3:ListBucket on the bucket is needed (AccessDenied"), "{told}");
}

/// Two hours: each request would be refused for ever.
#[tokio::test]
async fn a_clock_that_is_wrong_is_set_right() {
    let Some(mut scene) = Scene::new().await else { return };
    scene.put("a/1").await;
    scene.faults.set_ahead(7200);
    assert_eq!(scene.watch.news().await, ["a/1"]);
    assert_eq!(scene.watch.news().await, [""; 0]);
    assert_eq!(scene.faults.listings(), 2, "once it is known it is used at once");
}
