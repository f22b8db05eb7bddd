//! Waiting for a condition, with its last state in the message when it never comes.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Calls `attempt` until it is `Ok`; panics with the last `Err` after two minutes.
pub(crate) async fn until<T, E: Debug>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(state) if Instant::now() > deadline => panic!("{what} did not come: {state:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
