//! Stores of files: listing, and the few calls that are made for single files. One module per protocol.
//!
//! Listings are ours rather than `object_store`'s: keys are taken as they are (that crate refuses a page that holds a key
//! such as `a//b`, and takes the marker of a folder for a file), requests are counted, and each page is one request.
//! Tables lie on `object_store` (see `tables`).

mod azure;
mod dbfs;
mod error;
mod files_api;
mod gcs;
mod http;
pub(crate) mod local;
pub mod memory;
mod options;
pub(crate) mod queue;
pub(crate) mod s3;
pub mod tables;
mod workspace;
mod xml;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use heartbeat_core::acon::StorageOptions;
use heartbeat_core::location::Location;
use jiff::Timestamp;

pub use self::error::{Fault, StoreError};
pub use self::http::{Traffic, TrafficCount};
pub(crate) use self::xml::decoded_form;
use crate::secrets::Secrets;

/// A folder on a store. Paths are below it, without a slash at the beginning.
#[derive(Debug)]
pub enum Store {
    /// This machine.
    Local(local::Local),
    /// Amazon S3, or what speaks its protocol.
    S3(Box<s3::S3>),
    /// Azure.
    Azure(Box<azure::Azure>),
    /// Google Cloud Storage.
    Gcs(Box<gcs::Gcs>),
    /// Volumes of Unity Catalog.
    Volume(Box<files_api::FilesApi>),
    /// DBFS.
    Dbfs(Box<dbfs::Dbfs>),
    /// This process.
    Memory(memory::Memory),
}

/// What one request lists: files at any depth whose path begins with `prefix`.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// Beginning of the paths. Stores with real directories take what stands before its last slash as the directory.
    pub prefix: &'a str,
    /// Where to begin.
    pub start: Start<'a>,
    /// Most files to tell, where the store lets us choose.
    pub limit: usize,
}

/// Where a page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// With the first file.
    Beginning,
    /// Behind this path, in byte order. Only for stores that are [`Order::ByPath`].
    After(&'a str),
    /// Where the page ended that told this token.
    Token(&'a str),
}

/// One page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// Files, in the store's order. Among them whatever the store holds, also markers of folders (`a/`).
    pub files: Vec<Listed>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<String>,
    /// What time it is for the store, where it says so.
    pub now: Option<Timestamp>,
}

/// A file in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Path below the store's folder.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// What tells this content from another, where the store tells it.
    pub etag: Option<String>,
    /// Last modification by the store's clock.
    pub modified: Option<Timestamp>,
    /// Owner, where it was asked for.
    pub owner: Option<String>,
}

/// In which order a store lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By the bytes of the whole path; a listing can begin behind any path at no cost.
    ByPath,
    /// In no order to rely on.
    None,
}

/// How an attempt to create a file went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there, whole.
    Done,
    /// There was one of that name already; it is as it was.
    Taken,
}

/// A file's content, as far as it is read.
pub const LONGEST_BODY: usize = 64 * 1024;

impl Store {
    /// The store behind a location. Credentials are read, nothing is asked yet.
    pub async fn open(
        location: &Location,
        options: &StorageOptions,
        secrets: &Arc<Secrets>,
    ) -> Result<Self, StoreError> {
        match location {
            Location::Local(path) => Ok(Self::Local(local::Local::open(path).await?)),
            Location::S3 { bucket, folder } => {
                Ok(Self::S3(Box::new(s3::S3::open(bucket, folder, options, secrets).await?)))
            }
            Location::Azure { host, container, folder } => {
                let azure = azure::Azure::open(host.as_deref(), container, folder, options, secrets).await?;
                Ok(Self::Azure(Box::new(azure)))
            }
            Location::Gcs { bucket, folder } => {
                Ok(Self::Gcs(Box::new(gcs::Gcs::open(bucket, folder, options, secrets).await?)))
            }
            // Where Databricks mounts them, the mount is used: it needs no token.
            Location::Volume(path) => Ok(match local::Local::mounted(path).await? {
                Some(mounted) => Self::Local(mounted),
                None => Self::Volume(Box::new(files_api::FilesApi::open(path, secrets).await?)),
            }),
            Location::Dbfs(path) => Ok(match local::Local::mounted(&format!("/dbfs{path}")).await? {
                Some(mounted) => Self::Local(mounted),
                None => Self::Dbfs(Box::new(dbfs::Dbfs::open(path, secrets).await?)),
            }),
        }
    }

    /// Whether folders are there by themselves, empty or not; elsewhere a folder is what keys begin with.
    pub fn has_directories(&self) -> bool {
        matches!(self, Self::Local(_) | Self::Volume(_) | Self::Dbfs(_))
    }

    /// In which order it lists.
    pub fn order(&self) -> Order {
        match self {
            Self::S3(_) | Self::Gcs(_) => Order::ByPath,
            Self::Memory(store) => store.order(),
            Self::Local(_) | Self::Azure(_) | Self::Volume(_) | Self::Dbfs(_) => Order::None,
        }
    }

    /// One page: one request where the store has pages.
    pub async fn list(&self, listing: &Listing<'_>, deadline: Instant) -> Result<Page, StoreError> {
        match self {
            Self::Local(store) => store.list(listing, deadline).await,
            Self::S3(store) => store.list(listing, deadline).await,
            Self::Azure(store) => store.list(listing, deadline).await,
            Self::Gcs(store) => store.list(listing, deadline).await,
            Self::Volume(store) => store.list(listing, deadline).await,
            Self::Dbfs(store) => store.list(listing, deadline).await,
            Self::Memory(store) => store.list(listing),
        }
    }

    /// Creates a file, whole or not at all, unless one of its name is there. Folders above it are made where the store
    /// has any.
    pub async fn create(&self, path: &str, body: Bytes, deadline: Instant) -> Result<Created, StoreError> {
        match self {
            Self::Local(store) => store.create(path, body, deadline).await,
            Self::S3(store) => store.create(path, body, deadline).await,
            Self::Azure(store) => store.create(path, body, deadline).await,
            Self::Gcs(store) => store.create(path, body, deadline).await,
            Self::Volume(store) => store.create(path, body, deadline).await,
            Self::Dbfs(store) => store.create(path, body, deadline).await,
            Self::Memory(store) => Ok(store.create(path, body)),
        }
    }

    /// The first [`LONGEST_BODY`] bytes of a file; `None` when there is none.
    pub async fn read(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::Local(store) => store.read(path, deadline).await,
            Self::S3(store) => store.read(path, deadline).await,
            Self::Azure(store) => store.read(path, deadline).await,
            Self::Gcs(store) => store.read(path, deadline).await,
            Self::Volume(store) => store.read(path, deadline).await,
            Self::Dbfs(store) => store.read(path, deadline).await,
            Self::Memory(store) => Ok(store.read(path)),
        }
    }

    /// Removes a file; one that is not there is no error.
    pub async fn delete(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        match self {
            Self::Local(store) => store.delete(path, deadline).await,
            Self::S3(store) => store.delete(path, deadline).await,
            Self::Azure(store) => store.delete(path, deadline).await,
            Self::Gcs(store) => store.delete(path, deadline).await,
            Self::Volume(store) => store.delete(path, deadline).await,
            Self::Dbfs(store) => store.delete(path, deadline).await,
            Self::Memory(store) => {
                store.remove(path);
                Ok(())
            }
        }
    }

    /// URL of a file, for people and programs.
    pub fn url(&self, path: &str) -> String {
        match self {
            Self::Local(store) => store.url(path),
            Self::S3(store) => store.url(path),
            Self::Azure(store) => store.url(path),
            Self::Gcs(store) => store.url(path),
            Self::Volume(store) => store.url(path),
            Self::Dbfs(store) => store.url(path),
            Self::Memory(_) => format!("memory:/{path}"),
        }
    }

    /// Requests sent and bytes received so far; nothing for this machine.
    pub fn traffic(&self) -> TrafficCount {
        match self {
            Self::Local(_) => TrafficCount::default(),
            Self::S3(store) => store.traffic(),
            Self::Azure(store) => store.traffic(),
            Self::Gcs(store) => store.traffic(),
            Self::Volume(store) => store.traffic(),
            Self::Dbfs(store) => store.traffic(),
            Self::Memory(store) => store.traffic(),
        }
    }
}
