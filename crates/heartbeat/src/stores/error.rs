//! Why a store did not do what it was asked.

use std::error::Error;

use heartbeat_core::source::SourceError;

use crate::error_chain::chain;
use crate::secrets::SecretError;

/// A call that failed, with what it was about: "folder `s3://b/x`", "file `...`".
#[derive(Debug, thiserror::Error)]
#[error("{what}: {fault}")]
pub struct StoreError {
    /// Named with its kind and URL.
    pub what: String,
    /// Why.
    #[source]
    pub fault: Fault,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The bucket, container, volume or folder is not there.
    #[error("does not exist")]
    Missing,
    /// No right. Says which one, and the store's own word for the refusal.
    #[error("not allowed: {need} ({told})")]
    Forbidden {
        /// What is needed, in the store's terms: "s3:ListBucket on the bucket".
        need: String,
        /// The store's code and message.
        told: String,
    },
    /// The credentials are not believed, or have expired.
    #[error("the credentials are not accepted ({0})")]
    Credentials(String),
    /// There are no credentials, or they cannot be read.
    #[error("there are no credentials: {0}")]
    NoCredentials(String),
    /// A secret that an option refers to cannot be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The secret that an option of the store refers to cannot be had.
    #[error("`storage_options.{name}`: {cause}")]
    BadOption {
        /// Name of the option.
        name: &'static str,
        /// Why.
        #[source]
        cause: Box<SecretError>,
    },
    /// An option cannot be right.
    #[error("{0}")]
    Misconfigured(String),
    /// No answer, or one that the store gives when it is busy, after all tries.
    #[error("cannot be reached: {told}")]
    Unreachable {
        /// What the last try got.
        told: String,
        /// Cause.
        #[source]
        cause: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The deadline passed first.
    #[error("did not answer in time")]
    Timeout,
    /// An answer that makes no sense.
    #[error("gave an answer that cannot be used: {0}")]
    Nonsense(String),
    /// It is not known whether the file was written: the answer was lost, and the store cannot tell whose file it is.
    #[error("may have been written, the answer was lost; look before you create another")]
    InDoubt,
}

impl Fault {
    /// What a library for credentials says; it keeps the status of an answer beside its text.
    pub(super) fn no_credentials(error: &reqsign_core::Error) -> Self {
        let mut told = chain(error);
        for context in error.context() {
            told.push_str("; ");
            told.push_str(context);
        }
        Self::NoCredentials(told)
    }

    /// The error, with what it is about.
    pub fn of(self, what: impl Into<String>) -> StoreError {
        StoreError { what: what.into(), fault: self }
    }
}

impl StoreError {
    /// True when other credentials may help.
    pub fn doubts_credentials(&self) -> bool {
        matches!(self.fault, Fault::Credentials(_) | Fault::Forbidden { .. } | Fault::NoCredentials(_))
    }
}

impl StoreError {
    /// As a source tells it; for each row that it concerns.
    pub fn to_source(&self) -> SourceError {
        let what = self.what.clone();
        match &self.fault {
            Fault::Missing => SourceError::NotFound { what },
            Fault::Forbidden { need, told } => {
                SourceError::NotAllowed { what: format!("{what}; {need} is needed ({told})") }
            }
            Fault::Misconfigured(problem) => {
                SourceError::Misconfigured { problem: format!("{what}: {problem}") }
            }
            Fault::Timeout => SourceError::Timeout { what },
            Fault::Nonsense(problem) => SourceError::Doubtful { what, problem: problem.clone() },
            fault @ (Fault::Credentials(_)
            | Fault::NoCredentials(_)
            | Fault::Secret(_)
            | Fault::BadOption { .. }
            | Fault::Unreachable { .. }
            | Fault::InDoubt) => SourceError::Unreachable { what, cause: chain(fault).into() },
        }
    }
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        error.to_source()
    }
}
