//! Integration tests of the binary crate, in one binary to keep linking short.

mod kafka;
mod support;
