//! What can go wrong with a table, by what it means for the caller.

use std::error::Error as StdError;
use std::fmt;

use object_store::Error as StoreError;

/// A cause of unknown type.
pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// Errors of the Delta store. A lost race is none of them: see `heartbeat_core::table::Commit`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing at the location is a Delta table.
    #[error(
        "there is no Delta table at `{path}`; create it with `heartbeat init`, or, if there was one, look for its storage \
         first: a new one knows nothing of what was processed"
    )]
    NotATable {
        /// Where a table was looked for.
        path: String,
    },
    /// The storage refused access.
    #[error(
        "no right to {operation} `{path}`; give this user read and write access to the table's directory"
    )]
    NotAllowed {
        /// The table.
        path: String,
        /// What was attempted.
        operation: &'static str,
        /// The storage's own words.
        #[source]
        source: Cause,
    },
    /// The storage does not believe who we are: other credentials are needed, rather than more rights for these.
    #[error("could not {operation} `{path}`: the credentials are not accepted")]
    Credentials {
        /// The table.
        path: String,
        /// What was attempted.
        operation: &'static str,
        /// The storage's own words.
        #[source]
        source: Cause,
    },
    /// The table's log or one of its files is missing or unreadable.
    #[error(
        "the Delta table `{path}` is damaged: {what}; restore the table from a backup or an earlier version"
    )]
    Damaged {
        /// The table.
        path: String,
        /// What is missing or broken, with the file's name where it is known.
        what: String,
        /// The reader's own words.
        #[source]
        source: Option<Cause>,
    },
    /// The table uses a feature of Delta that is not honoured here.
    #[error("cannot {access} the Delta table `{path}`: it uses {feature}; {fix}")]
    Unsupported {
        /// The table.
        path: String,
        /// Whether the table cannot even be read.
        access: Access,
        /// The feature, with the column or property that makes it matter.
        feature: String,
        /// What to do about it.
        fix: String,
    },
    /// Columns are missing or have types that cannot hold their values.
    #[error("the columns of table `{path}` do not fit: {problems}")]
    Schema {
        /// The table.
        path: String,
        /// Every column that does not fit.
        problems: Problems,
    },
    /// A value cannot be stored in the type that its column has.
    #[error("table `{path}`: {value} cannot be stored in column `{column}`, which is {column_type}")]
    Value {
        /// The table.
        path: String,
        /// The column.
        column: String,
        /// Its type in the table.
        column_type: String,
        /// The value, as text.
        value: String,
    },
    /// The changes name rows that the snapshot does not have, or one row twice.
    #[error("changes to table `{path}` do not fit their snapshot: {what}")]
    Changes {
        /// The table.
        path: String,
        /// The offending index.
        what: String,
    },
    /// The storage failed; the same call may work later.
    #[error("could not {operation} `{path}`")]
    Storage {
        /// The table or file.
        path: String,
        /// What was attempted.
        operation: &'static str,
        /// The storage's own words.
        #[source]
        source: Cause,
    },
    /// The storage failed while a commit was written, and the entry is not there yet: it may still appear.
    /// Loading again shows whether it did.
    #[error(
        "it is not known whether version {version} of table `{path}` was committed; load the table again"
    )]
    OutcomeUnknown {
        /// The table.
        path: String,
        /// The version that was being written.
        version: u64,
        /// The storage's own words.
        #[source]
        source: Cause,
    },
    /// The log entry that a commit was made against is no longer the one that was read, so the commit may
    /// have come too late.
    #[error("entry {version} of table `{path}` is no longer the one that the commit was made against")]
    BaseGone {
        /// The table.
        path: String,
        /// The version that was read.
        version: u64,
    },
    /// The bytes stored under a digest are other bytes.
    #[error("the file `{path}` does not hold the bytes that its name promises")]
    Digest {
        /// The file.
        path: String,
    },
    /// The URL names no storage that this build can reach.
    #[error("`{url}` is not a location for a table")]
    Location {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: Cause,
    },
}

/// What cannot be done with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Not even reading.
    Read,
    /// Reading works, committing does not.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write to",
        })
    }
}

/// One column that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnProblem {
    /// The column.
    pub column: String,
    /// Its type in the table; `None` when the table lacks it.
    pub found: Option<String>,
    /// The types that would do.
    pub wanted: &'static str,
}

/// Every column of a table that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<ColumnProblem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ColumnProblem { column, found, wanted }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            match found {
                Some(found) => write!(f, "column `{column}` is {found}, wanted {wanted}")?,
                None => write!(f, "column `{column}` is missing, wanted {wanted}")?,
            }
        }
        Ok(())
    }
}

/// Tells refused access from other failures of the storage, however deep the cause is wrapped.
pub(crate) fn storage(path: &str, operation: &'static str, source: impl Into<Cause>) -> Error {
    let source = source.into();
    let path = path.to_owned();
    let (is_unknown, is_refused) = (is_unauthenticated(source.as_ref()), is_refusal(source.as_ref()));
    let source = own_words(source);
    if is_unknown {
        Error::Credentials { path, operation, source }
    } else if is_refused {
        Error::NotAllowed { path, operation, source }
    } else {
        Error::Storage { path, operation, source }
    }
}

/// What the storage has said, without the client's words around it.
fn own_words(error: Cause) -> Cause {
    match error.downcast::<StoreError>().map(|error| *error) {
        Ok(
            StoreError::Generic { source, .. }
            | StoreError::PermissionDenied { source, .. }
            | StoreError::Unauthenticated { source, .. },
        ) => own_words(source),
        Ok(other) => other.into(),
        Err(other) => other,
    }
}

fn is_unauthenticated(error: &(dyn StdError + 'static)) -> bool {
    chain(error)
        .any(|cause| matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::Unauthenticated { .. })))
}

/// True when some cause in the chain is a refusal of access.
pub(crate) fn is_refusal(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        matches!(
            cause.downcast_ref::<StoreError>(),
            Some(StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. })
        ) || cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// True when some cause in the chain is a failure of the storage other than an absent file.
pub(crate) fn is_storage_failure(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|cause| {
        cause.downcast_ref::<StoreError>().is_some_and(|store| {
            !matches!(store, StoreError::NotFound { .. } | StoreError::InvalidPath { .. })
        }) || cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() != std::io::ErrorKind::NotFound)
    })
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_access_is_found_below_the_store_s_wrapping() {
        let io = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let wrapped = StoreError::Generic { store: "LocalFileSystem", source: Box::new(io) };
        assert!(matches!(storage("t", "read", wrapped), Error::NotAllowed { .. }));
        let io = std::io::Error::from(std::io::ErrorKind::TimedOut);
        let wrapped = StoreError::Generic { store: "LocalFileSystem", source: Box::new(io) };
        assert!(matches!(storage("t", "read", wrapped), Error::Storage { .. }));
    }

    #[test]
    fn unknown_credentials_are_no_missing_right_and_the_store_speaks_for_itself() {
        let said = || std::io::Error::other("InvalidAccessKeyId: who?");
        let unknown = StoreError::Unauthenticated { path: "p".into(), source: Box::new(said()) };
        let error = storage("t", "list", unknown);
        assert!(matches!(error, Error::Credentials { .. }));
        assert_eq!(error.to_string(), "could not list `t`: the credentials are not accepted");
        assert_eq!(error.source().unwrap().to_string(), "InvalidAccessKeyId: who?");
    }

    #[test]
    fn every_problem_is_named_with_its_types() {
        let problems = Problems(vec![
            ColumnProblem { column: "status".into(), found: Some("binary".into()), wanted: "string" },
            ColumnProblem { column: "assets".into(), found: None, wanted: "array<string>" },
        ]);
        assert_eq!(
            problems.to_string(),
            "column `status` is binary, wanted string; column `assets` is missing, wanted array<string>"
        );
    }
}
