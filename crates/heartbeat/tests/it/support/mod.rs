//! What several tests need.

pub(crate) mod kafka;
pub(crate) mod project;
pub(crate) mod wait;
