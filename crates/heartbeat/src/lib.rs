//! `heartbeat` starts Databricks jobs when their upstreams have news.
//!
//! The library is the binary without its command line: [`engine`] carries out what `heartbeat-core` decides,
//! over [`sources`], the Delta tables of `heartbeat-delta` and the Jobs API.

mod base64;
pub mod broker;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod documents;
pub mod engine;
mod error_chain;
pub mod fail_point;
pub mod jobs;
pub mod jobs_api;
pub mod metrics;
pub mod paths;
pub mod scribe;
pub mod secrets;
pub mod server;
mod signing;
pub mod sources;
pub mod stores;
pub mod systemd;
pub mod workspaces;
