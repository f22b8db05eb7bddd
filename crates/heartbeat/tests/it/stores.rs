//! Clients of stores, each against a server that speaks its protocol.

mod tables;
mod volumes;
