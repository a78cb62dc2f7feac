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
    seed: u64,
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
        Self::written(seed, samples, |sample| sample.body.to_owned())
    }

    /// The same, but a sample's text is what `write` makes of it.
    pub(crate) fn written(
        seed: u64,
        samples: impl IntoIterator<Item = &'static Sample>,
        write: impl Fn(&'static Sample) -> String,
    ) -> Self {
        let mut types: Vec<Vec<(&'static Sample, Body)>> = Vec::new();
        for sample in samples {
            let form = (sample, Body::cut(&write(sample)));
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
            seed,
            index: 0,
        }
    }

    /// How many event types it has: the length of a round.
    pub(crate) fn types(&self) -> usize {
        self.types.len()
    }

    /// What notification `index` is made from; none where the stream has none.
    pub(crate) fn sample_at(&self, index: u64) -> Option<&'static Sample> {
        Some(self.choose(index)?.0)
    }

    /// Appends the body of notification `index`; nothing where the stream has none.
    pub(crate) fn write_at(&self, index: u64, out: &mut String) {
        if let Some((_, body)) = self.choose(index) {
            body.write_numbered(self.seed, index, out);
        }
    }

    /// A function of seed and index alone, so that any notification can be made again.
    fn choose(&self, index: u64) -> Option<&(&'static Sample, Body)> {
        let types = self.types.len();
        let round = index.checked_div(types as u64)?;
        let place = usize::try_from(index % types as u64).ok()?;
        let mut random = Random::of(self.seed, round);
        let mut left: Vec<usize> = (0..types).collect();
        for _ in 0..place {
            let chosen = random.below(left.len())?;
            left.swap_remove(chosen);
        }
        let forms = &self.types[left[random.below(left.len())?]];
        forms.get(random.below(forms.len())?)
    }
}

impl Iterator for Notifications {
    type Item = Notification;

    fn next(&mut self) -> Option<Notification> {
        let (sample, body) = self.choose(self.index)?;
        let notification = Notification {
            sample,
            body: body.numbered(self.seed, self.index).into(),
        };
        self.index += 1;
        Some(notification)
    }
}

/// SplitMix64: small, and good enough to vary an order.
/// <https://prng.di.unimi.it/splitmix64.c>
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    fn of(seed: u64, round: u64) -> Self {
        let mut rounds = Self(round);
        Self(seed ^ rounds.draw())
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; none where the limit is 0.
    fn below(&mut self, limit: usize) -> Option<usize> {
        usize::try_from(self.draw().checked_rem(limit as u64)?).ok()
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
