//! What several tests need.

pub(crate) mod kafka;
pub(crate) mod wait;
