//! Google Cloud Storage by its JSON API: listings, and single objects with preconditions.
//!
//! Facts: cloud.google.com/storage/docs/json_api/v1/objects/list (`startOffset` is inclusive, byte order, 1,000 objects a
//! page), .../objects/insert and .../docs/request-preconditions (`ifGenerationMatch=0`: 412 when there is one).

mod credentials;
mod listing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use heartbeat_core::acon::StorageOptions;
use heartbeat_core::location::beginning_of;
use serde::Deserialize;

pub(super) use self::credentials::GoogleCredentials;
use super::error::{Fault, StoreError};
use super::http::{Answer, TrafficCount, Wire, check_url};
use super::options::Set;
use super::xml::encoded;
use super::{Created, LONGEST_BODY, Listing, Page};
use crate::secrets::Secrets;

/// A folder in a bucket.
pub struct Gcs {
    bucket: String,
    /// Empty, or ends with a slash.
    folder: String,
    endpoint: url::Url,
    credentials: GoogleCredentials,
    wire: Wire,
}

impl fmt::Debug for Gcs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gcs")
            .field("url", &self.url(""))
            .field("endpoint", &self.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

impl Gcs {
    pub(super) async fn open(
        bucket: &str,
        folder: &str,
        options: &StorageOptions,
        secrets: &Arc<Secrets>,
    ) -> Result<Self, StoreError> {
        let open = async {
            let set = Set::read(options, secrets).await?;
            let endpoint = set.value("google_base_url", &["GOOGLE_BASE_URL"]);
            let endpoint = endpoint.as_deref().unwrap_or("https://storage.googleapis.com");
            Ok(Self {
                bucket: bucket.to_owned(),
                folder: beginning_of(folder),
                endpoint: check_url("google_base_url", endpoint, false)?,
                credentials: GoogleCredentials::new(&set)?,
                wire: Wire::new(endpoint)?,
            })
        };
        open.await.map_err(|fault: Fault| fault.of(format!("bucket `{bucket}`")))
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("gs://{}/{}{path}", self.bucket, self.folder)
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        self.wire.traffic()
    }

    pub(super) async fn list(&self, listing: &Listing<'_>, deadline: Instant) -> Result<Page, StoreError> {
        let what = format!("folder `{}`", self.url(listing.prefix.trim_end_matches('/')));
        let asked = listing::Asked::of(listing, &self.folder);
        let url = self.request_url("storage", None, &asked.query());
        let answer = self.ask(&what, Method::GET, &url, &[], Bytes::new(), deadline).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer, "storage.objects.list on the bucket").of(what));
        }
        listing::page(&answer, &self.folder, &asked).map_err(|fault| fault.of(what))
    }

    pub(super) async fn create(
        &self,
        path: &str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Created, StoreError> {
        let what = format!("file `{}`", self.url(path));
        let key = format!("{}{path}", self.folder);
        // Tells our object from another's, should the answer to a try be lost.
        let id = uuid::Uuid::new_v4().to_string();
        let (content_type, body) = upload(&key, &id, &body);
        let url =
            self.request_url("upload/storage", None, "uploadType=multipart&ifGenerationMatch=0&fields=name");
        let headers = [("content-type", content_type)];
        let answer = self.ask(&what, Method::POST, &url, &headers, body, deadline).await?;
        match answer.status {
            status if status.is_success() => Ok(Created::Done),
            StatusCode::PRECONDITION_FAILED if answer.repeated_blindly => {
                let url = self.request_url("storage", Some(&key), "fields=metadata");
                let found = self.ask(&what, Method::GET, &url, &[], Bytes::new(), deadline).await?;
                whose(&found, &id).map_err(|fault| fault.of(what))
            }
            StatusCode::PRECONDITION_FAILED => Ok(Created::Taken),
            _ => Err(refusal(&answer, "storage.objects.create on the bucket").of(what)),
        }
    }

    pub(super) async fn read(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        let what = format!("file `{}`", self.url(path));
        let url = self.request_url("storage", Some(&format!("{}{path}", self.folder)), "alt=media");
        let range = [("range", format!("bytes=0-{}", LONGEST_BODY - 1))];
        let answer = self.ask(&what, Method::GET, &url, &range, Bytes::new(), deadline).await?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer.beginning())),
            // An empty object has no first byte.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(Bytes::new())),
            StatusCode::NOT_FOUND if !told(&answer).contains("bucket does not exist") => Ok(None),
            _ => Err(refusal(&answer, "storage.objects.get on the bucket").of(what)),
        }
    }

    pub(super) async fn delete(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        let what = format!("file `{}`", self.url(path));
        let url = self.request_url("storage", Some(&format!("{}{path}", self.folder)), "");
        let answer = self.ask(&what, Method::DELETE, &url, &[], Bytes::new(), deadline).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(refusal(&answer, "storage.objects.delete on the bucket").of(what))
    }

    /// One call with our token. A token that is not believed any more is looked for again, once.
    async fn ask(
        &self,
        what: &str,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answer, StoreError> {
        let mut is_renewed = self.credentials.is_anonymous();
        loop {
            let answer = self
                .wire
                .send(what, deadline, async || {
                    let mut request = Request::builder().method(method.clone()).uri(url);
                    for (name, value) in headers {
                        request = request.header(*name, value);
                    }
                    if let Some(authorization) = self.credentials.authorization().await? {
                        request = request.header(header::AUTHORIZATION, authorization);
                    }
                    request.body(body.clone()).map_err(|error| Fault::Misconfigured(error.to_string()))
                })
                .await?;
            if answer.status != StatusCode::UNAUTHORIZED || is_renewed {
                return Ok(answer);
            }
            is_renewed = true;
            self.credentials.forget().await;
        }
    }

    /// All of a key is one part of the path, slashes encoded.
    fn request_url(&self, service: &str, key: Option<&str>, query: &str) -> String {
        let endpoint = self.endpoint.as_str().trim_end_matches('/');
        let bucket = encoded(&self.bucket);
        let key = key.map(|key| format!("/{}", encoded(key))).unwrap_or_default();
        let question = if query.is_empty() { "" } else { "?" };
        format!("{endpoint}/{service}/v1/b/{bucket}/o{key}{question}{query}")
    }
}

/// An object in one request: what it is, then its content. Its type comes first.
fn upload(key: &str, id: &str, content: &[u8]) -> (String, Bytes) {
    let object = serde_json::json!({
        "name": key,
        "contentType": "application/octet-stream",
        "metadata": { "heartbeat": id },
    });
    // Nothing that is written here can hold this line by chance.
    let line = uuid::Uuid::new_v4().simple().to_string();
    let mut body = BytesMut::new();
    let head = format!(
        "--{line}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{object}\r\n--{line}\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{line}--\r\n").as_bytes());
    (format!("multipart/related; boundary={line}"), body.freeze())
}

/// Whose object is there after a creation whose answer was lost.
fn whose(found: &Answer, id: &str) -> Result<Created, Fault> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        metadata: std::collections::BTreeMap<String, String>,
    }
    if !found.status.is_success() {
        // Gone again, or not ours to see: nobody can tell.
        return Err(Fault::InDoubt);
    }
    let object: Object =
        serde_json::from_slice(&found.body).map_err(|error| Fault::Nonsense(error.to_string()))?;
    let is_ours = object.metadata.get("heartbeat").is_some_and(|theirs| theirs == id);
    Ok(if is_ours { Created::Done } else { Created::Taken })
}

/// What an answer says about why not: an error of the API, or plain text.
fn told(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Document {
        error: Problem,
    }
    #[derive(Deserialize)]
    struct Problem {
        message: String,
    }
    let text = String::from_utf8_lossy(&answer.body);
    let message = serde_json::from_str::<Document>(&text).map(|document| document.error.message);
    let message = message.unwrap_or_else(|_| text.into_owned());
    match message.lines().next().unwrap_or_default().trim() {
        "" => answer.status.to_string(),
        line => line.chars().take(300).collect(),
    }
}

fn refusal(answer: &Answer, need: &str) -> Fault {
    let told = told(answer);
    match answer.status.as_u16() {
        // This is how Google tells somebody without credentials that there is no right.
        401 if told.contains("Anonymous caller") => Fault::Forbidden { need: need.to_owned(), told },
        401 => Fault::Credentials(told),
        403 => Fault::Forbidden { need: need.to_owned(), told },
        404 => Fault::Missing,
        412 => Fault::Misconfigured(format!("the store does not do what is needed ({told})")),
        _ => Fault::Nonsense(told),
    }
}
