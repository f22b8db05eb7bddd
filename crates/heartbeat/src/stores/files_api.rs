//! Volumes of Unity Catalog over the Files API.
//!
//! Facts: docs.databricks.com/api/workspace/files (a file is there whole or not at all; listings are of one directory,
//! 1,000 entries a page at most; a file's directory must be there before it), docs.databricks.com/volumes/privileges
//! (which rights a call needs).

use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, header};
use bytes::Bytes;
use serde::Deserialize;

use super::error::{Fault, StoreError};
use super::http::TrafficCount;
use super::workspace::{Call, Entry, Reply, Walk, Workspace, check_path, is_missing, refusal};
use super::xml::{encoded, encoded_path};
use super::{Created, LONGEST_BODY, Listing, Page};
use crate::secrets::Secrets;

/// A folder there.
#[derive(Debug)]
pub struct FilesApi {
    /// `/Volumes/CATALOG/SCHEMA/VOLUME/...`
    folder: String,
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Contents {
    /// Left out when there are none.
    #[serde(default)]
    contents: Vec<Content>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Content {
    name: Option<String>,
    path: Option<String>,
    #[serde(default)]
    is_directory: bool,
    #[serde(default)]
    file_size: u64,
    last_modified: Option<i64>,
}

impl FilesApi {
    pub(super) async fn open(path: &str, secrets: &Arc<Secrets>) -> Result<Self, StoreError> {
        let folder = path.trim_end_matches('/').to_owned();
        let opened = Workspace::open(secrets).await;
        let workspace = opened.map_err(|fault| fault.of(format!("folder `dbfs:{folder}`")))?;
        Ok(Self { folder, workspace })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("dbfs:{}/{path}", self.folder)
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        self.workspace.traffic()
    }

    pub(super) async fn list(&self, listing: &Listing<'_>, deadline: Instant) -> Result<Page, StoreError> {
        let walk = Walk::of(listing).map_err(|fault| fault.of(format!("folder `{}`", self.url(""))))?;
        let what = format!("folder `{}`", self.url(&walk.directory).trim_end_matches('/'));
        let mut query = format!("?page_size={}", walk.limit);
        if let Some(token) = &walk.token {
            query.push_str(&format!("&page_token={}", encoded(token)));
        }
        let address = Address { kind: "directories", path: &walk.directory, query: &query };
        let reply = self.ask(&what, &Method::GET, address, &[], &Bytes::new(), deadline).await?;
        let now = reply.answer.now();
        let page = match &reply.refused {
            None => {
                entries(&reply.answer.body).and_then(|(entries, next)| walk.page(listing, entries, next, now))
            }
            // A folder below that went away while we looked holds nothing any more.
            Some(told) if is_missing(told) && !walk.is_at_top(listing) => {
                walk.page(listing, Vec::new(), None, now)
            }
            Some(told) => Err(refusal(told, &self.right("READ VOLUME"))),
        };
        page.map_err(|fault| fault.of(what))
    }

    pub(super) async fn create(
        &self,
        path: &str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Created, StoreError> {
        let what = format!("file `{}`", self.url(path));
        let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
        let address = Address { kind: "files", path, query: "?overwrite=false" };
        let mut blind = false;
        let mut made_folder = false;
        loop {
            let reply = self.ask(&what, &Method::PUT, address, &headers, &body, deadline).await?;
            blind |= reply.answer.repeated_blindly;
            let Some(told) = &reply.refused else {
                return reply.done().map(|()| Created::Done).map_err(|fault| fault.of(what));
            };
            match told.status {
                // The file may be ours, and nothing on it says whose it is.
                409 if blind => return Err(Fault::InDoubt.of(what)),
                409 => return Ok(Created::Taken),
                _ if is_missing(told) && !made_folder => {
                    made_folder = true;
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    self.make_folder(folder, deadline).await?;
                }
                _ => return Err(refusal(told, &self.right("WRITE VOLUME")).of(what)),
            }
        }
    }

    pub(super) async fn read(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        let what = format!("file `{}`", self.url(path));
        let range = format!("bytes=0-{}", LONGEST_BODY - 1);
        let read = self.get(&what, path, &[(header::RANGE, range.as_str())], deadline).await?;
        Ok(read.map(|mut body| {
            body.truncate(LONGEST_BODY);
            body
        }))
    }

    /// All of a file, as far as an answer may be long.
    pub(super) async fn whole(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        self.get(&format!("file `{}`", self.url(path)), path, &[], deadline).await
    }

    async fn get(
        &self,
        what: &str,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        deadline: Instant,
    ) -> Result<Option<Bytes>, StoreError> {
        let address = Address { kind: "files", path, query: "" };
        let reply = self.ask(what, &Method::GET, address, headers, &Bytes::new(), deadline).await?;
        match &reply.refused {
            None => Ok(Some(reply.answer.body)),
            // An empty file has no first byte.
            Some(told) if told.status == 416 => Ok(Some(Bytes::new())),
            Some(told) if is_missing(told) => Ok(None),
            Some(told) => Err(refusal(told, &self.right("READ VOLUME")).of(what)),
        }
    }

    pub(super) async fn delete(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        let what = format!("file `{}`", self.url(path));
        let address = Address { kind: "files", path, query: "" };
        let reply = self.ask(&what, &Method::DELETE, address, &[], &Bytes::new(), deadline).await?;
        let done = match &reply.refused {
            None => reply.done(),
            Some(told) if is_missing(told) => Ok(()),
            Some(told) => Err(refusal(told, &self.right("WRITE VOLUME"))),
        };
        done.map_err(|fault| fault.of(what))
    }

    /// Makes a folder below ours and all above it within the volume. One that is there is no error.
    async fn make_folder(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        let what = format!("folder `{}`", self.url(path).trim_end_matches('/'));
        let address = Address { kind: "directories", path, query: "" };
        let reply = self.ask(&what, &Method::PUT, address, &[], &Bytes::new(), deadline).await?;
        let done = match &reply.refused {
            None => reply.done(),
            Some(told) if told.status == 409 => {
                Err(Fault::Misconfigured(format!("a file is where the folder must be ({told})")))
            }
            Some(told) if is_missing(told) => {
                return Err(Fault::Missing.of(format!("volume `{}`", self.volume())));
            }
            Some(told) => Err(refusal(told, &self.right("WRITE VOLUME"))),
        };
        done.map_err(|fault| fault.of(what))
    }

    async fn ask(
        &self,
        what: &str,
        method: &Method,
        address: Address<'_>,
        headers: &[(header::HeaderName, &str)],
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Reply, StoreError> {
        let Address { kind, path, query } = address;
        check_path(path).map_err(|fault| fault.of(what))?;
        let path = format!("{}/{path}", self.folder);
        let path = encoded_path(path.trim_end_matches('/'));
        let target = format!("/api/2.0/fs/{kind}{path}{query}");
        self.workspace.ask(what, Call { method, target: &target, headers, body }, deadline).await
    }

    /// `CATALOG.SCHEMA.VOLUME`.
    fn volume(&self) -> String {
        self.folder.split('/').skip(2).take(3).collect::<Vec<_>>().join(".")
    }

    fn right(&self, right: &str) -> String {
        format!("{right} on volume `{}`, with USE SCHEMA and USE CATALOG above it,", self.volume())
    }
}

/// What a call is about.
#[derive(Debug, Clone, Copy)]
struct Address<'a> {
    /// `files` or `directories`.
    kind: &'static str,
    /// Below our folder; empty: the folder itself.
    path: &'a str,
    query: &'a str,
}

/// What a page of a directory tells, and where the next one begins.
fn entries(body: &[u8]) -> Result<(Vec<Entry>, Option<String>), Fault> {
    let page: Contents = serde_json::from_slice(body)
        .map_err(|error| Fault::Nonsense(format!("no page of a directory: {error}")))?;
    let entry = |content: Content| {
        // Names of catalogs, schemas and volumes are the same in any case, so paths may come back otherwise.
        let of_path = || content.path.as_deref()?.trim_end_matches('/').rsplit('/').next().map(str::to_owned);
        let name = content.name.clone().filter(|name| !name.is_empty()).or_else(of_path);
        let nameless = || Fault::Nonsense("an entry of a directory without a name".to_owned());
        Ok(Entry {
            name: name.ok_or_else(nameless)?,
            is_directory: content.is_directory,
            size: content.file_size,
            modified: content.last_modified,
        })
    };
    let entries = page.contents.into_iter().map(entry).collect::<Result<_, Fault>>()?;
    Ok((entries, page.next_page_token))
}
