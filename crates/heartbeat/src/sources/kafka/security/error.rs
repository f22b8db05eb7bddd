//! Why a connection could not be made safe, or the login failed. Nothing here holds a secret.

use std::error::Error;

use super::{LocationError, StoreProblem};
use crate::jobs::ApiError;
use crate::secrets::SecretError;

/// Why a connection could not be made safe, or the login failed.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A secret cannot be had.
    #[error("{what}")]
    Secret {
        /// What it is for.
        what: String,
        /// Cause.
        #[source]
        cause: Box<SecretError>,
    },
    /// A store's bytes cannot be had.
    #[error("{store}")]
    Location {
        /// ``truststore `/x` ``.
        store: String,
        /// Cause.
        #[source]
        cause: LocationError,
    },
    /// A store cannot be used.
    #[error("{store}{}", from(password.as_ref()))]
    Store {
        /// ``truststore `/x` ``.
        store: String,
        /// Where its password was from.
        password: Option<String>,
        /// Cause.
        #[source]
        cause: StoreProblem,
    },
    /// The connection is not safe: whoever answers is not whom we trust, or does not trust us.
    #[error("{0}")]
    Refused(String),
    /// The login failed.
    #[error("{0}")]
    Login(String),
    /// Somebody who is asked on the way to a login does not answer.
    #[error("{what}")]
    Unreachable {
        /// Named with its address.
        what: String,
        /// Cause.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl SecurityError {
    /// True when nothing has to be mended: the next look may be luckier.
    pub(in super::super) fn is_passing(&self) -> bool {
        match self {
            Self::Secret { cause, .. } => match cause.as_ref() {
                SecretError::Scope { cause, .. } => matches!(cause.as_ref(), ApiError::Unavailable { .. }),
                _ => false,
            },
            Self::Location { cause, .. } => cause.is_passing(),
            Self::Unreachable { .. } => true,
            Self::Store { .. } | Self::Refused(_) | Self::Login(_) => false,
        }
    }

    /// True when one side does not take what the other one shows.
    pub(in super::super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Login(_))
    }

    /// True when a secret that was changed meanwhile would explain it.
    pub(super) fn is_of_secrets(&self) -> bool {
        match self {
            Self::Store { cause, .. } => cause.is_of_password(),
            Self::Login(_) => true,
            Self::Secret { .. } | Self::Location { .. } | Self::Refused(_) | Self::Unreachable { .. } => {
                false
            }
        }
    }
}

fn from(password: Option<&String>) -> String {
    password.map(|place| format!(" (password from {place})")).unwrap_or_default()
}
