//! Directories, read to their ends.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Instant;

use super::super::error::{Fault, StoreError};
use super::failed;

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
                tracing::warn!(folder = %at.display(), ?name, "name is no UTF-8, passed over");
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
