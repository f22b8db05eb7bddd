//! Whose turn it is to be described anew: every topic once within the age that metadata may have, a few at each look.

use std::time::{Duration, Instant};

/// Where the round stands.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    next: usize,
    last: Option<Instant>,
}

impl Freshness {
    /// Topics (of `count`) that are to be described anew at this look, at `now`; `described_at` tells when one was last.
    pub(super) fn due(
        &mut self,
        count: usize,
        max_age: Duration,
        now: Instant,
        described_at: impl Fn(usize) -> Option<Instant>,
    ) -> Vec<usize> {
        let passed = self.last.map_or(max_age, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        let share = if max_age.is_zero() { 1.0 } else { passed.as_secs_f64() / max_age.as_secs_f64() };
        // A round takes two thirds of the time, so that a late look still comes in time.
        let quota = ((count as f64 * share * 1.5).ceil() as usize).min(count);
        let turn = (0..quota).map(|step| (self.next + step) % count.max(1));
        // What was described a moment ago, because it moved or by another look, need not be again.
        let young = max_age / 3;
        let is_due = |topic: &usize| {
            described_at(*topic)
                .is_some_and(|at| max_age.is_zero() || now.saturating_duration_since(at) >= young)
        };
        let due = turn.filter(is_due).collect();
        self.next = (self.next + quota) % count.max(1);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_has_its_turn_in_time_and_each_look_a_few() {
        const COUNT: usize = 100;
        let (max_age, mut freshness) = (Duration::from_secs(30), Freshness::default());
        let begin = Instant::now();
        let mut described = vec![begin; COUNT];
        for second in 0..300 {
            let now = begin + Duration::from_secs(second);
            let due = freshness.due(COUNT, max_age, now, |topic| Some(described[topic]));
            assert!(due.len() <= COUNT * 3 / 2 / 30 + 1, "{} at once", due.len());
            for topic in due {
                described[topic] = now;
            }
            assert!(described.iter().all(|at| now - *at <= max_age), "at {second} s");
        }
    }

    #[test]
    fn rare_looks_and_no_age_at_all_describe_everything() {
        let mut freshness = Freshness::default();
        let begin = Instant::now();
        assert_eq!(
            freshness.due(3, Duration::from_secs(30), begin, |_| Some(begin)).len(),
            0,
            "just described"
        );
        let later = begin + Duration::from_mins(5);
        assert_eq!(freshness.due(3, Duration::from_secs(30), later, |_| Some(begin)).len(), 3);
        assert_eq!(freshness.due(3, Duration::ZERO, later, |_| Some(later)).len(), 3);
        assert_eq!(freshness.due(0, Duration::ZERO, later, |_| None), Vec::<usize>::new());
    }
}
