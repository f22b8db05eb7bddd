//! `storage_options`: how a store is reached and who we are there, by the names that delta-rs and object_store use.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keys::{KeyDoc, did_you_mean, used};
use super::{Finding, Report, kind_of};
use crate::secret::SecretRef;

/// Options of a store by name. A value may be a secret, so all are references; plain text stands for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageOptions(BTreeMap<&'static str, SecretRef>);

impl StorageOptions {
    /// The options that are set, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &SecretRef)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// One option.
    pub fn get(&self, name: &str) -> Option<&SecretRef> {
        self.0.get(name)
    }

    /// True when nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the mapping at `key`, or tells every mistake in it.
    pub fn parse(map: &Map<String, Value>, key: &str) -> Result<Self, Vec<Finding>> {
        let mut report = Report::default();
        let options = Self::read(map, key, &mut report);
        if report.errors.is_empty() { Ok(options) } else { Err(report.errors) }
    }

    /// Sets an option, in place of what it was. The error says what is wrong with the name or the reference, and never
    /// repeats the value.
    pub fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        let name = known(name)?;
        // An endpoint holds a colon, and is none of the prefixes.
        let value = SecretRef::parse(text.trim())?;
        if let SecretRef::Literal(text) = &value {
            check(name, text.expose())?;
        }
        self.0.insert(name, value);
        Ok(())
    }

    /// Reads the mapping at `key`; every mistake goes to the report.
    pub(crate) fn read(map: &Map<String, Value>, key: &str, report: &mut Report) -> Self {
        let mut options = Self::default();
        let entries = match map.get(key) {
            None | Some(Value::Null) => return Self::default(),
            Some(Value::Object(entries)) => entries,
            Some(other) => {
                report.error(key, format!("must be a mapping, not {}", kind_of(other)));
                return Self::default();
            }
        };
        for (name, value) in entries {
            let path = format!("{key}.{name}");
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(value) => value.to_string(),
                other => {
                    match known(name) {
                        Err(problem) => report.error(path, problem),
                        Ok(_) if other.is_null() => {}
                        Ok(_) => report.error(path, format!("must be a text, not {}", kind_of(other))),
                    }
                    continue;
                }
            };
            if let Err(problem) = options.set(name, &text) {
                report.error(path, problem);
            }
        }
        options
    }
}

/// The option of this name. One that is ignored would be somebody else's login, so an unknown one is an error.
fn known(name: &str) -> Result<&'static str, String> {
    let lower = name.trim().to_ascii_lowercase();
    let found = STORAGE_KEYS.iter().find(|doc| doc.name == lower);
    found.map(|doc| doc.name).ok_or_else(|| {
        format!("unknown option{}", did_you_mean(&lower, STORAGE_KEYS.iter().map(|doc| doc.name)))
    })
}

/// What `aws_server_side_encryption` may be.
pub const AWS_ENCRYPTIONS: [&str; 3] = ["AES256", "aws:kms", "aws:kms:dsse"];

/// What can be told of a value that stands there itself. Values that are kept elsewhere are read by the clients.
fn check(name: &str, text: &str) -> Result<(), &'static str> {
    const FLAGS: [&str; 4] =
        ["aws_allow_http", "aws_virtual_hosted_style_request", "azure_allow_http", "google_skip_signature"];
    const URLS: [&str; 4] = ["aws_endpoint", "aws_sqs_endpoint", "azure_endpoint", "google_base_url"];
    if text.trim().is_empty() {
        Err("must not be empty; leave the key out")
    } else if FLAGS.contains(&name) && !["true", "false"].contains(&text.to_ascii_lowercase().as_str()) {
        Err("must be true or false")
    } else if URLS.contains(&name) && !is_url(text) {
        Err("must be a URL without credentials, such as `https://storage.example.com`")
    } else if name == "aws_server_side_encryption" && !AWS_ENCRYPTIONS.contains(&text) {
        Err("must be `AES256`, `aws:kms` or `aws:kms:dsse`")
    } else {
        Ok(())
    }
}

/// What stands before `://`, and behind it up to the path.
pub(super) fn scheme_and_authority(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some((scheme, rest.split(['/', '?', '#', '\\']).next().unwrap_or_default()))
}

fn is_url(text: &str) -> bool {
    let Some((scheme, authority)) = scheme_and_authority(text) else { return false };
    let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    is_http && !authority.is_empty() && !authority.contains(['@', ' '])
}

/// All options, for the check and the reference page. Each may be `env:NAME`, `file:PATH`, `scope:SCOPE/KEY`.
pub const STORAGE_KEYS: [KeyDoc; 27] = [
    used(
        "aws_access_key_id",
        "",
        "Key of S3. Without one: what AWS's SDKs find (environment, profile, web identity, container, instance role).",
    ),
    used("aws_secret_access_key", "", "Its secret."),
    used("aws_session_token", "", "Its session token."),
    used("aws_profile", "", "Profile of `~/.aws`, whatever the environment holds."),
    used(
        "aws_role_arn",
        "",
        "Role to take on: with `aws_web_identity_token_file` by web identity, else by the credentials found.",
    ),
    used("aws_role_session_name", "", "Name of the session with that role."),
    used("aws_web_identity_token_file", "", "File with the token of a web identity."),
    used(
        "aws_region",
        "",
        "Region of the bucket. Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, that of the profile, else `us-east-1`.",
    ),
    used(
        "aws_endpoint",
        "",
        "URL of an S3 that is not Amazon's. `http://` only on this machine, or with `aws_allow_http`.",
    ),
    used("aws_sqs_endpoint", "", "URL of an SQS that is not Amazon's."),
    used(
        "aws_virtual_hosted_style_request",
        "",
        "`false`: the bucket stands in the path (path style), `true`: in the host. Default: `false` with `aws_endpoint`, else `true`.",
    ),
    used("aws_allow_http", "", "`true`: also http to other machines."),
    used(
        "aws_server_side_encryption",
        "",
        "How what we write is encrypted: `AES256`, `aws:kms`, `aws:kms:dsse`.",
    ),
    used("aws_sse_kms_key_id", "", "Key for it."),
    used("azure_storage_account_name", "", "Storage account, where the URL names none."),
    used("azure_storage_account_key", "", "Its key."),
    used("azure_storage_sas_token", "", "A shared access signature instead."),
    used(
        "azure_tenant_id",
        "",
        "Tenant of a service principal. Without a key, a signature or a principal: workload identity, then managed identity.",
    ),
    used("azure_client_id", "", "The service principal, or the managed identity."),
    used("azure_client_secret", "", "Secret of the service principal."),
    used("azure_federated_token_file", "", "File with the token of a workload identity."),
    used(
        "azure_endpoint",
        "",
        "URL of the blob service, where it is not `https://ACCOUNT.blob.core.windows.net`.",
    ),
    used("azure_allow_http", "", "`true`: also http to other machines."),
    used(
        "google_service_account_key",
        "",
        "Key of a service account, as JSON. Without: `google_service_account`, then what Google's libraries find.",
    ),
    used("google_service_account", "", "File with such a key."),
    used("google_base_url", "", "URL of a Cloud Storage that is not Google's."),
    used("google_skip_signature", "", "`true`: anonymous."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn option_that_is_set_takes_the_place_of_another_and_unknown_ones_are_told() {
        let mut options = StorageOptions::default();
        options.set("aws_region", "eu-west-1").unwrap();
        options.set(" AWS_Region ", "eu-central-1").unwrap();
        options.set("aws_endpoint", "http://127.0.0.1:1").unwrap();
        options.set("aws_secret_access_key", "env:KEY").unwrap();
        let literal = |text: &str| SecretRef::Literal(Secret::new(text));
        assert_eq!(options.get("aws_region"), Some(&literal("eu-central-1")));
        assert_eq!(options.get("aws_endpoint"), Some(&literal("http://127.0.0.1:1")));
        assert_eq!(options.get("aws_secret_access_key"), Some(&SecretRef::Env("KEY".into())));
        let problem = options.set("aws_regio", "hush").unwrap_err();
        assert_eq!(problem, "unknown option; did you mean `aws_region`?");
        assert!(options.set("aws_session_token", "scope:hush").unwrap_err().contains("SCOPE/KEY"));
        assert_eq!(options.iter().count(), 3);
    }

    #[test]
    fn values_that_cannot_be_meant_are_told_without_being_repeated() {
        let set = |name: &str, text: &str| StorageOptions::default().set(name, text);
        for (name, text) in [
            ("aws_region", ""),
            ("aws_secret_access_key", "literal: "),
            ("aws_allow_http", "yes"),
            ("google_skip_signature", "1"),
            ("aws_endpoint", "minio:9000"),
            ("aws_endpoint", "https://"),
            ("azure_endpoint", "https://me:hush@example.com"),
            ("aws_server_side_encryption", "aes256"),
        ] {
            let problem = set(name, text).unwrap_err();
            assert!(problem.starts_with("must ") && !problem.contains("hush"), "{name}: {problem}");
        }
        for (name, text) in [
            ("aws_allow_http", "True"),
            ("aws_allow_http", "env:ALLOW"),
            ("aws_endpoint", "http://127.0.0.1:9000/below"),
            ("aws_endpoint", "HTTPS://[::1]:9000"),
            ("aws_server_side_encryption", "aws:kms:dsse"),
        ] {
            set(name, text).unwrap();
        }
    }
}
