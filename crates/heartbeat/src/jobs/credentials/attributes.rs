//! The attributes of the official SDKs: their names in a profile, their environment variables, and which
//! method each belongs to.

use std::collections::BTreeMap;

/// One attribute.
#[derive(Debug)]
pub(super) struct Attribute {
    /// Key in a profile.
    pub(super) name: &'static str,
    /// Environment variables, the first set one counts.
    pub(super) variables: &'static [&'static str],
    /// The method that it speaks of, in the SDKs' words; empty: of none.
    pub(super) method: &'static str,
}

const fn of(method: &'static str, name: &'static str, variables: &'static [&'static str]) -> Attribute {
    Attribute { name, variables, method }
}

/// All attributes that take part in choosing credentials.
pub(super) const ATTRIBUTES: [Attribute; 24] = [
    of("", "host", &["DATABRICKS_HOST"]),
    of("", "account_id", &["DATABRICKS_ACCOUNT_ID"]),
    of("", "workspace_id", &["DATABRICKS_WORKSPACE_ID"]),
    of("", "group_id", &["DATABRICKS_GROUP_ID"]),
    of("", "discovery_url", &["DATABRICKS_DISCOVERY_URL"]),
    of("", "auth_type", &["DATABRICKS_AUTH_TYPE"]),
    of("", "scopes", &[]),
    of("pat", "token", &["DATABRICKS_TOKEN"]),
    of("basic", "username", &["DATABRICKS_USERNAME"]),
    of("basic", "password", &["DATABRICKS_PASSWORD"]),
    of("oauth", "client_id", &["DATABRICKS_CLIENT_ID"]),
    of("oauth", "client_secret", &["DATABRICKS_CLIENT_SECRET"]),
    of("env-oidc", "oidc_token_env", &["DATABRICKS_OIDC_TOKEN_ENV"]),
    of("file-oidc", "oidc_token_filepath", &["DATABRICKS_OIDC_TOKEN_FILEPATH", "DATABRICKS_OIDC_TOKEN_FILE"]),
    of("google", "google_service_account", &["DATABRICKS_GOOGLE_SERVICE_ACCOUNT"]),
    of("google", "google_credentials", &["GOOGLE_CREDENTIALS"]),
    of("azure", "azure_workspace_resource_id", &["DATABRICKS_AZURE_RESOURCE_ID"]),
    of("azure", "azure_use_msi", &["ARM_USE_MSI"]),
    of("azure", "azure_client_secret", &["ARM_CLIENT_SECRET"]),
    of("azure", "azure_client_id", &["ARM_CLIENT_ID"]),
    of("azure", "azure_tenant_id", &["ARM_TENANT_ID"]),
    of("", "azure_environment", &["ARM_ENVIRONMENT"]),
    of("metadata-service", "metadata_service_url", &["DATABRICKS_METADATA_SERVICE_URL"]),
    // Not an attribute of the SDKs, but they look at it: it holds the token that federation exchanges.
    of("", "oidc_token", &["DATABRICKS_OIDC_TOKEN"]),
];

/// Names the profile to use.
pub(crate) const PROFILE_VARIABLE: &str = "DATABRICKS_CONFIG_PROFILE";
/// Names the file with the profiles.
pub(crate) const FILE_VARIABLE: &str = "DATABRICKS_CONFIG_FILE";

/// Every environment variable that is looked at.
pub(crate) fn variables() -> impl Iterator<Item = &'static str> {
    let attributes = ATTRIBUTES.iter().flat_map(|attribute| attribute.variables).copied();
    attributes.chain([PROFILE_VARIABLE, FILE_VARIABLE])
}

/// Attributes that are set: neither absent nor empty.
///
/// Has no `Debug`: values may be secret.
#[derive(Clone, Default)]
pub(super) struct Attributes(BTreeMap<&'static str, String>);

impl Attributes {
    /// Those of an environment.
    pub(super) fn of_environment(environment: &BTreeMap<String, String>) -> Self {
        let set = |variable: &&str| environment.get(*variable).filter(|value| !value.is_empty());
        let value = |attribute: &Attribute| attribute.variables.iter().find_map(set).cloned();
        Self(ATTRIBUTES.iter().filter_map(|one| Some((one.name, value(one)?))).collect())
    }

    /// Those of a profile; other keys of it are the SDKs' business.
    pub(super) fn of_profile(profile: &BTreeMap<String, String>) -> Self {
        let value = |attribute: &Attribute| profile.get(attribute.name).filter(|value| !value.is_empty());
        let in_files = ATTRIBUTES.iter().filter(|attribute| attribute.name != "oidc_token");
        Self(in_files.filter_map(|one| Some((one.name, value(one)?.clone()))).collect())
    }

    /// These, and of `weaker` what is not set here.
    pub(super) fn over(mut self, weaker: Self) -> Self {
        for (name, value) in weaker.0 {
            self.0.entry(name).or_insert(value);
        }
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// The methods that anything set speaks of, in alphabetical order.
    pub(super) fn methods(&self) -> Vec<&'static str> {
        let set = ATTRIBUTES.iter().filter(|one| !one.method.is_empty() && self.0.contains_key(one.name));
        let mut methods: Vec<_> = set.map(|one| one.method).collect();
        methods.sort_unstable();
        methods.dedup();
        methods
    }
}
