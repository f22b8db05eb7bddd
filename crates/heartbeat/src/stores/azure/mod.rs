//! Azure Blob Storage, also where it is a Data Lake: List Blobs, and single blobs with conditional writes.
//!
//! Facts: learn.microsoft.com/rest/api/storageservices/list-blobs (5,000 blobs a page, markers), .../put-blob,
//! .../specifying-conditional-headers-for-blob-service-operations (`If-None-Match: *`, 409 and 412).

mod account;
mod credentials;
mod listing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use heartbeat_core::acon::StorageOptions;
use heartbeat_core::location::beginning_of;
use jiff::Timestamp;

pub(super) use self::account::Account;
pub(super) use self::credentials::AzureCredentials;
use super::error::{Fault, StoreError};
use super::http::{Answer, TrafficCount, Wire, whose};
use super::options::Set;
use super::xml::{ErrorDocument, encoded, encoded_path};
use super::{Created, LONGEST_BODY, Listing, Page, Start};
use crate::secrets::Secrets;

/// What the service is asked to be. From 2021-02-12 on names that XML cannot hold are encoded, and the resource types of
/// a Data Lake are told.
const VERSION: &str = "2023-11-03";

/// Most blobs a page.
const LARGEST_PAGE: usize = 5000;

/// A clock that is this far off makes signatures worthless.
const TOLERATED_SKEW_SECONDS: i64 = 10 * 60;

/// A folder there.
pub struct Azure {
    account: Account,
    container: String,
    /// Empty, or ends with a slash.
    folder: String,
    credentials: AzureCredentials,
    wire: Wire,
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure")
            .field("url", &self.url(""))
            .field("endpoint", &self.account.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

impl Azure {
    pub(super) async fn open(
        host: Option<&str>,
        container: &str,
        folder: &str,
        options: &StorageOptions,
        secrets: &Arc<Secrets>,
    ) -> Result<Self, StoreError> {
        let open = async {
            let set = Set::read(options, secrets).await?;
            let account = Account::of(host, &set)?;
            Ok(Self {
                credentials: AzureCredentials::new(&account.name, &set)?,
                wire: Wire::new(account.endpoint.as_str())?,
                account,
                container: container.to_owned(),
                folder: beginning_of(folder),
            })
        };
        open.await.map_err(|fault: Fault| fault.of(format!("container `{container}`")))
    }

    pub(super) fn url(&self, path: &str) -> String {
        let Self { container, folder, .. } = self;
        match &self.account.lake {
            Some(host) => format!("abfss://{container}@{host}/{folder}{path}"),
            None => format!("az://{container}/{folder}{path}"),
        }
    }

    pub(super) fn traffic(&self) -> TrafficCount {
        self.wire.traffic()
    }

    pub(super) async fn list(&self, listing: &Listing<'_>, deadline: Instant) -> Result<Page, StoreError> {
        let what = format!("folder `{}`", self.url(listing.prefix.trim_end_matches('/')));
        let mut query = vec![
            ("restype", "container".to_owned()),
            ("comp", "list".to_owned()),
            // A folder of Hadoop's drivers is a blob that says so in its metadata, and blobs without any cost nothing.
            ("include", "metadata".to_owned()),
            ("maxresults", listing.limit.clamp(1, LARGEST_PAGE).to_string()),
            ("prefix", format!("{}{}", self.folder, listing.prefix)),
        ];
        match listing.start {
            Start::Beginning => {}
            Start::Token(token) => query.push(("marker", token.to_owned())),
            Start::After(_) => {
                let problem = "Azure's listings cannot begin behind a path";
                return Err(Fault::Misconfigured(problem.to_owned()).of(what));
            }
        }
        let query = query.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let query = query.collect::<Vec<_>>().join("&");
        let answer = self.ask(&what, Method::GET, "", &query, &[], Bytes::new(), deadline).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer, "Storage Blob Data Reader on the container").of(what));
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
        let key = format!("{}{path}", self.folder);
        // Tells our blob from another's, should the answer to a try be lost.
        let id = uuid::Uuid::new_v4().to_string();
        let headers = [
            ("if-none-match", "*".to_owned()),
            ("x-ms-blob-type", "BlockBlob".to_owned()),
            ("x-ms-meta-heartbeat", id.clone()),
            ("content-type", "application/octet-stream".to_owned()),
            ("content-length", body.len().to_string()),
        ];
        let answer = self.ask(&what, Method::PUT, &key, "", &headers, body, deadline).await?;
        if answer.status.is_success() {
            return Ok(Created::Done);
        }
        // The last is said to a signature that may create and not write.
        let is_taken = answer.status == StatusCode::PRECONDITION_FAILED
            || matches!(code(&answer).as_str(), "BlobAlreadyExists" | "UnauthorizedBlobOverwrite");
        if !is_taken {
            return Err(refusal(&answer, "Storage Blob Data Contributor on the container").of(what));
        }
        if !answer.repeated_blindly {
            return Ok(Created::Taken);
        }
        let found = self.ask(&what, Method::HEAD, &key, "", &[], Bytes::new(), deadline).await?;
        whose(&found, "x-ms-meta-heartbeat", &id).map_err(|fault| fault.of(what))
    }

    pub(super) async fn read(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        let what = format!("file `{}`", self.url(path));
        let key = format!("{}{path}", self.folder);
        let range = [("x-ms-range", format!("bytes=0-{}", LONGEST_BODY - 1))];
        let answer = self.ask(&what, Method::GET, &key, "", &range, Bytes::new(), deadline).await?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer.beginning())),
            // An empty blob has no first byte.
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(Bytes::new())),
            StatusCode::NOT_FOUND if code(&answer) != "ContainerNotFound" => Ok(None),
            _ => Err(refusal(&answer, "Storage Blob Data Reader on the container").of(what)),
        }
    }

    pub(super) async fn delete(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        let what = format!("file `{}`", self.url(path));
        let key = format!("{}{path}", self.folder);
        let answer = self.ask(&what, Method::DELETE, &key, "", &[], Bytes::new(), deadline).await?;
        if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(refusal(&answer, "Storage Blob Data Contributor on the container").of(what))
    }

    /// One call, signed; about the container where `key` is empty. Credentials that are not believed any more are looked
    /// for again, once.
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
        let mut is_renewed = false;
        loop {
            let answer = self
                .wire
                .send(what, deadline, async || {
                    let mut request = Request::builder().method(method.clone()).uri(&url);
                    request = request.header("x-ms-version", VERSION);
                    for (name, value) in headers {
                        request = request.header(*name, value);
                    }
                    let request = request
                        .body(body.clone())
                        .map_err(|error| Fault::Misconfigured(error.to_string()))?;
                    self.credentials.sign(request).await
                })
                .await?;
            if answer.status != StatusCode::UNAUTHORIZED || is_renewed {
                return Ok(answer);
            }
            is_renewed = true;
            self.credentials.forget().await;
        }
    }

    fn request_url(&self, key: &str, query: &str) -> String {
        let endpoint = self.account.endpoint.as_str().trim_end_matches('/');
        let container = encoded_path(&self.container);
        let slash = if key.is_empty() { "" } else { "/" };
        let question = if query.is_empty() { "" } else { "?" };
        format!("{endpoint}/{container}{slash}{}{question}{query}", encoded_path(key))
    }
}

/// The service's word for a refusal; answers to HEAD have it in their headers only.
fn code(answer: &Answer) -> String {
    answer.header("x-ms-error-code").map_or_else(|| ErrorDocument::of(&answer.body).code, str::to_owned)
}

fn refusal(answer: &Answer, need: &str) -> Fault {
    let code = code(answer);
    let told = ErrorDocument { code: code.clone(), ..ErrorDocument::of(&answer.body) }.told(answer.status);
    // Azurite has one code for strangers and for addresses that may not.
    let is_stranger = told.contains("failed to authenticate")
        || matches!(
            code.as_str(),
            "AuthenticationFailed" | "InvalidAuthenticationInfo" | "PublicAccessNotPermitted"
        );
    match (answer.status.as_u16(), code.as_str()) {
        (status, _) if status == 401 || is_stranger => {
            let ahead = answer.now().map_or(0, |now| now.as_second() - Timestamp::now().as_second());
            if ahead.abs() >= TOLERATED_SKEW_SECONDS {
                return Fault::Credentials(format!(
                    "{told}; this machine's clock differs from Azure's by {} minutes: set it right",
                    ahead.abs() / 60
                ));
            }
            Fault::Credentials(told)
        }
        (_, "KeyBasedAuthenticationNotPermitted") => Fault::Misconfigured(format!(
            "the account takes no keys or signatures made with them: use a service principal or an identity ({told})"
        )),
        (_, "AuthorizationFailure") => Fault::Forbidden {
            need: format!("{need}, and an address that the account's firewall lets in,"),
            told,
        },
        (403, _) => Fault::Forbidden { need: need.to_owned(), told },
        (404, _) => Fault::Missing,
        (412, _) => Fault::Misconfigured(format!("the store does not do what is needed ({told})")),
        _ => Fault::Nonsense(told),
    }
}
