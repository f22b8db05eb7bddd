//! Integration tests of the binary crate, in one binary to keep linking short.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy.toml allows them in tests; helpers of tests are no different"
)]

mod cli;
mod cli_operate;
mod crash;
mod daemon;
mod docs;
mod jobs;
mod kafka;
mod scenarios;
mod stores;
mod support;
mod trigger_file;
