//! Daemons over ports in memory, under a seeded scheduler.

mod simulation;
