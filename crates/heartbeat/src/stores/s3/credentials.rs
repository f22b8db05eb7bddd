//! Credentials of AWS, from the options of an ACON or from wherever AWS's SDKs look, and signatures with them.

use std::fmt;
use std::time::{Duration, Instant};

use axum::http::Request;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use reqsign_aws_v4::{AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner};
use reqsign_core::{Context, ProvideCredential as _, Signer, SigningCredential as _};
use tokio::sync::Mutex;

use super::super::error::Fault;
use super::super::options::Set;
use crate::signing::{self, sigv4};

/// Options that AWS's own variables say too, in groups of which one replaces all.
const KEYS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
const IDENTITY: [&str; 3] = ["AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"];

/// A machine of AWS answers at once; elsewhere nobody does.
const SEARCH_WAIT: Duration = Duration::from_secs(5);

/// A search that failed is not made again for so long: each call would wait for it.
const FAILURE_STANDS: Duration = Duration::from_secs(15);

/// Region of AWS: of the option, the environment or the profile, in the order of AWS's SDKs.
pub(crate) fn region(set: &Set) -> String {
    let said = set.value("aws_region", &["AWS_REGION", "AWS_DEFAULT_REGION"]);
    said.or_else(|| region_of_profile(set)).unwrap_or_else(|| "us-east-1".to_owned())
}

/// Facts: docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html (sections `default` and `profile NAME`).
fn region_of_profile(set: &Set) -> Option<String> {
    if set.own("aws_access_key_id").is_some() {
        // Where the login is not of a profile, neither is the region.
        return None;
    }
    let file = set.variable(&["AWS_CONFIG_FILE"]).map_or("~/.aws/config", |path| path);
    // One that cannot be read is told of where credentials are looked for in it.
    let file = ini::Ini::load_from_file_noescape(crate::paths::at_home(file)).ok()?;
    let profile = set.value("aws_profile", &["AWS_PROFILE"]).unwrap_or_else(|| "default".to_owned());
    let section = match profile.as_str() {
        "default" => file.section(Some("profile default")).or_else(|| file.section(Some("default"))),
        named => file.section(Some(format!("profile {named}"))),
    };
    section?.get("region").map(str::trim).filter(|region| !region.is_empty()).map(str::to_owned)
}

/// Half a login, or two, would end as somebody else's.
fn check(set: &Set) -> Result<(), Fault> {
    let has = |option: &str| set.own(option).is_some();
    let (key, secret) = (has("aws_access_key_id"), has("aws_secret_access_key"));
    let problem = if key != secret {
        "`aws_access_key_id` and `aws_secret_access_key` go together; set both or none"
    } else if key && has("aws_profile") {
        "`aws_profile` stands beside `aws_access_key_id` and `aws_secret_access_key`; choose one login"
    } else {
        return Ok(());
    };
    Err(Fault::Misconfigured(problem.to_owned()))
}

/// Finds credentials, keeps them until shortly before they end, and signs with them.
pub(crate) struct AwsCredentials {
    context: Context,
    profile: Option<String>,
    role: Option<(String, Option<String>)>,
    region: String,
    kept: Mutex<Kept>,
}

/// What the last search came to.
#[derive(Default)]
struct Kept {
    credential: Option<Credential>,
    /// When it failed, and why.
    failed: Option<(Instant, String)>,
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCredentials").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl AwsCredentials {
    pub(crate) fn new(set: &Set) -> Result<Self, Fault> {
        check(set)?;
        let own = |option: &str| set.own(option).map(str::to_owned);
        let mut variables = set.as_variables(&[
            ("AWS_ACCESS_KEY_ID", "aws_access_key_id"),
            ("AWS_SECRET_ACCESS_KEY", "aws_secret_access_key"),
            ("AWS_SESSION_TOKEN", "aws_session_token"),
            ("AWS_PROFILE", "aws_profile"),
            ("AWS_ROLE_ARN", "aws_role_arn"),
            ("AWS_ROLE_SESSION_NAME", "aws_role_session_name"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "aws_web_identity_token_file"),
            ("AWS_REGION", "aws_region"),
        ]);
        // With a token of a web identity the chain takes the role on itself.
        let role = own("aws_role_arn").filter(|_| own("aws_web_identity_token_file").is_none());
        let role = role.map(|role| {
            variables.remove("AWS_ROLE_ARN");
            (role, own("aws_role_session_name"))
        });
        Ok(Self {
            context: signing::context(&variables, &[&KEYS, &IDENTITY]),
            profile: own("aws_profile"),
            role,
            region: region(set),
            kept: Mutex::default(),
        })
    }

    /// Signs a request. The signature is of the time that it is for the store.
    pub(crate) async fn sign(
        &self,
        request: Request<Bytes>,
        service: &str,
        region: &str,
        skew_seconds: i64,
    ) -> Result<Request<Bytes>, Fault> {
        let credential = self.credential().await?;
        let (mut parts, body) = request.into_parts();
        let now = Timestamp::now().saturating_add(SignedDuration::from_secs(skew_seconds));
        let now = now.map_err(|error| Fault::Misconfigured(error.to_string()))?;
        sigv4::sign(&mut parts, &body, &credential, sigv4::Scope { service, region, now });
        Ok(Request::from_parts(parts, body))
    }

    /// Credentials to use now.
    pub(crate) async fn credential(&self) -> Result<Credential, Fault> {
        let mut kept = self.kept.lock().await;
        if let Some(credential) = kept.credential.as_ref().filter(|credential| credential.is_valid()) {
            return Ok(credential.clone());
        }
        if let Some((since, told)) = &kept.failed
            && since.elapsed() < FAILURE_STANDS
        {
            return Err(Fault::NoCredentials(told.clone()));
        }
        let found = match tokio::time::timeout(SEARCH_WAIT, self.find()).await {
            Ok(found) => found,
            Err(_) => Err(Fault::NoCredentials(format!(
                "none were found within {} s; set `aws_access_key_id` and `aws_secret_access_key`, or `aws_profile`, in `storage_options`",
                SEARCH_WAIT.as_secs()
            ))),
        };
        match found {
            Ok(credential) => {
                *kept = Kept { credential: Some(credential.clone()), failed: None };
                Ok(credential)
            }
            Err(fault) => {
                let told = match &fault {
                    Fault::NoCredentials(told) => told.clone(),
                    other => other.to_string(),
                };
                *kept = Kept { credential: None, failed: Some((Instant::now(), told)) };
                Err(fault)
            }
        }
    }

    async fn find(&self) -> Result<Credential, Fault> {
        let failed = |error: reqsign_core::Error| Fault::no_credentials(&error);
        let base = self.base();
        let found = match &self.role {
            None => base.provide_credential(&self.context).await.map_err(failed)?,
            Some((role, session)) => {
                let signer = Signer::new(self.context.clone(), base, RequestSigner::new("sts", &self.region));
                let provider = AssumeRoleCredentialProvider::new(role.clone(), signer)
                    .with_region(self.region.clone())
                    .with_regional_sts_endpoint()
                    .with_role_session_name(session.clone().unwrap_or_else(|| "heartbeat".to_owned()));
                provider.provide_credential(&self.context).await.map_err(failed)?
            }
        };
        found.ok_or_else(|| {
            Fault::NoCredentials(
                "none in `storage_options`, the environment, a profile, a web identity, a container or an instance"
                    .to_owned(),
            )
        })
    }

    /// Looks for credentials anew at the next call: these were refused.
    pub(crate) async fn forget(&self) {
        // A failure still stands: it is no credential that could have been refused.
        self.kept.lock().await.credential = None;
    }

    fn base(&self) -> DefaultCredentialProvider {
        let builder = DefaultCredentialProvider::builder();
        match &self.profile {
            // A profile that is named is meant, whatever the environment holds.
            Some(profile) => builder.no_env().with_profile(profile.clone()).build(),
            None => builder.build(),
        }
    }
}
