//! The jobs file: which jobs the stand-in knows, how their runs go, and what it does wrong on purpose.
//!
//! ```yaml
//! token: local-token         # the only token accepted; without it any is
//! strict: true               # refuse jobs that are not listed; default: true when any is
//! rate_limit: 20             # starts per second, then 429
//! jobs:
//!   "42": {name: daily sales, command: ./run.sh, timeout_seconds: 60, max_concurrent_runs: 1, queue: true}
//!   "43": {duration: 2s, result: FAILED}
//! faults:
//!   - {on: run-now, job_id: 42, times: 2, kind: {status: {code: 503}}}
//!   - {on: run-now, kind: drop_after}
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use crate::documents::{self, BadDocument};
use crate::jobs::{Token, TokenError};

/// Most runs of one job at a time that the platform lets a job ask for (Databricks jobs.JobSettings).
const MOST_CONCURRENT_RUNS: u32 = 1000;

/// What a stand-in is to be.
#[derive(Debug, Clone)]
pub struct StandInConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The only token accepted; `None` accepts any, but not none.
    pub token: Option<Token>,
    /// Whether a job that is not in `jobs` is refused. If not, its runs succeed at once.
    pub strict: bool,
    /// Most starts per second; further ones are answered 429. `None`: no limit.
    pub rate_limit: Option<u32>,
    /// The jobs by id.
    pub jobs: BTreeMap<i64, JobSpec>,
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
            jobs: BTreeMap::new(),
            faults: Vec::new(),
        }
    }
}

/// How the runs of one job go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobSpec {
    /// Shown as the run's name.
    pub name: Option<String>,
    /// Run by `sh -c` for each run: exit 0 is `SUCCESS`, else `FAILED`. Excludes `duration` and `result`.
    pub command: Option<String>,
    /// How long a run without a command takes; at once by default.
    #[serde(deserialize_with = "duration")]
    pub duration: Option<Duration>,
    /// How a run without a command ends; `SUCCESS` by default.
    pub result: Option<RunResult>,
    /// Runs at a time, as on the platform: 1 by default, 0 skips every run.
    pub max_concurrent_runs: u32,
    /// Whether runs beyond `max_concurrent_runs` wait (else they are skipped).
    pub queue: bool,
    /// A run that takes longer ends as `TIMEDOUT`; 0 is no limit.
    pub timeout_seconds: u32,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            name: None,
            command: None,
            duration: None,
            result: None,
            max_concurrent_runs: 1,
            queue: false,
            timeout_seconds: 0,
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunResult {
    /// All went well.
    Success,
    /// A task failed, all leaf tasks went well.
    SuccessWithFailures,
    /// The job failed.
    Failed,
    /// It took longer than its timeout.
    #[serde(rename = "TIMEDOUT")]
    TimedOut,
    /// Somebody cancelled it.
    Canceled,
    /// The platform failed.
    InternalError,
    /// It never ran.
    Skipped,
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
        for (JobKey(id), job) in &file.jobs {
            let key = |key: &str| format!("jobs.{id}.{key}");
            if job.command.is_some() && job.duration.is_some() {
                return Err(wrong(
                    key("duration"),
                    "excludes `command`: the command takes as long as it takes",
                ));
            }
            if job.command.is_some() && job.result.is_some() {
                return Err(wrong(key("result"), "excludes `command`: its exit status is the result"));
            }
            if job.max_concurrent_runs > MOST_CONCURRENT_RUNS {
                return Err(wrong(key("max_concurrent_runs"), "must be at most 1000"));
            }
        }
        Ok(Self {
            token,
            strict: file.strict.unwrap_or(!file.jobs.is_empty()),
            rate_limit: file.rate_limit,
            jobs: file.jobs.into_iter().map(|(JobKey(id), job)| (id, job)).collect(),
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct JobsFile {
    token: Option<String>,
    strict: Option<bool>,
    rate_limit: Option<u32>,
    jobs: BTreeMap<JobKey, JobSpec>,
    faults: Vec<Fault>,
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

/// `2s`, `1h 30m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.map(Some).ok_or_else(|| {
        de::Error::invalid_value(de::Unexpected::Str(&text), &"a duration such as 500ms, 2s or 1h 30m")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
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
faults:
  - {on: run-now, job_id: 42, times: 2, kind: {status: {code: 503, headers: {Retry-After: "1"}}}}
  - {on: runs-list, kind: html}
  - {on: runs-get, kind: {delay: 1s}}
"#;
        let config = StandInConfig::parse(text, "jobs.yaml").unwrap();
        assert!(config.strict && !format!("{config:?}").contains("secret-1"));
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
    #[case("jobs: {1: {max_concurrent_runs: 1001}}", "jobs.1.max_concurrent_runs")]
    #[case("rate_limit: 0", "rate_limit")]
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
