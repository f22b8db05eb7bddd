//! Upstreams: one module per kind, each an implementation of [`heartbeat_core::source::Source`].

pub mod kafka;
