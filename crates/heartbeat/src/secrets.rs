//! Resolving secrets: the one place that reads them from where they are kept.

mod vaults;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use heartbeat_core::domain::Domain;
use heartbeat_core::secret::{Secret, SecretRef};

use crate::jobs::credentials::{self, ConfigFile, Explicit};
use crate::jobs::{ApiError, AuthError, ClientError, Credentials, Token, TokenError};

pub use self::vaults::Secrets;

/// Why a secret could not be had. Never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not set.
    #[error("environment variable `{0}` is not set")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("file `{path}` with secrets cannot be read")]
    File {
        /// Its path.
        path: String,
        /// Cause.
        #[source]
        cause: std::io::Error,
    },
    /// A secret scope where no workspace is known.
    #[error("scope `{0}` is of a workspace, and none is known here; use env:NAME or file:PATH")]
    NoWorkspace(String),
    /// The workspace gave no secret.
    #[error("scope `{scope}` key `{key}` of {domain} cannot be read")]
    Scope {
        /// Workspace.
        domain: Domain,
        /// Name of the scope.
        scope: String,
        /// Key within it.
        key: String,
        /// Cause.
        #[source]
        cause: Box<ApiError>,
    },
    /// There is no client for the workspace.
    #[error("workspace {domain} cannot be asked for secrets")]
    Client {
        /// Workspace.
        domain: Domain,
        /// Cause.
        #[source]
        cause: ClientError,
    },
    /// What was found is no text.
    #[error("{0} holds bytes that are no UTF-8 text")]
    NoText(SecretRef),
    /// What was found is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There are no credentials for the workspace.
    #[error(transparent)]
    Credentials(#[from] AuthError),
}

/// The workspace where no ACON names one: that of the environment or of a profile, as the official SDKs find it.
pub(crate) fn workspace() -> Result<Domain, SecretError> {
    let environment = databricks_environment();
    let path = config_path(&environment);
    let text = if credentials::names_host(&environment) { None } else { read_if_there(&path)? };
    let file = ConfigFile { name: &path.display().to_string(), text: text.as_deref() };
    Ok(credentials::host(&environment, file)?)
}

/// The credentials for a workspace: the ACON's token, else what the environment or a profile has for it.
pub fn credentials(domain: &Domain, token_of_acon: Option<&SecretRef>) -> Result<Credentials, SecretError> {
    let explicit = Explicit { domain, token: token_of_acon.map(token).transpose()? };
    let environment = databricks_environment();
    let path = config_path(&environment);
    let text = if credentials::needs_file(&explicit, &environment) { read_if_there(&path)? } else { None };
    let file = ConfigFile { name: &path.display().to_string(), text: text.as_deref() };
    Ok(credentials::resolve(&explicit, &environment, file)?)
}

/// The environment, for libraries that are configured by it.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The variables that credentials are chosen by.
fn databricks_environment() -> BTreeMap<String, String> {
    #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
    let read = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    credentials::variables().filter_map(read).collect()
}

fn config_path(environment: &BTreeMap<String, String>) -> PathBuf {
    let named = environment.get(credentials::FILE_VARIABLE).filter(|path| !path.is_empty());
    crate::paths::at_home(named.map_or("~/.databrickscfg", String::as_str))
}

fn read_if_there(path: &Path) -> Result<Option<String>, SecretError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        // `NotADirectory`: a way to say "nowhere", such as /dev/null/none.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(cause) => Err(SecretError::File { path: path.display().to_string(), cause }),
    }
}

/// A secret that is kept on this machine.
fn local(reference: &SecretRef) -> Result<Secret, SecretError> {
    let text = match reference {
        SecretRef::Literal(secret) => return Ok(secret.clone()),
        SecretRef::Env(name) =>
        {
            #[expect(clippy::disallowed_methods, reason = "this is the place that may")]
            std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?
        }
        SecretRef::File(path) => std::fs::read_to_string(Path::new(path))
            .map_err(|cause| SecretError::File { path: path.clone(), cause })?,
        SecretRef::Scope { scope, .. } => return Err(SecretError::NoWorkspace(scope.clone())),
    };
    let line_end = matches!(reference, SecretRef::File(_)).then(|| text.strip_suffix('\n')).flatten();
    Ok(Secret::new(line_end.map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text))))
}

/// The access token behind a reference.
pub fn token(reference: &SecretRef) -> Result<Token, SecretError> {
    let text = match reference {
        SecretRef::Scope { scope, .. } => return Err(SecretError::NoWorkspace(scope.clone())),
        here => local(here)?,
    };
    Ok(Token::parse(text.expose())?)
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
        assert_eq!(missing.to_string(), "file `/no/such` with secrets cannot be read");
        let unset = token(&SecretRef::Env("HEARTBEAT_TEST_UNSET_VARIABLE".into())).unwrap_err();
        assert!(unset.to_string().contains("HEARTBEAT_TEST_UNSET_VARIABLE"));
    }
}
