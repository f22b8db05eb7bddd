//! Named crash points: before and after each outside effect of `check`, `trigger`, `complete` and `feed`.
//!
//! With `HEARTBEAT_FAIL_POINT=<name>` the process kills itself with SIGKILL when it gets there, as `kill -9` would.
//! They exist in debug builds and with the feature `fail-points`; a release build has none.

/// Every name, in the order of a job's life.
pub const NAMES: [&str; 17] = [
    "check:before_s",
    "check:after_s",
    "check:after_c1",
    "trigger:before_k",
    "trigger:after_k",
    "trigger:after_first_r",
    "trigger:after_r",
    "trigger:after_k2",
    "trigger:after_c2",
    "complete:before_d1",
    "complete:after_d1",
    "complete:after_d2",
    "settle:after_d1",
    "repair:before_commit",
    "repair:after_commit",
    "feed:before_commit",
    "feed:after_commit",
];

/// Kills the process when the environment names this point.
#[cfg(any(debug_assertions, feature = "fail-points"))]
pub fn reach(name: &str) {
    debug_assert!(NAMES.contains(&name), "`{name}` is not in fail_point::NAMES");
    #[expect(clippy::disallowed_methods, reason = "a switch of tests, not a setting")]
    let wanted = std::env::var("HEARTBEAT_FAIL_POINT");
    if wanted.is_ok_and(|wanted| wanted == name) {
        let killed =
            std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
        // Only without a `kill` command does the process get here; it must not go on either way.
        drop(killed);
        std::process::abort();
    }
}

/// Nothing, in a release build.
#[cfg(not(any(debug_assertions, feature = "fail-points")))]
#[inline]
pub fn reach(_name: &str) {}
