//! Trigger files: which names count, what was seen, what is new. Nothing here reads a store.

mod change;
mod name;
mod pattern;
mod processed;
mod run;
mod seen;

pub use change::{Change, NewRun, RunFiles};
pub use name::{is_trigger, stamp_of};
pub use pattern::NamePattern;
pub use processed::processed;
pub use run::{BadRun, Names, Reader, Remembered, Run, Writer};
pub use seen::{Builder, Difference, EVERYTHING, MOST_INLINE, REMEMBERED, Stretch};
