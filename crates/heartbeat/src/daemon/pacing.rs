//! Backing off: what failed is tried again later and later, alone. Pure; the time is passed in.
//!
//! It is kept in memory: after a restart everything is tried once at once.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Things that failed, with the time before which each is left alone.
#[derive(Debug)]
pub(super) struct Pacing<K> {
    first: Duration,
    most: Duration,
    failed: BTreeMap<K, Failure>,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    times: u32,
    until: Timestamp,
}

impl<K: Ord + Clone> Pacing<K> {
    /// Waits `first` after one failure, twice as long after each further one, `most` at most.
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most: most.max(first), failed: BTreeMap::new() }
    }

    /// Notes a failure. `chance` in 0..1 takes up to a tenth off the wait, so that what failed together does not come
    /// back together.
    pub(super) fn failed(&mut self, key: &K, now: Timestamp, chance: f64) {
        let times = self.failed.get(key).map_or(0, |failure| failure.times).saturating_add(1);
        let doubled = self.first.saturating_mul(1 << (times - 1).min(20)).min(self.most);
        let wait = doubled.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 10.0);
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let until = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        self.failed.insert(key.clone(), Failure { times, until });
    }

    /// Notes a success; true when it had failed before.
    pub(super) fn succeeded(&mut self, key: &K) -> bool {
        self.failed.remove(key).is_some()
    }

    /// What is left alone now, and until when. A wait that is longer than any is that of a clock that has gone back.
    pub(super) fn resting(&self, now: Timestamp) -> impl Iterator<Item = (&K, Timestamp)> {
        let most = SignedDuration::try_from(self.most).unwrap_or(SignedDuration::MAX);
        let rests = move |until: Timestamp| now < until && until.duration_since(now) <= most;
        self.failed.iter().filter(move |(_, failure)| rests(failure.until)).map(|(key, f)| (key, f.until))
    }

    /// Forgets what is not `known` any more.
    pub(super) fn retain(&mut self, known: impl Fn(&K) -> bool) {
        self.failed.retain(|key, _| known(key));
    }

    /// True while nothing has failed since its last success.
    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn until(pacing: &Pacing<&str>, now: i64) -> Option<i64> {
        pacing.resting(at(now)).map(|(_, until)| until.as_second()).next()
    }

    #[test]
    fn waits_double_up_to_the_most_and_end_with_a_success() {
        let mut pacing = Pacing::new(Duration::from_secs(1), Duration::from_secs(5));
        for wait in [1, 2, 4, 5, 5] {
            pacing.failed(&"a", at(100), 0.0);
            assert_eq!(until(&pacing, 100), Some(100 + wait));
            assert_eq!(until(&pacing, 100 + wait), None, "it is tried again, and has not succeeded");
        }
        assert!(pacing.succeeded(&"a"));
        assert!(!pacing.succeeded(&"a"));
        pacing.failed(&"a", at(100), 0.0);
        assert_eq!(until(&pacing, 100), Some(101));
    }

    #[test]
    fn clock_that_goes_back_silences_nothing() {
        let mut pacing = Pacing::new(Duration::from_secs(1), Duration::from_secs(5));
        pacing.failed(&"a", at(10_000), 0.0);
        assert_eq!(until(&pacing, 100), None);
    }

    #[test]
    fn chance_shortens_by_a_tenth_at_most() {
        let mut pacing = Pacing::new(Duration::from_secs(100), Duration::from_secs(100));
        pacing.failed(&"a", at(0), 1.0);
        assert_eq!(until(&pacing, 0), Some(90));
    }
}
