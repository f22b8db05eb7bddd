//! Client of the Databricks Jobs API: start a job, look at runs.
//!
//! One [`JobsClient`] speaks to one workspace. A start carries an idempotency token: the workspace promises at
//! most one run per token, so a try whose answer was lost is made again with the same token. What the caller gets
//! to know is exact: a [`StartError`] says whether a run may exist.
//!
//! Runs are asked for in version 2.2 of the API, and in 2.1 where a workspace has no 2.2. Starts go to 2.1, where the
//! original posts them: all that a start of ours says is in 2.1, `job_parameters` too (they came with 2.1,
//! terraform-provider-databricks#3032), and every workspace serves it.

mod answer;
mod client;
pub mod credentials;
mod error;
mod limit;
mod list;
mod retry;
mod run;
mod secret_bytes;
mod settings;
mod token;
mod transport;
mod wire;

pub use self::answer::{Answer, Shape};
pub use self::client::{ClientError, JobsClient};
pub use self::credentials::{AuthError, Credentials, GrantError};
pub use self::error::{ApiError, Refusal, StartError, Trouble};
pub use self::limit::Limiter;
pub use self::list::{ActiveRuns, RunFilter, RunPhase};
pub use self::retry::{Backoff, Class, Seen, Verdict, classify, next_wait, retry_after};
pub use self::run::{Run, RunId, RunNow, RunOutcome};
pub use self::secret_bytes::SecretBytes;
pub use self::settings::{Answered, Observer, Settings};
pub use self::token::{Token, TokenError};
pub use heartbeat_core::domain::{BadDomain, Domain};
