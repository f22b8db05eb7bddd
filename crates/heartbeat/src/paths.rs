//! Locations in one spelling: paths, `file://` URLs and URLs of stores.

use std::path::{Component, Path, PathBuf};

use heartbeat_core::location::Location;
use url::Url;

/// The path behind a local path or `file:` URL, as it was given.
pub fn local_path(location: &str) -> PathBuf {
    let from_url = Url::parse(location).ok().filter(|url| url.scheme() == "file");
    from_url.and_then(|url| url.to_file_path().ok()).unwrap_or_else(|| PathBuf::from(location))
}

/// The absolute path of a location without links, `.` and `..`, so that two spellings of one place are equal. What
/// does not exist yet is taken as it is spelt.
pub fn absolute(location: &str) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(local_path(location))?;
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
            plain = resolved(&plain);
        }
    }
    Ok(plain)
}

/// Where a table or folder is, in one spelling: equal for all that mean one place. Also for places on stores, which are no
/// paths of this machine.
pub fn one_spelling(location: &str) -> PathBuf {
    match Location::parse(location) {
        Ok(place @ (Location::S3 { .. } | Location::Azure { .. } | Location::Gcs { .. })) => {
            place.to_string().into()
        }
        _ => absolute(location).unwrap_or_else(|_| PathBuf::from(location)),
    }
}

/// A path that may begin with `~/`.
pub(crate) fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// URL of a directory at a local location; `None` where that is no path.
pub fn directory_url(location: &str) -> Option<Url> {
    Url::from_directory_path(absolute(location).ok()?).ok()
}

/// Location of the journal of a control table.
pub fn journal_of(control: &str) -> String {
    format!("{}_journal", control.trim_end_matches('/'))
}

fn resolved(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_urls_are_paths() {
        assert_eq!(local_path("file:///a%20b/c"), PathBuf::from("/a b/c"));
        assert_eq!(local_path("/a b/c"), PathBuf::from("/a b/c"));
        assert_eq!(local_path("rel/x"), PathBuf::from("rel/x"));
    }

    #[test]
    fn spellings_of_one_place_are_equal() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("a")).unwrap();
        std::os::unix::fs::symlink(base.join("a"), base.join("link")).unwrap();
        let spelt = |text: &str| absolute(&format!("{}/{text}", base.display())).unwrap();
        assert_eq!(spelt("a/../a/./new"), base.join("a/new"));
        assert_eq!(spelt("link/new"), base.join("a/new"));
        assert_eq!(spelt("missing/../a"), base.join("a"));
    }

    #[test]
    fn places_on_stores_have_one_spelling_too() {
        assert_eq!(one_spelling("s3a://b/x/"), one_spelling("s3://b/x"));
        assert_ne!(one_spelling("s3://b/x"), one_spelling("gs://b/x"));
        assert_eq!(one_spelling("/a/../b"), PathBuf::from("/b"));
    }

    #[test]
    fn a_journal_lies_beside_its_table() {
        assert_eq!(journal_of("s3://b/wh/db.db/control/"), "s3://b/wh/db.db/control_journal");
        assert_eq!(journal_of("/wh/control"), "/wh/control_journal");
    }
}
