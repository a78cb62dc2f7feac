//! An endless stream of notifications.

use bytes::Bytes;

use crate::identity::Body;
use crate::samples::{Sample, samples};

/// A copy of a sample with ids of its own.
#[derive(Debug, Clone)]
pub struct Notification {
    /// What it was made from.
    pub sample: &'static Sample,
    /// The body to post.
    pub body: Bytes,
}

/// Notifications without end, in rounds: each has every event type once, in an order of its
/// own, in one of the type's forms. The same seed gives the same notifications.
///
/// Ids of tasks, files and casts are numbered, and nothing else of a sample changes. A sample
/// without any, such as one form of ProcessImageAsyncCompleteEvent, comes again as it is.
#[derive(Debug, Clone)]
pub struct Notifications {
    /// The forms of each event type.
    types: Vec<Vec<(&'static Sample, Body)>>,
    /// What is left of the round.
    round: Vec<usize>,
    seed: u64,
    random: Random,
    index: u64,
}

impl Notifications {
    /// Every type of the catalogue, in all forms of the 3.0 format.
    pub fn new(seed: u64) -> Self {
        let catalogued = samples().iter().filter(|sample| sample.is_catalogued());
        Self::of(seed, catalogued)
    }

    /// These samples only; none of them, none of the stream.
    pub fn of(seed: u64, samples: impl IntoIterator<Item = &'static Sample>) -> Self {
        let mut types: Vec<Vec<(&'static Sample, Body)>> = Vec::new();
        for sample in samples {
            let form = (sample, Body::cut(sample.body));
            match types
                .iter_mut()
                .find(|forms| forms[0].0.event_type == sample.event_type)
            {
                Some(forms) => forms.push(form),
                None => types.push(vec![form]),
            }
        }
        Self {
            types,
            round: Vec::new(),
            seed,
            random: Random(seed),
            index: 0,
        }
    }
}

impl Iterator for Notifications {
    type Item = Notification;

    fn next(&mut self) -> Option<Notification> {
        if self.round.is_empty() {
            self.round.extend(0..self.types.len());
        }
        let chosen = self.random.below(self.round.len())?;
        let forms = &self.types[self.round.swap_remove(chosen)];
        let (sample, body) = &forms[self.random.below(forms.len())?];
        self.index += 1;
        Some(Notification {
            sample,
            body: body.numbered(self.seed, self.index).into(),
        })
    }
}

/// SplitMix64: small, and good enough to vary an order.
/// <https://prng.di.unimi.it/splitmix64.c>
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    /// A number below `limit`; none where the limit is 0.
    fn below(&mut self, limit: usize) -> Option<usize> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed.checked_rem(limit as u64)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::sample;

    #[test]
    fn each_round_has_every_type_once() {
        let all: Vec<_> = Notifications::new(7).take(3 * 37).collect();
        for round in all.chunks(37) {
            let types: BTreeSet<_> = round.iter().map(|one| one.sample.event_type).collect();
            assert_eq!(types.len(), 37);
        }
        let order = |round: usize| {
            let round = all.chunks(37).nth(round).unwrap();
            round
                .iter()
                .map(|n| n.sample.event_type)
                .collect::<Vec<_>>()
        };
        assert_ne!(order(0), order(1));
    }

    #[test]
    fn the_seed_decides() {
        let bodies = |seed| Notifications::new(seed).map(|one| one.body).take(100);
        assert!(bodies(1).eq(bodies(1)));
        assert!(bodies(1).ne(bodies(2)));
    }

    #[test]
    fn every_body_is_json_and_new() {
        let mut seen = BTreeSet::new();
        for one in Notifications::of(3, samples()).take(2_000) {
            serde_json::from_slice::<Value>(&one.body).unwrap();
            let new = seen.insert(one.body);
            assert!(new || one.sample.name == "ProcessImageAsyncCompleteEvent");
        }
    }

    #[test]
    fn one_sample_alone() {
        let upload = sample("NewFileUpload").unwrap();
        let mut only = Notifications::of(0, [upload]);
        assert!((0..10).all(|_| only.next().unwrap().sample == upload));
        assert!(Notifications::of(0, []).next().is_none());
    }
}
