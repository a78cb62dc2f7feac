//! A clock that may run faster than the real one.

use std::time::Duration;

/// How many times faster than real time the cloud lives. Leases, long polls, time-outs, rates
/// and the tolerance of clocks are all divided by it; UNIX times are those of the real clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeScale(f64);

/// A time scale that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time scale is a number from 0.001 to 100000, such as 1 or 60")]
pub struct InvalidTimeScale;

impl TimeScale {
    /// `times` as fast as real time.
    ///
    /// # Errors
    /// Where it is not from 0.001 to 100,000.
    pub fn new(times: f64) -> Result<Self, InvalidTimeScale> {
        if (0.001..=100_000.0).contains(&times) {
            Ok(Self(times))
        } else {
            Err(InvalidTimeScale)
        }
    }

    /// How long `duration` of the cloud's time takes in real time.
    pub fn real(self, duration: Duration) -> Duration {
        duration.div_f64(self.0)
    }

    /// How many times faster than real time it is.
    pub fn times(self) -> f64 {
        self.0
    }
}

impl Default for TimeScale {
    /// Real time.
    fn default() -> Self {
        Self(1.0)
    }
}

impl std::str::FromStr for TimeScale {
    type Err = InvalidTimeScale;

    fn from_str(text: &str) -> Result<Self, InvalidTimeScale> {
        Self::new(text.parse().map_err(|_| InvalidTimeScale)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_at_sixty_times_is_half_a_second() {
        let scale: TimeScale = "60".parse().unwrap();
        let lease = scale.real(Duration::from_secs(30));
        assert_eq!(lease, Duration::from_millis(500));
        for wrong in ["0", "-1", "NaN", "inf", "fast"] {
            assert!(wrong.parse::<TimeScale>().is_err(), "{wrong}");
        }
    }
}
