//! Values too large for a cell: files beside the sensor table, each named by the digest of its bytes.
//!
//! A file that no row names is not deleted but set aside, and deleted when it has lain aside for `min_age`.
//! For a writer may store bytes whose file is there already, which writes nothing, and name them in a row a
//! little later; meanwhile the file looks like nobody's. Wherever the two meet, the row is there within
//! `min_age`, until then the file is found aside, and the next run that sees the row puts it back.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use heartbeat_core::claim::hex;
use heartbeat_core::table::Blobs;
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
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

/// What [`DeltaBlobs::prune`] did, in files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Named by no row: set aside.
    pub set_aside: usize,
    /// Set aside long ago: deleted.
    pub deleted: usize,
    /// Set aside, and named by a row since: put back.
    pub put_back: usize,
}

impl DeltaBlobs {
    /// The files beside the table at `url`; nothing is read or written yet.
    pub fn new(url: &Url) -> Result<Self, Error> {
        Ok(Self { location: Location::new(url)? })
    }

    /// The files beside the table at `url` in a given storage, whose root is that of the URL.
    pub fn with_store(url: &Url, store: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        Ok(Self { location: Location::with_store(url, store)? })
    }

    /// Clears away files that no row names. `in_use` are the digests that the table's newest version names,
    /// read just before; `min_age` is longer than any writer takes from [`Blobs::put`] to its commit (an hour
    /// is plenty). One listing; any number of processes may do this at once.
    pub async fn prune(
        &self,
        in_use: &BTreeSet<String>,
        min_age: Duration,
        now: Timestamp,
    ) -> Result<Pruned, Error> {
        let listing = self.location.list(Some(&directory())).await?;
        let files: Vec<(Place, &str, &ObjectMeta)> = listing
            .iter()
            .filter_map(|meta| place(&meta.location).map(|(at, digest)| (at, digest, meta)))
            .collect();
        let present: HashSet<&str> =
            files.iter().filter(|(at, ..)| *at == Place::Present).map(|(_, digest, _)| *digest).collect();
        let cut = now.checked_sub(min_age).unwrap_or(Timestamp::MIN).as_millisecond();
        let mut done = Pruned::default();
        for (at, digest, meta) in files {
            let is_old = meta.last_modified.timestamp_millis() <= cut;
            match (at, in_use.contains(digest)) {
                (Place::Present, false) if is_old => {
                    self.transfer(&path(digest), &aside(digest)).await?;
                    self.location.delete(&path(digest)).await?;
                    done.set_aside += 1;
                }
                (Place::Aside, true) if !present.contains(digest) => {
                    self.transfer(&aside(digest), &path(digest)).await?;
                    done.put_back += 1;
                }
                (Place::Aside, false) if is_old => {
                    self.location.delete(&aside(digest)).await?;
                    done.deleted += 1;
                }
                _ => {}
            }
        }
        Ok(done)
    }

    /// Writes the bytes of one file to another, as if they were new: a copy may keep the old time.
    async fn transfer(&self, from: &Path, to: &Path) -> Result<(), Error> {
        match self.location.get(from).await? {
            Some(bytes) => self.location.put(to, bytes).await,
            None => Ok(()),
        }
    }
}

/// Where a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Present,
    Aside,
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
        // Looked for a second time where it belongs: it may just have been put back.
        for path in [path(wanted), aside(wanted), path(wanted)] {
            let Some(bytes) = self.location.get(&path).await? else { continue };
            if digest(&bytes) != wanted {
                return Err(Error::Digest { path: self.location.file(&path) });
            }
            return Ok(Some(bytes.into()));
        }
        Ok(None)
    }
}

fn directory() -> Path {
    ["_heartbeat", "positions"].into_iter().collect()
}

fn path(digest: &str) -> Path {
    ["_heartbeat", "positions", digest].into_iter().collect()
}

fn aside(digest: &str) -> Path {
    ["_heartbeat", "positions", "unused", digest].into_iter().collect()
}

/// What a path says; `None` for files that are not ours.
fn place(path: &Path) -> Option<(Place, &str)> {
    let below = path.as_ref().strip_prefix("_heartbeat/positions/")?;
    let (at, digest) = match below.strip_prefix("unused/") {
        Some(digest) => (Place::Aside, digest),
        None => (Place::Present, below),
    };
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then_some((at, digest))
}

fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
