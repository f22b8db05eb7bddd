//! Containers of Azure.

use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};

use super::super::error::Fault;
use super::super::http::check_url;
use super::super::s3::Set;
use super::{client_options, refused, retries};

/// Options that say who we are. Where one of them is set, the environment's others are not seen: halves of two logins make
/// none.
const LOGIN: [&str; 6] = [
    "azure_storage_account_key",
    "azure_storage_sas_token",
    "azure_tenant_id",
    "azure_client_id",
    "azure_client_secret",
    "azure_federated_token_file",
];

pub(super) fn open(host: Option<&str>, container: &str, set: &Set) -> Result<MicrosoftAzure, Fault> {
    let allows_http = set.flag("azure_allow_http")?.unwrap_or(false);
    let of_host = host.and_then(|host| host.split_once('.'));
    let named = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"];
    let account = of_host.map(|(account, _)| account.to_owned());
    let account = account.or_else(|| set.value("azure_storage_account_name", &named)).ok_or_else(|| {
        let problem = "the URL names no storage account: write `abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/...`, or \
                       set `azure_storage_account_name`";
        Fault::Misconfigured(problem.to_owned())
    })?;
    let endpoint = match (set.value("azure_endpoint", &["AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT"]), of_host)
    {
        (Some(endpoint), _) => check_url("azure_endpoint", &endpoint, allows_http)?,
        // Tables are read and written by the blob service also where the name is that of the Data Lake.
        (None, Some((_, rest))) => service(&format!("{account}.{}", rest.replacen("dfs.", "blob.", 1)))?,
        (None, None) => service(&format!("{account}.blob.core.windows.net"))?,
    };
    let is_ours = set.has_any(&LOGIN);
    let login = |name: &str, variables: &[&str]| set.value(name, if is_ours { &[] } else { variables });
    let http = endpoint.scheme() == "http";
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(container)
        .with_account(account)
        .with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned())
        .with_client_options(client_options(http))
        .with_retry(retries());
    if let Some(authority) = set.value("", &["AZURE_AUTHORITY_HOST"]) {
        builder = builder.with_authority_host(authority);
    }
    let key = login("azure_storage_account_key", &["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"]);
    let signature = login("azure_storage_sas_token", &["AZURE_STORAGE_SAS_TOKEN"]);
    let tenant = login("azure_tenant_id", &["AZURE_TENANT_ID"]);
    let client = login("azure_client_id", &["AZURE_CLIENT_ID"]);
    let secret = login("azure_client_secret", &["AZURE_CLIENT_SECRET"]);
    let token_file = login("azure_federated_token_file", &["AZURE_FEDERATED_TOKEN_FILE"]);
    builder = match (key, signature, secret, token_file) {
        (Some(key), ..) => builder.with_access_key(key),
        (_, Some(signature), ..) => builder.with_sas_authorization(pairs(&signature)?),
        (.., Some(secret), _) => {
            let needed = |value: Option<String>, name: &str| {
                value.ok_or_else(|| Fault::Misconfigured(format!("`azure_client_secret` needs `{name}`")))
            };
            let (client, tenant) = (needed(client, "azure_client_id")?, needed(tenant, "azure_tenant_id")?);
            builder.with_client_secret_authorization(client, secret, tenant)
        }
        (.., file) => {
            builder = [
                client.map(|client| -> With { Box::new(|it| it.with_client_id(client)) }),
                tenant.map(|tenant| -> With { Box::new(|it| it.with_tenant_id(tenant)) }),
                file.map(|file| -> With { Box::new(|it| it.with_federated_token_file(file)) }),
            ]
            .into_iter()
            .flatten()
            .fold(builder, |builder, with| with(builder));
            match set.value("", &["IDENTITY_ENDPOINT"]) {
                Some(endpoint) => builder.with_msi_endpoint(endpoint),
                None => builder,
            }
        }
    };
    builder.build().map_err(refused)
}

type With = Box<dyn FnOnce(MicrosoftAzureBuilder) -> MicrosoftAzureBuilder>;

fn service(host: &str) -> Result<url::Url, Fault> {
    url::Url::parse(&format!("https://{host}"))
        .map_err(|_| Fault::Misconfigured(format!("`{host}` is no host of a storage account")))
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
