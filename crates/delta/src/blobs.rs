//! Values too large for a cell: files beside the sensor table, each named by the digest of its bytes.

use bytes::Bytes;
use heartbeat_core::claim::hex;
use heartbeat_core::table::Blobs;
use object_store::path::Path;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::error::Error;
use crate::location::Location;

/// The files under `<table>/_heartbeat/positions`. Delta leaves names with a leading underscore alone, so
/// vacuum never removes them.
#[derive(Debug, Clone)]
pub struct DeltaBlobs {
    location: Location,
}

impl DeltaBlobs {
    /// The files beside the table at `url`; nothing is read or written yet.
    pub fn new(url: &Url) -> Result<Self, Error> {
        Ok(Self { location: Location::new(url)? })
    }
}

impl Blobs for DeltaBlobs {
    type Error = Error;

    async fn put(&self, bytes: Vec<u8>) -> Result<String, Error> {
        let digest = digest(&bytes);
        let (path, bytes) = (path(&digest), Bytes::from(bytes));
        if !self.location.put_if_absent(&path, bytes.clone()).await? {
            let stored = self.location.get(&path).await?;
            if stored.as_ref() != Some(&bytes) {
                // Its name is the digest of other bytes than it holds: nobody can use it as it is.
                self.location.put(&path, bytes).await?;
            }
        }
        Ok(digest)
    }

    async fn get(&self, wanted: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = path(wanted);
        let Some(bytes) = self.location.get(&path).await? else { return Ok(None) };
        if digest(&bytes) != wanted {
            return Err(Error::Digest { path: self.location.file(&path) });
        }
        Ok(Some(bytes.into()))
    }
}

fn path(digest: &str) -> Path {
    ["_heartbeat", "positions", digest].into_iter().collect()
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
