//! Where tables lie: this machine, S3, Azure, Google Cloud Storage.
//!
//! Tables need what trigger files do not: a log entry that is created only if it is absent, whoever else tries. On stores
//! they lie on `object_store`, which the Delta kernel reads through as well. There is one client per bucket and process,
//! whatever number of tables lies in it, and it has the credentials that trigger files would have: `object_store` knows neither
//! profiles nor who has logged in with a command.

mod azure;
mod bucket;
mod csv;
mod gcs;
mod probe;
mod s3;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_core::acon::StorageOptions;
use heartbeat_core::location::Location;
use heartbeat_core::table_name::problem_of_table_at;
use heartbeat_delta::{DeltaBlobs, DeltaJournal, DeltaRecord, DeltaTable, Error};
use object_store::{BackoffConfig, ClientOptions, HeaderValue, ObjectStore, RetryConfig};
use tokio::sync::Mutex;
use url::Url;

use self::bucket::Bucket;
pub(crate) use self::probe::Problem;
use super::error::{Fault, StoreError};
use super::options::Set;
use super::xml::encoded_path;
use crate::paths;
use crate::secrets::Secrets;

/// One request may take this long, and one connection.
const REQUEST: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(5);

/// Opens tables wherever they lie.
#[derive(Debug, Default)]
pub struct TableStores {
    options: StorageOptions,
    secrets: Arc<Secrets>,
    /// By bucket.
    open: Mutex<BTreeMap<String, Arc<dyn ObjectStore>>>,
}

/// A table's folder. Nothing was asked yet.
#[derive(Debug, Clone)]
pub struct Place {
    url: Url,
    shown: String,
    /// The bucket; `None`: this machine.
    bucket: Option<(Location, Arc<dyn ObjectStore>)>,
}

impl TableStores {
    /// Stores are reached as the options say, and the environment where they say nothing. Secrets are those of this
    /// machine: no workspace is known here.
    pub fn new(options: StorageOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// The folder behind a path or URL. Secrets are read, nothing is asked yet.
    pub async fn place(&self, location: &str) -> Result<Place, StoreError> {
        let what = || format!("table `{location}`");
        if let Some(problem) = problem_of_table_at(location) {
            return Err(Fault::Misconfigured(problem).of(what()));
        }
        let (place, folder) = split(location).map_err(|fault| fault.of(what()))?;
        let Some((bucket, folder)) = place.zip(folder) else {
            let url = paths::directory_url(location);
            let url = url.ok_or_else(|| Fault::Misconfigured("is no path".to_owned()).of(what()))?;
            return Ok(Place { shown: url.to_string(), url, bucket: None });
        };
        if folder.is_empty() {
            let problem = "a table needs a folder in it, for its journal lies beside it".to_owned();
            return Err(Fault::Misconfigured(problem).of(what()));
        }
        if folder.contains('%') {
            // The Delta kernel would decode what nobody has encoded.
            let problem = "a table's folder cannot have a `%` in its name".to_owned();
            return Err(Fault::Misconfigured(problem).of(what()));
        }
        let url = format!("{bucket}/{}/", encoded_path(&folder));
        let url = Url::parse(&url)
            .map_err(|error| Fault::Misconfigured(format!("is no URL: {error}")).of(what()))?;
        let store = self.bucket(&bucket).await.map_err(|fault| fault.of(what()))?;
        Ok(Place { url, shown: format!("{bucket}/{folder}/"), bucket: Some((bucket, store)) })
    }

    /// The client of a bucket.
    async fn bucket(&self, bucket: &Location) -> Result<Arc<dyn ObjectStore>, Fault> {
        let mut open = self.open.lock().await;
        let name = bucket.to_string();
        if let Some(store) = open.get(&name) {
            return Ok(Arc::clone(store));
        }
        let set = Set::read(&self.options, &self.secrets).await?;
        let store: Arc<dyn ObjectStore> = match bucket {
            Location::S3 { bucket, .. } => Arc::new(Bucket(s3::open(bucket, &set)?)),
            Location::Azure { host, container, .. } => {
                Arc::new(Bucket(azure::open(host.as_deref(), container, &set)?))
            }
            Location::Gcs { bucket, .. } => Arc::new(Bucket(gcs::open(bucket, &set)?)),
            Location::Local(_) | Location::Volume(_) | Location::Dbfs(_) => {
                return Err(Fault::Misconfigured("has no buckets".to_owned()));
            }
        };
        open.insert(name, Arc::clone(&store));
        Ok(store)
    }
}

impl Place {
    /// The table that lies here.
    pub fn table<R: DeltaRecord>(&self) -> Result<DeltaTable<R>, Error> {
        match &self.bucket {
            None => DeltaTable::new(&self.url),
            Some((_, store)) => DeltaTable::with_store(&self.url, Arc::clone(store)),
        }
    }

    /// The large values beside the table.
    pub fn blobs(&self) -> Result<DeltaBlobs, Error> {
        match &self.bucket {
            None => DeltaBlobs::new(&self.url),
            Some((_, store)) => DeltaBlobs::with_store(&self.url, Arc::clone(store)),
        }
    }

    /// The journal that lies here.
    pub fn journal(&self) -> Result<DeltaJournal, Error> {
        match &self.bucket {
            None => DeltaJournal::new(&self.url),
            Some((_, store)) => DeltaJournal::with_store(&self.url, Arc::clone(store)),
        }
    }

    /// Its URL with a slash at the end, as it may be given again; the same for all spellings of a place.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// Writes, reads, lists and deletes a small file beside the table, where it lies on a store: everything that keeps
    /// tables from working there. Nothing of the table itself is touched.
    pub(crate) async fn probe(&self) -> Vec<Problem> {
        match &self.bucket {
            None => Vec::new(),
            Some((bucket, store)) => probe::probe(bucket, store, &self.url).await,
        }
    }
}

/// The bucket of a location, and the key in it; neither for what is no object store.
fn split(location: &str) -> Result<(Option<Location>, Option<String>), Fault> {
    let location = Location::parse(location).map_err(|problem| Fault::Misconfigured(problem.to_string()))?;
    let nothing = String::new();
    Ok(match location {
        Location::S3 { bucket, folder } => (Some(Location::S3 { bucket, folder: nothing }), Some(folder)),
        Location::Azure { host, container, folder } => {
            (Some(Location::Azure { host, container, folder: nothing }), Some(folder))
        }
        Location::Gcs { bucket, folder } => (Some(Location::Gcs { bucket, folder: nothing }), Some(folder)),
        Location::Local(_) | Location::Volume(_) | Location::Dbfs(_) => (None, None),
    })
}

/// What all clients have. Tasks of the daemon wait for a store, so a request is given up soon and made again.
fn client_options(allows_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allows_http)
        .with_timeout(REQUEST)
        .with_connect_timeout(CONNECT)
        .with_user_agent(HeaderValue::from_static(concat!("heartbeat/", env!("CARGO_PKG_VERSION"))))
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(5), ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_mins(1) }
}

/// A builder that refuses: an option cannot be right.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refused(error: object_store::Error) -> Fault {
    Fault::Misconfigured(crate::error_chain::chain(&error))
}
