//! Where files lie: this machine, object stores, the volumes of Databricks. One spelling for each place.

use std::fmt;

/// A folder on any store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Location {
    /// A path of this machine, or a `file:` URL, as it was given.
    Local(String),
    /// Amazon S3, or what speaks its protocol.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Key of the folder without a slash at either end; empty: the bucket itself.
        folder: String,
    },
    /// Azure Blob Storage and Data Lake Storage.
    Azure {
        /// Host as it was given (`account.dfs.core.windows.net`); `None`: the options name the account.
        host: Option<String>,
        /// Name of the container (a *file system* of the Data Lake).
        container: String,
        /// As of S3.
        folder: String,
    },
    /// Google Cloud Storage.
    Gcs {
        /// Name of the bucket.
        bucket: String,
        /// As of S3.
        folder: String,
    },
    /// A volume of Unity Catalog: `/Volumes/CATALOG/SCHEMA/VOLUME/...`, without a slash at the end.
    Volume(String),
    /// A path of DBFS (`/a/b`), without a slash at the end.
    Dbfs(String),
}

/// Why a text is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// Nothing that can be reached.
    #[error(
        "`{0}:` locations cannot be reached; give a local path or a file://, s3://, abfss://, az://, gs:// or dbfs:/ URL"
    )]
    Scheme(String),
    /// No bucket or container.
    #[error("`{0}` names no {1}")]
    NoBucket(String, &'static str),
    /// A URL with a user or password: secrets belong elsewhere.
    #[error("a location holds no credentials; give them as `storage_options`, by reference")]
    Credentials,
    /// It would become a part of a host or of a URL.
    #[error("{what} `{name}` may hold letters, digits, `.`, `_` and `-` only")]
    BadName {
        /// `bucket`, `container` or `host`.
        what: &'static str,
        /// As it was given.
        name: String,
    },
    /// Only a shell knows whose home that is.
    #[error("`{0}` begins with `~`, which only a shell replaces; write the whole path (or `./~...`)")]
    Home(String),
    /// A URL whose slashes are missing would be a file's name.
    #[error("`{0}:` wants slashes behind it: write `{0}://...`")]
    NoSlashes(String),
    /// A file of another machine.
    #[error("a `file:` URL of host `{0}` cannot be reached; write `file:///PATH`")]
    OtherHost(String),
    /// `.` or `..` or nothing between two slashes.
    #[error("`{0}` has an empty part, or one that is `.` or `..`")]
    Parts(String),
    /// A volume's path is too short.
    #[error("`{0}` names no volume; write `/Volumes/CATALOG/SCHEMA/VOLUME/...`")]
    NoVolume(String),
}

/// Schemes of stores.
const STORES: [&str; 12] =
    ["s3", "s3a", "s3n", "gs", "gcs", "abfss", "abfs", "wasbs", "wasb", "az", "azure", "dbfs"];

impl Location {
    /// Reads a path or URL. What stands behind the bucket is the key as it is, as in Hadoop: nothing is percent-decoded.
    pub fn parse(text: &str) -> Result<Self, BadLocation> {
        let text = text.trim();
        if is_volume(text) {
            return volume(text);
        }
        if text.starts_with('~') {
            return Err(BadLocation::Home(text.to_owned()));
        }
        if let Some((scheme, rest)) = text.split_once(':') {
            let scheme = scheme.to_ascii_lowercase();
            if STORES.contains(&scheme.as_str()) && !rest.starts_with('/') {
                return Err(BadLocation::NoSlashes(scheme));
            }
        }
        let Some((scheme, rest)) = text.split_once(":/") else { return Ok(Self::local(text)) };
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        match scheme.to_ascii_lowercase().as_str() {
            "file" => file(text),
            "s3" | "s3a" | "s3n" => {
                let (bucket, folder) = bucket(text, rest)?;
                Ok(Self::S3 { bucket, folder })
            }
            "gs" | "gcs" => {
                let (bucket, folder) = bucket(text, rest)?;
                Ok(Self::Gcs { bucket, folder })
            }
            "abfss" | "abfs" | "wasbs" | "wasb" | "az" | "azure" => azure(text, rest),
            "dbfs" => {
                let path = format!("/{}", rest.trim_start_matches('/'));
                if is_volume(&path) {
                    return volume(&path);
                }
                Ok(Self::Dbfs(format!("/{}", parts(text, &path)?)))
            }
            // A path may hold `:/` too, and a letter before it is a drive.
            other if other.contains('/') || other.len() < 2 => Ok(Self::local(text)),
            other => Err(BadLocation::Scheme(other.to_owned())),
        }
    }

    /// The folder `name` in this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let within =
            |folder: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        match self {
            Self::Local(path) => Self::Local(format!("{}/{name}", path.trim_end_matches('/'))),
            Self::S3 { bucket, folder } => Self::S3 { bucket: bucket.clone(), folder: within(folder) },
            Self::Azure { host, container, folder } => {
                Self::Azure { host: host.clone(), container: container.clone(), folder: within(folder) }
            }
            Self::Gcs { bucket, folder } => Self::Gcs { bucket: bucket.clone(), folder: within(folder) },
            Self::Volume(path) => Self::Volume(format!("{path}/{name}")),
            Self::Dbfs(path) => Self::Dbfs(format!("{}/{name}", path.trim_end_matches('/'))),
        }
    }

    fn local(text: &str) -> Self {
        let trimmed = text.trim_end_matches('/');
        Self::Local(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
    }
}

/// The canonical URL; the same for all spellings of a place on a store.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = |folder: &str| if folder.is_empty() { String::new() } else { format!("/{folder}") };
        match self {
            Self::Local(path) => f.write_str(path),
            Self::S3 { bucket, folder } => write!(f, "s3://{bucket}{}", slash(folder)),
            Self::Gcs { bucket, folder } => write!(f, "gs://{bucket}{}", slash(folder)),
            Self::Azure { host: Some(host), container, folder } => {
                write!(f, "abfss://{container}@{host}{}", slash(folder))
            }
            Self::Azure { host: None, container, folder } => write!(f, "az://{container}{}", slash(folder)),
            Self::Volume(path) | Self::Dbfs(path) => write!(f, "dbfs:{path}"),
        }
    }
}

/// What the keys of a folder begin with; nothing in a bucket itself.
pub fn beginning_of(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}

fn is_volume(path: &str) -> bool {
    path == "/Volumes" || path.starts_with("/Volumes/")
}

fn volume(path: &str) -> Result<Location, BadLocation> {
    let plain = parts(path, path)?;
    if plain.split('/').count() < 4 {
        return Err(BadLocation::NoVolume(path.to_owned()));
    }
    Ok(Location::Volume(format!("/{plain}")))
}

/// A path, or a URL of this machine.
fn file(text: &str) -> Result<Location, BadLocation> {
    let behind = text.split_once("://").map_or("/", |(_, rest)| rest);
    let host = behind.split('/').next().unwrap_or_default();
    if host.contains('@') {
        return Err(BadLocation::Credentials);
    }
    if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
        return Err(BadLocation::OtherHost(host.to_owned()));
    }
    Ok(Location::local(text))
}

// Credentials are looked for first: the other errors repeat the text.
fn bucket(text: &str, rest: &str) -> Result<(String, String), BadLocation> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.contains(['@', ':']) {
        return Err(BadLocation::Credentials);
    }
    if bucket.is_empty() {
        return Err(BadLocation::NoBucket(text.to_owned(), "bucket"));
    }
    check_name("bucket", bucket, "")?;
    Ok((bucket.to_owned(), parts(text, key)?))
}

fn azure(text: &str, rest: &str) -> Result<Location, BadLocation> {
    let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
    let (container, host) = match authority.split_once('@') {
        Some((container, host)) => (container, Some(host.to_ascii_lowercase())),
        None => (authority, None),
    };
    if container.contains(':') || host.as_deref().is_some_and(|host| host.contains('@')) {
        return Err(BadLocation::Credentials);
    }
    if container.is_empty() || host.as_deref() == Some("") {
        return Err(BadLocation::NoBucket(text.to_owned(), "container"));
    }
    // `$web` and `$root` are containers.
    check_name("container", container, "$")?;
    if let Some(host) = &host {
        check_name("host", host, "")?;
    }
    let folder = parts(text, key)?;
    // The same blobs answer under both names.
    let host = host.map(|host| host.replacen(".blob.", ".dfs.", 1));
    Ok(Location::Azure { host, container: container.to_owned(), folder })
}

/// Names become parts of URLs and hosts: one that holds `/`, `?`, `#` or the like would lead a token elsewhere.
fn check_name(what: &'static str, name: &str, also: &str) -> Result<(), BadLocation> {
    let is_plain = |letter: char| {
        letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-') || also.contains(letter)
    };
    if name.chars().all(is_plain) {
        return Ok(());
    }
    Err(BadLocation::BadName { what, name: name.to_owned() })
}

/// A key without slashes at its ends.
fn parts(text: &str, key: &str) -> Result<String, BadLocation> {
    let plain = key.trim_matches('/');
    let is_odd = |part: &str| matches!(part, "" | "." | "..");
    if !plain.is_empty() && plain.split('/').any(is_odd) {
        return Err(BadLocation::Parts(text.to_owned()));
    }
    Ok(plain.to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/a/b/", "/a/b")]
    #[case("file:///a/b", "file:///a/b")]
    #[case("rel", "rel")]
    #[case("s3://b/x/y/", "s3://b/x/y")]
    #[case("S3A://b/x", "s3://b/x")]
    #[case("s3://b", "s3://b")]
    #[case("s3://b/odd %20#?", "s3://b/odd %20#?")]
    #[case("gs://b/x", "gs://b/x")]
    #[case("abfss://c@A.dfs.core.windows.net/x", "abfss://c@a.dfs.core.windows.net/x")]
    #[case("wasbs://c@a.blob.core.windows.net/x", "abfss://c@a.dfs.core.windows.net/x")]
    #[case("az://c/x", "az://c/x")]
    #[case("az://$web/x", "az://$web/x")]
    #[case("file://localhost/a", "file://localhost/a")]
    #[case("file:/a", "file:/a")]
    #[case("a:b/c", "a:b/c")]
    #[case("/Volumes/c/s/v/x/", "dbfs:/Volumes/c/s/v/x")]
    #[case("dbfs:/Volumes/c/s/v", "dbfs:/Volumes/c/s/v")]
    #[case("dbfs:///mnt/x", "dbfs:/mnt/x")]
    #[case("dbfs:/", "dbfs:/")]
    fn spellings_of_a_place_are_one(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Location::parse(text).unwrap().to_string(), shown);
    }

    #[rstest]
    #[case("ftp://x/y", "`ftp:` locations cannot be reached")]
    #[case("s3:///x", "names no bucket")]
    #[case("s3://key:secret@b/x", "holds no credentials")]
    #[case("s3://b/x/../y", "`.` or `..`")]
    #[case("s3://b/x//y", "empty part")]
    #[case("abfss://@a/x", "names no container")]
    #[case("/Volumes/c/s", "names no volume")]
    #[case("gs://key:secret@b/x", "holds no credentials")]
    #[case("s3://key:secret@b/x/../y", "holds no credentials")]
    #[case("abfss://c@key:secret@a.dfs.core.windows.net/x", "holds no credentials")]
    #[case("s3://b?x/y", "bucket `b?x` may hold")]
    #[case("gs://b#x/y", "bucket `b#x` may hold")]
    #[case("az://c%2f/y", "container `c%2f` may hold")]
    #[case("abfss://c@evil.com?.dfs.core.windows.net/x", "host `evil.com?.dfs.core.windows.net` may hold")]
    #[case("~/x", "begins with `~`")]
    #[case("s3:b/t", "write `s3://...`")]
    #[case("DBFS:mnt/t", "write `dbfs://...`")]
    #[case("file://server/x", "host `server`")]
    fn what_is_no_location_is_told(#[case] text: &str, #[case] expected: &str) {
        let problem = Location::parse(text).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    }

    #[rstest]
    #[case("s3://b", "s3://b/n")]
    #[case("s3://b/x", "s3://b/x/n")]
    #[case("/", "/n")]
    #[case("dbfs:/", "dbfs:/n")]
    #[case("/Volumes/c/s/v", "dbfs:/Volumes/c/s/v/n")]
    fn a_folder_has_folders(#[case] base: &str, #[case] shown: &str) {
        assert_eq!(Location::parse(base).unwrap().join("n").to_string(), shown);
    }
}
