//! Trigger files: which names count, what was seen, what is new. Nothing here reads a store.

mod name;
mod pattern;
mod processed;
mod run;
mod seen;

pub use name::{is_trigger, stamp_of};
pub use pattern::NamePattern;
pub use processed::processed;
pub use run::{BadRun, Names, Reader, Remembered, Run, Writer};
pub use seen::{Builder, Change, Difference, EVERYTHING, MOST_INLINE, NewRun, REMEMBERED, RunFiles, Stretch};
