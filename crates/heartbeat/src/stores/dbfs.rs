//! DBFS over its own API, for workspaces that still have it.
//!
//! Facts: docs.databricks.com/api/workspace/dbfs (a listing is of one directory, all at once; a file's directories are
//! made with it; at most a megabyte a call).

use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, header};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Fault, StoreError};
use super::http::TrafficCount;
use super::workspace::{Call, Entry, Reply, Walk, Workspace, check_path, is_missing, refusal};
use super::xml::encoded;
use super::{Created, LONGEST_BODY, Listing, Page};
use crate::base64;
use crate::secrets::Secrets;

const NEED: &str = "the right to use DBFS, which may be switched off in favour of volumes,";

/// Most bytes of one answer.
const BLOCK: usize = 1_000_000;

/// A folder there.
#[derive(Debug)]
pub struct Dbfs {
    /// Empty (the root), or begins with a slash and ends with none.
    folder: String,
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Statuses {
    /// Left out when there are none.
    #[serde(default)]
    files: Vec<Status>,
}

#[derive(Deserialize)]
struct Status {
    path: String,
    #[serde(default)]
    is_dir: bool,
    #[serde(default)]
    file_size: u64,
    modification_time: Option<i64>,
}

#[derive(Deserialize)]
struct Block {
    data: Option<String>,
}

impl Dbfs {
    pub(super) async fn open(path: &str, secrets: &Arc<Secrets>) -> Result<Self, StoreError> {
        let folder = path.trim_end_matches('/').to_owned();
        let opened = Workspace::open(secrets).await;
        let workspace = opened.map_err(|fault| fault.of(format!("folder `dbfs:{folder}/`")))?;
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
        let what = format!("folder `{}`", self.url(&walk.directory));
        let path = self.path(&walk.directory).map_err(|fault| fault.of(&what))?;
        let reply = self.get(&what, "list", &format!("path={}", encoded(&path)), deadline).await?;
        let now = reply.answer.now();
        let page = match &reply.refused {
            None => {
                entries(&reply.answer.body, &path).and_then(|entries| walk.page(listing, entries, None, now))
            }
            // A folder below that went away while we looked holds nothing any more.
            Some(told) if is_missing(told) && !walk.is_at_top(listing) => {
                walk.page(listing, Vec::new(), None, now)
            }
            Some(told) => Err(refusal(told, NEED)),
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
        let path = self.path(path).map_err(|fault| fault.of(&what))?;
        let body = json!({"path": path, "contents": base64::encode(&body), "overwrite": false});
        let reply = self.post(&what, "put", &body, deadline).await?;
        let Some(told) = &reply.refused else {
            return reply.done().map(|()| Created::Done).map_err(|fault| fault.of(what));
        };
        match told.error_code.as_deref() {
            Some("RESOURCE_ALREADY_EXISTS") if reply.answer.repeated_blindly => Err(Fault::InDoubt.of(what)),
            Some("RESOURCE_ALREADY_EXISTS") => Ok(Created::Taken),
            _ => Err(refusal(told, NEED).of(what)),
        }
    }

    pub(super) async fn read(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        self.part(path, 0, LONGEST_BODY, deadline).await
    }

    /// All of a file, block by block; at most `most` bytes and a block.
    pub(super) async fn whole(
        &self,
        path: &str,
        most: usize,
        deadline: Instant,
    ) -> Result<Option<Bytes>, StoreError> {
        let mut body = BytesMut::new();
        while body.len() <= most {
            let Some(part) = self.part(path, body.len(), BLOCK, deadline).await? else { return Ok(None) };
            if part.is_empty() {
                break;
            }
            body.extend_from_slice(&part);
        }
        Ok(Some(body.freeze()))
    }

    async fn part(
        &self,
        path: &str,
        from: usize,
        length: usize,
        deadline: Instant,
    ) -> Result<Option<Bytes>, StoreError> {
        let what = format!("file `{}`", self.url(path));
        let path = self.path(path).map_err(|fault| fault.of(&what))?;
        let query = format!("path={}&offset={from}&length={length}", encoded(&path));
        let reply = self.get(&what, "read", &query, deadline).await?;
        match &reply.refused {
            None => block(&reply.answer.body).map(Some).map_err(|fault| fault.of(what)),
            Some(told) if is_missing(told) => Ok(None),
            Some(told) => Err(refusal(told, NEED).of(what)),
        }
    }

    pub(super) async fn delete(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        let what = format!("file `{}`", self.url(path));
        let path = self.path(path).map_err(|fault| fault.of(&what))?;
        let reply = self.post(&what, "delete", &json!({"path": path, "recursive": false}), deadline).await?;
        let done = match &reply.refused {
            None => reply.done(),
            Some(told) if is_missing(told) => Ok(()),
            Some(told) => Err(refusal(told, NEED)),
        };
        done.map_err(|fault| fault.of(what))
    }

    /// The absolute path of one below our folder.
    fn path(&self, path: &str) -> Result<String, Fault> {
        check_path(path)?;
        let whole = format!("{}/{path}", self.folder);
        let trimmed = whole.trim_end_matches('/');
        Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
    }

    async fn get(&self, what: &str, name: &str, query: &str, deadline: Instant) -> Result<Reply, StoreError> {
        let target = format!("/api/2.0/dbfs/{name}?{query}");
        let call = Call { method: &Method::GET, target: &target, headers: &[], body: &Bytes::new() };
        self.workspace.ask(what, call, deadline).await
    }

    async fn post(
        &self,
        what: &str,
        name: &str,
        body: &Value,
        deadline: Instant,
    ) -> Result<Reply, StoreError> {
        let target = format!("/api/2.0/dbfs/{name}");
        let headers = [(header::CONTENT_TYPE, "application/json")];
        let body = Bytes::from(body.to_string());
        let call = Call { method: &Method::POST, target: &target, headers: &headers, body: &body };
        self.workspace.ask(what, call, deadline).await
    }
}

/// What the directory `asked` holds.
fn entries(body: &[u8], asked: &str) -> Result<Vec<Entry>, Fault> {
    let page: Statuses = serde_json::from_slice(body)
        .map_err(|error| Fault::Nonsense(format!("no listing of a directory: {error}")))?;
    let folder = asked.trim_end_matches('/');
    let entry = |status: Status| {
        let path = status.path.trim_end_matches('/');
        // Of a file the listing is the file itself.
        if path == folder && !status.is_dir {
            return Err(Fault::Missing);
        }
        let name = path.strip_prefix(folder).and_then(|path| path.strip_prefix('/'));
        let strange = || Fault::Nonsense(format!("`{path}` in the listing of `{asked}`"));
        Ok(Entry {
            name: name.ok_or_else(strange)?.to_owned(),
            is_directory: status.is_dir,
            size: status.file_size,
            modified: status.modification_time,
        })
    };
    page.files.into_iter().map(entry).collect()
}

fn block(body: &[u8]) -> Result<Bytes, Fault> {
    let block: Block = serde_json::from_slice(body)
        .map_err(|error| Fault::Nonsense(format!("no block of a file: {error}")))?;
    // An empty file has no data.
    let bytes = base64::decode(block.data.as_deref().unwrap_or_default());
    bytes.map(Bytes::from).ok_or_else(|| Fault::Nonsense("a block of a file that is no base64".to_owned()))
}
