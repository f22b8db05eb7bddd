//! Who we are at Google: by the options of an ACON, else by what Google's libraries find.
//!
//! One login is chosen by what is set, and its error told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::http::HeaderValue;
use reqsign_core::{Context, ProvideCredential, SigningCredential as _};
use reqsign_google::{
    Credential, EnvCredentialProvider, FileCredentialProvider, ServiceAccountTokenCredentialProvider,
    StaticCredentialProvider, Token, VmMetadataCredentialProvider, WellKnownCredentialProvider,
};
use tokio::sync::Mutex;

use super::super::error::Fault;
use super::super::options::Set;
use crate::signing;

/// A machine of Google's answers at once; elsewhere nobody does.
const MACHINE_WAIT: Duration = Duration::from_secs(5);

/// Finds tokens, and keeps one until shortly before it ends.
pub(in crate::stores) struct GoogleCredentials {
    login: Login,
    context: Context,
    kept: Mutex<Option<Token>>,
}

impl fmt::Debug for GoogleCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GoogleCredentials").finish_non_exhaustive()
    }
}

/// How tokens are had.
pub(super) enum Login {
    Anonymous,
    /// A key, as JSON.
    Key(String),
    /// A file with one.
    File(String),
    /// The file that the environment names.
    Environment,
    /// Who has logged in with `gcloud`, else this machine's account.
    Ambient,
}

impl GoogleCredentials {
    pub(in crate::stores) fn new(set: &Set) -> Result<Self, Fault> {
        Ok(Self::with(Login::of(set)?, signing::context(&BTreeMap::new(), &[])))
    }

    pub(super) fn with(login: Login, context: Context) -> Self {
        Self { login, context, kept: Mutex::default() }
    }

    pub(in crate::stores) fn is_anonymous(&self) -> bool {
        matches!(self.login, Login::Anonymous)
    }

    /// The header that says who asks; `None`: nobody in particular.
    pub(in crate::stores) async fn authorization(&self) -> Result<Option<HeaderValue>, Fault> {
        if self.is_anonymous() {
            return Ok(None);
        }
        let mut kept = self.kept.lock().await;
        let token = match kept.as_ref().filter(|kept| kept.is_valid()) {
            Some(token) => token.clone(),
            None => self.token().await?,
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.access_token))
            .map_err(|_| Fault::NoCredentials("a token that is no text".to_owned()))?;
        value.set_sensitive(true);
        *kept = Some(token);
        Ok(Some(value))
    }

    /// Looks for a token anew at the next call: this one was refused.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn token(&self) -> Result<Token, Fault> {
        let found = match &self.login {
            Login::Anonymous => None,
            Login::Key(key) => self.ask(&StaticCredentialProvider::new(key.as_str())).await?,
            Login::File(path) => self.ask(&FileCredentialProvider::new(path.as_str())).await?,
            Login::Environment => self.ask(&EnvCredentialProvider::new()).await?,
            Login::Ambient => {
                let person = self.ask(&WellKnownCredentialProvider::new()).await?;
                if person.is_some() { person } else { self.machine().await }
            }
        };
        let none = || {
            Fault::NoCredentials(
                "none in `storage_options`, in the file of GOOGLE_APPLICATION_CREDENTIALS, of `gcloud auth application-default login`, or of this machine"
                    .to_owned(),
            )
        };
        let Credential { service_account, token, .. } = found.ok_or_else(none)?;
        if let Some(account) = service_account {
            let exchange = ServiceAccountTokenCredentialProvider::new(account);
            return self.ask(&exchange).await?.and_then(|found| found.token).ok_or_else(none);
        }
        token.ok_or_else(none)
    }

    /// The account of this machine, where it is one of Google's.
    async fn machine(&self) -> Option<Credential> {
        let machine = VmMetadataCredentialProvider::new();
        tokio::time::timeout(MACHINE_WAIT, self.ask(&machine)).await.ok()?.ok()?
    }

    async fn ask(
        &self,
        provider: &impl ProvideCredential<Credential = Credential>,
    ) -> Result<Option<Credential>, Fault> {
        provider.provide_credential(&self.context).await.map_err(|error| Fault::no_credentials(&error))
    }
}

impl Login {
    /// What is set decides, the options before the environment.
    pub(super) fn of(set: &Set) -> Result<Self, Fault> {
        if set.flag("google_skip_signature")? == Some(true) {
            return Ok(Self::Anonymous);
        }
        if let Some(key) = set.own("google_service_account_key") {
            // Looked at here, where what is wrong with it cannot be told with a part of it.
            if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(key).is_err() {
                return Err(Fault::Misconfigured(
                    "`google_service_account_key` is no JSON object; a file with it is `google_service_account`"
                        .to_owned(),
                ));
            }
            return Ok(Self::Key(key.to_owned()));
        }
        if let Some(path) = set.own("google_service_account") {
            return Ok(Self::File(path.to_owned()));
        }
        if set.variable(&["GOOGLE_APPLICATION_CREDENTIALS"]).is_some() {
            return Ok(Self::Environment);
        }
        Ok(Self::Ambient)
    }
}
