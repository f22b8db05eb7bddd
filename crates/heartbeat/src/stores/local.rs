//! This machine's files, and whatever is mounted here.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;

use super::error::{Fault, StoreError};
use super::{Created, LONGEST_BODY, Listed, Listing, Page};
use crate::paths::{absolute, local_path};

/// A folder of this machine.
#[derive(Debug, Clone)]
pub struct Local {
    root: PathBuf,
}

/// Whether a directory is there.
pub(super) fn is_directory(path: &str) -> bool {
    Path::new(path).is_dir()
}

impl Local {
    pub(super) fn new(location: &str) -> Self {
        Self { root: absolute(location).unwrap_or_else(|_| local_path(location)) }
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn url(&self, path: &str) -> String {
        let file = self.root.join(path);
        url::Url::from_file_path(&file).map_or_else(|()| file.display().to_string(), |url| url.to_string())
    }

    /// All files below the prefix's directory in one page, whatever the limit.
    pub(super) async fn list(&self, listing: &Listing<'_>, deadline: Instant) -> Result<Page, StoreError> {
        let (root, prefix) = (self.root.clone(), listing.prefix.to_owned());
        blocking(move || {
            let mut files = Vec::new();
            let directory = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
            let mut add = |path: &str| {
                let metadata = std::fs::metadata(root.join(path));
                if let (true, Ok(metadata)) = (path.starts_with(&prefix), metadata) {
                    files.push(listed(path.to_owned(), &metadata));
                }
            };
            walk(&root, directory, &|_| true, deadline, &mut add)?;
            Ok(Page { files, next: None, now: None })
        })
        .await
    }

    pub(super) async fn create(&self, path: &str, body: Bytes) -> Result<Created, StoreError> {
        let file = self.root.join(path);
        blocking(move || create(&file, &body)).await
    }

    pub(super) async fn read(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        let file = self.root.join(path);
        blocking(move || {
            let read = || -> io::Result<Bytes> {
                let mut body = Vec::new();
                // To open a pipe would wait for its other end.
                if !std::fs::metadata(&file)?.is_file() {
                    return Ok(Bytes::new());
                }
                std::fs::File::open(&file)?.take(LONGEST_BODY as u64).read_to_end(&mut body)?;
                Ok(body.into())
            };
            match read() {
                Ok(body) => Ok(Some(body)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("file", &file, "to read it", error)),
            }
        })
        .await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let file = self.root.join(path);
        blocking(move || match std::fs::remove_file(&file) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("file", &file, "to delete it", error)),
        })
        .await
    }
}

/// What a file's entry says; owner as its uid.
pub(crate) fn listed(path: String, metadata: &std::fs::Metadata) -> Listed {
    Listed {
        path,
        size: metadata.len(),
        etag: Some(etag(metadata)),
        modified: metadata.modified().ok().and_then(timestamp),
        owner: Some(metadata.uid().to_string()),
    }
}

/// Tells all files below a directory, `/` between the parts of their paths, in no order; nothing is asked about single
/// files. Folders that `enter` refuses are passed over.
pub(crate) fn walk(
    root: &Path,
    directory: &str,
    enter: &dyn Fn(&str) -> bool,
    deadline: Instant,
    tell: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    let folder = root.join(directory);
    let top = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let mut below = vec![top.clone()];
    let mut path = String::new();
    while let Some(prefix) = below.pop() {
        let at = root.join(&prefix);
        let mut index: u32 = 0;
        let entries = entries(&at, &mut |name, kind| {
            let is_late = index.is_multiple_of(1024) && Instant::now() >= deadline;
            index = index.wrapping_add(1);
            let Ok(name) = str::from_utf8(name) else {
                let name = String::from_utf8_lossy(name);
                tracing::warn!(folder = %at.display(), %name, "name is no UTF-8, passed over");
                return !is_late;
            };
            path.clear();
            path.push_str(&prefix);
            path.push_str(name);
            match kind {
                Kind::Directory if enter(&path) => below.push(format!("{path}/")),
                Kind::Directory => {}
                // Links to folders could lead back up, and the folders of a store have none.
                Kind::Link if at.join(name).is_dir() => {}
                Kind::Link | Kind::Other => tell(&path),
            }
            !is_late
        });
        match entries {
            Ok(true) => {}
            Ok(false) => return Err(Fault::Timeout.of(format!("folder `{}`", folder.display()))),
            // A folder below that went away while we looked holds nothing any more.
            Err(error) if prefix != top && error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed("folder", &at, "to list it", error)),
        }
    }
    Ok(())
}

/// What a name in a directory is.
#[derive(Clone, Copy)]
enum Kind {
    Directory,
    Link,
    Other,
}

impl From<std::fs::FileType> for Kind {
    fn from(found: std::fs::FileType) -> Self {
        match found {
            found if found.is_dir() => Self::Directory,
            found if found.is_symlink() => Self::Link,
            _ => Self::Other,
        }
    }
}

/// Tells the names in a directory for as long as they are wanted; false when they were not to the end.
///
/// In one buffer: the standard library makes a string of each name, which takes as long as the kernel does for a directory of
/// many.
#[cfg(target_os = "linux")]
fn entries(directory: &Path, tell: &mut dyn FnMut(&[u8], Kind) -> bool) -> io::Result<bool> {
    use std::os::unix::ffi::OsStrExt as _;

    use rustix::fs::{FileType, Mode, OFlags, RawDir, open};

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut buffer = Vec::with_capacity(BUFFER);
    let mut entries = RawDir::new(open(directory, flags, Mode::empty())?, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            // Some file systems do not say.
            FileType::Unknown => {
                let path = directory.join(std::ffi::OsStr::from_bytes(name));
                match std::fs::symlink_metadata(path) {
                    Ok(metadata) => metadata.file_type().into(),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            _ => Kind::Other,
        };
        if !tell(name, kind) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Of a directory, read at a time.
#[cfg(target_os = "linux")]
const BUFFER: usize = 128 * 1024;

#[cfg(not(target_os = "linux"))]
fn entries(directory: &Path, tell: &mut dyn FnMut(&[u8], Kind) -> bool) -> io::Result<bool> {
    use std::os::unix::ffi::OsStrExt as _;

    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !tell(entry.file_name().as_bytes(), entry.file_type()?.into()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Links a complete file under its name, which fails when the name is taken; nobody ever sees half a file.
fn create(file: &Path, body: &[u8]) -> Result<Created, StoreError> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|error| failed("folder", folder, "to make it", error))?;
    let write = || -> io::Result<Created> {
        let mut draft = tempfile::Builder::new().prefix(".heartbeat-").suffix(".tmp").tempfile_in(folder)?;
        draft.write_all(body)?;
        // Temporary files are private; a trigger file is there to be read. Before it has its name: from then on it is
        // whole.
        draft.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        match draft.persist_noclobber(file) {
            Ok(_) => Ok(Created::Done),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(Created::Taken),
            Err(error) => Err(error.error),
        }
    };
    write().map_err(|error| failed("file", file, "to write it", error))
}

/// As object stores on local files make them: changes with the file, its content's time and its size.
fn etag(metadata: &std::fs::Metadata) -> String {
    let micros = metadata.mtime().wrapping_mul(1_000_000).wrapping_add(metadata.mtime_nsec() / 1_000);
    format!("{:x}-{micros:x}-{:x}", metadata.ino(), metadata.len())
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

/// The error of a call to the file system.
pub(crate) fn failed(kind: &str, path: &Path, need: &str, cause: io::Error) -> StoreError {
    let what = format!("{kind} `{}`", path.display());
    let fault = match cause.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Fault::Missing,
        ErrorKind::PermissionDenied => {
            Fault::Forbidden { need: format!("the right {need}"), told: cause.to_string() }
        }
        _ => Fault::Unreachable { told: cause.to_string(), cause: Some(Box::new(cause)) },
    };
    fault.of(what)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Fault::Unreachable { told: error.to_string(), cause: None }.of("the file system"))
    })
}
