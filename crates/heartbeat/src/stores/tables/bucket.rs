//! What `object_store` leaves to do: errors in the store's own words, and listings that begin where they should.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::client::HttpError;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::super::error::Fault;
use super::super::xml::ErrorDocument;
use crate::error_chain::chain;

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket<S>(pub(super) S);

/// What a store has said, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

/// Codes of what is not there at all, unlike a file that is not there.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"];

/// An error in the store's own words. Files that are not there, or are there already, stay what they are.
fn explained(error: Error) -> Error {
    let words = words(&error);
    let source = Box::new(Words(words.clone()));
    match error {
        Error::NotFound { .. } if NO_BUCKET.iter().any(|code| words.starts_with(code)) => {
            Error::Generic { store: "bucket", source }
        }
        Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source },
        Error::PermissionDenied { path, .. } if doubts_credentials(&words) => {
            Error::Unauthenticated { path, source }
        }
        Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source },
        // Of listings and batches of deletions the client tells no kinds. A token that has expired is no refusal (400):
        // whoever renews it may be late.
        Error::Generic { store, source: cause } => {
            let text = cause.to_string();
            let path = String::new();
            let is_refused = ["403 Forbidden", "AccessDenied", "AuthorizationFailure"]
                .iter()
                .any(|word| text.contains(word));
            if text.contains("401 Unauthorized") || (is_refused && doubts_credentials(&words)) {
                Error::Unauthenticated { path, source }
            } else if is_refused {
                Error::PermissionDenied { path, source }
            } else {
                Error::Generic { store, source }
            }
        }
        other => other,
    }
}

/// Code and message of the store's answer, else what the client says.
pub(super) fn words(error: &Error) -> String {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(words) = inner.downcast_ref::<Words>() {
            return words.0.clone();
        }
        if let Some(fault) = inner.downcast_ref::<Fault>() {
            return fault.to_string();
        }
        cause = inner.source();
    }
    let text = error.to_string();
    let document = text.find("<Error").and_then(|from| {
        let end = text[from..].find("</Error>")? + from + "</Error>".len();
        Some(ErrorDocument::of(&text.as_bytes()[from..end]))
    });
    match document {
        Some(ErrorDocument { code, message, .. }) if !code.is_empty() => {
            let message = message.lines().next().unwrap_or_default();
            if message.is_empty() { code } else { format!("{code}: {message}") }
        }
        _ => unreachable(error).unwrap_or_else(|| match error {
            Error::Generic { source, .. } => chain(&**source),
            error => chain(error),
        }),
    }
}

/// Why no answer came, without the client's tries around it.
fn unreachable(error: &Error) -> Option<String> {
    let mut cause: &(dyn StdError + 'static) = error;
    let mut is_of_http = false;
    while let Some(inner) = cause.source() {
        cause = inner;
        is_of_http |= cause.is::<HttpError>();
    }
    is_of_http.then(|| cause.to_string())
}

/// Whether other credentials would help, rather than more rights for these.
pub(super) fn doubts_credentials(words: &str) -> bool {
    let codes = [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "AuthenticationFailed",
        "InvalidAuthenticationInfo",
    ];
    codes.iter().any(|code| words.starts_with(code))
}

impl<S: fmt::Display> fmt::Display for Bucket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What `async_trait` makes of an answer.
pub(super) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The answer to a call, its error explained.
fn told<'a, T: 'a>(call: Answer<'a, T>) -> Answer<'a, T> {
    Box::pin(async move { call.await.map_err(explained) })
}

impl<S: ObjectStore> ObjectStore for Bucket<S> {
    fn put_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Answer<'async_trait, PutResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        told(self.0.put_opts(location, payload, opts))
    }

    fn put_multipart_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        opts: PutMultipartOptions,
    ) -> Answer<'async_trait, Box<dyn MultipartUpload>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        told(self.0.put_multipart_opts(location, opts))
    }

    fn get_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        options: GetOptions,
    ) -> Answer<'async_trait, GetResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        told(self.0.get_opts(location, options))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations).map_err(explained).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix).map_err(explained).boxed()
    }

    /// Cut here too: what knows of no such beginning, as older services of Azure, lists from the first.
    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let after = offset.clone();
        let listed = self.0.list_with_offset(prefix, offset).map_err(explained);
        listed.try_filter(move |file| std::future::ready(file.location > after)).boxed()
    }

    fn list_with_delimiter<'life0, 'life1, 'async_trait>(
        &'life0 self,
        prefix: Option<&'life1 Path>,
    ) -> Answer<'async_trait, ListResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        told(self.0.list_with_delimiter(prefix))
    }

    fn copy_opts<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        from: &'life1 Path,
        to: &'life2 Path,
        options: CopyOptions,
    ) -> Answer<'async_trait, ()>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        told(self.0.copy_opts(from, to, options))
    }
}
