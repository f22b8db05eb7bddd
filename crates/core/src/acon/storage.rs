//! `storage_options`: how a store is reached and who we are there, by the names that delta-rs and object_store use.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keys::{KeyDoc, nearest_key, used};
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

    /// Reads the mapping at `key`; every mistake goes to the report.
    pub(crate) fn read(map: &Map<String, Value>, key: &str, report: &mut Report) -> Self {
        let mut options = BTreeMap::new();
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
            let lower = name.trim().to_ascii_lowercase();
            let Some(known) = STORAGE_KEYS.iter().find(|doc| doc.name == lower) else {
                let near = nearest_key(&lower, STORAGE_KEYS.iter().map(|doc| doc.name));
                let hint = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                // A login that is ignored would be somebody else's.
                report.error(path, format!("unknown option{hint}"));
                continue;
            };
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.trim().to_owned(),
                Value::Bool(value) => value.to_string(),
                other => {
                    report.error(path, format!("must be a text, not {}", kind_of(other)));
                    continue;
                }
            };
            // An endpoint holds a colon, and is none of the prefixes.
            match SecretRef::parse(&text) {
                Ok(reference) => drop(options.insert(known.name, reference)),
                Err(problem) => report.error(path, problem),
            }
        }
        Self(options)
    }
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
    used("aws_region", "", "Region of the bucket. Default: `AWS_REGION`, the profile's, `us-east-1`."),
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
