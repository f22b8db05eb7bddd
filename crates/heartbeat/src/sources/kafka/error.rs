//! What can go wrong between us and a broker, and what it means for a row.

use std::fmt;
use std::io;
use std::sync::Arc;

use heartbeat_core::source::SourceError;
use kafka_protocol::ResponseError;

use super::security::SecurityError;
use crate::error_chain::chain;

/// A request that has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection, or it broke off.
    #[error("connection to {address} failed")]
    Io {
        /// Host and port.
        address: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The connection could not be made safe, or the login failed.
    #[error("broker {address}")]
    Security {
        /// Host and port.
        address: String,
        /// Cause.
        #[source]
        cause: Box<SecurityError>,
    },
    /// The deadline, or this request's share of it, passed first.
    #[error("{address} did not answer in time")]
    Timeout {
        /// Host and port, and the step if it was not an answer that was waited for.
        address: String,
    },
    /// The deadline passed before we had what the login takes; the broker did nothing wrong.
    #[error("broker {address}: {what} not had in time")]
    NotReady {
        /// Host and port.
        address: String,
        /// What was waited for, with whoever was asked for it.
        what: String,
    },
    /// The broker lacks a request version that exact answers need.
    #[error(
        "broker {address} speaks {api} {theirs}, heartbeat needs {ours}: use a broker of Kafka 2.1 or newer"
    )]
    Unsupported {
        /// Host and port.
        address: String,
        /// Name of the request.
        api: &'static str,
        /// Versions of the broker, "not at all" when it lacks the request.
        theirs: String,
        /// Versions of ours.
        ours: String,
    },
    /// Bytes or values that do not answer the question.
    #[error("{address} sent an unusable answer: {problem}")]
    BadAnswer {
        /// Host and port.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ClientError {
    /// True when the broker did not answer in time. Whoever else was waited for is [`Self::NotReady`].
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// True when one side does not take what the other one shows.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Security { cause, .. } if cause.is_refusal())
    }

    /// What this means for a row on `what` ("kafka cluster a:1,b:2").
    pub(super) fn for_row(self: &Arc<Self>, what: &str) -> SourceError {
        match self.as_ref() {
            Self::Io { .. } | Self::NotReady { .. } => {
                SourceError::Unreachable { what: what.to_owned(), cause: Box::new(Arc::clone(self)) }
            }
            Self::Security { cause, .. } if cause.is_passing() => {
                SourceError::Unreachable { what: what.to_owned(), cause: Box::new(Arc::clone(self)) }
            }
            Self::Security { .. } => {
                SourceError::Misconfigured { problem: format!("{what}: {}", chain(self.as_ref())) }
            }
            Self::Timeout { address } => SourceError::Timeout {
                what: if address.is_empty() { what.into() } else { format!("{what} ({address})") },
            },
            Self::Unsupported { .. } => SourceError::Misconfigured { problem: format!("{what}: {self}") },
            Self::BadAnswer { .. } => {
                SourceError::Doubtful { what: what.to_owned(), problem: self.to_string() }
            }
        }
    }
}

/// An error code of the protocol, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(i16);

impl Code {
    pub(super) const OFFSET_OUT_OF_RANGE: Self = Self(ResponseError::OffsetOutOfRange.code());
    pub(super) const UNKNOWN_TOPIC: Self = Self(ResponseError::UnknownTopicOrPartition.code());
    pub(super) const UNKNOWN_TOPIC_ID: Self = Self(ResponseError::UnknownTopicId.code());
    const INVALID_TOPIC: Self = Self(ResponseError::InvalidTopicException.code());
    const TOPIC_DENIED: Self = Self(ResponseError::TopicAuthorizationFailed.code());
    const CLUSTER_DENIED: Self = Self(ResponseError::ClusterAuthorizationFailed.code());

    /// `Err` for every code but 0.
    pub(super) fn check(code: i16) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self(code)) }
    }

    /// True when asking again, with fresh metadata, may help: the leader moved, or it is not ready.
    pub(super) fn is_passing(self) -> bool {
        ResponseError::try_from_code(self.0).is_some_and(|error| error.is_retriable())
            || matches!(
                ResponseError::try_from_code(self.0),
                Some(
                    ResponseError::FencedLeaderEpoch
                        | ResponseError::UnknownTopicId
                        | ResponseError::InconsistentTopicId
                )
            )
    }

    /// What this means for a row on the topic `what` ("topic `t` on a:1").
    pub(super) fn for_row(self, what: &str) -> SourceError {
        match self {
            Self::UNKNOWN_TOPIC | Self::UNKNOWN_TOPIC_ID => SourceError::NotFound { what: what.to_owned() },
            Self::TOPIC_DENIED => Right::Describe.is_missing(what),
            Self::CLUSTER_DENIED => SourceError::NotAllowed { what: what.to_owned() },
            Self::INVALID_TOPIC => {
                SourceError::Misconfigured { problem: format!("{what}: this is no name of a topic") }
            }
            other => SourceError::Doubtful {
                what: what.to_owned(),
                problem: format!("the broker answered {other}"),
            },
        }
    }
}

/// What a reader may be allowed to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// Metadata, offsets.
    Describe,
    /// Records.
    Read,
}

impl Right {
    /// `what`: "topic `t` on a:1".
    fn is_missing(self, what: &str) -> SourceError {
        let topic = what.split(" on ").next().unwrap_or(what);
        let name = match self {
            Self::Describe => "DESCRIBE",
            Self::Read => "READ",
        };
        SourceError::NotAllowed { what: format!("{what}: no {name} right on {topic}") }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ResponseError::try_from_code(self.0) {
            Some(error) => write!(f, "{error:?} ({})", self.0),
            None => write!(f, "error code {}", self.0),
        }
    }
}

/// Why one partition has no answer.
#[derive(Debug, Clone)]
pub(super) enum PartitionError {
    /// The broker said so.
    Code(Code),
    /// Metadata names no leader.
    NoLeader,
    /// The leader could not be asked.
    Client(Arc<ClientError>),
    /// The answer makes no sense.
    Doubtful(String),
}

impl PartitionError {
    /// True when the leader did not answer in time.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_timeout())
    }

    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Code(code) => code.is_passing(),
            Self::NoLeader => true,
            Self::Client(error) => matches!(error.as_ref(), ClientError::Io { .. }),
            Self::Doubtful(_) => false,
        }
    }

    /// What this means for a row on the topic `what`, whose records were asked for.
    pub(super) fn for_read(&self, what: &str, partition: i32) -> SourceError {
        match self {
            Self::Code(Code::TOPIC_DENIED) => Right::Read.is_missing(what),
            other => other.for_row(what, partition),
        }
    }

    /// What this means for a row on the topic `what`, whose offsets were asked for.
    pub(super) fn for_row(&self, what: &str, partition: i32) -> SourceError {
        match self {
            Self::Code(code) => match code.for_row(what) {
                SourceError::Doubtful { what, problem } => {
                    SourceError::Doubtful { what, problem: format!("partition {partition}: {problem}") }
                }
                other => other,
            },
            Self::NoLeader => SourceError::Doubtful {
                what: what.to_owned(),
                problem: format!("partition {partition} has no leader"),
            },
            Self::Client(error) => error.for_row(what),
            Self::Doubtful(problem) => SourceError::Doubtful {
                what: what.to_owned(),
                problem: format!("partition {partition}: {problem}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_is_not_had_in_time_is_no_fault_of_the_broker_and_passes() {
        let what = "password of the login: scope `s` key `k` of https://dbc".to_owned();
        let error = Arc::new(ClientError::NotReady { address: "a:1".to_owned(), what });
        assert!(!error.is_timeout());
        let row = error.for_row("kafka cluster a:1");
        assert!(matches!(row, SourceError::Unreachable { .. }));
        let told = "kafka cluster a:1 cannot be reached: broker a:1: password of the login: scope `s` key `k` of https://dbc not had in time";
        assert_eq!(chain(&row), told);
        assert!(ClientError::Timeout { address: "a:1".to_owned() }.is_timeout());
        let cause = Box::new(SecurityError::Refused("no".to_owned()));
        assert!(ClientError::Security { address: "a:1".to_owned(), cause }.is_refusal());
    }

    #[test]
    fn codes_mean_something_for_the_row() {
        let what = "topic `t` on a:1";
        let row = |error: ResponseError| Code(error.code()).for_row(what);
        assert!(matches!(row(ResponseError::UnknownTopicOrPartition), SourceError::NotFound { .. }));
        let denied = "no right to look at topic `t` on a:1: no DESCRIBE right on topic `t`";
        assert_eq!(row(ResponseError::TopicAuthorizationFailed).to_string(), denied);
        let denied = PartitionError::Code(Code::TOPIC_DENIED).for_read(what, 0).to_string();
        assert_eq!(denied, "no right to look at topic `t` on a:1: no READ right on topic `t`");
        assert!(matches!(row(ResponseError::InvalidTopicException), SourceError::Misconfigured { .. }));
        assert!(matches!(row(ResponseError::CorruptMessage), SourceError::Doubtful { .. }));
    }

    #[test]
    fn leader_trouble_passes_and_refusals_stay() {
        for passing in [
            ResponseError::NotLeaderOrFollower,
            ResponseError::LeaderNotAvailable,
            ResponseError::FencedLeaderEpoch,
            ResponseError::OffsetNotAvailable,
            ResponseError::UnknownTopicOrPartition,
            ResponseError::UnknownTopicId,
        ] {
            assert!(Code(passing.code()).is_passing(), "{passing:?}");
        }
        for staying in [ResponseError::TopicAuthorizationFailed, ResponseError::OffsetOutOfRange] {
            assert!(!Code(staying.code()).is_passing(), "{staying:?}");
        }
        assert!(!Code(31_000).is_passing());
    }
}
