//! Trigger files: which names count, what was seen, what is new. Nothing here reads a store.

mod name;
mod pattern;

pub use name::{is_trigger, stamp_of};
pub use pattern::NamePattern;
