//! What several tests need.

pub(crate) mod cluster;
pub(crate) mod daemon;
pub(crate) mod faults;
pub(crate) mod kafka;
pub(crate) mod masked;
pub(crate) mod project;
pub(crate) mod stage;
pub(crate) mod stores;
pub(crate) mod story;
pub(crate) mod verdict;
pub(crate) mod wait;
pub(crate) mod yard;
