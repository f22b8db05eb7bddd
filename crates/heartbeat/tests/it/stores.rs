//! Stores against real servers, all by one contract.
//!
//! The servers are given by `HEARTBEAT_TEST_STORES=DIR` (`scripts/stores/start DIR` runs them). Without it these cases are
//! skipped aloud; with `CI=true` that is a failure.

mod azure;
mod contract;
mod gcs;
mod local;
mod s3;
