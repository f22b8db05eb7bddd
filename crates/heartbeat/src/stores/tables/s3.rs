//! Buckets of S3.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut};
use object_store::{CredentialProvider, Error, Result};

use super::super::error::Fault;
use super::super::options::Set;
use super::super::s3::{AwsCredentials, Reach};
use super::bucket::Answer;
use super::{client_options, refused, retries};

/// Credentials that do not say when they end are looked for again: somebody may have renewed a file of them.
const BELIEVED: Duration = Duration::from_mins(1);

pub(super) fn open(bucket: &str, set: &Set) -> Result<AmazonS3, Fault> {
    let reach = Reach::of(bucket, set)?;
    // Of a bucket in the host `object_store` wants the whole of it.
    let endpoint = if reach.path_style {
        reach.endpoint.as_str().trim_end_matches('/').to_owned()
    } else {
        reach.bucket_url(bucket)
    };
    let allows_http = reach.endpoint.scheme() == "http";
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(reach.region)
        .with_endpoint(endpoint)
        .with_virtual_hosted_style_request(!reach.path_style)
        // Its default; a commit is nothing without it.
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_credentials(Arc::new(Login::new(AwsCredentials::new(set)?)))
        .with_client_options(client_options(allows_http))
        .with_retry(retries());
    let encryption = [
        ("aws_server_side_encryption", reach.encryption.algorithm),
        ("aws_sse_kms_key_id", reach.encryption.kms_key),
    ];
    for (name, value) in encryption {
        if let Some(value) = value {
            builder = builder.with_config(name.parse::<AmazonS3ConfigKey>().map_err(refused)?, value);
        }
    }
    builder.build().map_err(refused)
}

/// The credentials that trigger files would have.
#[derive(Debug)]
struct Login {
    credentials: AwsCredentials,
    looked: Mutex<Instant>,
}

impl Login {
    fn new(credentials: AwsCredentials) -> Self {
        Self { credentials, looked: Mutex::new(Instant::now()) }
    }

    async fn credential(&self) -> Result<Arc<AwsCredential>> {
        let failed = |fault: Fault| Error::Generic { store: "S3", source: Box::new(fault) };
        let mut found = self.credentials.credential().await.map_err(failed)?;
        if found.expires_in.is_none() && self.is_old() {
            self.credentials.forget().await;
            found = self.credentials.credential().await.map_err(failed)?;
        }
        Ok(Arc::new(AwsCredential {
            key_id: found.access_key_id,
            secret_key: found.secret_access_key,
            token: found.session_token,
        }))
    }

    /// Whether it is time to look again; only one is told.
    fn is_old(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = looked.elapsed() > BELIEVED;
        if is_old {
            *looked = Instant::now();
        }
        is_old
    }
}

impl CredentialProvider for Login {
    type Credential = AwsCredential;

    fn get_credential<'life0, 'async_trait>(&'life0 self) -> Answer<'async_trait, Arc<AwsCredential>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.credential())
    }
}
