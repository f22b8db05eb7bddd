//! Google Cloud Storage.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use heartbeat_core::acon::StorageOptions;

use super::error::{Fault, StoreError};
use super::http::TrafficCount;
use super::{Created, Listing, Page};
use crate::secrets::Secrets;

/// A folder there.
#[derive(Debug)]
pub struct Gcs;

#[expect(clippy::unused_async, clippy::unused_self, reason = "being built")]
impl Gcs {
    pub(super) async fn open(
        _: &str,
        _: &str,
        _: &StorageOptions,
        _: &Arc<Secrets>,
    ) -> Result<Self, StoreError> {
        Err(missing())
    }

    pub(super) fn url(&self, path: &str) -> String {
        path.to_owned()
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        TrafficCount::default()
    }

    pub(super) async fn list(&self, _: &Listing<'_>, _: Instant) -> Result<Page, StoreError> {
        Err(missing())
    }

    pub(super) async fn create(&self, _: &str, _: Bytes, _: Instant) -> Result<Created, StoreError> {
        Err(missing())
    }

    pub(super) async fn read(&self, _: &str, _: Instant) -> Result<Option<Bytes>, StoreError> {
        Err(missing())
    }

    pub(super) async fn delete(&self, _: &str, _: Instant) -> Result<(), StoreError> {
        Err(missing())
    }
}

fn missing() -> StoreError {
    Fault::Misconfigured("not served yet".to_owned()).of("store")
}
