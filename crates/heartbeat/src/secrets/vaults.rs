//! Secrets of the sources: those of this machine, and those of a workspace's secret scopes, kept for a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use heartbeat_core::domain::Domain;
use heartbeat_core::secret::{Secret, SecretRef};
use tokio::sync::OnceCell;

use super::{SecretError, credentials, local};
use crate::jobs::{JobsClient, Settings};

/// How long a secret of a scope is believed without asking again.
const KEPT: Duration = Duration::from_mins(5);

/// A secret that was read so short a time ago is not read again because somebody doubts it.
const CERTAIN: Duration = Duration::from_secs(5);

/// Resolves the secrets of one ACON. Scopes are those of its workspace, read with its token.
#[derive(Default)]
pub struct Secrets {
    workspace: Option<(Domain, Option<SecretRef>)>,
    client: OnceCell<JobsClient>,
    kept: Mutex<HashMap<SecretRef, (Secret, Instant)>>,
}

impl Secrets {
    /// For an ACON of this workspace. Nothing is read yet.
    pub fn of(domain: &Domain, token: Option<&SecretRef>) -> Self {
        Self { workspace: Some((domain.clone(), token.cloned())), ..Self::default() }
    }

    /// The workspace whose scopes are read, with its token.
    pub(crate) fn workspace(&self) -> Option<&(Domain, Option<SecretRef>)> {
        self.workspace.as_ref()
    }

    /// The secret behind a reference. What is on this machine is read each time, what is in a scope once in a while.
    pub async fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let SecretRef::Scope { scope, key } = reference else { return local(reference) };
        if let Some((secret, at)) = self.kept().get(reference)
            && at.elapsed() < KEPT
        {
            return Ok(secret.clone());
        }
        let (domain, token) =
            self.workspace.as_ref().ok_or_else(|| SecretError::NoWorkspace(scope.clone()))?;
        let client = self.client.get_or_try_init(async || {
            let credentials = credentials(domain, token.as_ref())?;
            JobsClient::new(domain, &credentials, Settings::default())
                .map_err(|cause| SecretError::Client { domain: domain.clone(), cause })
        });
        let bytes = client.await?.get_secret(scope, key).await.map_err(|cause| SecretError::Scope {
            domain: domain.clone(),
            scope: scope.clone(),
            key: key.clone(),
            cause: Box::new(cause),
        })?;
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| SecretError::NoText(reference.clone()))?;
        let secret = Secret::new(text);
        self.kept().insert(reference.clone(), (secret.clone(), Instant::now()));
        Ok(secret)
    }

    /// Forgets what was read some seconds ago, because it did not open what it should. True when that may help.
    pub fn doubt(&self) -> bool {
        let mut kept = self.kept();
        let before = kept.len();
        kept.retain(|_, (_, at)| at.elapsed() < CERTAIN);
        kept.len() < before
    }

    /// As if all that was read were long ago.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<SecretRef, (Secret, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn secrets_of_this_machine_need_no_workspace_and_scopes_do() {
        let secrets = Secrets::default();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "two\nlines \r\n").unwrap();
        let file = SecretRef::File(path.display().to_string());
        assert_eq!(secrets.resolve(&file).await.unwrap().expose(), "two\nlines ");
        let scope = SecretRef::parse("scope:s/k").unwrap();
        let error = secrets.resolve(&scope).await.unwrap_err().to_string();
        assert!(error.starts_with("scope `s` is of a workspace"), "{error}");
    }
}
