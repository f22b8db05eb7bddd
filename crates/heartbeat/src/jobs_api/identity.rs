//! Who may call: the fixed token, and the access tokens of service principals that are handed out here.
//!
//! It serves what a client needs to get such a token: the workspace's description of itself, that of its OAuth
//! server, the token endpoint, and for Azure the redirect that tells the tenant and the login itself.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use heartbeat_core::secret::Secret;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::Request;
use super::config::{AzureConfig, OAuthConfig, StandInConfig};
use super::reply::Reply;
use crate::base64;
use crate::jobs::Token;

/// What a token of Azure is for: the application Azure Databricks.
const DATABRICKS: &str = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d";
const MANAGEMENT_TOKEN: &str = "x-databricks-azure-sp-management-token";
const MANAGED_RESOURCE: &str = "x-databricks-azure-workspace-resource-id";
/// Most tokens that are remembered.
const MOST_TOKENS: usize = 10_000;

/// What a handed out token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Databricks,
    AzureManagement,
}

#[derive(Debug)]
pub(super) struct Identity {
    base_url: String,
    token: Option<Token>,
    oauth: Option<OAuthConfig>,
    azure: Option<AzureConfig>,
    issued: HashMap<String, (Use, Timestamp)>,
    /// Tokens handed out so far.
    pub(super) count: u64,
}

impl Identity {
    pub(super) fn new(config: &StandInConfig, base_url: &str) -> Self {
        Self {
            base_url: base_url.to_owned(),
            token: config.token.clone(),
            oauth: config.oauth.clone(),
            azure: config.azure.clone(),
            issued: HashMap::new(),
            count: 0,
        }
    }

    /// Lets every token that was handed out run out.
    pub(super) fn expire_all(&mut self, now: Timestamp) {
        for (_, until) in self.issued.values_mut() {
            *until = now;
        }
    }

    /// Whether a call of the API may go on. 401 and 403 carry an integer `error_code`, as the platform's do.
    pub(super) fn authorize(&self, request: &Request<'_>, now: Timestamp) -> Result<(), Reply> {
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let Some(given) = bearer.map(str::trim).filter(|token| !token.is_empty()) else {
            let message = "Credential was not sent or was of an unsupported type for this API.";
            return Err(Reply::refused(401, 401, message));
        };
        match (&self.token, self.issued.get(given)) {
            (Some(token), _) if token.expose() == given => Ok(()),
            (_, Some((Use::Databricks, until))) if *until > now => self.check_azure_headers(request, now),
            (_, Some((Use::Databricks, _))) => Err(Reply::refused(401, 401, "Access token has expired.")),
            (None, _) if self.oauth.is_none() && self.azure.is_none() => Ok(()),
            _ => Err(forbidden("Invalid access token.")),
        }
    }

    fn check_azure_headers(&self, request: &Request<'_>, now: Timestamp) -> Result<(), Reply> {
        let resource = self.azure.as_ref().and_then(|azure| azure.workspace_resource_id.as_deref());
        if resource.is_none() {
            return Ok(());
        }
        let management = request.header(MANAGEMENT_TOKEN).and_then(|token| self.issued.get(token));
        let managed = management.is_some_and(|(use_, until)| *use_ == Use::AzureManagement && *until > now);
        if managed && request.header(MANAGED_RESOURCE) == resource {
            Ok(())
        } else {
            Err(forbidden("The principal is no user of this workspace."))
        }
    }

    /// What is said about where tokens are to be had. `None`: another path.
    pub(super) fn discovery(&self, request: &Request<'_>) -> Option<Reply> {
        let base = &self.base_url;
        let reply = match (request.method, request.path) {
            ("GET", "/.well-known/databricks-config") => match &self.oauth {
                Some(oauth) if oauth.describe => {
                    Reply::json(200, &json!({"oidc_endpoint": format!("{base}/oidc")}))
                }
                // The SDKs look here first and take a JSON 404 for "none".
                _ => not_found(request.path),
            },
            ("GET", "/oidc/.well-known/oauth-authorization-server") => match &self.oauth {
                Some(_) => Reply::json(
                    200,
                    &json!({
                        "issuer": format!("{base}/oidc"),
                        "authorization_endpoint": format!("{base}/oidc/v1/authorize"),
                        "token_endpoint": format!("{base}/oidc/v1/token"),
                    }),
                ),
                None => not_found(request.path),
            },
            ("GET", "/aad/auth") => match &self.azure {
                Some(azure) => {
                    let to = format!("{base}/{}/oauth2/authorize?response_type=code", azure.tenant);
                    Reply::text(302, String::new()).header("location", &to)
                }
                None => not_found(request.path),
            },
            _ => return None,
        };
        Some(reply)
    }

    /// Hands out a token. `None`: another path.
    pub(super) fn grant(&mut self, request: &Request<'_>, now: Timestamp) -> Option<Reply> {
        if request.method != "POST" {
            return None;
        }
        let form: BTreeMap<_, _> = url::form_urlencoded::parse(request.body).into_owned().collect();
        let field = |name: &str| form.get(name).map(String::as_str);
        if request.path == "/oidc/v1/token" {
            let oauth = self.oauth.as_ref()?;
            let life = oauth.expires_in;
            // Official clients send HTTP Basic, others the form.
            let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic "));
            let basic = basic.and_then(base64::decode).and_then(|bytes| String::from_utf8(bytes).ok());
            let known = match basic.as_deref().and_then(|pair| pair.split_once(':')) {
                Some((id, secret)) => knows(&oauth.clients, Some(id), Some(secret)),
                None => knows(&oauth.clients, field("client_id"), field("client_secret")),
            };
            return Some(match (known, field("grant_type"), field("scope")) {
                (false, ..) => no_client(),
                (true, Some("client_credentials"), Some(scope)) => {
                    let (token, seconds) = self.issue(Use::Databricks, life, now);
                    let scope = scope.to_owned();
                    let body = json!({
                        "access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": scope,
                    });
                    Reply::json(200, &body)
                }
                (true, Some("client_credentials"), None) => no_grant("invalid_scope", "scope is missing"),
                _ => no_grant("unsupported_grant_type", "grant_type must be client_credentials"),
            });
        }
        let azure = self.azure.as_ref()?;
        let life = azure.expires_in;
        let v1 = request.path == format!("/{}/oauth2/token", azure.tenant);
        let v2 = request.path == format!("/{}/oauth2/v2.0/token", azure.tenant);
        if !v1 && !v2 {
            return None;
        }
        if !knows(&azure.clients, field("client_id"), field("client_secret")) {
            return Some(no_client());
        }
        if field("grant_type") != Some("client_credentials") {
            return Some(no_grant("unsupported_grant_type", "AADSTS70003"));
        }
        let resource =
            if v1 { field("resource") } else { field("scope").and_then(|s| s.strip_suffix("/.default")) };
        let use_ = match resource {
            Some(DATABRICKS) => Use::Databricks,
            Some(url) if url.starts_with("https://management.") => Use::AzureManagement,
            _ => return Some(no_grant("invalid_resource", "AADSTS500011: the resource was not found")),
        };
        let (token, seconds) = self.issue(use_, life, now);
        // Version 1 of the login writes numbers as texts.
        let expires_in = if v1 { Value::String(seconds.to_string()) } else { seconds.into() };
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in});
        Some(Reply::json(200, &body))
    }

    fn issue(&mut self, use_: Use, life: Duration, now: Timestamp) -> (String, u64) {
        if self.issued.len() >= MOST_TOKENS {
            self.issued.retain(|_, (_, until)| *until > now);
        }
        if self.issued.len() >= MOST_TOKENS {
            self.issued.clear();
        }
        self.count += 1;
        let token = format!("stand-in-{}", uuid::Uuid::new_v4().simple());
        self.issued.insert(token.clone(), (use_, now.saturating_add(life).unwrap_or(Timestamp::MAX)));
        (token, life.as_secs())
    }
}

fn knows(clients: &BTreeMap<String, Secret>, id: Option<&str>, secret: Option<&str>) -> bool {
    let wanted = id.and_then(|id| clients.get(id));
    wanted.is_some_and(|wanted| Some(wanted.expose()) == secret)
}

fn no_client() -> Reply {
    let body = json!({"error": "invalid_client", "error_description": "Client authentication failed"});
    Reply::json(401, &body)
}

fn no_grant(error: &str, description: &str) -> Reply {
    Reply::json(400, &json!({"error": error, "error_description": description}))
}

fn not_found(path: &str) -> Reply {
    Reply::refused(404, "ENDPOINT_NOT_FOUND", format!("No API found for 'GET {path}'"))
}

fn forbidden(message: &str) -> Reply {
    Reply::refused(403, 403, message).header("x-databricks-reason-phrase", message)
}
