//! The pure core of `heartbeat`: values in, values out, `now` passed in. No I/O, no async runtime.

pub mod acon;
pub mod domain;
pub mod ids;
pub mod position;
pub mod row;
pub mod secret;
pub mod sensor;
pub mod source;
pub mod state;
pub mod table;
