//! Which storage account is meant, and where it is served.

use url::Url;

use super::super::error::Fault;
use super::super::http::check_url;
use super::super::options::Set;

/// A storage account.
#[derive(Debug)]
pub(in crate::stores) struct Account {
    pub(in crate::stores) name: String,
    /// Of the blob service.
    pub(in crate::stores) endpoint: Url,
    /// The host that Spark knows it by; none where only an endpoint is known.
    pub(super) lake: Option<String>,
}

/// Domains of Azure's clouds and of Fabric. Tokens are good for all that an identity may reach, so they go nowhere else
/// unless `azure_endpoint` says so.
const DOMAINS: [&str; 5] = [
    ".core.windows.net",
    ".core.chinacloudapi.cn",
    ".core.usgovcloudapi.net",
    ".storage.azure.net",
    ".fabric.microsoft.com",
];

impl Account {
    /// The account of the host in a URL, else of the options.
    pub(in crate::stores) fn of(host: Option<&str>, set: &Set) -> Result<Self, Fault> {
        let endpoint = set.value("azure_endpoint", &["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"]);
        let allows_http = set.flag("azure_allow_http")?.unwrap_or(false);
        let endpoint = endpoint.map(|text| check_url("azure_endpoint", &text, allows_http)).transpose()?;
        let name = match host {
            Some(host) => host.split('.').next().unwrap_or(host).to_owned(),
            None => named(set)?,
        };
        let lake = match (host, &endpoint) {
            (Some(host), _) => Some(host.to_owned()),
            (None, None) => Some(format!("{name}.dfs.core.windows.net")),
            (None, Some(_)) => None,
        };
        let endpoint = match (endpoint, &lake) {
            (Some(endpoint), _) => endpoint,
            (None, lake) => {
                let host = lake.as_deref().unwrap_or_default();
                let blobs = format!("https://{}", host.replacen(".dfs.", ".blob.", 1));
                let url =
                    Url::parse(&blobs).map_err(|error| Fault::Misconfigured(format!("`{host}`: {error}")))?;
                // The host that is asked counts: a text may end in a domain behind a `?` or a `/`.
                let is_azure =
                    url.host_str().is_some_and(|asked| DOMAINS.iter().any(|domain| asked.ends_with(domain)));
                if !is_azure {
                    return Err(Fault::Misconfigured(format!(
                        "`{host}` is no host of Azure; if it is meant, set `azure_endpoint`"
                    )));
                }
                url
            }
        };
        Ok(Self { name, endpoint, lake })
    }
}

fn named(set: &Set) -> Result<String, Fault> {
    let name =
        set.value("azure_storage_account_name", &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"]);
    let name = name.ok_or_else(|| {
        Fault::Misconfigured(
            "no storage account: write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/..., or set `azure_storage_account_name`"
                .to_owned(),
        )
    })?;
    // It becomes a part of a host.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Fault::Misconfigured(format!("`{name}` is no name of a storage account")));
    }
    Ok(name)
}
