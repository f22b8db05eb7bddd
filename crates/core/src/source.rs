//! What the engine wants from a source: one answer for all its rows at once.

use std::error::Error;
use std::future::Future;
use std::time::Instant;

use jiff::Timestamp;

use crate::position::{Manifest, Position};

/// One row's question: what is new in `asset` since `since`?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What to look at.
    pub asset: Asset,
    /// Where the row stands.
    pub since: Since,
}

/// The upstream behind a `sensor_id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asset {
    /// `product: topic`.
    Topic {
        /// Key of `kafka_configs`.
        product: String,
        /// Name of the topic.
        topic: String,
    },
    /// `<base_trigger_file_location>/<sensor_id>`.
    Folder {
        /// Name of the folder, which is the sensor_id.
        name: String,
    },
}

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Never looked at and never fired: everything that is there is news.
    Beginning,
    /// Fired by the original, without a position of ours: what came at or after this time is news.
    Time(Timestamp),
    /// Looked at before.
    Position(Position),
    /// Whatever is there now is no news (`check --baseline`).
    Now,
}

/// A source's answer for one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where the source stands now; the cursor of the next question.
    pub position: Position,
    /// What is new; `None` when nothing is.
    pub news: Option<Manifest>,
    /// What people should know although it is no error: lost data, a topic made again.
    pub remarks: Vec<String>,
}

/// Why one row could not be looked at. Other rows are not concerned.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The topic, folder or product does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// Named with its kind: "topic `t` on broker:9092".
        what: String,
    },
    /// The caller may not look.
    #[error("no right to look at {what}")]
    NotAllowed {
        /// Named with its kind.
        what: String,
    },
    /// The configuration of the row or its product cannot be right.
    #[error("{problem}")]
    Misconfigured {
        /// What is wrong and how to mend it.
        problem: String,
    },
    /// The source could not be reached or broke off; the next pass tries again.
    #[error("{what} cannot be reached")]
    Unreachable {
        /// Named with its address.
        what: String,
        /// Cause.
        #[source]
        cause: Box<dyn Error + Send + Sync>,
    },
    /// The deadline passed first.
    #[error("{what} did not answer in time")]
    Timeout {
        /// Named with its address.
        what: String,
    },
    /// The source answered something that cannot be believed yet; the next pass asks again.
    #[error("{what} gave an answer that cannot be used: {problem}")]
    Doubtful {
        /// Named with its kind.
        what: String,
        /// What is wrong with the answer.
        problem: String,
    },
}

/// A kind of upstream.
pub trait Source: Send + Sync {
    /// Looks at all rows of this source at once and answers each, in the order asked.
    ///
    /// One row's failure never touches another's. `since` may save work, never change the answer. Returns by
    /// `deadline`: rows that have no answer by then get [`SourceError::Timeout`].
    fn look(
        &self,
        asks: &[Ask],
        deadline: Instant,
    ) -> impl Future<Output = Vec<Result<Finding, SourceError>>> + Send;
}
