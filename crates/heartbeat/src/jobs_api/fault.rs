//! Faults made on purpose, so that a client can be shown what a network and a platform do.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::reply::Reply;

/// One fault, for a number of calls.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which calls it hits.
    pub on: FaultTarget,
    /// Only calls about this job.
    #[serde(default)]
    pub job_id: Option<i64>,
    /// How many calls it hits before it is used up; once by default.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens.
    pub kind: FaultKind,
}

fn once() -> u32 {
    1
}

/// The calls that a fault can hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultTarget {
    /// `POST jobs/run-now`.
    RunNow,
    /// `GET jobs/runs/get`.
    RunsGet,
    /// `GET jobs/runs/list`.
    RunsList,
    /// `POST jobs/runs/cancel`.
    RunsCancel,
    /// `POST jobs/runs/delete`.
    RunsDelete,
    /// `POST jobs/runs/repair`.
    RunsRepair,
    /// Every call of the Secrets API.
    Secrets,
    /// Every call of the Files API.
    Files,
    /// Every call of the API of DBFS.
    Dbfs,
    /// Asking for an access token, of Databricks or Azure.
    Token,
    /// Asking where access tokens are to be had.
    Discovery,
    /// Every call there is but those of the stand-in's own pages.
    Any,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Another status; nothing is done.
    Status(StatusFault),
    /// 200 with the HTML of a login page; nothing is done.
    Html,
    /// 302 to a login page; nothing is done.
    Redirect,
    /// No answer, the connection stays open; nothing is done.
    Hang,
    /// The connection is closed; nothing is done.
    DropBefore,
    /// The call is done, then the connection is closed without an answer.
    DropAfter,
    /// The call is done, the answer is `{}`.
    NoRunId,
    /// The call is done at once, the answer comes late.
    #[serde(deserialize_with = "some_duration")]
    Delay(Duration),
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    super::job_spec::duration(deserializer)?.ok_or_else(|| D::Error::custom("a duration is missing"))
}

/// A status with all that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusFault {
    /// HTTP status, 200 to 599.
    #[serde(deserialize_with = "status")]
    pub code: u16,
    /// The body: a text is sent as it is, anything else as JSON. Default: an error body of the API's own form.
    #[serde(default)]
    pub body: Option<serde_json::Value>,
    /// Headers to send, e.g. `Retry-After`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let code = u16::deserialize(deserializer)?;
    (200..600).contains(&code).then_some(code).ok_or_else(|| D::Error::custom("code must be in 200..=599"))
}

impl Fault {
    /// A fault that hits the next call.
    pub fn once(on: FaultTarget, kind: FaultKind) -> Self {
        Self { on, job_id: None, times: 1, kind }
    }

    /// The next fault for a call, used up by one.
    pub(super) fn take(faults: &mut Vec<Self>, on: FaultTarget, job_id: Option<i64>) -> Option<FaultKind> {
        let hits = |fault: &Self| {
            (fault.on == on || fault.on == FaultTarget::Any)
                && fault.times > 0
                && (fault.job_id.is_none() || fault.job_id == job_id)
        };
        let index = faults.iter().position(hits)?;
        let fault = &mut faults[index];
        fault.times -= 1;
        let kind = fault.kind.clone();
        faults.retain(|fault| fault.times > 0);
        Some(kind)
    }
}

impl FaultKind {
    /// The answer that stands in for the call, if the fault answers and the call is not done.
    pub(super) fn reply(&self) -> Option<Reply> {
        match self {
            Self::Status(fault) => Some(fault.reply()),
            Self::Html => Some(Reply::html(200, "<!DOCTYPE html><html><title>Sign in</title></html>")),
            Self::Redirect => Some(
                Reply::text(302, String::new())
                    .header("location", "/login.html?error=private-link-validation-error"),
            ),
            Self::Hang | Self::DropBefore | Self::DropAfter | Self::NoRunId | Self::Delay(_) => None,
        }
    }
}

impl StatusFault {
    fn reply(&self) -> Reply {
        let reply = match &self.body {
            Some(serde_json::Value::String(text)) => Reply::text(self.code, text.clone()),
            Some(body) => Reply::json(self.code, body),
            None => Reply::refused(self.code, code_for(self.code), "fault made on purpose"),
        };
        self.headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
    }
}

/// The code that the API sends with a status.
fn code_for(status: u16) -> &'static str {
    match status {
        400 => "INVALID_PARAMETER_VALUE",
        403 => "PERMISSION_DENIED",
        404 => "RESOURCE_DOES_NOT_EXIST",
        429 => "REQUEST_LIMIT_EXCEEDED",
        503 => "TEMPORARILY_UNAVAILABLE",
        _ => "INTERNAL_ERROR",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_hit_their_calls_in_order_and_are_used_up() {
        let mut faults = vec![
            Fault { job_id: Some(7), ..Fault::once(FaultTarget::RunNow, FaultKind::Html) },
            Fault { times: 2, ..Fault::once(FaultTarget::RunNow, FaultKind::Hang) },
        ];
        let mut take = |on, job| Fault::take(&mut faults, on, job);
        assert_eq!(take(FaultTarget::RunsGet, Some(7)), None);
        assert_eq!(take(FaultTarget::RunNow, Some(8)), Some(FaultKind::Hang));
        assert_eq!(take(FaultTarget::RunNow, Some(7)), Some(FaultKind::Html));
        assert_eq!(take(FaultTarget::RunNow, Some(7)), Some(FaultKind::Hang));
        assert_eq!(take(FaultTarget::RunNow, Some(7)), None);
        assert!(faults.is_empty());
    }
}
