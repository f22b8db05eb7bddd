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
    /// `.` or `..` or nothing between two slashes.
    #[error("`{0}` has an empty part, or one that is `.` or `..`")]
    Parts(String),
    /// A volume's path is too short.
    #[error("`{0}` names no volume; write `/Volumes/CATALOG/SCHEMA/VOLUME/...`")]
    NoVolume(String),
}

impl Location {
    /// Reads a path or URL. What stands behind the bucket is the key as it is, as in Hadoop: nothing is percent-decoded.
    pub fn parse(text: &str) -> Result<Self, BadLocation> {
        let text = text.trim();
        if is_volume(text) {
            return volume(text);
        }
        let Some((scheme, rest)) = text.split_once(":/") else { return Ok(Self::local(text)) };
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        match scheme.to_ascii_lowercase().as_str() {
            "file" => Ok(Self::local(text)),
            "s3" | "s3a" | "s3n" => {
                let (bucket, folder) = bucket(text, rest, "bucket")?;
                if bucket.contains(['@', ':']) {
                    return Err(BadLocation::Credentials);
                }
                Ok(Self::S3 { bucket, folder })
            }
            "gs" | "gcs" => {
                let (bucket, folder) = bucket(text, rest, "bucket")?;
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

fn bucket(text: &str, rest: &str, what: &'static str) -> Result<(String, String), BadLocation> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(BadLocation::NoBucket(text.to_owned(), what));
    }
    Ok((bucket.to_owned(), parts(text, key)?))
}

fn azure(text: &str, rest: &str) -> Result<Location, BadLocation> {
    let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
    let folder = parts(text, key)?;
    let (container, host) = match authority.split_once('@') {
        Some((container, host)) => (container, Some(host.to_ascii_lowercase())),
        None => (authority, None),
    };
    if container.is_empty() || host.as_deref() == Some("") {
        return Err(BadLocation::NoBucket(text.to_owned(), "container"));
    }
    if container.contains(':') {
        return Err(BadLocation::Credentials);
    }
    // The same blobs answer under both names.
    let host = host.map(|host| host.replacen(".blob.", ".dfs.", 1));
    Ok(Location::Azure { host, container: container.to_owned(), folder })
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
