//! Stores against real servers, all by one contract, and trigger files on them.
//!
//! The servers are given by `HEARTBEAT_TEST_STORES=DIR` (`scripts/stores/start DIR` runs them). Without it these cases are
//! skipped aloud; with `CI=true` that is a failure. Volumes and DBFS are the stand-in's.

mod azure;
mod contract;
mod gcs;
mod local;
mod queue;
mod s3;
mod tables;
mod triggers;
mod volumes;
