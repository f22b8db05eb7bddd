//! Trigger files on every store: what is news, found by a watcher as the daemon runs it.

mod faults;
mod finds;
mod watch;
