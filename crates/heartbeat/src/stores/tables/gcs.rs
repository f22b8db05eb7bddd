//! Buckets of Google Cloud Storage.

use std::sync::Arc;

use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{CredentialProvider, Error, Result};

use super::super::error::Fault;
use super::super::gcs::GoogleCredentials;
use super::super::http::check_url;
use super::super::options::Set;
use super::bucket::Answer;
use super::{client_options, refused, retries};

pub(super) fn open(bucket: &str, set: &Set) -> Result<GoogleCloudStorage, Fault> {
    let base = set.value("google_base_url", &["GOOGLE_BASE_URL"]);
    let base = base.map(|text| check_url("google_base_url", &text, false)).transpose()?;
    let credentials = GoogleCredentials::new(set)?;
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_skip_signature(credentials.is_anonymous())
        .with_credentials(Arc::new(Login(credentials)))
        .with_client_options(client_options(base.as_ref().is_some_and(|base| base.scheme() == "http")))
        .with_retry(retries());
    if let Some(base) = base {
        builder = builder.with_base_url(base.as_str().trim_end_matches('/'));
    }
    builder.build().map_err(refused)
}

/// The credentials that trigger files would have.
#[derive(Debug)]
struct Login(GoogleCredentials);

impl Login {
    async fn credential(&self) -> Result<Arc<GcpCredential>> {
        let failed = |fault: Fault| Error::Generic { store: "GCS", source: Box::new(fault) };
        // Writes ask for credentials also where nobody in particular asks.
        let header = self.0.authorization().await.map_err(failed)?;
        let text = header.as_ref().and_then(|header| header.to_str().ok()).unwrap_or_default();
        let bearer = text.strip_prefix("Bearer ").unwrap_or_default().to_owned();
        Ok(Arc::new(GcpCredential { bearer }))
    }
}

impl CredentialProvider for Login {
    type Credential = GcpCredential;

    fn get_credential<'life0, 'async_trait>(&'life0 self) -> Answer<'async_trait, Arc<GcpCredential>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.credential())
    }
}
