//! The jobs file: which jobs the stand-in knows, how their runs go, and what it does wrong on purpose.
//!
//! ```yaml
//! token: local-token         # a token that is accepted; without it and without principals any is
//! strict: true               # refuse jobs that are not listed; default: true when any is
//! rate_limit: 20             # starts per second, then 429
//! version_2_2: false         # be a workspace that has the API in version 2.1 only; default: true
//! keep_runs: 100000          # ended runs that are remembered, with their tokens; the oldest go first
//! jobs:
//!   "42": {name: daily sales, command: ./run.sh, timeout_seconds: 60, max_concurrent_runs: 1, queue: true}
//!   "43": {duration: 2s, results: [FAILED, SUCCESS], parameters: {day: today}}
//! oauth:                     # service principals of Databricks
//!   clients: {my-client: my-secret}
//!   expires_in: 1h
//!   describe: false          # as before workspaces described themselves; default: true
//! azure:                     # service principals of Azure: the login is served here too, at /TENANT/oauth2/token
//!   tenant: my-tenant
//!   clients: {my-client: my-secret}
//!   expires_in: 1h
//!   workspace_resource_id: /subscriptions/1   # ask for the two headers of principals with a role only
//! secrets: {my-scope: {my-key: the value}}
//! faults:
//!   - {on: run-now, job_id: 42, times: 2, kind: {status: {code: 503}}}
//!   - {on: run-now, kind: drop_after}
//!   - {on: any, times: 50, kind: {status: {code: 429, headers: {Retry-After: "1"}}}}
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_core::secret::Secret;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use super::fault::Fault;
use super::job_spec::{JobSpec, duration};
use crate::documents::{self, BadDocument};
use crate::jobs::{Token, TokenError};

/// Ended runs that are remembered unless told otherwise.
const KEEP_RUNS: usize = 100_000;
/// How long access tokens are good unless told otherwise.
const TOKEN_LIFE: Duration = Duration::from_hours(1);

/// What a stand-in is to be.
#[derive(Debug, Clone)]
pub struct StandInConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// A token that is accepted. Without it and without principals any is, but not none.
    pub token: Option<Token>,
    /// Whether a job that is not in `jobs` is refused. If not, its runs succeed at once.
    pub strict: bool,
    /// Most starts per second; further ones are answered 429. `None`: no limit.
    pub rate_limit: Option<u32>,
    /// Whether the Jobs API is there in version 2.2 as well as in 2.1.
    pub version_2_2: bool,
    /// Most ended runs that are remembered, with their tokens.
    pub keep_runs: usize,
    /// The jobs by id.
    pub jobs: BTreeMap<i64, JobSpec>,
    /// Service principals of Databricks.
    pub oauth: Option<OAuthConfig>,
    /// Service principals of Azure.
    pub azure: Option<AzureConfig>,
    /// Secrets by scope and key.
    pub secrets: BTreeMap<String, BTreeMap<String, Secret>>,
    /// Files in volumes and in DBFS; `None`: there are no such APIs.
    pub files: Option<FilesConfig>,
    /// Faults from the start on, in order.
    pub faults: Vec<Fault>,
}

impl Default for StandInConfig {
    /// A free port on loopback, any token, any job.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: None,
            strict: false,
            rate_limit: None,
            version_2_2: true,
            keep_runs: KEEP_RUNS,
            jobs: BTreeMap::new(),
            oauth: None,
            azure: None,
            secrets: BTreeMap::new(),
            files: None,
            faults: Vec::new(),
        }
    }
}

/// Files in volumes and in DBFS.
#[derive(Debug, Clone)]
pub struct FilesConfig {
    /// The folder with `Volumes/CATALOG/SCHEMA/VOLUME` and `dbfs`.
    pub folder: PathBuf,
    /// Most entries of a directory of a volume that are told at once.
    pub page: usize,
}

impl FilesConfig {
    /// A folder, listed as the platform does: at most 1,000 entries at once.
    pub fn of(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), page: 1000 }
    }
}

/// Service principals of Databricks.
#[derive(Debug, Clone)]
pub struct OAuthConfig {
    /// Secrets by client id.
    pub clients: BTreeMap<String, Secret>,
    /// How long a token is good.
    pub expires_in: Duration,
    /// Whether `/.well-known/databricks-config` says where tokens are to be had.
    pub describe: bool,
}

/// Service principals of Azure.
#[derive(Debug, Clone)]
pub struct AzureConfig {
    /// The tenant of the workspace.
    pub tenant: String,
    /// Secrets by client id.
    pub clients: BTreeMap<String, Secret>,
    /// How long a token is good.
    pub expires_in: Duration,
    /// If set, calls need the headers of principals that have a role in Azure only.
    pub workspace_resource_id: Option<String>,
}

impl StandInConfig {
    /// Reads a jobs file, YAML or JSON.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let named = |source| ConfigError::Read { path: path.to_owned(), source };
        Self::parse(&std::fs::read_to_string(path).map_err(named)?, &path.display().to_string())
    }

    /// Reads the text of a jobs file; `name` stands for it in errors.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let file: JobsFile =
            documents::yaml(text).map_err(|source| ConfigError::Parse { name: name.to_owned(), source })?;
        let wrong = |key: String, why| ConfigError::Value { name: name.to_owned(), key, why };
        let token = file.token.as_deref().map(Token::parse).transpose();
        let token = token.map_err(|source| ConfigError::Token { name: name.to_owned(), source })?;
        if file.rate_limit == Some(0) {
            return Err(wrong("rate_limit".to_owned(), "must be at least 1"));
        }
        if file.keep_runs == Some(0) {
            return Err(wrong("keep_runs".to_owned(), "must be at least 1"));
        }
        for (JobKey(id), job) in &file.jobs {
            if let Some((key, why)) = job.mistake() {
                return Err(wrong(format!("jobs.{id}.{key}"), why));
            }
        }
        let secret = |(name, text): (String, String)| (name, Secret::new(text));
        let named = |texts: BTreeMap<String, String>| texts.into_iter().map(secret).collect();
        Ok(Self {
            token,
            strict: file.strict.unwrap_or(!file.jobs.is_empty()),
            rate_limit: file.rate_limit,
            jobs: file.jobs.into_iter().map(|(JobKey(id), job)| (id, job)).collect(),
            version_2_2: file.version_2_2.unwrap_or(true),
            keep_runs: file.keep_runs.unwrap_or(KEEP_RUNS),
            oauth: file.oauth.map(|oauth| OAuthConfig {
                clients: named(oauth.clients),
                expires_in: oauth.expires_in.unwrap_or(TOKEN_LIFE),
                describe: oauth.describe.unwrap_or(true),
            }),
            azure: file.azure.map(|azure| AzureConfig {
                tenant: azure.tenant,
                clients: named(azure.clients),
                expires_in: azure.expires_in.unwrap_or(TOKEN_LIFE),
                workspace_resource_id: azure.workspace_resource_id,
            }),
            secrets: file.secrets.into_iter().map(|(scope, keys)| (scope, named(keys))).collect(),
            faults: file.faults,
            ..Self::default()
        })
    }
}

/// What is wrong with a jobs file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error("the jobs file {path} can't be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML or JSON of the known form; the source names line and key.
    #[error("the jobs file {name} is not of the known form")]
    Parse {
        /// The file.
        name: String,
        /// What the parser said.
        source: BadDocument,
    },
    /// The token can't be one.
    #[error("{name}: token")]
    Token {
        /// The file.
        name: String,
        /// Why.
        source: TokenError,
    },
    /// A value that can't stand where it stands.
    #[error("{name}: {key} {why}")]
    Value {
        /// The file.
        name: String,
        /// The key path.
        key: String,
        /// What is asked of the value.
        why: &'static str,
    },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JobsFile {
    token: Option<String>,
    strict: Option<bool>,
    rate_limit: Option<u32>,
    version_2_2: Option<bool>,
    keep_runs: Option<usize>,
    jobs: BTreeMap<JobKey, JobSpec>,
    oauth: Option<OAuthFile>,
    azure: Option<AzureFile>,
    secrets: BTreeMap<String, BTreeMap<String, String>>,
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OAuthFile {
    clients: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "duration")]
    expires_in: Option<Duration>,
    describe: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AzureFile {
    tenant: String,
    clients: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "duration")]
    expires_in: Option<Duration>,
    workspace_resource_id: Option<String>,
}

/// A job id as the key of a map: YAML may take it for a number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct JobKey(i64);

impl<'de> Deserialize<'de> for JobKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = JobKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job id (digits)")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<JobKey, E> {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                match text.parse() {
                    Ok(id) if digits => Ok(JobKey(id)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<JobKey, E> {
                self.visit_str(&id.to_string())
            }

            fn visit_i64<E: de::Error>(self, id: i64) -> Result<JobKey, E> {
                self.visit_str(&id.to_string())
            }
        }
        deserializer.deserialize_str(Digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs_api::RunResult;
    use crate::jobs_api::fault::{FaultKind, FaultTarget};
    use rstest::rstest;

    #[test]
    fn the_whole_file_is_read() {
        let text = r#"
token: secret-1
rate_limit: 20
jobs:
  "42": {name: sales, command: "exit 0", timeout_seconds: 60, max_concurrent_runs: 3, queue: true}
  43: {duration: 2s, result: FAILED}
  44: {results: [FAILED, SUCCESS], parameters: {day: today}, queue_size: 2, skipped_without_result: true}
oauth: {clients: {c: secret-2}, expires_in: 5m}
azure: {tenant: t, clients: {c: secret-3}, workspace_resource_id: /r}
secrets: {s: {k: secret-4}}
faults:
  - {on: run-now, job_id: 42, times: 2, kind: {status: {code: 503, headers: {Retry-After: "1"}}}}
  - {on: runs-list, kind: html}
  - {on: runs-get, kind: {delay: 1s}}
"#;
        let config = StandInConfig::parse(text, "jobs.yaml").unwrap();
        assert!(config.strict && !format!("{config:?}").contains("secret-"));
        let (oauth, azure) = (config.oauth.unwrap(), config.azure.unwrap());
        assert_eq!((oauth.expires_in, oauth.describe), (Duration::from_mins(5), true));
        assert_eq!((azure.expires_in, azure.clients["c"].expose()), (Duration::from_hours(1), "secret-3"));
        assert_eq!(config.secrets["s"]["k"].expose(), "secret-4");
        assert_eq!(config.jobs[&44].plan(7), (Duration::ZERO, RunResult::Success));
        assert_eq!(config.jobs[&42].max_concurrent_runs, 3);
        assert_eq!(config.jobs[&43].duration, Some(Duration::from_secs(2)));
        assert_eq!(config.jobs[&43].result, Some(RunResult::Failed));
        assert_eq!((config.faults[0].on, config.faults[0].times), (FaultTarget::RunNow, 2));
        assert_eq!(config.faults[1].kind, FaultKind::Html);
        assert_eq!(config.faults[2].kind, FaultKind::Delay(Duration::from_secs(1)));
    }

    #[test]
    fn json_is_read_too_and_an_empty_file_is_no_jobs() {
        let config = StandInConfig::parse(r#"{"jobs": {"9007199254740993": {}}}"#, "j").unwrap();
        assert!(config.strict && config.jobs.contains_key(&9_007_199_254_740_993));
        assert!(!StandInConfig::parse("{}", "j").unwrap().strict);
    }

    #[rstest]
    #[case("jobz: {}", "jobz")]
    #[case("jobs: {1: {comand: x}}", "comand")]
    #[case("jobs: {one: {}}", "job id")]
    #[case("jobs: {1: {duration: fast}}", "500ms")]
    #[case("jobs: {1: {duration: '-2s'}}", "500ms")]
    #[case("jobs: {1: {result: GREAT}}", "GREAT")]
    #[case("jobs: {1: {command: x, duration: 1s}}", "jobs.1.duration")]
    #[case("jobs: {1: {command: x, result: FAILED}}", "jobs.1.result")]
    #[case("jobs: {1: {command: x, results: [FAILED]}}", "jobs.1.results")]
    #[case("jobs: {1: {result: FAILED, results: [FAILED]}}", "jobs.1.results")]
    #[case("oauth: {client: {a: b}}", "client")]
    #[case("azure: {clients: {}}", "tenant")]
    #[case("jobs: {1: {max_concurrent_runs: 1001}}", "jobs.1.max_concurrent_runs")]
    #[case("rate_limit: 0", "rate_limit")]
    #[case("keep_runs: 0", "keep_runs")]
    #[case("token: ' '", "token")]
    #[case("faults: [{on: run-now, kind: explode}]", "explode")]
    #[case("faults: [{on: run-now, kind: {status: {code: 503, boddy: x}}}]", "boddy")]
    #[case("faults: [{on: everywhere, kind: html}]", "everywhere")]
    fn mistakes_are_named(#[case] text: &str, #[case] named: &str) {
        let error = StandInConfig::parse(text, "jobs.yaml").unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let told = format!("{error}: {source}");
        assert!(told.contains("jobs.yaml") && told.contains(named), "{told}");
    }
}
