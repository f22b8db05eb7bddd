//! Amazon S3 and what speaks its protocol: ListObjectsV2, and single objects with conditional writes.
//!
//! Facts: docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (`start-after`, byte order, 1,000 keys a page),
//! .../userguide/conditional-writes.html (`If-None-Match: *`, 412 and 409).

mod credentials;
mod listing;
mod reach;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use heartbeat_core::acon::StorageOptions;
use heartbeat_core::location::beginning_of;
use jiff::Timestamp;

pub(crate) use self::credentials::{AwsCredentials, region};
pub(crate) use self::reach::Reach;
use super::error::{Fault, StoreError};
use super::http::{Answer, TrafficCount, Wire, whose};
use super::options::Set;
use super::xml::{ErrorDocument, encoded, encoded_path};
use super::{Created, LONGEST_BODY, Listing, Page, Start};
use crate::secrets::Secrets;

/// A folder in a bucket.
pub struct S3 {
    bucket: String,
    /// Empty, or ends with a slash.
    folder: String,
    reach: Reach,
    with_owners: bool,
    credentials: AwsCredentials,
    wire: Wire,
    /// Seconds that the store's clock is ahead of ours, as far as it has mattered.
    skew: AtomicI64,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("url", &self.url(""))
            .field("endpoint", &self.reach.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

impl S3 {
    pub(super) async fn open(
        bucket: &str,
        folder: &str,
        options: &StorageOptions,
        secrets: &Arc<Secrets>,
    ) -> Result<Self, StoreError> {
        let open = async {
            let set = Set::read(options, secrets).await?;
            let reach = Reach::of(bucket, &set)?;
            Ok(Self {
                wire: Wire::new(reach.endpoint.as_str())?,
                bucket: bucket.to_owned(),
                folder: beginning_of(folder),
                reach,
                with_owners: false,
                credentials: AwsCredentials::new(&set)?,
                skew: AtomicI64::new(0),
            })
        };
        open.await.map_err(|fault: Fault| fault.of(format!("bucket `{bucket}`")))
    }

    /// Asks for owners too: a larger answer.
    pub(crate) fn tell_owners(&mut self) {
        self.with_owners = true;
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("s3://{}/{}{path}", self.bucket, self.folder)
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        self.wire.traffic()
    }

    pub(super) async fn list(&self, listing: &Listing<'_>, deadline: Instant) -> Result<Page, StoreError> {
        let what = format!("folder `{}`", self.url(listing.prefix.trim_end_matches('/')));
        let mut query = vec![
            ("list-type", "2".to_owned()),
            ("encoding-type", "url".to_owned()),
            ("max-keys", listing.limit.min(1000).to_string()),
            ("prefix", format!("{}{}", self.folder, listing.prefix)),
        ];
        match listing.start {
            Start::Beginning => {}
            Start::After(path) => query.push(("start-after", format!("{}{path}", self.folder))),
            Start::Token(token) => query.push(("continuation-token", token.to_owned())),
        }
        if self.with_owners {
            query.push(("fetch-owner", "true".to_owned()));
        }
        query.sort_unstable();
        let query = query.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let query = query.collect::<Vec<_>>().join("&");
        let answer = self.ask(&what, Method::GET, "", &query, &[], Bytes::new(), deadline).await?;
        if !answer.status.is_success() {
            return Err(self.refusal(&answer, "s3:ListBucket on the bucket").of(what));
        }
        listing::page(&answer, &self.folder).map_err(|fault| fault.of(what))
    }

    pub(super) async fn create(
        &self,
        path: &str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Created, StoreError> {
        let what = format!("file `{}`", self.url(path));
        // Tells our object from another's, should the answer to a try be lost.
        let id = uuid::Uuid::new_v4().to_string();
        let mut headers = vec![("if-none-match", "*".to_owned()), ("x-amz-meta-heartbeat", id.clone())];
        headers.extend(self.reach.encryption.headers());
        let key = format!("{}{path}", self.folder);
        for _ in 0..2 {
            let answer = self.ask(&what, Method::PUT, &key, "", &headers, body.clone(), deadline).await?;
            match answer.status {
                status if status.is_success() => return Ok(Created::Done),
                StatusCode::PRECONDITION_FAILED if answer.repeated_blindly => {
                    let found = self.ask(&what, Method::HEAD, &key, "", &[], Bytes::new(), deadline).await?;
                    return whose(&found, "x-amz-meta-heartbeat", &id).map_err(|fault| fault.of(what));
                }
                StatusCode::PRECONDITION_FAILED => return Ok(Created::Taken),
                // Somebody else is just writing it; the second try tells whether they did.
                StatusCode::CONFLICT if is_race(&answer) => {}
                _ => return Err(self.refusal(&answer, "s3:PutObject").of(what)),
            }
        }
        Err(Fault::Unreachable { told: "another write of it is under way".to_owned(), cause: None }.of(what))
    }

    pub(super) async fn read(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        let what = format!("file `{}`", self.url(path));
        let key = format!("{}{path}", self.folder);
        let range = [("range", format!("bytes=0-{}", LONGEST_BODY - 1))];
        let answer = self.ask(&what, Method::GET, &key, "", &range, Bytes::new(), deadline).await?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer.beginning())),
            // An empty object has no first byte.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(Bytes::new())),
            StatusCode::NOT_FOUND if ErrorDocument::of(&answer.body).code != "NoSuchBucket" => Ok(None),
            _ => Err(self.refusal(&answer, "s3:GetObject").of(what)),
        }
    }

    pub(super) async fn delete(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        let what = format!("file `{}`", self.url(path));
        let key = format!("{}{path}", self.folder);
        let answer = self.ask(&what, Method::DELETE, &key, "", &[], Bytes::new(), deadline).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(self.refusal(&answer, "s3:DeleteObject").of(what))
    }

    /// One call, signed. Credentials that have expired are looked for again, and a clock that goes wrong is set right,
    /// each once.
    #[expect(clippy::too_many_arguments, reason = "the parts of a request")]
    async fn ask(
        &self,
        what: &str,
        method: Method,
        key: &str,
        query: &str,
        headers: &[(&'static str, String)],
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answer, StoreError> {
        let url = self.request_url(key, query);
        let mut amended = (false, false);
        loop {
            let skew = self.skew.load(Ordering::Relaxed);
            let answer = self
                .wire
                .send(what, deadline, || {
                    let mut request = Request::builder().method(method.clone()).uri(&url);
                    if method == Method::PUT {
                        // Clients leave it out where the body is empty, and S3 wants it.
                        request = request.header(header::CONTENT_LENGTH, body.len());
                    }
                    for (name, value) in headers {
                        request = request.header(*name, value);
                    }
                    let request = request.body(body.clone());
                    Box::pin(async move {
                        let request = request.map_err(|error| Fault::Misconfigured(error.to_string()))?;
                        self.credentials.sign(request, "s3", &self.reach.region, skew).await
                    })
                })
                .await?;
            if answer.status.is_success() {
                return Ok(answer);
            }
            match ErrorDocument::of(&answer.body).code.as_str() {
                "ExpiredToken" | "TokenRefreshRequired" | "RequestExpired" if !amended.0 => {
                    amended.0 = true;
                    self.credentials.forget().await;
                }
                "RequestTimeTooSkewed" if !amended.1 => {
                    amended.1 = true;
                    let Some(theirs) = answer.now() else { return Ok(answer) };
                    let ahead = theirs.as_second() - Timestamp::now().as_second();
                    tracing::warn!(
                        what,
                        ahead,
                        "this machine's clock differs from the store's; its time is used"
                    );
                    self.skew.store(ahead, Ordering::Relaxed);
                }
                _ => return Ok(answer),
            }
        }
    }

    fn request_url(&self, key: &str, query: &str) -> String {
        let base = self.reach.bucket_url(&self.bucket);
        let key = encoded_path(key);
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let slash = if key.is_empty() && self.reach.path_style { "" } else { "/" };
        format!("{base}{slash}{key}{query}")
    }

    fn refusal(&self, answer: &Answer, need: &str) -> Fault {
        let document = ErrorDocument::of(&answer.body);
        let told = document.told(answer.status);
        let region =
            answer.header("x-amz-bucket-region").map(str::to_owned).or_else(|| document.region.clone());
        match (answer.status.as_u16(), document.code.as_str()) {
            (
                _,
                "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
            )
            | (301 | 307, _) => match region.filter(|region| *region != self.reach.region) {
                Some(region) => Fault::Misconfigured(format!(
                    "the bucket is in region `{region}`, not `{}`: set `aws_region`",
                    self.reach.region
                )),
                None => Fault::Misconfigured(format!("the endpoint points elsewhere ({told})")),
            },
            (
                _,
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "ExpiredToken"
                | "InvalidToken"
                | "TokenRefreshRequired"
                | "RequestExpired"
                | "RequestTimeTooSkewed",
            ) => Fault::Credentials(told),
            (404, _) => Fault::Missing,
            (401 | 403, _) => Fault::Forbidden { need: need.to_owned(), told },
            (412 | 501, _) => Fault::Misconfigured(format!("the store does not do what is needed ({told})")),
            _ => Fault::Nonsense(told),
        }
    }
}

/// Whether a conflict is with another write, rather than with what the store holds: files on the way to ours.
fn is_race(answer: &Answer) -> bool {
    matches!(ErrorDocument::of(&answer.body).code.as_str(), "ConditionalRequestConflict" | "OperationAborted")
}

/// Amazon's own endpoint.
pub(crate) fn amazon(service: &str, region: &str) -> Result<url::Url, Fault> {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    url::Url::parse(&format!("https://{service}.{region}.{domain}"))
        .map_err(|_| Fault::Misconfigured(format!("`{region}` is no region of AWS")))
}
