//! How long something takes, over any number of times.

use std::time::Duration;

/// Kept at most; every so many are dropped beyond it, and fewer are taken from then on.
const MOST: usize = 8192;

/// Durations, thinned out evenly as they become many.
#[derive(Debug, Clone)]
pub(super) struct Times {
    kept: Vec<Duration>,
    /// One of so many is kept.
    step: u64,
    seen: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            step: 1,
            seen: 0,
        }
    }
}

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        if self.seen.is_multiple_of(self.step) {
            if self.kept.len() == MOST {
                let mut place = 0;
                self.kept.retain(|_| {
                    place += 1;
                    place % 2 == 1
                });
                self.step *= 2;
            }
            self.kept.push(time);
        }
        self.seen += 1;
    }

    /// In milliseconds; None of none.
    pub(super) fn median(&self) -> Option<f64> {
        let mut kept = self.kept.clone();
        let middle = kept.len() / 2;
        if kept.is_empty() {
            return None;
        }
        let (_, median, _) = kept.select_nth_unstable(middle);
        Some(median.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_many_is_that_of_a_part() {
        let mut times = Times::default();
        assert_eq!(times.median(), None);
        for ms in 0..=100_000 {
            times.add(Duration::from_millis(ms));
        }
        assert!(times.kept.len() <= MOST);
        let median = times.median().unwrap();
        assert!((49_900.0..50_100.0).contains(&median), "{median}");
    }
}
