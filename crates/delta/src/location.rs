//! Where a table lives, and the few storage calls that are made there.

use std::sync::Arc;

use bytes::Bytes;
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore, logstore_for};
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use url::Url;

use crate::error::{Cause, Error, storage};

/// A table's storage, and its name in messages.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) log_store: LogStoreRef,
    pub(crate) name: String,
    clock: Clock,
}

/// Tells the time that commits are stamped with.
pub(crate) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Location").field(&self.name).finish()
    }
}

impl Location {
    /// Finds the storage through deltalake's factories: `file` and `memory` are built in, others register.
    pub(crate) fn new(url: &Url) -> Result<Self, Error> {
        let log_store = logstore_for(&directory(url), StorageConfig::default());
        let log_store = log_store.map_err(|source| no_location(url, source))?;
        Ok(Self::of(log_store, name(url)?))
    }

    /// Uses the given storage, whose root is that of the URL. Any scheme will do.
    pub(crate) fn with_store(url: &Url, store: Arc<dyn ObjectStore>) -> Result<Self, Error> {
        let below = Path::from_url_path(url.path()).map_err(|source| no_location(url, source))?;
        let table: Arc<dyn ObjectStore> = match below.as_ref() {
            "" => Arc::clone(&store),
            _ => Arc::new(PrefixStore::new(Arc::clone(&store), below)),
        };
        let log_store = default_logstore(table, store, &directory(url), &StorageConfig::default());
        Ok(Self::of(log_store, name(url)?))
    }

    fn of(log_store: LogStoreRef, name: String) -> Self {
        let clock: Clock = Arc::new(Timestamp::now);
        Self { log_store, name, clock }
    }

    /// The same place, with another clock.
    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The time that commits are stamped with.
    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The storage below the table's directory.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.log_store.object_store(None)
    }

    /// Where the log entry of a version lives.
    pub(crate) fn entry(version: u64) -> Path {
        Path::from(format!("_delta_log/{version:020}.json"))
    }

    /// What the storage knows of a file; `None` when there is none.
    pub(crate) async fn head(&self, path: &Path) -> Result<Option<ObjectMeta>, Error> {
        match self.store().head(path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(source) => Err(storage(&self.file(path), "look for", source)),
        }
    }

    /// A file's bytes; `None` when there is none.
    pub(crate) async fn get(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        Ok(self.get_with_meta(path).await?.map(|(_, bytes)| bytes))
    }

    /// A file's bytes and what the storage knows of it; `None` when there is none.
    pub(crate) async fn get_with_meta(&self, path: &Path) -> Result<Option<(ObjectMeta, Bytes)>, Error> {
        let fetched = match self.store().get(path).await {
            Ok(found) => {
                let meta = found.meta.clone();
                found.bytes().await.map(|bytes| (meta, bytes))
            }
            Err(source) => Err(source),
        };
        match fetched {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(source) => Err(storage(&self.file(path), "read", source)),
        }
    }

    /// Writes a file that nobody else writes.
    pub(crate) async fn put(&self, path: &Path, bytes: Bytes) -> Result<(), Error> {
        let put = self.store().put(path, bytes.into()).await;
        put.map(drop).map_err(|source| storage(&self.file(path), "write", source))
    }

    /// Writes a file unless it is there; `false` when it was.
    pub(crate) async fn put_if_absent(&self, path: &Path, bytes: Bytes) -> Result<bool, Error> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store().put_opts(path, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. }) => Ok(false),
            Err(source) => Err(storage(&self.file(path), "write", source)),
        }
    }

    /// Removes a file, if it is there.
    pub(crate) async fn delete(&self, path: &Path) -> Result<(), Error> {
        match self.store().delete(path).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(source) => Err(storage(&self.file(path), "delete", source)),
        }
    }

    /// Removes a file that nothing refers to; what stays behind is only an orphan.
    pub(crate) async fn discard(&self, path: &Path) {
        if let Err(error) = self.store().delete(path).await {
            tracing::debug!(table = %self.name, %path, %error, "could not remove an unused file");
        }
    }

    /// All files of the log.
    pub(crate) async fn list_log(&self) -> Result<Vec<ObjectMeta>, Error> {
        self.list(Some(&Path::from("_delta_log"))).await
    }

    /// All files below a directory, or of the whole table.
    pub(crate) async fn list(&self, below: Option<&Path>) -> Result<Vec<ObjectMeta>, Error> {
        let listed = self.store().list(below).try_collect().await;
        listed.map_err(|source| storage(&self.name, "list", source))
    }

    /// Whether a log directory is there, and whether it has any entry.
    pub(crate) async fn log(&self) -> Result<Log, Error> {
        let store = self.store();
        let log = Path::from("_delta_log");
        match store.list(Some(&log)).next().await {
            Some(Ok(_)) => return Ok(Log::Entries),
            Some(Err(StoreError::NotFound { .. })) | None => {}
            Some(Err(source)) => return Err(storage(&self.name, "list", source)),
        }
        match store.list_with_delimiter(None).await {
            Ok(listing) if listing.common_prefixes.contains(&log) => Ok(Log::Empty),
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(Log::Absent),
            Err(source) => Err(storage(&self.name, "list", source)),
        }
    }

    /// Does what would hold up a thread of the async runtime: encoding and decoding many rows.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|source| Err(storage(&self.name, "work on", source)))
    }

    /// The error for rows that make no file.
    pub(crate) fn cannot_encode(&self, source: impl Into<Cause>) -> Error {
        Error::Damaged {
            path: self.name.clone(),
            what: "its rows cannot be written as Parquet".into(),
            source: Some(source.into()),
        }
    }

    /// A file's name in messages.
    pub(crate) fn file(&self, path: &Path) -> String {
        format!("{}/{path}", self.name)
    }
}

/// What is known of a table's log before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Absent,
    Empty,
    Entries,
}

/// A path of this machine, or a URL as people write it: nothing in it is percent-encoded.
fn name(url: &Url) -> Result<String, Error> {
    let name = match url.to_file_path() {
        Ok(path) if url.scheme() == "file" => path.display().to_string(),
        _ => {
            let path = Path::from_url_path(url.path()).map_err(|source| no_location(url, source))?;
            format!("{}/{path}", &url[..url::Position::BeforePath])
        }
    };
    Ok(name.trim_end_matches('/').to_owned())
}

fn no_location(url: &Url, source: impl Into<Cause>) -> Error {
    Error::Location { url: url.to_string(), source: source.into() }
}

fn directory(url: &Url) -> Url {
    let mut url = url.clone();
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}
