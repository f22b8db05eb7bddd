//! How a bucket is reached, from the options and the environment. Every option is also a variable by its name in capitals.

use heartbeat_core::acon::AWS_ENCRYPTIONS;

use super::super::error::Fault;
use super::super::http::check_url;
use super::super::options::Set;
use super::{amazon, credentials};

/// Where a bucket is, and what is asked for with every write.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) endpoint: url::Url,
    /// The bucket stands in the path rather than in the host.
    pub(crate) path_style: bool,
    pub(crate) region: String,
    pub(crate) encryption: Encryption,
}

/// How what we write is encrypted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Encryption {
    /// `AES256`, `aws:kms`, `aws:kms:dsse`; `None`: as the bucket has it.
    pub(crate) algorithm: Option<String>,
    pub(crate) kms_key: Option<String>,
}

impl Reach {
    pub(crate) fn of(bucket: &str, set: &Set) -> Result<Self, Fault> {
        let allows_http = set.flag("aws_allow_http")?.unwrap_or(false);
        let region = credentials::region(set);
        let endpoint =
            set.value("aws_endpoint", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]);
        let path_style = match set.flag("aws_virtual_hosted_style_request")? {
            Some(in_host) => !in_host,
            // A certificate for `*.s3...` does not hold for names with further dots.
            None => endpoint.is_some() || bucket.contains('.'),
        };
        let endpoint = match endpoint {
            Some(text) => check_url("aws_endpoint", &text, allows_http)?,
            None => amazon("s3", &region)?,
        };
        let kms_key = set.value("aws_sse_kms_key_id", &["AWS_SSE_KMS_KEY_ID"]);
        let algorithm = set.value("aws_server_side_encryption", &["AWS_SERVER_SIDE_ENCRYPTION"]);
        if algorithm.as_deref().is_some_and(|algorithm| !AWS_ENCRYPTIONS.contains(&algorithm)) {
            let all = AWS_ENCRYPTIONS.join("`, `");
            return Err(Fault::Misconfigured(format!("`aws_server_side_encryption` must be one of `{all}`")));
        }
        let algorithm = algorithm.or_else(|| kms_key.is_some().then(|| "aws:kms".to_owned()));
        Ok(Self { endpoint, path_style, region, encryption: Encryption { algorithm, kms_key } })
    }

    /// URL of the bucket, without a slash at its end.
    pub(crate) fn bucket_url(&self, bucket: &str) -> String {
        let scheme = self.endpoint.scheme();
        let host = self.endpoint.host_str().unwrap_or_default();
        let port = self.endpoint.port().map(|port| format!(":{port}")).unwrap_or_default();
        let below = self.endpoint.path().trim_end_matches('/');
        if self.path_style {
            format!("{scheme}://{host}{port}{below}/{bucket}")
        } else {
            format!("{scheme}://{bucket}.{host}{port}{below}")
        }
    }
}

impl Encryption {
    /// Headers of a write.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let algorithm = self.algorithm.clone().map(|it| ("x-amz-server-side-encryption", it));
        let key = self.kms_key.clone().map(|it| ("x-amz-server-side-encryption-aws-kms-key-id", it));
        algorithm.into_iter().chain(key)
    }
}
