//! Whole files of any store, for the CSV of a feed.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use heartbeat_core::location::Location;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _};

use super::super::dbfs::Dbfs;
use super::super::error::{Fault, StoreError};
use super::super::files_api::FilesApi;
use super::bucket::words;
use super::probe::{Right, need};
use super::{TableStores, split};

/// A CSV of so many bytes has a hundred thousand rows and more.
const LONGEST: usize = 32 << 20;

const PATIENCE: Duration = Duration::from_mins(1);

impl TableStores {
    /// A whole file of a store.
    pub(crate) async fn file(&self, location: &str) -> Result<Bytes, StoreError> {
        let what = || format!("file `{location}`");
        let place = Location::parse(location);
        let place = place.map_err(|problem| Fault::Misconfigured(problem.to_string()).of(what()))?;
        let local = match &place {
            // Where Databricks mounts them.
            Location::Volume(path) => Some(PathBuf::from(path)).filter(|path| path.is_file()),
            Location::Dbfs(path) => {
                Some(format!("/dbfs{path}").into()).filter(|path: &PathBuf| path.is_file())
            }
            _ => None,
        };
        if let Some(path) = local {
            let read = tokio::fs::read(&path).await.map(Bytes::from);
            return read.map_err(|error| match error.kind() {
                ErrorKind::NotFound => Fault::Missing.of(what()),
                _ => Fault::Unreachable { told: error.to_string(), cause: None }.of(what()),
            });
        }
        match parent(&place) {
            Some((folder, name)) => self.of_workspace(&folder, name).await,
            None => self.of_bucket(location).await.map_err(|fault| fault.of(what())),
        }
    }

    async fn of_bucket(&self, location: &str) -> Result<Bytes, Fault> {
        let (Some(bucket), Some(key)) = split(location)? else { return Err(Fault::Missing) };
        let key = Path::parse(&key).map_err(|error| Fault::Misconfigured(error.to_string()))?;
        let store = self.bucket(&bucket).await?;
        let failed = |error: Error| match error {
            Error::NotFound { .. } => Fault::Missing,
            Error::Unauthenticated { .. } => Fault::Credentials(words(&error)),
            Error::PermissionDenied { .. } => {
                Fault::Forbidden { need: need(&bucket, Right::Read).to_owned(), told: words(&error) }
            }
            error => Fault::Unreachable { told: words(&error), cause: None },
        };
        let found = store.get(&key).await.map_err(failed)?;
        if found.meta.size > LONGEST as u64 {
            return Err(too_long());
        }
        found.bytes().await.map_err(failed)
    }

    async fn of_workspace(&self, folder: &Location, name: &str) -> Result<Bytes, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let what = || format!("file `{}`", folder.join(name));
        let read = match folder {
            Location::Volume(path) => {
                FilesApi::open(path, &self.secrets).await?.whole(name, deadline).await?
            }
            Location::Dbfs(path) => {
                Dbfs::open(path, &self.secrets).await?.whole(name, LONGEST, deadline).await?
            }
            _ => None,
        };
        let bytes = read.ok_or_else(|| Fault::Missing.of(what()))?;
        // Half a CSV would delete the rows of the other half.
        if bytes.len() > LONGEST { Err(too_long().of(what())) } else { Ok(bytes) }
    }
}

fn too_long() -> Fault {
    Fault::Misconfigured(format!("is longer than {} MiB", LONGEST >> 20))
}

/// Folder and name of a file that the workspace has.
fn parent(file: &Location) -> Option<(Location, &str)> {
    match file {
        Location::Volume(path) => {
            path.rsplit_once('/').map(|(folder, name)| (Location::Volume(folder.to_owned()), name))
        }
        Location::Dbfs(path) => {
            path.rsplit_once('/').map(|(folder, name)| (Location::Dbfs(folder.to_owned()), name))
        }
        _ => None,
    }
}
