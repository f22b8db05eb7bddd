//! The engine over ports in memory: random histories with crashes at every outside effect, and single cases.

mod direct;
pub(crate) mod ledger;
pub(crate) mod ports;
mod random;
pub(crate) mod world;
