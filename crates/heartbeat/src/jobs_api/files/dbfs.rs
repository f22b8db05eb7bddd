//! The API of DBFS: put, list, get-status, read, mkdirs and delete.

use std::fs::Metadata;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::api::Request;
use super::super::config::FilesConfig;
use super::super::reply::Reply;
use super::place::{self, Written};
use super::{failed, invalid, parameter};
use crate::base64;

/// Most bytes of a file that a call takes or gives.
const MOST_BYTES: usize = 1 << 20;
/// Bytes that are read unless told otherwise.
const USUAL_BYTES: usize = 1 << 19;

/// A path of DBFS.
struct Target {
    /// As requests and answers write it.
    name: String,
    path: PathBuf,
}

/// Answers a call. `None`: there is no such call.
pub(super) fn answer(
    config: &FilesConfig,
    request: &Request<'_>,
    call: &str,
) -> Option<Result<Reply, Reply>> {
    let asked = || {
        let path = parameter(request, "path").ok_or_else(|| invalid("path is required"))?;
        target(&config.folder, &path)
    };
    let told = |act: fn(&Value, &Target) -> Result<Reply, Reply>| {
        let malformed = |_| Reply::refused(400, "MALFORMED_REQUEST", "the body must be JSON");
        let body: Value = serde_json::from_slice(request.body).map_err(malformed)?;
        let path = body["path"].as_str().ok_or_else(|| invalid("path is required"))?;
        act(&body, &target(&config.folder, path)?)
    };
    Some(match (request.method, call) {
        ("GET", "get-status") => asked().and_then(|target| status(&target)),
        ("GET", "list") => asked().and_then(|target| list(&target)),
        ("GET", "read") => asked().and_then(|target| read(request, &target)),
        ("POST", "put") => told(put),
        ("POST", "mkdirs") => told(|_, target| mkdirs(&target.path)),
        ("POST", "delete") => told(delete),
        _ => return None,
    })
}

fn target(folder: &Path, path: &str) -> Result<Target, Reply> {
    let names = path.starts_with('/').then(|| place::names(path)).flatten();
    let names = names.ok_or_else(|| invalid("The path must be absolute, without empty parts and dots."))?;
    let refused = || Reply::refused(403, "PERMISSION_DENIED", "No operations allowed on this path");
    if names.first().is_some_and(|name| name == "Volumes") {
        return Err(refused());
    }
    let below: Vec<String> = std::iter::once("dbfs".to_owned()).chain(names.iter().cloned()).collect();
    let path = place::below(folder, &below).map_err(|error| failed(&error))?.ok_or_else(refused)?;
    Ok(Target { name: format!("/{}", names.join("/")), path })
}

fn existing(target: &Target) -> Result<Metadata, Reply> {
    let found = place::found(&target.path).map_err(|error| failed(&error))?;
    found.ok_or_else(|| {
        let message = format!("No file or directory exists on path {}.", target.name);
        Reply::refused(404, "RESOURCE_DOES_NOT_EXIST", message)
    })
}

fn info(name: &str, metadata: &Metadata) -> Value {
    let size = if metadata.is_file() { metadata.len() } else { 0 };
    json!({
        "path": name, "is_dir": metadata.is_dir(), "file_size": size,
        "modification_time": place::modified(metadata),
    })
}

fn status(target: &Target) -> Result<Reply, Reply> {
    existing(target).map(|metadata| Reply::json(200, &info(&target.name, &metadata)))
}

fn list(target: &Target) -> Result<Reply, Reply> {
    let metadata = existing(target)?;
    if metadata.is_file() {
        return Ok(Reply::json(200, &json!({"files": [info(&target.name, &metadata)]})));
    }
    let entries = place::entries(&target.path).map_err(|error| failed(&error))?;
    let folder = target.name.trim_end_matches('/');
    let shown = entries.iter().map(|(name, metadata)| info(&format!("{folder}/{name}"), metadata));
    let files: Vec<Value> = shown.collect();
    Ok(Reply::json(200, &if files.is_empty() { json!({}) } else { json!({"files": files}) }))
}

fn read(request: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    let number = |name: &str, usual: usize| match parameter(request, name) {
        None => Ok(usual),
        Some(text) => text.parse().map_err(|_| invalid(format!("{name} must be a number from 0 on"))),
    };
    let (offset, length) = (number("offset", 0)?, number("length", USUAL_BYTES)?);
    if length > MOST_BYTES {
        return Err(Reply::refused(400, "MAX_READ_SIZE_EXCEEDED", "at most 1 MB is read at once"));
    }
    if existing(target)?.is_dir() {
        return Err(invalid("The path is a directory."));
    }
    let block = || {
        let mut file = std::fs::File::open(&target.path)?;
        file.seek(SeekFrom::Start(offset as u64))?;
        let mut block = Vec::new();
        file.take(length as u64).read_to_end(&mut block)?;
        Ok(block)
    };
    let block = block().map_err(|error| failed(&error))?;
    Ok(Reply::json(200, &json!({"bytes_read": block.len(), "data": base64::encode(&block)})))
}

fn put(body: &Value, target: &Target) -> Result<Reply, Reply> {
    let contents = base64::decode(body["contents"].as_str().unwrap_or_default());
    let contents = contents.ok_or_else(|| invalid("contents must be base64"))?;
    if contents.len() > MOST_BYTES {
        return Err(Reply::refused(400, "MAX_BLOCK_SIZE_EXCEEDED", "contents must not exceed 1 MB"));
    }
    let is_directory = place::found(&target.path).map_err(|error| failed(&error))?;
    if is_directory.is_some_and(|metadata| metadata.is_dir()) {
        return Err(taken(&target.path));
    }
    mkdirs(target.path.parent().unwrap_or(&target.path))?;
    let overwrite = body["overwrite"].as_bool().unwrap_or_default();
    match place::write(&target.path, &contents, overwrite).map_err(|error| failed(&error))? {
        Written::Done => Ok(Reply::json(200, &json!({}))),
        Written::Taken => Err(taken(&target.path)),
    }
}

fn mkdirs(path: &Path) -> Result<Reply, Reply> {
    match std::fs::create_dir_all(path) {
        Ok(()) => Ok(Reply::json(200, &json!({}))),
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => {
            Err(taken(path))
        }
        Err(error) => Err(failed(&error)),
    }
}

/// What is not there is deleted.
fn delete(body: &Value, target: &Target) -> Result<Reply, Reply> {
    let found = place::found(&target.path).map_err(|error| failed(&error))?;
    let removed = match found {
        _ if target.name == "/" => return Err(invalid("The root cannot be deleted.")),
        None => Ok(()),
        Some(metadata) if !metadata.is_dir() => std::fs::remove_file(&target.path),
        Some(_) if body["recursive"].as_bool() == Some(true) => std::fs::remove_dir_all(&target.path),
        Some(_) => std::fs::remove_dir(&target.path),
    };
    match removed {
        Ok(()) => Ok(Reply::json(200, &json!({}))),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            Err(Reply::refused(400, "IO_ERROR", "The directory is not empty; ask for recursive."))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn taken(path: &Path) -> Reply {
    let name = path.file_name().unwrap_or_default().display();
    let message = format!("A file or directory already exists at the input path: {name}.");
    Reply::refused(400, "RESOURCE_ALREADY_EXISTS", message)
}
