//! Places below a folder, and nowhere else.

use std::fs::Metadata;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use percent_encoding::percent_decode_str;

/// The names that a path is made of. `None`: some name could lead elsewhere, or is none.
pub(super) fn names(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('/').map(|name| is_name(name).then(|| name.to_owned())).collect()
}

/// As `names`, of a path whose names are percent-encoded: a slash that is encoded is none between two names.
pub(super) fn encoded_names(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    let decoded = |name| percent_decode_str(name).decode_utf8().ok().filter(|name| is_name(name));
    path.split('/').map(|name| decoded(name).map(std::borrow::Cow::into_owned)).collect()
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// The path of names below a folder. `None`: a link is on the way.
pub(super) fn below(folder: &Path, names: &[String]) -> io::Result<Option<PathBuf>> {
    let mut path = folder.to_owned();
    for name in names {
        path.push(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => return Ok(None),
            Ok(_) => {}
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Some(path))
}

/// What is at a path, not what a link there leads to. `None`: nothing.
pub(super) fn found(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Files and directories in a directory, by name. Links and names that are no text are left out.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let (Ok(name), Some(metadata)) = (entry.file_name().into_string(), found(&entry.path())?) else {
            continue;
        };
        if metadata.is_file() || metadata.is_dir() {
            entries.push((name, metadata));
        }
    }
    entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}

/// Whether a file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// Something of its name was there.
    Taken,
}

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, body: &[u8], overwrite: bool) -> io::Result<Written> {
    let folder = path.parent().unwrap_or(path);
    let mut draft = tempfile::Builder::new().prefix(".stand-in-").suffix(".tmp").tempfile_in(folder)?;
    draft.write_all(body)?;
    draft.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    let written = if overwrite { draft.persist(path) } else { draft.persist_noclobber(path) };
    match written {
        Ok(_) => Ok(Written::Done),
        Err(error) if matches!(error.error.kind(), ErrorKind::AlreadyExists | ErrorKind::IsADirectory) => {
            Ok(Written::Taken)
        }
        Err(error) => Err(error.error),
    }
}

/// Last modification in milliseconds since 1970.
pub(super) fn modified(metadata: &Metadata) -> i64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_millis() as i64)
}
