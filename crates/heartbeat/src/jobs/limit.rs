//! A sliding-window limit on calls: callers wait for their slot, first come first served.
//!
//! The workspace allows 20 run-now, 100 runs/get and 30 runs/list calls per second, all clients together
//! (Databricks resource limits page, July 2026). A window slides, a bucket doesn't: no second anywhere holds
//! more than the limit.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A second, and a margin for what the network squeezes together between us and the workspace's count.
const WINDOW: Duration = Duration::from_millis(1050);

/// At most so many slots in any one second; clones share the count.
#[derive(Debug, Clone)]
pub struct Limiter {
    most: NonZeroUsize,
    history: Arc<Mutex<VecDeque<Instant>>>,
}

impl Limiter {
    /// A limit of `most` calls per second.
    pub fn per_second(most: NonZeroUsize) -> Self {
        Self { most, history: Arc::default() }
    }

    /// Waits for the caller's slot. A caller that goes away while it waits has still used its slot.
    pub async fn slot(&self) {
        if let Some(at) = self.reserve(Instant::now(), None) {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Waits for the caller's slot unless that lies beyond `deadline`: then nothing is used and the answer is
    /// `false` at once.
    pub async fn slot_before(&self, deadline: Instant) -> bool {
        let Some(at) = self.reserve(Instant::now(), Some(deadline)) else { return false };
        tokio::time::sleep_until(at).await;
        true
    }

    /// Takes the next slot. `None` if that is after `not_after`.
    fn reserve(&self, now: Instant, not_after: Option<Instant>) -> Option<Instant> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next_slot(now, &history, self.most);
        if not_after.is_some_and(|limit| at > limit) {
            return None;
        }
        history.push_back(at);
        if history.len() > self.most.get() {
            history.pop_front();
        }
        Some(at)
    }
}

/// The earliest instant from `now` on at which one more call keeps every window at `most` calls. `history`
/// holds the slots given so far, oldest first; some may lie in the future.
pub(super) fn next_slot(now: Instant, history: &VecDeque<Instant>, most: NonZeroUsize) -> Instant {
    let oldest = history.len().checked_sub(most.get()).and_then(|index| history.get(index));
    oldest.map_or(now, |oldest| (*oldest + WINDOW).max(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWENTY: NonZeroUsize = NonZeroUsize::new(20).unwrap();

    /// The most slots that any window of one second holds.
    fn busiest_second(slots: &[Instant]) -> usize {
        let within = |from: Instant| {
            slots.iter().filter(|at| (from..from + Duration::from_secs(1)).contains(at)).count()
        };
        slots.iter().map(|from| within(*from)).max().unwrap_or(0)
    }

    #[test]
    fn fifty_callers_at_once_take_two_windows() {
        let limiter = Limiter::per_second(TWENTY);
        let now = Instant::now();
        let slots: Vec<_> = (0..50).map(|_| limiter.clone().reserve(now, None).unwrap()).collect();
        let count = |at: Instant| slots.iter().filter(|slot| **slot == at).count();
        assert_eq!([count(now), count(now + WINDOW), count(now + 2 * WINDOW)], [20, 20, 10]);
        assert_eq!(busiest_second(&slots), 20);
    }

    #[test]
    fn callers_spread_over_time_never_crowd_a_second_and_never_wait_needlessly() {
        let limiter = Limiter::per_second(TWENTY);
        let start = Instant::now();
        // Bursts of 13 every 300 ms: twice the limit, so that slots are handed out ahead of time.
        let slots: Vec<_> = (0..260_u32)
            .map(|call| limiter.reserve(start + Duration::from_millis(300) * (call / 13), None).unwrap())
            .collect();
        assert!(slots.is_sorted());
        assert_eq!(busiest_second(&slots), 20);
        assert_eq!(slots[259], start + 12 * WINDOW + (slots[19] - start));
        let later = slots[259] + 2 * WINDOW;
        assert_eq!(limiter.reserve(later, None), Some(later));
    }

    #[test]
    fn a_slot_beyond_the_deadline_is_not_taken() {
        let limiter = Limiter::per_second(NonZeroUsize::MIN);
        let now = Instant::now();
        assert_eq!(limiter.reserve(now, Some(now)), Some(now));
        assert_eq!(limiter.reserve(now, Some(now + WINDOW / 2)), None);
        assert_eq!(limiter.reserve(now, None), Some(now + WINDOW));
    }
}
