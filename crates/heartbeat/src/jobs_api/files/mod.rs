//! Files of the stand-in: volumes over the Files API and DBFS over its own, in a folder of this machine.
//!
//! Below the folder, `Volumes/CATALOG/SCHEMA/VOLUME` are the volumes, and there are as many as somebody made folders;
//! `dbfs` is the root of DBFS. A request sees nothing else: its path is taken apart into names before any file system
//! sees it, and links are neither followed nor told.

mod dbfs;
mod place;
mod volumes;

use std::io;
use std::path::{Path, PathBuf};

use super::api::Request;
use super::config::FilesConfig;
use super::reply::Reply;

/// Where the Files API is.
pub(super) const FILES_PREFIX: &str = "/api/2.0/fs/";
/// Where the API of DBFS is.
pub(super) const DBFS_PREFIX: &str = "/api/2.0/dbfs/";

/// Makes the folder ready; the path behind all links comes back.
pub(super) fn prepare(folder: &Path) -> io::Result<PathBuf> {
    let folder = folder.canonicalize()?;
    for name in ["Volumes", "dbfs"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    Ok(folder)
}

/// Answers a call below one of the prefixes. `None`: there is no such call.
pub(super) fn answer(config: &FilesConfig, request: &Request<'_>) -> Option<Reply> {
    let answered = match request.path.strip_prefix(FILES_PREFIX) {
        Some(call) => volumes::answer(config, request, call)?,
        None => dbfs::answer(config, request, request.path.strip_prefix(DBFS_PREFIX)?)?,
    };
    Some(answered.unwrap_or_else(|refused| refused))
}

fn parameter(request: &Request<'_>, name: &str) -> Option<String> {
    let found = url::form_urlencoded::parse(request.query.as_bytes()).find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned())
}

fn invalid(message: impl Into<String>) -> Reply {
    Reply::refused(400, "INVALID_PARAMETER_VALUE", message)
}

/// A call to the file system that failed for no reason of the API's own.
fn failed(error: &io::Error) -> Reply {
    match error.kind() {
        io::ErrorKind::InvalidFilename => invalid("the name is not allowed"),
        io::ErrorKind::PermissionDenied => Reply::refused(403, "PERMISSION_DENIED", error.to_string()),
        _ => Reply::refused(500, "INTERNAL_ERROR", error.to_string()),
    }
}

#[cfg(test)]
mod tests;
