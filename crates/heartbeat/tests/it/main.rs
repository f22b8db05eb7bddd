//! Integration tests: one binary, one module per subject.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod jobs;
