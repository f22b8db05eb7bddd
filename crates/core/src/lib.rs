//! The pure core of `heartbeat`: values in, values out, `now` passed in. No I/O, no async runtime.

pub mod ids;
pub mod position;
pub mod row;
pub mod source;
pub mod table;
