//! x
pub mod jobs;
pub mod jobs_api;
