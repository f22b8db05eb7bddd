//! What the engine wants from a source: one answer for all its rows at once.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::position::{Loss, Manifest, Position};

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

/// A row that is not asked about now although nothing is wrong with it: its news waits, its job runs, it is paused, or
/// left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// What it will be asked about again.
    pub asset: Asset,
    /// Where it stands; `None` where that cannot be told.
    pub since: Option<Since>,
}

/// A source's answer for one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// No news, and nothing that the row would have to remember: the source stands where the row stands.
    Same,
    /// Something has changed, or is to be remembered.
    Found(Box<Finding>),
}

/// What was found for one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where the source stands now; the cursor of the next question.
    pub position: Position,
    /// What is new; `None` when nothing is.
    pub news: Option<Manifest>,
    /// True when the position must be kept although there is no news: what came before it is not to be looked at.
    pub keep: bool,
    /// What was gone before it was looked at.
    pub losses: Vec<Loss>,
    /// What else people should know although it is no error.
    pub remarks: Vec<String>,
}

impl Finding {
    /// A position, and nothing else to tell.
    pub fn at(position: Position) -> Self {
        Self { position, news: None, keep: false, losses: Vec::new(), remarks: Vec::new() }
    }
}

impl From<Finding> for Answer {
    fn from(finding: Finding) -> Self {
        Self::Found(Box::new(finding))
    }
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
    /// Offsets were gone before they were looked at, and the row is not to go on without somebody's word
    /// (`failOnDataLoss`).
    #[error(
        "data was lost, and failOnDataLoss is true: {}; `check --baseline` goes on from what is there",
        told(losses)
    )]
    DataLost {
        /// What is gone.
        losses: Vec<Loss>,
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

fn told(losses: &[Loss]) -> String {
    losses.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A kind of upstream.
pub trait Source: Send + Sync {
    /// Looks at all rows of this source at once and answers each, in the order asked.
    ///
    /// One row's failure never touches another's. Returns by `deadline`: rows that have no answer by then get
    /// [`SourceError::Timeout`]. The same `asks` come again and again while nothing changes: what was prepared for
    /// them may be kept with a clone.
    fn look(
        &self,
        asks: &Arc<[Ask]>,
        deadline: Instant,
    ) -> impl Future<Output = Vec<Result<Answer, SourceError>>> + Send;

    /// Whether it wants to know of rows that are not asked about: a source that uses up what tells it of news must keep
    /// what they have not seen.
    fn minds_absent(&self) -> bool {
        false
    }

    /// Told before a look, where it is minded: the rows that the look does not ask about. They hold for later looks too,
    /// until others are told.
    fn absent(&self, rows: &Arc<[Absent]>) {
        let _ = rows;
    }
}
