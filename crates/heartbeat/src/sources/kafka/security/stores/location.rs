//! Where stores lie: this machine, the mounts of Databricks, object stores.

use std::io;
use std::path::{Path, PathBuf};

use object_store::{ObjectStoreExt as _, parse_url_opts};
use url::Url;

use crate::secrets;

/// Stores are a few kilobytes; the largest set of trusted certificates has some hundred.
const LARGEST: u64 = 10 << 20;

/// Why a store's bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LocationError {
    /// Nothing is there.
    #[error("does not exist")]
    Missing,
    /// Nothing is there, where DBFS would be mounted.
    #[error("does not exist: `{}` was looked for, as clusters of Databricks mount DBFS at /dbfs", .0.display())]
    MissingInMount(PathBuf),
    /// The file system refuses.
    #[error("cannot be read")]
    File(#[source] io::Error),
    /// A directory is there.
    #[error("is a directory")]
    Directory,
    /// Something else is there.
    #[error("has {0} bytes: no store is so large")]
    TooLarge(u64),
    /// Neither path nor URL.
    #[error("is no location of a store")]
    NoLocation,
    /// The object store refuses or does not answer.
    #[error("cannot be read")]
    ObjectStore(#[source] Box<object_store::Error>),
}

impl LocationError {
    /// True when the next look may find it.
    pub(in super::super) fn is_passing(&self) -> bool {
        matches!(self, Self::ObjectStore(_))
    }
}

/// The bytes at a path or URL. Object stores are configured by the environment, as their own tools are.
pub(in super::super) async fn read(location: &str) -> Result<Vec<u8>, LocationError> {
    if let Some(path) = local_path(location) {
        let is_mounted = location.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("dbfs:"));
        return read_file(&path).await.map_err(|error| match error {
            LocationError::Missing if is_mounted => LocationError::MissingInMount(path),
            error => error,
        });
    }
    // What is cut away says nothing to an object store, and may be repeated in its errors.
    let url = Url::parse(&without_secrets(location)).map_err(|_| LocationError::NoLocation)?;
    let options = secrets::environment().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let (store, path) = parse_url_opts(&url, options).map_err(on_object_store)?;
    let object = store.get(&path).await.map_err(on_object_store)?;
    if object.meta.size > LARGEST {
        return Err(LocationError::TooLarge(object.meta.size));
    }
    Ok(object.bytes().await.map_err(on_object_store)?.to_vec())
}

/// A location as it may be shown: a URL without query, fragment and user. The container that stands in the place of a
/// user on Azure stays.
pub(in super::super) fn without_secrets(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else { return location.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user.split(':').next().unwrap_or_default(), host),
        None => ("", authority),
    };
    let is_azure =
        ["abfss", "abfs", "azure", "az", "adl"].iter().any(|azure| azure.eq_ignore_ascii_case(scheme));
    if is_azure && !user.is_empty() {
        format!("{scheme}://{user}@{host}{path}")
    } else {
        format!("{scheme}://{host}{path}")
    }
}

fn on_object_store(error: object_store::Error) -> LocationError {
    match error {
        object_store::Error::NotFound { .. } => LocationError::Missing,
        error => LocationError::ObjectStore(Box::new(error)),
    }
}

/// The path of a location on this machine; `None`: it is on an object store.
fn local_path(location: &str) -> Option<PathBuf> {
    let Some((scheme, rest)) = location.split_once(":/") else { return Some(PathBuf::from(location)) };
    let slashes = |rest: &str| PathBuf::from(format!("/{}", rest.trim_start_matches('/')));
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {
            let path = Url::parse(location).ok().and_then(|url| url.to_file_path().ok());
            Some(path.unwrap_or_else(|| slashes(rest)))
        }
        "dbfs" => Some(Path::new("/dbfs").join(rest.trim_start_matches('/'))),
        _ => None,
    }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, LocationError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => LocationError::Missing,
        io::ErrorKind::IsADirectory => LocationError::Directory,
        _ => LocationError::File(error),
    };
    let metadata = tokio::fs::metadata(path).await.map_err(failed)?;
    if metadata.is_dir() {
        return Err(LocationError::Directory);
    }
    if metadata.len() > LARGEST {
        return Err(LocationError::TooLarge(metadata.len()));
    }
    tokio::fs::read(path).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/a/b.jks", Some("/a/b.jks"))]
    #[case("b.jks", Some("b.jks"))]
    #[case("file:/a/b.jks", Some("/a/b.jks"))]
    #[case("file:///a%20b.jks", Some("/a b.jks"))]
    #[case("dbfs:/a/b.jks", Some("/dbfs/a/b.jks"))]
    #[case("dbfs:///a/b.jks", Some("/dbfs/a/b.jks"))]
    #[case("/Volumes/c/s/v/b.jks", Some("/Volumes/c/s/v/b.jks"))]
    #[case("s3://bucket/b.jks", None)]
    #[case("abfss://c@a.dfs.core.windows.net/b.jks", None)]
    fn locations_of_databricks_are_paths(#[case] location: &str, #[case] expected: Option<&str>) {
        assert_eq!(local_path(location).as_deref(), expected.map(Path::new));
    }

    #[rstest]
    #[case("s3://AKIA:s3cr3t@bucket/a.jks?X-Amz-Signature=s3cr3t", "s3://bucket/a.jks")]
    #[case("abfss://c@a.dfs.core.windows.net/b.jks?sig=s3cr3t", "abfss://c@a.dfs.core.windows.net/b.jks")]
    #[case("gs://bucket/a@b.jks#s3cr3t", "gs://bucket/a@b.jks")]
    #[case("/odd?name#of@a:file.jks", "/odd?name#of@a:file.jks")]
    #[case("dbfs:/a/b.jks", "dbfs:/a/b.jks")]
    fn what_may_be_secret_in_a_url_is_not_shown(#[case] location: &str, #[case] expected: &str) {
        assert_eq!(without_secrets(location), expected);
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("x").display().to_string();
        assert!(matches!(read(&missing).await, Err(LocationError::Missing)));
        let mounted = read("dbfs:/no/such.jks").await.unwrap_err().to_string();
        assert!(mounted.starts_with("does not exist: `/dbfs/no/such.jks` was looked for"), "{mounted}");
        assert!(matches!(read(&dir.path().display().to_string()).await, Err(LocationError::Directory)));
    }
}
