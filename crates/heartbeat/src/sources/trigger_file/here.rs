//! Folders of this machine: read only when a directory has changed, and files looked at only when they are new.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::judge::Sight;
use super::part::Smallest;
use crate::stores::local::{listed, walk};
use crate::stores::{Fault, Listed, StoreError};

/// A change in the same moment as another may leave no trace: a directory that changed less than this ago is read again.
const MOMENT: Duration = Duration::from_secs(1);

/// Even where directories tell of changes they are read again now and then.
const REREAD: Duration = Duration::from_mins(5);

/// The directories of a folder, as they were when it was read.
#[derive(Debug)]
pub(super) struct Directories {
    /// Paths with the time of the last change, in nanoseconds; the folder's own first.
    changed: Vec<(String, i128)>,
    read: Instant,
    tells: bool,
}

impl Directories {
    /// As if they had not changed for a while.
    #[cfg(test)]
    pub(super) fn tell(&mut self) {
        self.tells = true;
    }

    /// The folder.
    pub(super) fn folder(&self) -> &str {
        self.changed.first().map_or("", |(folder, _)| folder)
    }

    /// Whether nothing can have come or gone since. Asks about directories only.
    pub(super) fn stand(&self, root: &Path) -> bool {
        self.tells
            && self.read.elapsed() < REREAD
            && self.changed.iter().all(|(path, at)| change_of(&root.join(path)).is_some_and(|now| now == *at))
    }
}

/// Reads the files of a folder behind `after`, at most the first so many. Nothing is asked about files.
pub(super) fn read(
    root: &Path,
    folder: &str,
    after: Option<&str>,
    most: usize,
    counts: &dyn Fn(&str, &str) -> bool,
    deadline: Instant,
) -> Result<(Sight, Directories), StoreError> {
    let (began, read) = (SystemTime::now(), Instant::now());
    let top = root.join(folder);
    // Taken before the entries are read: what comes meanwhile changes it.
    let changed = std::cell::RefCell::new(vec![(folder.to_owned(), change_of(&top).unwrap_or_default())]);
    let within = folder.len() + 1;
    let enter = |path: &str| {
        let is_hidden = path.rsplit('/').next().is_some_and(|name| name.starts_with(['.', '_']));
        if !is_hidden {
            changed.borrow_mut().push((path.to_owned(), change_of(&root.join(path)).unwrap_or_default()));
        }
        !is_hidden
    };
    let mut first = Smallest::new(most);
    walk(root, folder, &enter, deadline, &mut |path| {
        let path = &path[within..];
        if after.is_none_or(|after| path > after) && counts(path, folder) && first.wants(path) {
            first.push(named(path));
        }
    })?;
    let is_cut = first.is_cut();
    let sight = super::sweep::sight(first.files(), Timestamp::now());
    let upto = sight.files.last().map(|file| file.path.clone()).filter(|_| is_cut);
    let changed = changed.into_inner();
    let limit = i128::try_from(
        began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(MOMENT).as_nanos(),
    );
    let is_settled = limit.is_ok_and(|limit| changed.iter().all(|(_, at)| *at < limit));
    let directories = Directories { changed, read, tells: is_settled && tells_changes(&top) };
    Ok((Sight { after: after.map(str::to_owned), upto, ..sight }, directories))
}

/// Looks at files of which only the name is known; those that are gone, or are no files, are left out. Behind `until` files
/// are taken as they are named, or, where more must be known, time is up.
pub(super) fn complete(
    root: &Path,
    folder: &str,
    files: &[Listed],
    until: Instant,
    must: bool,
) -> Result<Vec<Listed>, StoreError> {
    let mut complete = Vec::with_capacity(files.len());
    for file in files {
        let path = root.join(folder).join(&file.path);
        if Instant::now() >= until {
            if must {
                return Err(Fault::Timeout.of(format!("folder `{}`", root.join(folder).display())));
            }
            complete.push(file.clone());
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                let mut file = listed(file.path.clone(), &metadata);
                if must && let Ok(own) = std::fs::symlink_metadata(&path) {
                    // Of a link, whoever made it: what it leads to may be anybody's.
                    file.owner = Some(own.uid().to_string());
                }
                complete.push(file);
            }
            // Pipes and devices.
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            // One odd link must not silence the folder.
            Err(error) => tracing::warn!(file = %path.display(), %error, "cannot be looked at, passed over"),
        }
    }
    Ok(complete)
}

fn named(path: &str) -> Listed {
    Listed { path: path.to_owned(), size: 0, etag: None, modified: None, owner: None }
}

/// When a directory's entries changed last: its change time, which nobody can set back.
fn change_of(directory: &Path) -> Option<i128> {
    let metadata = std::fs::metadata(directory).ok()?;
    Some(i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()))
}

/// Whether the file system keeps the change times of directories: those of this machine do, mounts of stores and network
/// shares may not.
#[cfg(target_os = "linux")]
fn tells_changes(directory: &Path) -> bool {
    const KNOWN: [u64; 7] =
        [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0x2FC1_2FC1, 0xF2F5_2010];
    #[allow(clippy::unnecessary_cast, clippy::allow_attributes, reason = "its type differs by machine")]
    rustix::fs::statfs(directory).is_ok_and(|found| KNOWN.contains(&(found.f_type as u64 & 0xFFFF_FFFF)))
}

#[cfg(not(target_os = "linux"))]
fn tells_changes(_: &Path) -> bool {
    false
}
