//! What random histories have in common: rows, limits that make a few files many, and seeds.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use heartbeat_core::files::REMEMBERED;
use jiff::Timestamp;

use super::*;
use crate::stores::memory::Trouble;

/// One row: what the tables know of it.
pub(super) struct Row {
    pub(super) folder: &'static str,
    pub(super) since: Since,
    reported: BTreeMap<String, u32>,
}

impl Row {
    /// One that was never looked at.
    pub(super) fn of(folder: &'static str) -> Self {
        Self { folder, since: Since::Beginning, reported: BTreeMap::new() }
    }

    /// An answer is committed.
    pub(super) fn commit(&mut self, answer: Result<Answer, SourceError>) {
        if let Ok(Answer::Found(found)) = answer {
            for name in names(&found) {
                *self.reported.entry(name.to_owned()).or_default() += 1;
            }
            self.since = Since::Position(found.position);
        }
    }

    /// Whether it was told of each of the files that it is to know, and of nothing else; once, or as often more as a file
    /// was made `again` so late that its name may have been forgotten.
    pub(super) fn verdict(
        &self,
        expected: &BTreeSet<String>,
        again: &BTreeMap<String, u32>,
    ) -> Result<(), String> {
        let folder = self.folder;
        for (path, times) in &self.reported {
            let again = again.get(&format!("{folder}/{path}")).copied().unwrap_or_default();
            if *times > 1 + again {
                return Err(format!(
                    "{folder}/{path} was reported {times} times, and made again {again} times"
                ));
            }
            if !is_trigger(path) {
                return Err(format!("{folder}/{path} is no trigger"));
            }
        }
        let prefix = format!("{folder}/");
        for path in expected.iter().filter_map(|path| path.strip_prefix(&prefix)) {
            if is_trigger(path) && !self.reported.contains_key(path) {
                return Err(format!("{folder}/{path} was missed"));
            }
        }
        Ok(())
    }
}

/// What goes wrong at a listing. For a week some leave files out, the first of them at `cut_off`; then all others fail: a
/// file that is left out after a week as before is as good as gone.
pub(super) fn trouble(rng: &mut Rng, now: Timestamp, cut_off: &mut Option<Timestamp>) -> Trouble {
    let (fails, files) = (rng.bool(), rng.usize(1..9));
    if fails || cut_off.is_some_and(|at| now.duration_since(at) >= REMEMBERED) {
        return Trouble::Fails;
    }
    cut_off.get_or_insert(now);
    Trouble::CutsOff(files)
}

/// Limits by which a handful of files is many.
pub(super) fn limits(rng: &mut Rng) -> Limits {
    Limits {
        inline: rng.usize(4..30),
        swept: rng.u64(1..30),
        taken: rng.usize(2..40),
        stretch: rng.usize(2..20),
        listing: if rng.bool() { Duration::ZERO } else { Duration::from_secs(1) },
        ..Limits::default()
    }
}

/// Runs histories of seeds one after the other. `HEARTBEAT_TEST_SEED=N` repeats one, `HEARTBEAT_TEST_CASES=N` makes as many.
pub(super) fn histories<T>(history: impl AsyncFn(u64) -> Result<T, String>) -> Vec<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = number("HEARTBEAT_TEST_SEED");
    let cases = number("HEARTBEAT_TEST_CASES").unwrap_or(if first.is_some() { 1 } else { 300 });
    let first = first.unwrap_or_else(|| fastrand::u64(0..1 << 40));
    println!("seeds {first}..{}", first + cases);
    let one = |seed| {
        let outcome = runtime.block_on(history(seed));
        outcome.unwrap_or_else(|problem| panic!("HEARTBEAT_TEST_SEED={seed}: {problem}"))
    };
    (first..first + cases).map(one).collect()
}

fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "a test's own setting")]
    std::env::var(name).ok()?.parse().ok()
}
