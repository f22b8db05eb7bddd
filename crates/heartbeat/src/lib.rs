//! x
pub mod jobs;
