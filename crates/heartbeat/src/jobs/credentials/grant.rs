//! Asking for access tokens: where, and how.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use tokio::time::Instant;

use super::cache::Granted;
use super::error::GrantError;
use super::{AzurePrincipal, OAuthClient};
use crate::jobs::error::Trouble;
use crate::jobs::retry::next_wait;
use crate::jobs::transport::{Attempt, attempt, random_unit};
use crate::jobs::{Backoff, Domain, Token};

/// For all tries of one call.
const LIMIT: Duration = Duration::from_mins(1);

/// How token calls are made.
#[derive(Debug, Clone)]
pub(in crate::jobs) struct Asker {
    pub(in crate::jobs) http: Client,
    pub(in crate::jobs) backoff: Backoff,
    /// For one try.
    pub(in crate::jobs) try_limit: Duration,
}

#[derive(Debug, Deserialize)]
struct HostConfig {
    oidc_endpoint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<Seconds>,
}

/// Azure writes numbers as texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

/// Where the workspace hands out tokens to service principals.
pub(super) async fn token_endpoint(
    asker: &Asker,
    domain: &Domain,
    client: &OAuthClient,
) -> Result<String, GrantError> {
    let url = if let Some(url) = &client.discovery_url {
        url.clone()
    } else {
        let root = oidc_root(asker, domain, client.account_id.as_deref()).await?;
        // Where it was before workspaces described themselves.
        let root = root.unwrap_or_else(|| format!("{domain}/oidc"));
        format!("{root}/.well-known/oauth-authorization-server")
    };
    // Who can change what is said there can have the secret.
    if !is_safe(&url, domain) {
        return Err(GrantError::Insecure { url });
    }
    let read = |body: &[u8]| serde_json::from_slice::<Endpoints>(body).ok();
    let found = asker.ask(&url, "", || asker.http.get(&url), &read).await;
    let endpoint = found.map_err(|ended| ended.no_description(&url))?.token_endpoint;
    if is_safe(&endpoint, domain) { Ok(endpoint) } else { Err(GrantError::Insecure { url: endpoint }) }
}

/// `None`: the workspace doesn't describe itself.
async fn oidc_root(
    asker: &Asker,
    domain: &Domain,
    account: Option<&str>,
) -> Result<Option<String>, GrantError> {
    const ACCOUNT: &str = "{account_id}";
    let url = format!("{domain}/.well-known/databricks-config");
    let read = |body: &[u8]| serde_json::from_slice::<HostConfig>(body).ok();
    let root = match asker.ask(&url, "", || asker.http.get(&url), &read).await {
        Ok(config) => config.oidc_endpoint,
        Err(Failure { trouble: Trouble::Answer(_), retried: false, .. }) => None,
        Err(ended) => return Err(ended.no_description(&url)),
    };
    let Some(root) = root.filter(|root| !root.is_empty()) else { return Ok(None) };
    let root = root.trim_end_matches('/');
    match (root.contains(ACCOUNT), account) {
        (false, _) => Ok(Some(root.to_owned())),
        (true, Some(account)) => Ok(Some(root.replace(ACCOUNT, account))),
        (true, None) => Err(GrantError::NoAccount),
    }
}

/// Whether a secret may be sent there: encrypted, or on this machine if the workspace is.
fn is_safe(url: &str, domain: &Domain) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    Domain::parse(&format!("{scheme}://{authority}"))
        .is_ok_and(|host| host.as_str().starts_with("https://") || domain.is_loopback())
}

/// Exchanges a service principal of Databricks for a token.
pub(super) async fn oauth_token(
    asker: &Asker,
    endpoint: &str,
    client: &OAuthClient,
) -> Result<Granted, GrantError> {
    let secret = client.client_secret.expose();
    let form = [("grant_type", "client_credentials"), ("scope", &client.scope)];
    let request = || asker.http.post(endpoint).basic_auth(&client.client_id, Some(secret)).form(&form);
    asker.grant(endpoint, secret, &client.client_id, request).await
}

/// Exchanges a service principal of Azure for a token for a resource.
pub(super) async fn azure_token(
    asker: &Asker,
    tenant: &str,
    principal: &AzurePrincipal,
    resource: &str,
) -> Result<Granted, GrantError> {
    let login = principal.login_url.as_deref().unwrap_or(principal.cloud.login_url());
    let url = format!("{login}{tenant}/oauth2/token");
    let secret = principal.client_secret.expose();
    let form = BTreeMap::from([
        ("grant_type", "client_credentials"),
        ("client_id", &principal.client_id),
        ("client_secret", secret),
        ("resource", resource),
    ]);
    asker.grant(&url, secret, &principal.client_id, || asker.http.post(&url).form(&form)).await
}

/// The tenant that the workspace sends people to for their login.
pub(super) async fn azure_tenant(asker: &Asker, domain: &Domain) -> Result<String, GrantError> {
    let url = format!("{domain}/aad/auth");
    // The answer is in the redirect, never in a body.
    let read = |_: &[u8]| None::<()>;
    match asker.ask(&url, "", || asker.http.get(&url), &read).await {
        Err(Failure { tries, trouble, retried: true, .. }) => {
            Err(GrantError::Unavailable { url, tries, trouble })
        }
        Err(Failure { location: Some(location), .. }) => {
            tenant_of(&location).ok_or(GrantError::NoTenant { url })
        }
        _ => Err(GrantError::NoTenant { url }),
    }
}

/// `https://login.microsoftonline.com/TENANT/oauth2/authorize?...`
fn tenant_of(location: &str) -> Option<String> {
    let url = url::Url::parse(location).ok()?;
    let tenant = url.path_segments()?.next()?;
    let plain = tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    (plain && !tenant.is_empty()).then(|| tenant.to_owned())
}

/// How a call ended that brought nothing usable.
struct Failure {
    tries: u32,
    trouble: Trouble,
    /// Whether it would be tried again if there were time.
    retried: bool,
    /// Where it was redirected to.
    location: Option<String>,
}

impl Failure {
    fn no_description(self, url: &str) -> GrantError {
        let (url, expected) = (url.to_owned(), "a description of OAuth endpoints");
        match self.trouble {
            Trouble::Answer(answer) if !self.retried => GrantError::Unusable { url, expected, answer },
            trouble => GrantError::Unavailable { url, tries: self.tries, trouble },
        }
    }
}

impl Asker {
    async fn grant(
        &self,
        url: &str,
        secret: &str,
        client_id: &str,
        request: impl Fn() -> RequestBuilder + Sync,
    ) -> Result<Granted, GrantError> {
        let url_text = || url.to_owned();
        match self.ask(url, secret, request, &read_token).await {
            Ok(granted) => Ok(granted),
            Err(Failure { trouble: Trouble::Answer(answer), retried: false, .. }) => {
                Err(if (400..500).contains(&answer.status) {
                    GrantError::Refused { url: url_text(), client_id: client_id.to_owned(), answer }
                } else {
                    // What came may hold a token in a form that we don't know.
                    let answer = answer.without_message();
                    GrantError::Unusable { url: url_text(), expected: "an access token", answer }
                })
            }
            Err(Failure { tries, trouble, .. }) => {
                Err(GrantError::Unavailable { url: url_text(), tries, trouble })
            }
        }
    }

    /// Asks until answered or a minute is over. No server acts twice on such a call, so it can be repeated.
    async fn ask<T>(
        &self,
        url: &str,
        secret: &str,
        request: impl Fn() -> RequestBuilder + Sync,
        read: &(dyn Fn(&[u8]) -> Option<T> + Sync),
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + LIMIT;
        for tries in 1.. {
            let left = deadline.saturating_duration_since(Instant::now());
            let request = request().timeout(self.try_limit.min(left));
            let Attempt { trouble, retry_after, location } = match attempt(request, secret, read).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let retried = match &trouble {
                Trouble::Answer(answer) => matches!(answer.status, 429 | 502..=504),
                _ => true,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = next_wait(&self.backoff, tries, retry_after, left, random_unit());
            let Some(wait) = wait.filter(|_| retried) else {
                return Err(Failure { tries, trouble, retried, location });
            };
            tracing::warn!(
                url,
                tries,
                wait_ms = wait.as_millis() as u64,
                "token call failed, will be tried again"
            );
            tokio::time::sleep(wait).await;
        }
        unreachable!("the loop ends by the deadline")
    }
}

fn read_token(body: &[u8]) -> Option<Granted> {
    let body: TokenBody = serde_json::from_slice(body).ok()?;
    if !body.token_type.is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return None;
    }
    let seconds = match body.expires_in {
        None => None,
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => Some(text.trim().parse().ok()?),
    };
    let lifetime = seconds.map(Duration::try_from_secs_f64).transpose().ok()?;
    // A life beyond years is none that a clock can hold.
    let lifetime = lifetime.map(|life| life.min(Duration::from_hours(24 * 365)));
    Some(Granted { token: Token::parse(&body.access_token).ok()?, lifetime })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(r#"{"access_token":"a","token_type":"Bearer","expires_in":3600}"#, "3600s")]
    #[case(r#"{"access_token":"a","token_type":"bearer","expires_in":"3599"}"#, "3599s")]
    #[case(r#"{"access_token":"a"}"#, "no end")]
    #[case(r#"{"access_token":"a","expires_in":1e300}"#, "no token")]
    #[case(r#"{"access_token":"a","expires_in":-1}"#, "no token")]
    #[case(r#"{"access_token":"a","expires_in":"soon"}"#, "no token")]
    #[case(r#"{"access_token":"a","token_type":"mac"}"#, "no token")]
    #[case(r#"{"access_token":""}"#, "no token")]
    #[case("<html>", "no token")]
    fn token_answers_are_read(#[case] body: &str, #[case] expected: &str) {
        let read = match read_token(body.as_bytes()).map(|granted| granted.lifetime) {
            None => "no token".to_owned(),
            Some(None) => "no end".to_owned(),
            Some(Some(life)) => format!("{life:?}"),
        };
        assert_eq!(read, expected);
    }

    #[rstest]
    #[case("https://login.microsoftonline.com/11-22/oauth2/authorize?x=y", Some("11-22"))]
    #[case("https://login.microsoftonline.us/contoso.example/oauth2", Some("contoso.example"))]
    #[case("https://login.microsoftonline.com/", None)]
    #[case("https://login.microsoftonline.com/a%2Fb/oauth2", None)]
    #[case("/login.html", None)]
    fn the_tenant_is_the_first_part_of_the_path(#[case] location: &str, #[case] tenant: Option<&str>) {
        assert_eq!(tenant_of(location).as_deref(), tenant);
    }

    #[rstest]
    #[case("https://accounts.cloud.databricks.com/oidc/v1/token", "w.cloud.databricks.com", true)]
    #[case("http://w.cloud.databricks.com/oidc/v1/token", "w.cloud.databricks.com", false)]
    #[case("http://127.0.0.1:1/oidc/v1/token", "w.cloud.databricks.com", false)]
    #[case("http://127.0.0.1:1/oidc/v1/token", "http://127.0.0.1:1", true)]
    #[case("https://user@evil/token", "w.cloud.databricks.com", false)]
    #[case("ftp://w/token", "w.cloud.databricks.com", false)]
    #[case("/oidc/v1/token", "w.cloud.databricks.com", false)]
    fn secrets_go_to_encrypted_places_only(#[case] url: &str, #[case] domain: &str, #[case] safe: bool) {
        assert_eq!(is_safe(url, &Domain::parse(domain).unwrap()), safe);
    }
}
