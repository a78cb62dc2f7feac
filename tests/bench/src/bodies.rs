//! The notifications that are posted, each with ids of its own: copies in flight would join.

use clap::ValueEnum;
use vodbridge_simulator::{Notifications, Sample, sample, samples};

/// Which notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bodies {
    /// A finished transcode of 2 KB.
    Transcode,
    /// Every event type in turn.
    All,
}

impl Bodies {
    /// An endless stream; another seed, other ids.
    pub(crate) fn stream(self, seed: u64) -> Notifications {
        Notifications::of(seed, self.samples())
    }

    /// The event types of the notifications.
    pub(crate) fn event_types(self) -> Vec<&'static str> {
        self.samples()
            .iter()
            .map(|sample| sample.event_type)
            .collect()
    }

    fn samples(self) -> Vec<&'static Sample> {
        match self {
            Self::Transcode => Vec::from_iter(sample("ProcedureStateChanged-transcode")),
            Self::All => one_of_each_type(),
        }
    }
}

/// The first form of each type that bears an id: without one, copies of it would be the same.
fn one_of_each_type() -> Vec<&'static Sample> {
    let mut chosen: Vec<&Sample> = Vec::new();
    for form in samples().iter().filter(|sample| sample.is_catalogued()) {
        let is_new = chosen
            .iter()
            .all(|other| other.event_type != form.event_type);
        if is_new && bears_an_id(form) {
            chosen.push(form);
        }
    }
    chosen
}

fn bears_an_id(sample: &'static Sample) -> bool {
    let bodies: Vec<_> = Notifications::of(0, [sample]).take(2).collect();
    bodies[0].body != bodies[1].body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_form_with_an_id() {
        assert_eq!(one_of_each_type().len(), 37);
    }

    #[test]
    fn the_transcode_is_of_2_kb() {
        let length = Bodies::Transcode.stream(1).next().unwrap().body.len();
        assert!((1990..2060).contains(&length), "{length}");
    }
}
