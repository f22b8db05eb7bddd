//! `heartbeat trigger-file`: writing trigger files, and deleting those that have been processed.

mod create;
mod prune;
mod snippet;

use std::time::{Duration, Instant};

pub(super) use self::create::run as create;
pub(super) use self::prune::run as prune;
use crate::stores::{Fault, StoreError};

/// How long one call to a store may take.
const CALL: Duration = Duration::from_mins(1);

/// Carries out a call to a store, which also gets the deadline. A mount that hangs does not look at it.
async fn within<T>(
    limit: Duration,
    what: impl FnOnce() -> String,
    call: impl AsyncFnOnce(Instant) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + limit;
    match tokio::time::timeout_at(deadline.into(), call(deadline)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Fault::Timeout.of(what())),
    }
}
