//! The engine over ports in memory: random histories with crashes at every outside effect, and single cases.

mod direct;
mod ledger;
mod ports;
mod random;
mod world;
