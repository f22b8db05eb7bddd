//! Containers of Azure.

use std::sync::Arc;

use object_store::azure::{AzureAccessKey, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::{CredentialProvider, Error, Result};
use reqsign_azure_storage::Credential;

use super::super::azure::{Account, AzureCredentials};
use super::super::error::Fault;
use super::super::options::Set;
use super::bucket::Answer;
use super::{client_options, refused, retries};

pub(super) fn open(host: Option<&str>, container: &str, set: &Set) -> Result<MicrosoftAzure, Fault> {
    let account = Account::of(host, set)?;
    let credentials = AzureCredentials::new(&account.name, set)?;
    MicrosoftAzureBuilder::new()
        .with_container_name(container)
        .with_endpoint(account.endpoint.as_str().trim_end_matches('/').to_owned())
        .with_account(account.name)
        .with_credentials(Arc::new(Login(credentials)))
        .with_client_options(client_options(account.endpoint.scheme() == "http"))
        .with_retry(retries())
        .build()
        .map_err(refused)
}

/// The credentials that trigger files would have.
#[derive(Debug)]
struct Login(AzureCredentials);

impl Login {
    async fn credential(&self) -> Result<Arc<AzureCredential>> {
        let failed = |fault: Fault| Error::Generic { store: "MicrosoftAzure", source: Box::new(fault) };
        let found = self.0.credential().await.map_err(failed)?;
        Ok(Arc::new(match found {
            Credential::SharedKey { account_key, .. } => {
                // What is wrong with a key is not told with a part of it.
                let key = AzureAccessKey::try_new(&account_key);
                let problem = || Fault::Misconfigured("the account's key is no Base64".to_owned());
                AzureCredential::AccessKey(key.map_err(|_| failed(problem()))?)
            }
            Credential::SasToken { token, .. } => AzureCredential::SASToken(pairs(&token).map_err(failed)?),
            Credential::BearerToken { token, .. } => AzureCredential::BearerToken(token),
        }))
    }
}

impl CredentialProvider for Login {
    type Credential = AzureCredential;

    fn get_credential<'life0, 'async_trait>(&'life0 self) -> Answer<'async_trait, Arc<AzureCredential>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.credential())
    }
}

/// The parts of a shared access signature, decoded.
fn pairs(signature: &str) -> Result<Vec<(String, String)>, Fault> {
    let query = signature.trim().trim_start_matches('?');
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.replace('+', "%2B").as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    if pairs.iter().any(|(name, _)| name == "sig") {
        return Ok(pairs);
    }
    // Its text is not repeated: it may be a secret that is only spelt wrongly.
    let problem = "`azure_storage_sas_token` is no shared access signature: it has no `sig`";
    Err(Fault::Misconfigured(problem.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_decoded_once_and_a_wrong_one_not_repeated() {
        let found = pairs("?sv=2022&sig=a%2Bb+c%3D").unwrap();
        assert_eq!(found[1], ("sig".to_owned(), "a+b+c=".to_owned()));
        let error = pairs("hidden").unwrap_err().to_string();
        assert!(error.contains("no `sig`") && !error.contains("hidden"), "{error}");
    }
}
