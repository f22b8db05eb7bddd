//! Credentials of a workspace: chosen once, then turned into the headers of every call.
//!
//! [`resolve()`] chooses, as the official SDKs do. A personal access token is sent as it is. A service principal is
//! exchanged for access tokens that live for about an hour (`cache` says when they are renewed).

mod attributes;
mod azure;
mod cache;
mod error;
mod grant;
mod host;
mod profiles;
mod resolve;
mod signer;

use std::fmt;

use heartbeat_core::secret::Secret;

pub(crate) use self::attributes::{FILE_VARIABLE, variables};
pub use self::azure::AzureCloud;
pub use self::error::{AuthError, GrantError};
pub(super) use self::grant::Asker;
pub(crate) use self::host::{host, names_host};
pub use self::resolve::{ConfigFile, Explicit, needs_file, resolve};
pub(crate) use self::signer::{Signature, Signer};
use super::Token;

/// Credentials of a workspace.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// How we prove who we are.
    pub method: Method,
    /// Sent with every call if set: tells the workspaces of one host apart.
    pub workspace_id: Option<String>,
    /// Where they were found, for people.
    pub origin: Origin,
}

/// How we prove who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// A personal access token, or any other token that is sent as it is.
    Token(Token),
    /// A service principal of Databricks.
    OAuth(OAuthClient),
    /// A service principal of Azure.
    Azure(AzurePrincipal),
}

/// A service principal of Databricks with a secret (OAuth M2M).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthClient {
    /// The principal's application id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What the tokens are for, blanks between; [`OAuthClient::ALL_APIS`] is everything.
    pub scope: String,
    /// For workspaces that name their endpoints by account.
    pub account_id: Option<String>,
    /// Where the endpoints are described, if not where the workspace says.
    pub discovery_url: Option<String>,
}

/// A service principal of Azure with a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzurePrincipal {
    /// The principal's application id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// Its tenant; `None`: the workspace is asked.
    pub tenant_id: Option<String>,
    /// The cloud it lives in.
    pub cloud: AzureCloud,
    /// Where it logs in, with a slash at the end; `None`: where its cloud does.
    pub login_url: Option<String>,
    /// The workspace as a resource of Azure, for principals that have a role there but are no user of the workspace.
    pub workspace_resource_id: Option<String>,
}

/// Where credentials were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// They were given, by the ACON.
    Given,
    /// In the environment.
    Environment,
    /// In a profile.
    Profile {
        /// The file.
        file: String,
        /// The profile.
        name: String,
    },
    /// In both: the environment's values first.
    EnvironmentAndProfile {
        /// The file.
        file: String,
        /// The profile.
        name: String,
    },
}

impl OAuthClient {
    /// The scope of everything that the principal may do.
    pub const ALL_APIS: &str = "all-apis";
}

impl Method {
    /// Its name among the SDKs' methods.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Token(_) => "pat",
            Self::OAuth(_) => "oauth-m2m",
            Self::Azure(_) => "azure-client-secret",
        }
    }
}

impl Credentials {
    /// Whether calls with either are the same, wherever they were found.
    pub fn is_same(&self, other: &Self) -> bool {
        self.method == other.method && self.workspace_id == other.workspace_id
    }
}

impl From<Token> for Credentials {
    fn from(token: Token) -> Self {
        Self { method: Method::Token(token), workspace_id: None, origin: Origin::Given }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("the ACON"),
            Self::Environment => f.write_str("the environment"),
            Self::Profile { file, name } => write!(f, "profile `{name}` of {file}"),
            Self::EnvironmentAndProfile { file, name } => {
                write!(f, "the environment and profile `{name}` of {file}")
            }
        }
    }
}
