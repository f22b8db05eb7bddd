//! `heartbeat run`: watches continuously, starts each job once, follows every run.

mod pacing;
mod watcher;

#[cfg(test)]
mod tests;
