//! This machine's files, and whatever is mounted here.

mod calls;
mod walk;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use jiff::Timestamp;

pub(crate) use self::calls::AT_A_TIME;
use self::calls::{Call, Calls, Thread};
pub(crate) use self::walk::walk;
use super::error::{Fault, StoreError};
use super::{Created, LONGEST_BODY, Listed, Listing, Page};
use crate::paths::{absolute, local_path};

/// A folder of this machine.
#[derive(Debug, Clone)]
pub struct Local {
    root: PathBuf,
    calls: Calls,
}

/// Bases that are being opened: links are resolved.
static OPENING: LazyLock<Calls> = LazyLock::new(Calls::default);

/// So long may a mount take to say where it is.
const OPENING_WAIT: Duration = Duration::from_secs(30);

impl Local {
    pub(super) async fn open(location: &str) -> Result<Self, StoreError> {
        let (about, deadline) = (location.to_owned(), Instant::now() + OPENING_WAIT);
        let location = location.to_owned();
        let open = move || {
            let root = absolute(&location).unwrap_or_else(|_| local_path(&location));
            Ok(Self { root, calls: Calls::default() })
        };
        OPENING.run(about, deadline, open).await
    }

    /// The folder, if it is there.
    pub(super) async fn mounted(path: &str) -> Result<Option<Self>, StoreError> {
        let (about, deadline) = (path.to_owned(), Instant::now() + OPENING_WAIT);
        let location = path.to_owned();
        let is_there = OPENING.run(about, deadline, move || Ok(Path::new(&location).is_dir())).await?;
        if is_there { Ok(Some(Self::open(path).await?)) } else { Ok(None) }
    }

    /// Makes a call about a file or folder in it, see [`Calls::run`].
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        path: &str,
        deadline: Instant,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.calls.run(self.name(path), deadline, work).await
    }

    /// A file or folder in it, as calls name it.
    fn name(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    /// A call about a file or folder in it by a thread of its own, see [`Calls::begin`].
    pub(crate) fn begin(&self, path: &str) -> Option<Call> {
        self.calls.begin(&self.name(path))
    }

    /// Threads for such calls that are free now.
    pub(crate) fn free_threads(&self) -> Vec<Thread> {
        self.calls.free_threads()
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
        self.call(listing.prefix, deadline, move || {
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

    pub(super) async fn create(
        &self,
        path: &str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Created, StoreError> {
        let file = self.root.join(path);
        self.call(path, deadline, move || create(&file, &body)).await
    }

    pub(super) async fn read(&self, path: &str, deadline: Instant) -> Result<Option<Bytes>, StoreError> {
        let file = self.root.join(path);
        self.call(path, deadline, move || {
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

    pub(super) async fn delete(&self, path: &str, deadline: Instant) -> Result<(), StoreError> {
        let file = self.root.join(path);
        self.call(path, deadline, move || match std::fs::remove_file(&file) {
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
