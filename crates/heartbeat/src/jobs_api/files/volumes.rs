//! The Files API: `fs/files` and `fs/directories`, for paths in volumes.

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Value, json};

use super::super::api::Request;
use super::super::config::FilesConfig;
use super::super::reply::Reply;
use super::place::{self, Written};
use super::{failed, invalid, parameter};
use crate::base64;

/// A path in a volume.
struct Target {
    /// As requests and answers write it.
    name: String,
    path: PathBuf,
    /// It is the volume itself.
    is_volume: bool,
}

/// Answers a call. `None`: there is no such call.
pub(super) fn answer(
    config: &FilesConfig,
    request: &Request<'_>,
    call: &str,
) -> Option<Result<Reply, Reply>> {
    let (kind, path) = call.split_once('/')?;
    let act: fn(&FilesConfig, &Request<'_>, &Target) -> Result<Reply, Reply> = match (request.method, kind) {
        ("PUT", "files") => put,
        ("GET" | "HEAD", "files") => get,
        ("DELETE", "files") => delete,
        ("PUT", "directories") => make_directory,
        ("GET", "directories") => list,
        ("HEAD", "directories") => has_directory,
        ("DELETE", "directories") => delete_directory,
        _ => return None,
    };
    Some(target(&config.folder, path).and_then(|target| act(config, request, &target)))
}

fn target(folder: &Path, path: &str) -> Result<Target, Reply> {
    let names = place::encoded_names(path).ok_or_else(|| invalid("The path is not allowed."))?;
    if names.len() < 4 || names[0] != "Volumes" {
        return Err(invalid("The path must be /Volumes/<catalog>/<schema>/<volume>/<path>."));
    }
    let below = |names| place::below(folder, names).map_err(|error| failed(&error));
    let volume = below(&names[..4])?.filter(|path| path.is_dir());
    if volume.is_none() {
        return Err(missing(&format!("Volume '{}' does not exist.", names[1..4].join("."))));
    }
    let no_link = || Reply::refused(403, "PERMISSION_DENIED", "The path leads out of the volume.");
    let path = below(&names)?.ok_or_else(no_link)?;
    Ok(Target { name: format!("/{}", names.join("/")), path, is_volume: names.len() == 4 })
}

fn put(_: &FilesConfig, request: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    let overwrite = match parameter(request, "overwrite").as_deref() {
        None | Some("true" | "True") => true,
        Some("false" | "False") => false,
        Some(_) => return Err(invalid("overwrite must be true or false")),
    };
    let taken = || Reply::refused(409, "ALREADY_EXISTS", "The file being created already exists.");
    let parent = target.path.parent().unwrap_or(&target.path);
    if target.is_volume || is_directory(&target.path)? {
        return Err(taken());
    }
    if !is_directory(parent)? {
        return Err(missing("The parent directory of the file does not exist."));
    }
    match place::write(&target.path, request.body, overwrite).map_err(|error| failed(&error))? {
        Written::Done => Ok(Reply::empty(204)),
        Written::Taken => Err(taken()),
    }
}

fn get(_: &FilesConfig, request: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    let found = place::found(&target.path).map_err(|error| failed(&error))?;
    let Some(metadata) = found.filter(std::fs::Metadata::is_file) else {
        return Err(missing("The file being accessed is not found."));
    };
    let body = std::fs::read(&target.path).map_err(|error| failed(&error))?;
    let at = Timestamp::from_millisecond(place::modified(&metadata)).unwrap_or(Timestamp::UNIX_EPOCH);
    let modified = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default();
    let whole = body.len();
    let reply = match request.header("range").map(|text| range(text, whole)) {
        Some(Some(range)) if range.is_empty() => {
            let message = "The requested range is not satisfiable.";
            return Err(Reply::refused(416, "INVALID_PARAMETER_VALUE", message)
                .header("content-range", &format!("bytes */{whole}")));
        }
        Some(Some(range)) => {
            let told = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
            Reply::bytes(206, body[range].to_vec()).header("content-range", &told)
        }
        None | Some(None) => Reply::bytes(200, body),
    };
    Ok(reply.header("last-modified", &modified).header("accept-ranges", "bytes"))
}

fn delete(_: &FilesConfig, _: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    let nothing = || missing("The file being accessed is not found.");
    if target.is_volume || is_directory(&target.path)? {
        return Err(nothing());
    }
    match std::fs::remove_file(&target.path) {
        Ok(()) => Ok(Reply::empty(204)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(nothing())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn make_directory(_: &FilesConfig, _: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    match std::fs::create_dir_all(&target.path) {
        Ok(()) => Ok(Reply::empty(204)),
        Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotADirectory) => {
            Err(Reply::refused(409, "ALREADY_EXISTS", "A file is in the place of the directory."))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn list(config: &FilesConfig, request: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    existing_directory(target)?;
    let size = match parameter(request, "page_size").map(|text| text.parse::<usize>()) {
        None => config.page,
        Some(Ok(size)) => size.clamp(1, config.page),
        Some(Err(_)) => return Err(invalid("page_size must be a number")),
    };
    let behind = match parameter(request, "page_token").filter(|token| !token.is_empty()) {
        None => String::new(),
        Some(token) => base64::decode(&token)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| invalid("page_token is none that was told"))?,
    };
    let entries = place::entries(&target.path).map_err(|error| failed(&error))?;
    let from = entries.partition_point(|(name, _)| *name <= behind);
    let page = &entries[from..entries.len().min(from + size)];
    let shown = |(name, metadata): &(String, std::fs::Metadata)| {
        let mut entry = json!({
            "path": format!("{}/{name}", target.name), "name": name, "is_directory": metadata.is_dir(),
            "last_modified": place::modified(metadata),
        });
        if metadata.is_file() {
            entry["file_size"] = metadata.len().into();
        }
        entry
    };
    let mut body = json!({});
    if !page.is_empty() {
        body["contents"] = page.iter().map(shown).collect::<Vec<Value>>().into();
    }
    if let (Some((last, _)), true) = (page.last(), from + page.len() < entries.len()) {
        body["next_page_token"] = base64::encode(last.as_bytes()).into();
    }
    Ok(Reply::json(200, &body))
}

fn has_directory(_: &FilesConfig, _: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    existing_directory(target).map(|()| Reply::empty(200))
}

fn delete_directory(_: &FilesConfig, _: &Request<'_>, target: &Target) -> Result<Reply, Reply> {
    existing_directory(target)?;
    if target.is_volume {
        return Err(invalid("The directory is a volume."));
    }
    match std::fs::remove_dir(&target.path) {
        Ok(()) => Ok(Reply::empty(204)),
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            Err(invalid("The directory is not empty."))
        }
        Err(error) => Err(failed(&error)),
    }
}

fn existing_directory(target: &Target) -> Result<(), Reply> {
    if is_directory(&target.path)? {
        return Ok(());
    }
    Err(missing("The directory being accessed is not found."))
}

fn is_directory(path: &Path) -> Result<bool, Reply> {
    let found = place::found(path).map_err(|error| failed(&error))?;
    Ok(found.is_some_and(|metadata| metadata.is_dir()))
}

/// The bytes that a `Range` asks for, empty if there are none of them. `None`: it is not of a form that is served, and
/// all is told.
fn range(text: &str, length: usize) -> Option<Range<usize>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first, last) {
        ("", last) => length.saturating_sub(last.parse().ok()?)..length,
        (first, "") => first.parse().ok()?..length,
        (first, last) => first.parse().ok()?..last.parse::<usize>().ok()?.saturating_add(1).min(length),
    };
    Some(if range.start < range.end { range } else { 0..0 })
}

fn missing(message: &str) -> Reply {
    Reply::refused(404, "NOT_FOUND", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("bytes=0-3", Some(0..4))]
    #[case("bytes=2-", Some(2..5))]
    #[case("bytes=-2", Some(3..5))]
    #[case("bytes=-9", Some(0..5))]
    #[case("bytes=0-99", Some(0..5))]
    #[case("bytes=5-9", Some(0..0))]
    #[case("bytes=3-1", Some(0..0))]
    #[case("bytes=0-1,3-4", None)]
    #[case("lines=0-1", None)]
    fn ranges_are_of_the_bytes_that_are_there(#[case] text: &str, #[case] expected: Option<Range<usize>>) {
        assert_eq!(range(text, 5), expected);
    }
}
