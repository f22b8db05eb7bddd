//! Starts Databricks jobs when their upstreams have news.

pub mod broker;
pub mod sources;
