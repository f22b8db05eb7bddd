//! Buckets of Google Cloud Storage.

use std::sync::Arc;

use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};

use super::super::error::Fault;
use super::super::http::check_url;
use super::super::s3::Set;
use super::{client_options, refused, retries};

/// Options that say who we are; as of Azure, the environment's are not mixed with them.
const LOGIN: [&str; 3] = ["google_service_account_key", "google_service_account", "google_skip_signature"];

pub(super) fn open(bucket: &str, set: &Set) -> Result<GoogleCloudStorage, Fault> {
    let base = set.value("google_base_url", &["GOOGLE_BASE_URL"]);
    let base = base.map(|text| check_url("google_base_url", &text, false)).transpose()?;
    let http = base.as_ref().is_some_and(|base| base.scheme() == "http");
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_client_options(client_options(http))
        .with_retry(retries());
    if let Some(base) = base {
        builder = builder.with_base_url(base.as_str().trim_end_matches('/'));
    }
    let is_ours = set.has_any(&LOGIN);
    let login = |name: &str, variables: &[&str]| set.value(name, if is_ours { &[] } else { variables });
    if set.flag("google_skip_signature")? == Some(true) {
        // Writes ask for credentials all the same.
        let nobody = StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
        builder = builder.with_skip_signature(true).with_credentials(Arc::new(nobody));
    } else if let Some(key) = login("google_service_account_key", &["GOOGLE_SERVICE_ACCOUNT_KEY"]) {
        builder = builder.with_service_account_key(key);
    } else if let Some(path) = login("google_service_account", &["GOOGLE_SERVICE_ACCOUNT"]) {
        builder = builder.with_service_account_path(path);
    } else if let Some(path) = login("", &["GOOGLE_APPLICATION_CREDENTIALS"]) {
        builder = builder.with_application_credentials(path);
    }
    builder.build().map_err(refused)
}
