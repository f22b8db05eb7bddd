//! Which credentials a workspace is called with: the order and precedence of the official SDKs, as a function of
//! values.
//!
//! 1. The ACON's `token`. Nothing else is looked at.
//! 2. Attribute by attribute, the environment before a profile of `.databrickscfg`. The profile is the one that
//!    `DATABRICKS_CONFIG_PROFILE` names. If that is not set, the file is read only if the environment has no
//!    attribute of any method.
//! 3. Of the attributes together, the first complete method: pat, oauth-m2m, azure-client-secret. Two methods at once
//!    are an error unless `auth_type` names one.
//!
//! Where we differ from the SDKs: the host is always the ACON's `domain`, for one daemon serves many workspaces.
//! Credentials are taken only from where the host is that workspace, or no host is named: a credential is never
//! sent to another. A profile that nobody named is the one with the workspace's host (of several the
//! default one), else the default one if it has no host.

use std::collections::BTreeMap;
use std::fmt;

use heartbeat_core::secret::Secret;

use super::attributes::{ATTRIBUTES, Attributes, PROFILE_VARIABLE};
use super::azure::AzureCloud;
use super::error::AuthError;
use super::profiles::{DEFAULT, Profiles, SETTINGS};
use super::{AzurePrincipal, Credentials, Method, OAuthClient, Origin};
use crate::jobs::{BadDomain, Domain, Token};

/// What the ACON says.
#[derive(Debug, Clone)]
pub struct Explicit<'a> {
    /// The workspace.
    pub domain: &'a Domain,
    /// The ACON's own token.
    pub token: Option<Token>,
}

/// A configuration file. Its `Debug` hides the text.
#[derive(Clone, Copy)]
pub struct ConfigFile<'a> {
    /// Names it in errors.
    pub name: &'a str,
    /// Its content; `None`: there is no such file.
    pub text: Option<&'a str>,
}

impl fmt::Debug for ConfigFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether [`resolve()`] needs the file, so that one that can't be read hurts nobody else.
pub fn needs_file(explicit: &Explicit<'_>, environment: &BTreeMap<String, String>) -> bool {
    explicit.token.is_none()
        && (profile_named(environment).is_some()
            || usable_environment(explicit.domain, environment).0.methods().is_empty())
}

/// Chooses the credentials for a workspace.
pub fn resolve(
    explicit: &Explicit<'_>,
    environment: &BTreeMap<String, String>,
    file: ConfigFile<'_>,
) -> Result<Credentials, AuthError> {
    if let Some(token) = &explicit.token {
        return Ok(Credentials::from(token.clone()));
    }
    let domain = explicit.domain;
    let (ours, elsewhere) = usable_environment(domain, environment);
    let profiles = match file.text.filter(|_| needs_file(explicit, environment)) {
        Some(text) => Some(Profiles::parse(text, file.name)?),
        None => None,
    };
    let mut remark = String::new();
    if let Some(host) = &elsewhere {
        remark = format!(
            "; DATABRICKS_HOST is {host}, so the environment's credentials are not for this workspace"
        );
    }
    let profile = match (profile_named(environment), &profiles) {
        (Some(SETTINGS), _) => return Err(AuthError::ReservedProfile),
        (Some(name), profiles) => {
            let found = profiles.as_ref().and_then(|profiles| profiles.get(name));
            let missing =
                || AuthError::NoSuchProfile { file: file.name.to_owned(), profile: name.to_owned() };
            let found = found.ok_or_else(missing)?;
            // A profile without a host belongs to the host that stands beside it.
            let host = found.get("host").or(elsewhere.as_deref());
            if let Some(host) = host.filter(|host| !is_host_of(domain, host)) {
                let (profile, host, domain) = (name.to_owned(), host.to_owned(), domain.clone());
                return Err(AuthError::ProfileElsewhere { profile, host, domain });
            }
            Some((name, found))
        }
        (None, Some(profiles)) => unnamed(domain, profiles, file.name, &mut remark)?,
        (None, None) => None,
    };
    let from_environment = !ours.methods().is_empty();
    let (attributes, origin) = match profile {
        None => (ours, Origin::Environment),
        Some((name, found)) => {
            let (file, name) = (file.name.to_owned(), name.to_owned());
            let origin = if from_environment {
                Origin::EnvironmentAndProfile { file, name }
            } else {
                Origin::Profile { file, name }
            };
            (ours.over(found.clone()), origin)
        }
    };
    if let Some(method) = choose(domain, &attributes)? {
        return Ok(Credentials { method, workspace_id: attributes.owned("workspace_id"), origin });
    }
    Err(AuthError::NoCredentials { domain: domain.clone(), file: file.name.to_owned(), remark })
}

pub(super) fn profile_named(environment: &BTreeMap<String, String>) -> Option<&str> {
    environment.get(PROFILE_VARIABLE).map(String::as_str).filter(|name| !name.is_empty())
}

/// The environment's attributes, or none and the other host that they are for.
fn usable_environment(
    domain: &Domain,
    environment: &BTreeMap<String, String>,
) -> (Attributes, Option<String>) {
    let attributes = Attributes::of_environment(environment);
    match attributes.owned("host").filter(|host| !is_host_of(domain, host)) {
        Some(elsewhere) => (Attributes::default(), Some(elsewhere)),
        None => (attributes, None),
    }
}

/// Whether a host as people write it is this workspace.
fn is_host_of(domain: &Domain, host: &str) -> bool {
    domain_of(host).is_ok_and(|host| host == *domain)
}

/// The workspace of a host as people write it: with or without scheme, path and query.
pub(super) fn domain_of(host: &str) -> Result<Domain, BadDomain> {
    let (scheme, rest) = host.trim().split_once("://").unwrap_or(("https", host.trim()));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    Domain::parse(&format!("{scheme}://{authority}"))
}

/// The profile for a workspace when none is named: the one with its host, else the default if that has no host.
fn unnamed<'a>(
    domain: &Domain,
    profiles: &'a Profiles,
    file: &str,
    remark: &mut String,
) -> Result<Option<(&'a str, &'a Attributes)>, AuthError> {
    let is_ours =
        |attributes: &Attributes| attributes.get("host").is_some_and(|host| is_host_of(domain, host));
    let matching: Vec<_> = profiles.iter().filter(|(_, attributes)| is_ours(attributes)).collect();
    match matching.as_slice() {
        [one] => return Ok(Some(*one)),
        [] => {}
        several => {
            // The SDKs would take the default one.
            let default = profiles.default().unwrap_or(DEFAULT);
            let preferred = several.iter().find(|(name, _)| *name == default);
            return preferred.copied().map(Some).ok_or_else(|| AuthError::SeveralProfiles {
                file: file.to_owned(),
                domain: domain.clone(),
                profiles: several.iter().map(|(name, _)| (*name).to_owned()).collect(),
            });
        }
    }
    let (name, found) = match profiles.default() {
        Some(SETTINGS) => return Err(AuthError::ReservedProfile),
        Some(name) => match profiles.get(name) {
            Some(found) => (name, found),
            None => {
                return Err(AuthError::NoSuchProfile { file: file.to_owned(), profile: name.to_owned() });
            }
        },
        None => match profiles.get(DEFAULT) {
            Some(found) => (DEFAULT, found),
            None => return Ok(None),
        },
    };
    match found.get("host") {
        None => Ok(Some((name, found))),
        Some(host) => {
            remark.push_str(&format!("; the default profile `{name}` is for {host}"));
            Ok(None)
        }
    }
}

/// The method that the attributes ask for, in the order of the SDKs. `None`: they ask for none.
fn choose(domain: &Domain, attributes: &Attributes) -> Result<Option<Method>, AuthError> {
    let wanted = attributes.get("auth_type");
    let methods = attributes.methods();
    if methods.len() > 1 && wanted.is_none() {
        return Err(AuthError::SeveralMethods(methods));
    }
    if attributes.get("group_id").is_some() {
        return Err(not_served("group role assumption (group_id)"));
    }
    let has = |name: &str| attributes.get(name).is_some();
    let method = match wanted {
        Some(wanted) => wanted,
        None if has("token") => "pat",
        None if has("username") && has("password") => "basic",
        None if has("metadata_service_url") => "metadata-service",
        None if has("client_id") && has("client_secret") => "oauth-m2m",
        None if has("oidc_token_env") || has("oidc_token") => "env-oidc",
        None if has("oidc_token_filepath") => "file-oidc",
        None if has("azure_client_id") && has("azure_client_secret") => "azure-client-secret",
        None if has("azure_use_msi") => "azure-msi",
        None => match methods.first() {
            None => return Ok(None),
            Some(&"oauth") => "oauth-m2m",
            Some(&"azure") => "azure-client-secret",
            Some(other) => other,
        },
    };
    match method {
        "pat" => {
            let token = required(attributes, "pat", "token")?;
            Token::parse(&token).map(|token| Some(Method::Token(token))).map_err(AuthError::Token)
        }
        "oauth-m2m" => oauth(attributes).map(|client| Some(Method::OAuth(client))),
        "azure-client-secret" => azure(domain, attributes).map(|client| Some(Method::Azure(client))),
        other => Err(not_served(other)),
    }
}

fn oauth(attributes: &Attributes) -> Result<OAuthClient, AuthError> {
    let required = |name| required(attributes, "oauth-m2m", name);
    let scopes = attributes.get("scopes").unwrap_or_default();
    let mut scopes: Vec<&str> = scopes.split([',', ' ']).filter(|scope| !scope.is_empty()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    Ok(OAuthClient {
        client_id: required("client_id")?,
        client_secret: Secret::new(required("client_secret")?),
        scope: if scopes.is_empty() { OAuthClient::ALL_APIS.to_owned() } else { scopes.join(" ") },
        account_id: attributes.owned("account_id"),
        discovery_url: attributes.owned("discovery_url"),
    })
}

fn azure(domain: &Domain, attributes: &Attributes) -> Result<AzurePrincipal, AuthError> {
    let required = |name| required(attributes, "azure-client-secret", name);
    let named = attributes.get("azure_environment").map(AzureCloud::parse);
    let named = named.map(|cloud| {
        cloud.ok_or(AuthError::BadValue {
            attribute: "azure_environment",
            why: "(ARM_ENVIRONMENT) must be public, usgovernment or china",
        })
    });
    let named = named.transpose()?;
    Ok(AzurePrincipal {
        client_id: required("azure_client_id")?,
        client_secret: Secret::new(required("azure_client_secret")?),
        tenant_id: attributes.owned("azure_tenant_id"),
        cloud: AzureCloud::of_host(domain).or(named).unwrap_or(AzureCloud::Public),
        login_url: None,
        workspace_resource_id: attributes.owned("azure_workspace_resource_id"),
    })
}

fn required(
    attributes: &Attributes,
    method: &'static str,
    attribute: &'static str,
) -> Result<String, AuthError> {
    let variable = || {
        let found = ATTRIBUTES.iter().find(|one| one.name == attribute);
        found.and_then(|one| one.variables.first().copied())
    };
    let missing = || AuthError::Incomplete { method, attribute, variable: variable() };
    attributes.owned(attribute).ok_or_else(missing)
}

fn not_served(method: &str) -> AuthError {
    let instead = match method {
        "azure-cli" | "azure-msi" | "github-oidc-azure" => {
            "a service principal with a secret (ARM_CLIENT_ID, ARM_CLIENT_SECRET, ARM_TENANT_ID)"
        }
        "basic" | "external-browser" | "databricks-cli" => {
            "a personal access token (DATABRICKS_TOKEN) or a service principal (DATABRICKS_CLIENT_ID, \
             DATABRICKS_CLIENT_SECRET)"
        }
        _ => "a service principal with a secret (DATABRICKS_CLIENT_ID, DATABRICKS_CLIENT_SECRET)",
    };
    AuthError::NotServed { method: method.to_owned(), instead }
}

#[cfg(test)]
mod tests;
