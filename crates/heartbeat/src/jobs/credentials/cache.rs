//! Access tokens that are renewed before they run out.
//!
//! | the token | what a call does |
//! |---|---|
//! | has more than min(half its life, 20 min) left | takes it |
//! | has less left | takes it, and a new one is fetched beside; after a failure not again for a minute |
//! | has 40 s left or less, or there is none | waits for a new one; after a failure it fails at once for 10 s |
//!
//! However many calls there are, one fetch is under way at a time, and it goes on when the call that began it is
//! dropped. These are the rules of the official SDKs but for the last 10 s: they keep many calls of one pass from
//! asking a server that says no over and over.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::error::GrantError;
use crate::jobs::Token;

/// Longest time before its end from which on a token is renewed.
const STALE: Duration = Duration::from_mins(20);
/// Azure Databricks refuses tokens in their last 30 seconds.
const LAST: Duration = Duration::from_secs(40);
/// After a failed renewal, while the old token is good.
const HOLD_OFF: Duration = Duration::from_mins(1);
/// After a failure, without a good token.
const HOLD_OFF_WITHOUT: Duration = Duration::from_secs(10);

/// An access token as it was granted.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) token: Token,
    /// `None`: the server doesn't say; it is good until a call is refused.
    pub(super) lifetime: Option<Duration>,
}

/// An access token with its end.
#[derive(Debug)]
pub(in crate::jobs) struct Lease {
    pub(super) token: Token,
    /// From when on a new one is fetched, and when this one is over.
    ends: Option<(Instant, Instant)>,
}

type Outcome = Result<Arc<Lease>, Arc<GrantError>>;
type Flight = Shared<BoxFuture<'static, Option<Outcome>>>;
pub(super) type Fetch = Box<dyn Fn() -> BoxFuture<'static, Result<Granted, GrantError>> + Send + Sync>;

/// The current access token. Clones share it.
#[derive(Clone)]
pub(super) struct TokenCache {
    inner: Arc<Inner>,
}

struct Inner {
    fetch: Fetch,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    lease: Option<Arc<Lease>>,
    flight: Option<Flight>,
    failed: Option<(Instant, Arc<GrantError>)>,
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Take,
    TakeAndRenew,
    Wait,
    Fail,
}

impl Lease {
    fn new(granted: Granted, now: Instant) -> Self {
        let ends = granted.lifetime.map(|life| (now + life - STALE.min(life / 2), now + life));
        Self { token: granted.token, ends }
    }
}

/// The table of this module. `failed`: when the last fetch failed, if it did.
fn step(lease: Option<&Lease>, failed: Option<Instant>, now: Instant) -> Step {
    let held_off = |for_: Duration| failed.is_some_and(|at| now < at + for_);
    match lease.map(|lease| lease.ends) {
        Some(None) => Step::Take,
        Some(Some((stale, _))) if now < stale => Step::Take,
        Some(Some((_, end))) if now + LAST < end => {
            if held_off(HOLD_OFF) {
                Step::Take
            } else {
                Step::TakeAndRenew
            }
        }
        _ => {
            if held_off(HOLD_OFF_WITHOUT) {
                Step::Fail
            } else {
                Step::Wait
            }
        }
    }
}

impl TokenCache {
    pub(super) fn new(fetch: Fetch) -> Self {
        Self { inner: Arc::new(Inner { fetch, slot: Mutex::default() }) }
    }

    /// A token that can be sent now.
    pub(super) async fn get(&self) -> Outcome {
        let flight = {
            let mut slot = self.inner.lock();
            let failed = slot.failed.as_ref().map(|(at, _)| *at);
            match (step(slot.lease.as_deref(), failed, Instant::now()), &slot.lease, &slot.failed) {
                (Step::Take, Some(lease), _) => return Ok(Arc::clone(lease)),
                (Step::TakeAndRenew, Some(lease), _) => {
                    let lease = Arc::clone(lease);
                    // The task goes on without anybody waiting for it.
                    drop(self.join(&mut slot));
                    return Ok(lease);
                }
                (Step::Fail, _, Some((_, error))) => return Err(Arc::clone(error)),
                _ => self.join(&mut slot),
            }
        };
        self.land(flight).await
    }

    /// A token in the place of one that a call was refused with.
    pub(super) async fn renew(&self, refused: &Arc<Lease>) -> Outcome {
        let flight = {
            let mut slot = self.inner.lock();
            if let Some(lease) = &slot.lease
                && !Arc::ptr_eq(lease, refused)
            {
                // Another call was quicker.
                return Ok(Arc::clone(lease));
            }
            slot.lease = None;
            self.join(&mut slot)
        };
        self.land(flight).await
    }

    async fn land(&self, flight: Flight) -> Outcome {
        if let Some(outcome) = flight.await {
            return outcome;
        }
        // Its runtime is gone, or it panicked: nobody else clears it away.
        self.inner.lock().flight = None;
        Err(Arc::new(GrantError::BrokenOff))
    }

    /// The fetch that is under way, or a new one.
    fn join(&self, slot: &mut Slot) -> Flight {
        if let Some(flight) = &slot.flight {
            return flight.clone();
        }
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            let fetched = (inner.fetch)().await;
            let now = Instant::now();
            let mut slot = inner.lock();
            slot.flight = None;
            match fetched {
                Ok(granted) => {
                    let lease = Arc::new(Lease::new(granted, now));
                    slot.lease = Some(Arc::clone(&lease));
                    slot.failed = None;
                    Ok(lease)
                }
                Err(error) => {
                    tracing::warn!(error = crate::error_chain::chain(&error), "no new access token");
                    let error = Arc::new(error);
                    slot.failed = Some((now, Arc::clone(&error)));
                    Err(error)
                }
            }
        });
        let flight = task.map(Result::ok).boxed().shared();
        slot.flight = Some(flight.clone());
        flight
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache(***)")
    }
}

#[cfg(test)]
mod tests;
