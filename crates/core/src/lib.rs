//! The pure core of `heartbeat`: values in, values out, `now` passed in. No I/O, no async runtime.

pub mod acon;
pub mod claim;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod csv_text;
pub mod decide;
pub mod detect;
pub mod domain;
pub mod feed;
pub mod files;
pub mod follow;
pub mod ids;
pub mod jobs;
pub mod journal;
pub mod location;
pub mod memory;
pub mod news;
pub mod position;
pub mod project;
pub mod prune;
pub mod row;
pub mod schedule;
pub mod secret;
pub mod sensor;
pub mod source;
pub mod state;
pub mod steer;
pub mod table;
pub mod table_name;
pub mod time_span;

#[cfg(test)]
mod fixtures;
