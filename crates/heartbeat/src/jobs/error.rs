//! What can go wrong with a call, by what it means for the caller.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Shape};
use super::credentials::GrantError;
use super::run::RunId;

/// Why a job was not started, or may have been.
///
/// Each variant speaks of this call and all its tries; it knows nothing of earlier calls with the same token.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Definite: the call was refused and made no run. Calling again changes nothing until somebody mends it.
    #[error("the start of job {job_id} was refused: {why}")]
    Refused {
        /// The job as given.
        job_id: String,
        /// What kind of refusal, with the fix.
        why: Refusal,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// Definite: no try was acted upon (no connection, or throttled), so there is no run. Calling again later
    /// may help.
    #[error("job {job_id} was not started: no room or no connection in {tries} tries")]
    NotStarted {
        /// The job as given.
        job_id: String,
        /// Tries made.
        tries: u32,
        /// How long the workspace asked to wait, if it did.
        retry_after: Option<Duration>,
        /// The last fault.
        #[source]
        trouble: Trouble,
    },
    /// Definite: nothing was sent, for want of an access token.
    #[error("job {job_id} was not started: there is no access token")]
    NoCredential {
        /// The job as given.
        job_id: String,
        /// Why.
        #[source]
        cause: Arc<GrantError>,
    },
    /// In doubt: at least one try may have been acted upon, so a run may exist. Only a call with the same token,
    /// or a look at the runs, can tell.
    #[error("whether job {job_id} was started is not known after {tries} tries")]
    Unknown {
        /// The job as given.
        job_id: String,
        /// Tries made.
        tries: u32,
        /// The last fault.
        #[source]
        trouble: Trouble,
    },
}

impl StartError {
    /// Whether this call may have made a run.
    pub fn run_may_exist(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// The last answer, if the last try brought one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Refused { answer, .. } => Some(answer),
            Self::NotStarted { trouble, .. } | Self::Unknown { trouble, .. } => trouble.answer(),
            Self::NoCredential { .. } => None,
        }
    }
}

/// Why a question about runs was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The workspace knows no such run: deleted, older than its history (60 days), or of another workspace.
    #[error("run {run_id} does not exist")]
    RunMissing {
        /// The run asked for.
        run_id: RunId,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// The question was refused. Asking again changes nothing until somebody mends it.
    #[error("{call} was refused: {why}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// What kind of refusal, with the fix.
        why: Refusal,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// No answer in time. Asking again later may help.
    #[error("{call} was not answered in {tries} tries")]
    Unavailable {
        /// Which call.
        call: &'static str,
        /// Tries made.
        tries: u32,
        /// The last fault.
        #[source]
        trouble: Trouble,
    },
    /// The secret is not in the scope, or the scope is not there.
    #[error("secret scope `{scope}` or its key `{key}` does not exist")]
    SecretMissing {
        /// The scope asked for.
        scope: String,
        /// The key asked for.
        key: String,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// Whoever asks may not read the scope.
    #[error("the token is not valid here, or whoever it belongs to has no READ on scope `{scope}`")]
    SecretForbidden {
        /// The scope asked for.
        scope: String,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// Nothing was asked, for want of an access token.
    #[error("{call} was not asked: there is no access token")]
    NoCredential {
        /// Which call.
        call: &'static str,
        /// Why.
        #[source]
        cause: Arc<GrantError>,
    },
    /// The answer is not one to the question: no JSON of the expected form.
    #[error("{call} was answered with something else")]
    Unusable {
        /// Which call.
        call: &'static str,
        /// What was answered.
        #[source]
        answer: Answer,
    },
    /// The answer speaks of another run or job than was asked for.
    #[error("{call} answered about {got}, asked was {asked}")]
    Mismatch {
        /// Which call.
        call: &'static str,
        /// What was asked for.
        asked: String,
        /// What came.
        got: String,
    },
    /// More pages than the client follows: narrow the filter.
    #[error("{call} has more than {pages} pages: narrow the filter")]
    TooManyPages {
        /// Which call.
        call: &'static str,
        /// Pages read.
        pages: u32,
    },
}

/// What became of the last try.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// No connection.
    #[error("no connection to the workspace")]
    NoConnection(#[source] reqwest::Error),
    /// Sent, but no complete answer in time.
    #[error("the connection broke or the answer did not come in time")]
    NoAnswer(#[source] reqwest::Error),
    /// An answer, not the one hoped for.
    #[error("the answer was no success")]
    Answer(#[source] Answer),
    /// Not sent: there is no access token to send.
    #[error("there is no access token")]
    NoCredential(#[source] Arc<GrantError>),
}

impl Trouble {
    /// The answer, if there was one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::NoConnection(_) | Self::NoAnswer(_) | Self::NoCredential(_) => None,
        }
    }
}

/// Kinds of refusal. `Display` says what to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// 401: the credential was missing or of the wrong kind.
    Unauthenticated,
    /// 403: token not valid, of another workspace, or without the right.
    Forbidden,
    /// The workspace knows no such job.
    JobMissing,
    /// A proxy, a login page or another server spoke, not the Jobs API.
    NotTheApi,
    /// The workspace found fault with the call itself.
    Invalid,
}

impl Refusal {
    /// Which kind an answer of the class "refused" is.
    pub(super) fn of(answer: &Answer) -> Self {
        let code = answer.error_code.as_deref();
        let names_a_job = answer.message.contains("Job ") && answer.message.contains(" does not exist");
        match answer.status {
            ..=399 => Self::NotTheApi,
            401 => Self::Unauthenticated,
            403 => Self::Forbidden,
            400 | 404 if code == Some("RESOURCE_DOES_NOT_EXIST") => Self::JobMissing,
            400 if code == Some("INVALID_PARAMETER_VALUE") && names_a_job => Self::JobMissing,
            404 if answer.shape != Shape::Json || code == Some("ENDPOINT_NOT_FOUND") => Self::NotTheApi,
            _ => Self::Invalid,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unauthenticated => "the workspace accepts no such credential; check the token",
            Self::Forbidden => "the token is not valid here or lacks the right (Can Manage Run on the job)",
            Self::JobMissing => "the workspace has no such job; check trigger_job_id and the domain",
            Self::NotTheApi => "this is not the Jobs API; check the domain and proxies in between",
            Self::Invalid => "the workspace found fault with the call",
        })
    }
}

/// Whether a refused runs/get means that the run is not there. The message forms are those the official SDKs
/// remap (databricks-sdk-go apierr/error_overrides.go).
pub(super) fn run_is_missing(answer: &Answer) -> bool {
    let code = answer.error_code.as_deref();
    let message = &answer.message;
    let says_so = message.contains("Run ") && message.contains(" does not exist")
        || message.contains("Run: ") && message.contains(" in job: ") && message.contains(" doesn't exist");
    matches!(answer.status, 400 | 404)
        && (code == Some("RESOURCE_DOES_NOT_EXIST") || code == Some("INVALID_PARAMETER_VALUE") && says_so)
}

/// Whether a refused secrets/get means that scope or key is not there.
pub(super) fn secret_is_missing(answer: &Answer) -> bool {
    answer.error_code.as_deref() == Some("RESOURCE_DOES_NOT_EXIST")
}

/// Whether the workspace says that it has no such version of the API (databricks-sdk-py#922).
pub(super) fn is_not_served(answer: &Answer) -> bool {
    let code = answer.error_code.as_deref();
    answer.status == 404 && (code == Some("ENDPOINT_NOT_FOUND") || answer.message.starts_with("Bad Target"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn answer(status: u16, shape: Shape, code: &str, message: &str) -> Answer {
        let error_code = (!code.is_empty()).then(|| code.to_owned());
        Answer { status, error_code, message: message.to_owned(), shape }
    }

    #[rstest]
    #[case(200, Shape::Html, "", "", Refusal::NotTheApi)]
    #[case(302, Shape::Empty, "", "", Refusal::NotTheApi)]
    #[case(404, Shape::Text, "", "Bad Target: /x", Refusal::NotTheApi)]
    #[case(404, Shape::Json, "ENDPOINT_NOT_FOUND", "", Refusal::NotTheApi)]
    #[case(401, Shape::Json, "401", "", Refusal::Unauthenticated)]
    #[case(403, Shape::Json, "PERMISSION_DENIED", "job 1", Refusal::Forbidden)]
    #[case(400, Shape::Json, "INVALID_PARAMETER_VALUE", "Job 1 does not exist.", Refusal::JobMissing)]
    #[case(404, Shape::Json, "RESOURCE_DOES_NOT_EXIST", "", Refusal::JobMissing)]
    #[case(400, Shape::Json, "INVALID_PARAMETER_VALUE", "token too long", Refusal::Invalid)]
    #[case(400, Shape::Json, "MALFORMED_REQUEST", "", Refusal::Invalid)]
    fn refusals_are_told_apart(
        #[case] status: u16,
        #[case] shape: Shape,
        #[case] code: &str,
        #[case] message: &str,
        #[case] expected: Refusal,
    ) {
        assert_eq!(Refusal::of(&answer(status, shape, code, message)), expected);
    }

    #[rstest]
    #[case(404, Shape::Text, "", "Bad Target: /api/2.2/jobs/runs/get", true)]
    #[case(404, Shape::Json, "ENDPOINT_NOT_FOUND", "No API found for 'GET /jobs/runs/get'", true)]
    #[case(404, Shape::Json, "RESOURCE_DOES_NOT_EXIST", "", false)]
    #[case(404, Shape::Html, "", "Not Found", false)]
    #[case(400, Shape::Json, "ENDPOINT_NOT_FOUND", "", false)]
    fn an_older_workspace_is_known_by_its_answer(
        #[case] status: u16,
        #[case] shape: Shape,
        #[case] code: &str,
        #[case] message: &str,
        #[case] older: bool,
    ) {
        assert_eq!(is_not_served(&answer(status, shape, code, message)), older);
    }

    #[rstest]
    #[case("INVALID_PARAMETER_VALUE", "Run 7 does not exist.", true)]
    #[case("INVALID_PARAMETER_VALUE", "Run: 7 in job: 8 doesn't exist", true)]
    #[case("RESOURCE_DOES_NOT_EXIST", "", true)]
    #[case("INVALID_PARAMETER_VALUE", "Job 7 does not exist.", false)]
    #[case("PERMISSION_DENIED", "Run 7 does not exist.", false)]
    fn a_missing_run_is_known_by_code_and_message(
        #[case] code: &str,
        #[case] message: &str,
        #[case] missing: bool,
    ) {
        assert_eq!(run_is_missing(&answer(400, Shape::Json, code, message)), missing);
    }
}
