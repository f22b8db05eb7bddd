//! Which workspace is meant where nobody names one, as a function of values: the host as the official SDKs find it.
//!
//! `DATABRICKS_HOST` counts, else the host of the profile that `DATABRICKS_CONFIG_PROFILE` names. Without either the
//! default profile counts, but not beside an environment that has credentials: the SDKs don't read the file then.

use std::collections::BTreeMap;

use super::Origin;
use super::attributes::Attributes;
use super::error::AuthError;
use super::profiles::{DEFAULT, Profiles, SETTINGS};
use super::resolve::{ConfigFile, domain_of, profile_named};
use crate::jobs::Domain;

/// Whether the environment names the host, so that no file is needed.
pub(crate) fn names_host(environment: &BTreeMap<String, String>) -> bool {
    Attributes::of_environment(environment).get("host").is_some()
}

/// The workspace that the environment or a profile names.
pub(crate) fn host(
    environment: &BTreeMap<String, String>,
    file: ConfigFile<'_>,
) -> Result<Domain, AuthError> {
    let ours = Attributes::of_environment(environment);
    if let Some(host) = ours.get("host") {
        return domain_of(host).map_err(|why| AuthError::BadHost { origin: Origin::Environment, why });
    }
    let none = |remark: String| AuthError::NoHost { file: file.name.to_owned(), remark };
    let named = profile_named(environment);
    if let (None, [method, ..]) = (named, ours.methods().as_slice()) {
        return Err(none(format!("; the environment has credentials ({method}) and no host")));
    }
    let profiles = Profiles::parse(file.text.unwrap_or_default(), file.name)?;
    let wanted = named.or(profiles.default());
    let name = wanted.unwrap_or(DEFAULT);
    if name == SETTINGS {
        return Err(AuthError::ReservedProfile);
    }
    let Some(profile) = profiles.get(name) else {
        return Err(match wanted {
            Some(name) => AuthError::NoSuchProfile { file: file.name.to_owned(), profile: name.to_owned() },
            None => none(String::new()),
        });
    };
    let host = profile.get("host").ok_or_else(|| none(format!("; profile `{name}` has no host")))?;
    let origin = || Origin::Profile { file: file.name.to_owned(), name: name.to_owned() };
    domain_of(host).map_err(|why| AuthError::BadHost { origin: origin(), why })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn found(environment: &str, text: &str) -> Result<Domain, AuthError> {
        let pairs = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        host(&environment, ConfigFile { name: "the-file", text: Some(text) })
    }

    #[rstest]
    #[case("DATABRICKS_HOST=a.b", "[DEFAULT]\nhost = c.d", "https://a.b")]
    #[case("DATABRICKS_HOST=a.b DATABRICKS_CONFIG_PROFILE=p", "[p]\nhost = c.d", "https://a.b")]
    #[case(
        "DATABRICKS_CONFIG_PROFILE=p",
        "[DEFAULT]\nhost = a.b\n[p]\nhost = https://c.d/?o=1",
        "https://c.d"
    )]
    #[case("DATABRICKS_CONFIG_PROFILE=p DATABRICKS_TOKEN=t", "[p]\nhost = c.d", "https://c.d")]
    #[case("", "[DEFAULT]\nhost = http://127.0.0.1:8900", "http://127.0.0.1:8900")]
    #[case("", "[__settings__]\ndefault_profile = p\n[DEFAULT]\nhost = a.b\n[p]\nhost = c.d", "https://c.d")]
    fn the_host_is_found_where_the_sdks_find_it(
        #[case] environment: &str,
        #[case] text: &str,
        #[case] expected: &str,
    ) {
        assert_eq!(found(environment, text).unwrap().as_str(), expected);
    }

    #[rstest]
    #[case("", "", "set DATABRICKS_HOST, or name a profile of the-file")]
    #[case("DATABRICKS_TOKEN=t", "[DEFAULT]\nhost = a.b", "has credentials (pat) and no host")]
    #[case("", "[DEFAULT]\ntoken = t", "profile `DEFAULT` has no host")]
    #[case("DATABRICKS_CONFIG_PROFILE=q", "[p]\nhost = a.b", "the-file has no profile `q`")]
    #[case("DATABRICKS_CONFIG_PROFILE=__settings__", "", "is no profile")]
    #[case("DATABRICKS_HOST=http://a.b", "", "the host of the environment cannot be used: must be https")]
    fn what_is_missing_is_told(#[case] environment: &str, #[case] text: &str, #[case] expected: &str) {
        let error = crate::error_chain::chain(&found(environment, text).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}
