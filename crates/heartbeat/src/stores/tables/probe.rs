//! Whether tables can live in a folder of a store: each right that they need, and writes that fail where a file is.

use std::sync::Arc;

use futures::StreamExt as _;
use heartbeat_core::location::Location;
use object_store::path::{Path, PathPart};
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use url::Url;
use uuid::Uuid;

use super::bucket::{doubts_credentials, words};

/// What keeps tables from working.
#[derive(Debug, thiserror::Error)]
#[error("`{folder}`: {what}")]
pub(crate) struct Problem {
    folder: String,
    what: String,
}

/// What is done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    List,
    Write,
    Read,
    Delete,
}

pub(super) async fn probe(bucket: &Location, store: &Arc<dyn ObjectStore>, table: &Url) -> Vec<Problem> {
    let Ok(folder) = Path::from_url_path(table.path()) else { return Vec::new() };
    // Delta leaves names with a leading underscore alone.
    let below: Path = folder.parts().chain([PathPart::from("_heartbeat")]).collect();
    let file: Path = below.parts().chain([PathPart::from(format!("probe-{}", Uuid::new_v4()))]).collect();
    let mut problems = Vec::new();
    let mut note = |what: String| problems.push(Problem { folder: format!("{bucket}/{folder}"), what });
    let create = || {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&file, "heartbeat".into(), options)
    };
    let written = create().await;
    if let Err(error) = &written {
        note(told(bucket, Right::Write, error));
        if !is_refusal(error) || doubts_credentials(&words(error)) {
            // The other rights would fail in the same way.
            return problems;
        }
    }
    let listed = store.list(Some(&below)).next().await;
    match listed {
        Some(Err(error)) if !matches!(error, Error::NotFound { .. }) || written.is_ok() => {
            note(told(bucket, Right::List, &error));
        }
        None if written.is_ok() => note(
            "a file that was just written is not in the listing; tables need a store that lists at once"
                .to_owned(),
        ),
        _ => {}
    }
    if written.is_err() {
        return problems;
    }
    match create().await {
        Err(Error::AlreadyExists { .. }) => {}
        Ok(_) => note(
            "this store overwrites a file although it was asked to write it only if absent: two writers would lose each \
             other's commits; keep tables on a store with conditional writes"
                .to_owned(),
        ),
        Err(error) => note(format!("a write only if absent is not understood: {}", words(&error))),
    }
    match store.get(&file).await {
        Ok(_) => {}
        Err(error) => note(told(bucket, Right::Read, &error)),
    }
    match store.delete(&file).await {
        Ok(()) => {}
        Err(error) => {
            note(format!("{}; the file `{file}` was left there", told(bucket, Right::Delete, &error)));
        }
    }
    problems
}

/// What is missing, in the store's terms.
fn told(bucket: &Location, right: Right, error: &Error) -> String {
    let verb = match right {
        Right::List => "list",
        Right::Write => "write",
        Right::Read => "read",
        Right::Delete => "delete",
    };
    let words = words(error);
    if doubts_credentials(&words) {
        format!("the credentials are not accepted ({words})")
    } else if is_refusal(error) {
        format!("no right to {verb}: {} is needed ({words})", need(bucket, right))
    } else {
        format!("cannot {verb}: {words}")
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
}

pub(super) fn need(bucket: &Location, right: Right) -> &'static str {
    match (bucket, right) {
        (Location::S3 { .. }, Right::List) => "s3:ListBucket on the bucket",
        (Location::S3 { .. }, Right::Write) => "s3:PutObject",
        (Location::S3 { .. }, Right::Read) => "s3:GetObject",
        (Location::S3 { .. }, Right::Delete) => "s3:DeleteObject",
        (Location::Gcs { .. }, Right::List) => "storage.objects.list",
        (Location::Gcs { .. }, Right::Write) => "storage.objects.create",
        (Location::Gcs { .. }, Right::Read) => "storage.objects.get",
        (Location::Gcs { .. }, Right::Delete) => "storage.objects.delete",
        (_, Right::List) => {
            "blobs/read (role Storage Blob Data Contributor; `l` of a shared access signature of the container)"
        }
        (_, Right::Write) => {
            "blobs/write (role Storage Blob Data Contributor; `cw` of a shared access signature)"
        }
        (_, Right::Read) => {
            "blobs/read (role Storage Blob Data Contributor; `r` of a shared access signature)"
        }
        (_, Right::Delete) => {
            "blobs/delete (role Storage Blob Data Contributor; `d` of a shared access signature)"
        }
    }
}
