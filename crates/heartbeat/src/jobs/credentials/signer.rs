//! The headers that prove to the workspace who we are.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::cache::{Granted, Lease, TokenCache};
use super::error::GrantError;
use super::grant::{self, Asker};
use super::{AzureCloud, AzurePrincipal, Credentials, Method, OAuthClient};
use crate::jobs::{ClientError, Domain, Settings, Token, TokenError, transport};

const WORKSPACE_ID: HeaderName = HeaderName::from_static("x-databricks-workspace-id");
const AZURE_RESOURCE: HeaderName = HeaderName::from_static("x-databricks-azure-workspace-resource-id");
const AZURE_MANAGEMENT: HeaderName = HeaderName::from_static("x-databricks-azure-sp-management-token");

/// Product, platform and method, in the order and characters of the official SDKs.
fn user_agent(method: &str) -> String {
    format!(
        "heartbeat/{} rust/{} os/{} auth/{method}",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_RUST_VERSION"),
        std::env::consts::OS
    )
}

/// Signs calls.
#[derive(Debug)]
pub(crate) struct Signer {
    /// What every call carries.
    fixed: HeaderMap,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Token(Token),
    Renewed { bearer: TokenCache, management: Option<TokenCache> },
}

/// What goes with one try. Its `Debug` hides it.
#[derive(Clone)]
pub(crate) struct Signature {
    pub(crate) headers: HeaderMap,
    token: Token,
    leases: Vec<Arc<Lease>>,
}

impl Signature {
    /// The access token, to blot it out where it is echoed.
    pub(crate) fn secret(&self) -> &str {
        self.token.expose()
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(***)")
    }
}

impl Signer {
    /// A signer for calls of a workspace's other APIs, which are made elsewhere. Sends nothing.
    pub(crate) fn of(credentials: &Credentials, domain: &Domain) -> Result<Self, ClientError> {
        let settings = Settings::default();
        let http = transport::http_client(domain, &settings)?;
        let asker = Asker { http, backoff: settings.backoff, try_limit: settings.try_limit };
        Self::new(credentials, domain, asker).map_err(ClientError::Credentials)
    }

    /// A signer for one workspace. Sends nothing.
    pub(in crate::jobs) fn new(
        credentials: &Credentials,
        domain: &Domain,
        asker: Asker,
    ) -> Result<Self, TokenError> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| TokenError::NotAHeaderValue);
        let mut fixed = HeaderMap::from_iter([(USER_AGENT, value(&user_agent(credentials.method.name()))?)]);
        if let Some(id) = &credentials.workspace_id {
            fixed.insert(WORKSPACE_ID, value(id)?);
        }
        let kind = match &credentials.method {
            Method::Token(token) => Kind::Token(token.clone()),
            Method::OAuth(client) => {
                Kind::Renewed { bearer: oauth_cache(client, domain, asker), management: None }
            }
            Method::Azure(principal) => {
                let tenant = Arc::new(Known::new(principal.tenant_id.clone()));
                let cache = |resource: &str| azure_cache(principal, &tenant, domain, &asker, resource);
                let mut management = None;
                if let Some(resource) = &principal.workspace_resource_id {
                    fixed.insert(AZURE_RESOURCE, value(resource)?);
                    management = Some(cache(principal.cloud.management_resource()));
                }
                Kind::Renewed { bearer: cache(AzureCloud::DATABRICKS), management }
            }
        };
        Ok(Self { fixed, kind })
    }

    /// The headers for a call that is made now. Waits only if there is no good token.
    pub(crate) async fn sign(&self) -> Result<Signature, Arc<GrantError>> {
        match &self.kind {
            Kind::Token(token) => Ok(self.signature(token.clone(), Vec::new())),
            Kind::Renewed { bearer, management } => {
                let mut leases = vec![bearer.get().await?];
                if let Some(management) = management {
                    leases.push(management.get().await?);
                }
                Ok(self.signature(leases[0].token.clone(), leases))
            }
        }
    }

    /// Other headers after a 401. `None`: there are no others to be had.
    pub(crate) async fn renew(&self, refused: &Signature) -> Option<Signature> {
        let Kind::Renewed { bearer, management } = &self.kind else { return None };
        let caches = std::iter::once(bearer).chain(management);
        let mut leases = Vec::new();
        for (cache, lease) in caches.zip(&refused.leases) {
            leases.push(cache.renew(lease).await.ok()?);
        }
        let token = leases.first()?.token.clone();
        Some(self.signature(token, leases))
    }

    fn signature(&self, token: Token, leases: Vec<Arc<Lease>>) -> Signature {
        let mut headers = self.fixed.clone();
        headers.insert(AUTHORIZATION, secret(&format!("Bearer {}", token.expose())));
        if let Some(management) = leases.get(1) {
            headers.insert(AZURE_MANAGEMENT, secret(management.token.expose()));
        }
        Signature { headers, token, leases }
    }
}

/// A token is printable ASCII, which every header takes.
fn secret(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

/// Something that is asked for once and then known.
#[derive(Debug)]
struct Known(Mutex<Option<String>>);

impl Known {
    fn new(value: Option<String>) -> Self {
        Self(Mutex::new(value))
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: Option<&str>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value.map(str::to_owned);
    }
}

fn oauth_cache(client: &OAuthClient, domain: &Domain, asker: Asker) -> TokenCache {
    let shared = Arc::new((client.clone(), domain.clone(), asker, Known::new(None)));
    TokenCache::new(Box::new(move || {
        let shared = Arc::clone(&shared);
        async move {
            let (client, domain, asker, endpoint) = &*shared;
            let url = match endpoint.get() {
                Some(url) => url,
                None => grant::token_endpoint(asker, domain, client).await?,
            };
            let granted = grant::oauth_token(asker, &url, client).await;
            // An endpoint that fails may have moved.
            endpoint.set(granted.is_ok().then_some(&url));
            granted
        }
        .boxed()
    }))
}

fn azure_cache(
    principal: &AzurePrincipal,
    tenant: &Arc<Known>,
    domain: &Domain,
    asker: &Asker,
    resource: &str,
) -> TokenCache {
    let shared = Arc::new((principal.clone(), domain.clone(), asker.clone(), resource.to_owned()));
    let tenant = Arc::clone(tenant);
    TokenCache::new(Box::new(move || -> BoxFuture<'static, Result<Granted, GrantError>> {
        let (shared, tenant) = (Arc::clone(&shared), Arc::clone(&tenant));
        async move {
            let (principal, domain, asker, resource) = &*shared;
            let id = match tenant.get() {
                Some(id) => id,
                None => grant::azure_tenant(asker, domain).await?,
            };
            tenant.set(Some(&id));
            grant::azure_token(asker, &id, principal, resource).await
        }
        .boxed()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_agent_is_of_the_form_that_the_platform_reads() {
        let agent = user_agent("oauth-m2m");
        assert!(agent.starts_with("heartbeat/") && agent.ends_with(" auth/oauth-m2m"), "{agent}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.+-/".contains(c);
        assert!(agent.split(' ').all(|part| part.split('/').count() == 2 && part.chars().all(plain)));
    }
}
