//! A fixed offset within the period, so that many sources don't look at the same instant.

use std::time::Duration;

use sha2::{Digest, Sha256};

/// The largest offset, whatever the period.
pub const MOST_JITTER: Duration = Duration::from_secs(5);

/// How far a source may be moved from the others, and by what name.
#[derive(Debug, Clone, PartialEq)]
pub struct Jitter {
    fraction: f64,
    name: String,
}

impl Jitter {
    /// No offset.
    pub const NONE: Self = Self { fraction: 0.0, name: String::new() };

    /// The part of the period that is used when nothing else is said.
    pub const USUAL_FRACTION: f64 = 0.1;

    /// An offset of at most `fraction` of the period (0 to 1; what lies outside is taken as the nearest of them) and of
    /// at most [`MOST_JITTER`]. The same name gives the same offset, also in another process.
    pub fn new(fraction: f64, name: impl Into<String>) -> Self {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        Self { fraction, name: name.into() }
    }

    /// The offset for a period.
    pub fn offset(&self, period: Duration) -> Duration {
        let room = period.mul_f64(self.fraction).min(MOST_JITTER);
        let digest = Sha256::digest(self.name.as_bytes());
        let part: u32 = digest.iter().take(4).fold(0, |number, byte| (number << 8) | u32::from(*byte));
        room.mul_f64(f64::from(part) / (f64::from(u32::MAX) + 1.0))
    }
}
