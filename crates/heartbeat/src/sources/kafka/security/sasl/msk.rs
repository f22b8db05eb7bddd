//! AWS_MSK_IAM: the password is a request to connect, signed (SigV4) for a quarter of an hour, as aws-msk-iam-auth
//! makes it.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use heartbeat_core::acon::AwsLogin;
use heartbeat_core::claim::hex;
use jiff::Timestamp;
use reqsign_aws_v4::{AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner};
use reqsign_core::{Context, ProvideCredential as _, Signer, SigningCredential as _};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::super::error::SecurityError;
use crate::secrets;
use crate::signing::{self, sigv4};

const SERVICE: &str = "kafka-cluster";
const ACTION: &str = "kafka-cluster:Connect";
const SECONDS: u32 = 900;

/// Finds credentials as AWS's SDKs do, and signs with them.
pub(in crate::sources::kafka) struct Aws {
    login: AwsLogin,
    context: Context,
    /// Those that end are kept until shortly before.
    kept: Mutex<Option<Credential>>,
}

impl Aws {
    pub(super) fn new(login: AwsLogin) -> Self {
        let context = signing::context(&BTreeMap::new(), &[]);
        Self { login, context, kept: Mutex::default() }
    }

    /// The message that logs in at `host`.
    pub(super) async fn payload(&self, host: &str) -> Result<Vec<u8>, SecurityError> {
        let environment = secrets::environment();
        let set = |name: &str| environment.get(name).filter(|text| !text.is_empty()).cloned();
        let region = region_of(host)
            .map(str::to_owned)
            .or_else(|| set("AWS_REGION"))
            .or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.ok_or_else(|| {
            SecurityError::Login(format!("`{host}` does not say its AWS region: set AWS_REGION"))
        })?;
        let credential = self.credential(&region).await?;
        let payload = sign(host, &region, &credential, Timestamp::now());
        Ok(Value::Object(payload).to_string().into_bytes())
    }

    async fn credential(&self, region: &str) -> Result<Credential, SecurityError> {
        let mut kept = self.kept.lock().await;
        if let Some(credential) = kept.as_ref().filter(|kept| kept.expires_in.is_some() && kept.is_valid()) {
            return Ok(credential.clone());
        }
        let failed = |error: reqsign_core::Error| SecurityError::Unreachable {
            what: "AWS credentials cannot be had".to_owned(),
            cause: Box::new(error),
        };
        let found = self.base();
        let credential = match &self.login.role_arn {
            None => found.provide_credential(&self.context).await.map_err(failed)?,
            Some(role) => {
                let region = self.login.sts_region.clone().unwrap_or_else(|| region.to_owned());
                let signer = Signer::new(self.context.clone(), found, RequestSigner::new("sts", &region));
                let mut provider = AssumeRoleCredentialProvider::new(role.clone(), signer)
                    .with_region(region)
                    .with_regional_sts_endpoint()
                    .with_role_session_name(
                        self.login.role_session_name.clone().unwrap_or_else(|| "heartbeat".to_owned()),
                    );
                if let Some(id) = &self.login.role_external_id {
                    provider = provider.with_external_id(id.clone());
                }
                provider.provide_credential(&self.context).await.map_err(failed)?
            }
        };
        let credential = credential.ok_or_else(|| {
            SecurityError::Login(
                "there are no AWS credentials: none in the environment, a profile, a web identity, a container or an instance".to_owned(),
            )
        })?;
        *kept = Some(credential.clone());
        Ok(credential)
    }

    fn base(&self) -> DefaultCredentialProvider {
        let builder = DefaultCredentialProvider::builder();
        match &self.login.profile {
            // A profile that is named is meant, whatever the environment holds.
            Some(profile) => builder.no_env().with_profile(profile.clone()).build(),
            None => builder.build(),
        }
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("login", &self.login).finish_non_exhaustive()
    }
}

/// `b-1.c.kafka.eu-west-1.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let (_, rest) = host.split_once(".kafka.").or_else(|| host.split_once(".kafka-serverless."))?;
    let (region, domain) = rest.split_once('.')?;
    domain.starts_with("amazonaws.com").then_some(region)
}

/// The presigned request, taken apart.
fn sign(host: &str, region: &str, credential: &Credential, now: Timestamp) -> Map<String, Value> {
    let (day, moment) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
    let scope = format!("{day}/{region}/{SERVICE}/aws4_request");
    let mut query = vec![
        ("Action", ACTION.to_owned()),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("X-Amz-Credential", format!("{}/{scope}", credential.access_key_id)),
        ("X-Amz-Date", moment.clone()),
        ("X-Amz-Expires", SECONDS.to_string()),
    ];
    if let Some(token) = &credential.session_token {
        query.push(("X-Amz-Security-Token", token.clone()));
    }
    query.push(("X-Amz-SignedHeaders", "host".to_owned()));
    let canonical: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let request = format!(
        "GET\n/\n{}\nhost:{host}\n\nhost\n{}",
        canonical.join("&"),
        hex(digest(&SHA256, b"").as_ref())
    );
    let text =
        format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(digest(&SHA256, request.as_bytes()).as_ref()));
    let key = sigv4::key(&credential.secret_access_key, &[&day, region, SERVICE]);
    let mut payload = Map::new();
    let mut put = |name: String, value: String| drop(payload.insert(name, Value::String(value)));
    put("version".into(), "2020_10_22".into());
    put("host".into(), host.into());
    put("user-agent".into(), concat!("heartbeat/", env!("CARGO_PKG_VERSION")).into());
    for (name, value) in query {
        put(name.to_ascii_lowercase(), value);
    }
    put("x-amz-signature".into(), hex(&sigv4::seal(&key, &text)));
    payload
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_in_the_name_of_an_msk_broker() {
        assert_eq!(region_of("b-1.c.x1.c2.kafka.eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of("boot-x.c3.kafka-serverless.us-east-2.amazonaws.com"), Some("us-east-2"));
        assert_eq!(region_of("b-1.c.kafka.cn-north-1.amazonaws.com.cn"), Some("cn-north-1"));
        assert_eq!(region_of("kafka.example.com"), None);
        assert_eq!(region_of("a.kafka.example.com"), None);
    }

    /// What botocore's SigV4QueryAuth makes of the same (see the signature).
    #[test]
    fn the_signature_is_that_of_awss_own_library() {
        let credential = Credential {
            access_key_id: "AKID".into(),
            secret_access_key: "secret/+=".into(),
            session_token: Some("to/ken==".into()),
            expires_in: None,
        };
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let payload = sign("b-1.x.kafka.eu-west-1.amazonaws.com", "eu-west-1", &credential, now);
        assert_eq!(payload["x-amz-date"], "20270115T080000Z");
        assert_eq!(
            payload["x-amz-signature"],
            "41024da060815b14e22d87bc22dffc70ee9592dcddf9bccf5f0ef3d292a2c13b"
        );
    }
}
