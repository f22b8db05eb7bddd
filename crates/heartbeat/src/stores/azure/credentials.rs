//! Who we are at Azure: by the options of an ACON, else by the environment, the machine or the person at it; and
//! signatures with that.
//!
//! One login is chosen by what is set, and its error told. A chain that tries one after the other would end in "none
//! found" where a secret has expired.

use std::fmt;
use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use reqsign_azure_storage::{
    AzureCliCredentialProvider, ClientCertificateCredentialProvider, ClientSecretCredentialProvider,
    Credential, ImdsCredentialProvider, RequestSigner, WorkloadIdentityCredentialProvider,
};
use reqsign_core::{
    CommandExecute, CommandOutput, Context, ProvideCredential, SignRequest as _, SigningCredential as _,
};
use tokio::sync::Mutex;

use super::super::error::Fault;
use super::super::options::Set;
use crate::signing;

/// A machine of Azure answers at once; elsewhere nobody does.
const IDENTITY_WAIT: Duration = Duration::from_secs(5);

/// The command line tool takes a second or two.
const TOOL_WAIT: Duration = Duration::from_secs(15);

/// Variables of one principal, of which those in the options replace all.
const PRINCIPAL: [&str; 3] = ["AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"];

/// Finds credentials, keeps them until shortly before they end, and signs with them.
pub(in crate::stores) struct AzureCredentials {
    login: Login,
    context: Context,
    signer: RequestSigner,
    kept: Mutex<Option<Credential>>,
}

impl fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureCredentials").field("login", &self.login).finish_non_exhaustive()
    }
}

/// How credentials are had.
#[derive(Debug)]
pub(super) enum Login {
    /// A key or signature.
    Given(Credential),
    Secret,
    Certificate,
    Workload,
    /// The identity of this machine, else who has logged in with `az`.
    Ambient,
}

impl AzureCredentials {
    pub(in crate::stores) fn new(account: &str, set: &Set) -> Result<Self, Fault> {
        let variables = set.as_variables(&[
            ("AZURE_TENANT_ID", "azure_tenant_id"),
            ("AZURE_CLIENT_ID", "azure_client_id"),
            ("AZURE_CLIENT_SECRET", "azure_client_secret"),
            ("AZURE_FEDERATED_TOKEN_FILE", "azure_federated_token_file"),
        ]);
        let context = signing::context(&variables, &[&PRINCIPAL]).with_command_execute(Tool);
        Ok(Self::with(Login::of(account, set)?, context))
    }

    pub(super) fn with(login: Login, context: Context) -> Self {
        Self { login, context, signer: RequestSigner::new(), kept: Mutex::default() }
    }

    pub(super) async fn sign(&self, request: Request<Bytes>) -> Result<Request<Bytes>, Fault> {
        let credential = self.credential().await?;
        let (mut parts, body) = request.into_parts();
        self.signer
            .sign_request(&self.context, &mut parts, Some(&credential), None)
            .await
            .map_err(|error| Fault::no_credentials(&error))?;
        Ok(Request::from_parts(parts, body))
    }

    /// Looks for credentials anew at the next call: these were refused.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    /// Credentials to use now.
    pub(in crate::stores) async fn credential(&self) -> Result<Credential, Fault> {
        if let Login::Given(credential) = &self.login {
            return Ok(credential.clone());
        }
        let mut kept = self.kept.lock().await;
        if let Some(credential) = kept.as_ref().filter(|kept| kept.is_valid()) {
            return Ok(credential.clone());
        }
        let credential = self.find().await?;
        *kept = Some(credential.clone());
        Ok(credential)
    }

    async fn find(&self) -> Result<Credential, Fault> {
        match &self.login {
            Login::Given(credential) => Ok(credential.clone()),
            Login::Secret => self.ask(&ClientSecretCredentialProvider::new()).await,
            Login::Certificate => self.ask(&ClientCertificateCredentialProvider::new()).await,
            Login::Workload => self.ask(&WorkloadIdentityCredentialProvider::new()).await,
            Login::Ambient => {
                let (machine, tool) = (ImdsCredentialProvider::new(), AzureCliCredentialProvider::new());
                let machine = match tokio::time::timeout(IDENTITY_WAIT, self.ask(&machine)).await {
                    Ok(Ok(credential)) => return Ok(credential),
                    Ok(Err(fault)) => fault.to_string(),
                    Err(_) => "no answer".to_owned(),
                };
                self.ask(&tool).await.map_err(|tool| {
                    Fault::NoCredentials(format!(
                        "none in `storage_options` or the environment; managed identity: {machine}; Azure CLI: {tool}"
                    ))
                })
            }
        }
    }

    async fn ask(
        &self,
        provider: &impl ProvideCredential<Credential = Credential>,
    ) -> Result<Credential, Fault> {
        let found = provider.provide_credential(&self.context).await;
        let found = found.map_err(|error| Fault::no_credentials(&error))?;
        found.ok_or_else(|| Fault::NoCredentials("tenant, client or their secret is not set".to_owned()))
    }
}

impl Login {
    /// What is set decides: the options before the environment, keys before principals before identities.
    pub(super) fn of(account: &str, set: &Set) -> Result<Self, Fault> {
        if let Some(key) = set.own("azure_storage_account_key") {
            return Ok(Self::Given(Credential::with_shared_key(account, key)));
        }
        if let Some(token) = set.own("azure_storage_sas_token") {
            return Ok(Self::signature(token));
        }
        let has = |option: &str, variable: &str| set.value(option, &[variable]).is_some();
        let (tenant, client) = (has("azure_tenant_id", "AZURE_TENANT_ID"), set.own("azure_client_id"));
        if set.own("azure_client_secret").is_some() {
            if client.is_none() || !tenant {
                return Err(Fault::Misconfigured(
                    "`azure_client_secret` needs `azure_client_id` and `azure_tenant_id`".to_owned(),
                ));
            }
            return Ok(Self::Secret);
        }
        if set.own("azure_federated_token_file").is_some() {
            if !tenant || !has("azure_client_id", "AZURE_CLIENT_ID") {
                return Err(Fault::Misconfigured(
                    "`azure_federated_token_file` needs `azure_client_id` and `azure_tenant_id`".to_owned(),
                ));
            }
            return Ok(Self::Workload);
        }
        let variable = |name: &str| set.variable(&[name]);
        if client.is_none() {
            // Keys of another account open nothing here.
            let theirs = set.variable(&["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"]);
            if theirs.is_none_or(|theirs| theirs == account) {
                if let Some(key) = set.variable(&["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"]) {
                    return Ok(Self::Given(Credential::with_shared_key(account, key)));
                }
                if let Some(token) = variable("AZURE_STORAGE_SAS_TOKEN") {
                    return Ok(Self::signature(token));
                }
            }
            if let (true, Some(_)) = (tenant, variable("AZURE_CLIENT_ID")) {
                if variable("AZURE_CLIENT_SECRET").is_some() {
                    return Ok(Self::Secret);
                }
                if variable("AZURE_CLIENT_CERTIFICATE_PATH").is_some() {
                    return Ok(Self::Certificate);
                }
            }
        }
        let is_workload = tenant && has("azure_client_id", "AZURE_CLIENT_ID");
        if is_workload && variable("AZURE_FEDERATED_TOKEN_FILE").is_some() {
            return Ok(Self::Workload);
        }
        Ok(Self::Ambient)
    }

    /// A shared access signature; portals copy it with the question mark.
    fn signature(token: &str) -> Self {
        Self::Given(Credential::with_sas_token(token.trim_start_matches('?')))
    }
}

/// How the credentials' library runs `az`.
#[derive(Debug)]
struct Tool;

impl CommandExecute for Tool {
    async fn command_execute<'a>(
        &'a self,
        program: &'a str,
        arguments: &'a [&'a str],
    ) -> reqsign_core::Result<CommandOutput> {
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(TOOL_WAIT, command.output()).await;
        let output = output.map_err(|_| reqsign_core::Error::unexpected("no answer"))?;
        let output = output.map_err(|error| {
            reqsign_core::Error::unexpected(format!("`{program}` cannot be run")).with_source(error)
        })?;
        let status = output.status.code().unwrap_or(-1);
        Ok(CommandOutput { status, stdout: output.stdout, stderr: output.stderr })
    }
}
