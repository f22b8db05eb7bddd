//! Bounds of a client: time and pace.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::retry::Backoff;

/// How one try of a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// With what was asked for.
    Ok,
    /// With an error.
    Refused,
    /// With the wish to come back later.
    Throttled,
    /// Not at all, or in a way that is not known to be final.
    No,
}

/// Is told how each try of a call went, by the call's name (`run-now`, `runs/get`, `runs/list`, ...).
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// One try has ended.
    fn called(&self, call: &'static str, answered: Answered);
}

/// Bounds of a client. Durations are wall time.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Is told of every try.
    pub observer: Option<Arc<dyn Observer>>,
    /// All tries of one start together, from the first try on (waiting for a slot before it doesn't count).
    pub start_limit: Duration,
    /// All tries of one question (get, one page of a list) together.
    pub read_limit: Duration,
    /// One try, from connecting to the last byte.
    pub try_limit: Duration,
    /// Connecting, name and TLS included; part of a try.
    pub connect_limit: Duration,
    /// Waits between tries where the workspace asks for none.
    pub backoff: Backoff,
    /// Most starts in any second. The workspace's own limit, for all its clients, is 20.
    pub starts_per_second: NonZeroUsize,
    /// Most runs/get in any second. The workspace's own limit is 100.
    pub gets_per_second: NonZeroUsize,
    /// Most runs/list in any second. The workspace's own limit is 30.
    pub lists_per_second: NonZeroUsize,
    /// Most secrets/get in any second. The workspace's own limit is 1,100 per minute.
    pub secrets_per_second: NonZeroUsize,
}

impl Default for Settings {
    /// 60 s for a start, 30 s for a question, 15 s for a try, 10 s to connect; the workspace's limits.
    fn default() -> Self {
        const fn count(count: usize) -> NonZeroUsize {
            NonZeroUsize::new(count).expect("limits are not zero")
        }
        Self {
            observer: None,
            start_limit: Duration::from_mins(1),
            read_limit: Duration::from_secs(30),
            try_limit: Duration::from_secs(15),
            connect_limit: Duration::from_secs(10),
            backoff: Backoff::default(),
            starts_per_second: count(20),
            gets_per_second: count(100),
            lists_per_second: count(30),
            secrets_per_second: count(15),
        }
    }
}
