//! Resolving secrets: the one place that reads them from where they are kept.

use std::path::Path;

use heartbeat_core::secret::SecretRef;

use crate::jobs::{Token, TokenError};

/// Why a secret could not be had. Never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("environment variable `{0}` is not set")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("secret file `{path}` cannot be read")]
    File {
        /// Its path.
        path: String,
        /// Cause.
        #[source]
        cause: std::io::Error,
    },
    /// Secret scopes are not served yet.
    #[error("secret scope `{0}` cannot be read yet; use env:NAME or file:PATH")]
    Scope(String),
    /// What was found is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// The access token behind a reference.
pub fn token(reference: &SecretRef) -> Result<Token, SecretError> {
    let text = match reference {
        SecretRef::Literal(secret) => return Ok(Token::parse(secret.expose())?),
        SecretRef::Env(name) =>
        {
            #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
            std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?
        }
        SecretRef::File(path) => std::fs::read_to_string(Path::new(path))
            .map_err(|cause| SecretError::File { path: path.clone(), cause })?,
        SecretRef::Scope { scope, .. } => return Err(SecretError::Scope(scope.clone())),
    };
    Ok(Token::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_without_its_line_end_and_errors_name_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        std::fs::write(&path, "dapi1\n").unwrap();
        assert!(token(&SecretRef::File(path.display().to_string())).is_ok());
        let missing = token(&SecretRef::File("/no/such".into())).unwrap_err();
        assert_eq!(missing.to_string(), "secret file `/no/such` cannot be read");
        let unset = token(&SecretRef::Env("HEARTBEAT_TEST_UNSET_VARIABLE".into())).unwrap_err();
        assert!(unset.to_string().contains("HEARTBEAT_TEST_UNSET_VARIABLE"));
    }
}
