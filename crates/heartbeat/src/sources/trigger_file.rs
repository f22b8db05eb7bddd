//! Trigger files: each new file below `<base>/<sensor_id>/` is news.
//!
//! New means a path that was not seen before: files may come late, out of order, under any name and in folders
//! below the sensor's. Names that begin with `.` or `_`, names that end with `.tmp`, and directories are never
//! news; neither is anything below a folder whose name begins with `.` or `_`. A file that is overwritten is not
//! new, as in Auto Loader. A name that was seen and has gone is forgotten, so that memory is bounded by what is
//! there; a file made again under it is news again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use heartbeat_core::position::{FilesPosition, Manifest, NewFile, Position};
use heartbeat_core::source::{Answer, Ask, Asset, Finding, Since, Source, SourceError};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::paths::{absolute, local_path};

/// Trigger files below one base folder on a local or mounted path.
#[derive(Debug)]
pub struct TriggerFileSource {
    base: PathBuf,
}

impl TriggerFileSource {
    /// A source below `base`, a local path or `file://` URL.
    pub fn new(base: &str) -> Self {
        Self { base: absolute(base).unwrap_or_else(|_| local_path(base)) }
    }
}

/// Whether a file of this path (below the sensor's folder) can be news.
pub fn is_trigger(path: &str) -> bool {
    let hidden = |part: &str| part.starts_with(['.', '_']);
    !path.split('/').any(hidden) && !path.to_ascii_lowercase().ends_with(".tmp")
}

impl Source for TriggerFileSource {
    async fn look(&self, asks: &Arc<[Ask]>, deadline: Instant) -> Vec<Result<Answer, SourceError>> {
        let mut answers: Vec<Option<Result<Answer, SourceError>>> = asks.iter().map(|_| None).collect();
        let (done, mut arriving) = mpsc::unbounded_channel();
        let next = Arc::new(AtomicUsize::new(0));
        // Listing is blocking I/O. A folder that hangs keeps one worker; its answer is the only one missed.
        for _ in 0..WORKERS.min(asks.len()) {
            let (base, questions) = (self.base.clone(), Arc::clone(asks));
            let (next, done) = (Arc::clone(&next), done.clone());
            tokio::task::spawn_blocking(move || {
                while let Some((index, ask)) = take(&next, &questions) {
                    let found = answer(&base, ask, deadline).map(|found| shortened(found, &ask.since));
                    if done.send((index, found)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        while let Ok(Some((index, answer))) = tokio::time::timeout_at(deadline.into(), arriving.recv()).await
        {
            answers[index] = Some(answer);
        }
        let answered = answers.into_iter().zip(asks.iter());
        answered.map(|(answer, ask)| answer.unwrap_or_else(|| Err(self.timeout(ask)))).collect()
    }
}

/// Folders that are listed at a time.
const WORKERS: usize = 8;

fn take<'a>(next: &AtomicUsize, questions: &'a [Ask]) -> Option<(usize, &'a Ask)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    questions.get(index).map(|ask| (index, ask))
}

impl TriggerFileSource {
    fn timeout(&self, ask: &Ask) -> SourceError {
        let folder = match &ask.asset {
            Asset::Folder { name } => self.base.join(name),
            Asset::Topic { .. } => self.base.clone(),
        };
        SourceError::Timeout { what: format!("folder `{}`", folder.display()) }
    }
}

fn answer(base: &Path, ask: &Ask, deadline: Instant) -> Result<Finding, SourceError> {
    let Asset::Folder { name } = &ask.asset else {
        return Err(SourceError::Misconfigured {
            problem: "a Kafka topic is not a trigger folder".to_owned(),
        });
    };
    let folder = base.join(name);
    if Instant::now() >= deadline {
        return Err(SourceError::Timeout { what: format!("folder `{}`", folder.display()) });
    }
    let listed = list(&folder, deadline)?;
    judge(&folder_url(&folder), listed, &ask.since, |path| {
        let file = folder.join(path);
        let metadata = match std::fs::metadata(&file) {
            Ok(metadata) => metadata,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(unreadable("file", &file, cause)),
        };
        Ok(Some(NewFile {
            path: path.to_owned(),
            size: metadata.len(),
            etag: Some(etag(&metadata)),
            modified: metadata.modified().ok().and_then(timestamp),
        }))
    })
}

/// An idle row has nothing to tell.
fn shortened(found: Finding, since: &Since) -> Answer {
    let stands = matches!(since, Since::Position(cursor) if *cursor == found.position);
    if stands && found.news.is_none() && found.remarks.is_empty() { Answer::Same } else { found.into() }
}

/// The judgement, over names; `stat` is asked only about files that may be news.
fn judge(
    folder: &str,
    mut listed: Vec<String>,
    since: &Since,
    stat: impl Fn(&str) -> Result<Option<NewFile>, SourceError>,
) -> Result<Finding, SourceError> {
    let mut remarks = Vec::new();
    let known = match since {
        Since::Position(Position::Files(cursor)) if cursor.folder == folder => Some(cursor),
        Since::Position(Position::Files(cursor)) => {
            remarks.push(format!("the folder moved from {}: every file in it is new", cursor.folder));
            None
        }
        Since::Position(Position::Kafka(_) | Position::Topics(_)) => {
            return Err(SourceError::Misconfigured {
                problem: "its stored position is one of a Kafka topic".to_owned(),
            });
        }
        Since::Beginning | Since::Time(_) | Since::Now => None,
    };
    let mut found = BTreeMap::new();
    if *since != Since::Now {
        let unseen = listed.iter().filter(|path| known.is_none_or(|cursor| !cursor.seen.contains(*path)));
        let mut gone = BTreeSet::new();
        for path in unseen {
            match stat(path)? {
                Some(file) => drop(found.insert(path.clone(), file)),
                None => drop(gone.insert(path.clone())),
            }
        }
        // A file that is gone again before it can be looked at is no news, and not seen either.
        listed.retain(|path| !gone.contains(path));
    }
    if let Since::Time(from) = since {
        found.retain(|_, file| file.modified.is_none_or(|modified| modified >= *from));
    }
    let news: Vec<NewFile> = found.into_values().collect();
    let position = FilesPosition { folder: folder.to_owned(), seen: listed.into_iter().collect() };
    Ok(Finding {
        news: (!news.is_empty()).then_some(Manifest::Files(news)),
        remarks,
        ..Finding::at(Position::Files(position))
    })
}

/// Paths of the trigger files below a folder, `/` between their parts.
fn list(folder: &Path, deadline: Instant) -> Result<Vec<String>, SourceError> {
    let mut files = Vec::new();
    let mut below = vec![String::new()];
    while let Some(prefix) = below.pop() {
        let directory = folder.join(&prefix);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            // A folder below that went away while we looked holds nothing any more.
            Err(cause) if !prefix.is_empty() && cause.kind() == ErrorKind::NotFound => continue,
            Err(cause) => return Err(unreadable("folder", &directory, cause)),
        };
        for entry in entries {
            if Instant::now() >= deadline {
                return Err(SourceError::Timeout { what: format!("folder `{}`", folder.display()) });
            }
            let entry = entry.map_err(|cause| unreadable("folder", &directory, cause))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                tracing::warn!(folder = %directory.display(), name = ?entry.file_name(), "name is no UTF-8, passed over");
                continue;
            };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(|cause| unreadable("folder", &directory, cause))?;
            let is_directory = kind.is_dir() || (kind.is_symlink() && directory.join(&name).is_dir());
            match (is_directory, is_trigger(&path)) {
                (true, true) if kind.is_dir() => below.push(format!("{path}/")),
                (false, true) => files.push(path),
                // Among them links to folders: they could lead back up, and the folders of a store have none.
                (_, false) | (true, true) => {}
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// As object stores on local files make them: changes with the file, its content's time and its size.
fn etag(metadata: &std::fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let micros = metadata.mtime().wrapping_mul(1_000_000).wrapping_add(metadata.mtime_nsec() / 1_000);
    format!("{:x}-{micros:x}-{:x}", metadata.ino(), metadata.len())
}

fn unreadable(kind: &str, path: &Path, cause: io::Error) -> SourceError {
    let what = format!("{kind} `{}`", path.display());
    match cause.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => SourceError::NotFound { what },
        ErrorKind::PermissionDenied => SourceError::NotAllowed { what },
        _ => SourceError::Unreachable { what, cause: Box::new(cause) },
    }
}

fn folder_url(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    url::Url::from_directory_path(&absolute)
        .map_or_else(|()| absolute.display().to_string(), |url| url.as_str().trim_end_matches('/').to_owned())
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests;
