//! Why there are no credentials, or why a token could not be had with them.

use super::Origin;
use crate::jobs::error::Trouble;
use crate::jobs::{Answer, BadDomain, Domain, TokenError};

/// Why no credentials could be chosen for a workspace. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nothing is configured for it.
    #[error(
        "there are no credentials for {domain}: give the ACON a `token`, set DATABRICKS_TOKEN, or \
         DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or add a profile with this host to {file}{remark}"
    )]
    NoCredentials {
        /// The workspace.
        domain: Domain,
        /// The file with the profiles.
        file: String,
        /// What was found and could not be used, each behind a semicolon.
        remark: String,
    },
    /// The named profile is another workspace's. Its credentials are not sent elsewhere.
    #[error(
        "profile `{profile}` is for {host}, not for {domain}; without DATABRICKS_CONFIG_PROFILE the profile with \
         the host of the workspace is taken"
    )]
    ProfileElsewhere {
        /// The profile.
        profile: String,
        /// Its host, as written, or that of DATABRICKS_HOST if it has none.
        host: String,
        /// The workspace.
        domain: Domain,
    },
    /// The profile is not in the file.
    #[error("{file} has no profile `{profile}`")]
    NoSuchProfile {
        /// The file.
        file: String,
        /// The profile asked for.
        profile: String,
    },
    /// Nothing says which workspace is meant.
    #[error(
        "no workspace is named: give an ACON, set DATABRICKS_HOST, or name a profile of {file} that has a host \
         (DATABRICKS_CONFIG_PROFILE){remark}"
    )]
    NoHost {
        /// The file with the profiles.
        file: String,
        /// What was found and could not be used, behind a semicolon.
        remark: String,
    },
    /// A host that is no workspace.
    #[error("the host of {origin} cannot be used")]
    BadHost {
        /// Where it was found.
        origin: Origin,
        /// Why.
        #[source]
        why: BadDomain,
    },
    /// The name of the section with the settings.
    #[error("`__settings__` is no profile: the name is reserved")]
    ReservedProfile,
    /// Nothing says which of several profiles to take.
    #[error("{file} has several profiles for {domain}: {}; name one with DATABRICKS_CONFIG_PROFILE", .profiles.join(", "))]
    SeveralProfiles {
        /// The file.
        file: String,
        /// The workspace.
        domain: Domain,
        /// Their names.
        profiles: Vec<String>,
    },
    /// The file is not of the known form.
    #[error("{file}: {why}")]
    BadFile {
        /// The file.
        file: String,
        /// What is wrong, without the text.
        why: String,
    },
    /// Two methods at once.
    #[error(
        "more than one authorization method is configured: {}; name one with DATABRICKS_AUTH_TYPE (pat, oauth-m2m \
         or azure-client-secret), or take the others away", .0.join(" and ")
    )]
    SeveralMethods(Vec<&'static str>),
    /// A method that the SDKs have and we don't.
    #[error("the authorization method {method} is not served; use {instead}")]
    NotServed {
        /// The method in the SDKs' words.
        method: String,
        /// What to use.
        instead: &'static str,
    },
    /// A method without all that it needs.
    #[error("{method} lacks `{attribute}`{}", .variable.map(|name| format!(" ({name})")).unwrap_or_default())]
    Incomplete {
        /// The method in the SDKs' words.
        method: &'static str,
        /// The attribute, as profiles name it.
        attribute: &'static str,
        /// Its environment variable.
        variable: Option<&'static str>,
    },
    /// A value that can't be one.
    #[error("`{attribute}` {why}")]
    BadValue {
        /// The attribute, as profiles name it.
        attribute: &'static str,
        /// What is asked of it.
        why: &'static str,
    },
    /// The access token can't be sent.
    #[error("the access token can't be used")]
    Token(#[source] TokenError),
}

/// Why no access token could be had with the credentials. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The endpoint said no. Asking again changes nothing until somebody mends it.
    #[error("{url} gave no access token to client {client_id}; check client id and secret")]
    Refused {
        /// The token endpoint.
        url: String,
        /// The client.
        client_id: String,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// No answer in time. Asking again later may help.
    #[error("{url} was not answered in {tries} tries")]
    Unavailable {
        /// What was asked.
        url: String,
        /// Tries made.
        tries: u32,
        /// The last fault.
        #[source]
        trouble: Trouble,
    },
    /// Answered with something that is no token, or no description of endpoints.
    #[error("{url} was answered with something else than {expected}")]
    Unusable {
        /// What was asked.
        url: String,
        /// What was hoped for.
        expected: &'static str,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// A secret would have crossed a network in the clear, or the word on where to send it.
    #[error("{url} decides where the client secret is sent, or gets it: must be an https:// URL")]
    Insecure {
        /// The endpoint named.
        url: String,
    },
    /// The call ended without an outcome, as the program was ending. Asking again may help.
    #[error("the call for an access token was broken off")]
    BrokenOff,
    /// The workspace names its endpoints by account, and no account is configured.
    #[error("the workspace's OAuth endpoint needs an account: set `account_id` (DATABRICKS_ACCOUNT_ID)")]
    NoAccount,
    /// The workspace does not say which Azure tenant it belongs to.
    #[error("{url} names no Azure tenant: set `azure_tenant_id` (ARM_TENANT_ID)")]
    NoTenant {
        /// What was asked.
        url: String,
    },
}
