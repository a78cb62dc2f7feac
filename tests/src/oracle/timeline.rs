//! When what was issued and went wrong: which fault an event lived through.

use super::Kind;

/// When events were issued: milliseconds, and how many of each application there were by then.
#[derive(Debug, Default)]
pub(super) struct Issued(Vec<(u32, [u64; 2])>);

impl Issued {
    pub(super) fn note(&mut self, now: u32, counts: [u64; 2]) {
        if self.0.last().is_none_or(|(_, last)| *last != counts) {
            self.0.push((now, counts));
        }
    }

    /// When event `sequence` of an application, counted from 1, had been issued.
    fn when(&self, application: usize, sequence: u64) -> u32 {
        let later = self
            .0
            .partition_point(|(_, counts)| counts[application] < sequence);
        // At the earliest when the count before it was taken.
        later.checked_sub(1).map_or(0, |before| self.0[before].0)
    }
}

/// The faults in their order, and when events were issued.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    pub(super) issued: Issued,
    faults: Vec<(Kind, u32, u32)>,
}

impl Timeline {
    /// A fault lasted from `begin` to `end`, when the bridge had recovered.
    pub(super) fn fault(&mut self, kind: Kind, begin: u32, end: u32) {
        self.faults.push((kind, begin, end));
    }

    /// What an event lived through that ended at `ended`: the first kill of the bridge, else the
    /// first fault, else none.
    pub(super) fn cause(&self, application: usize, sequence: u64, ended: u32) -> Option<Kind> {
        let issued = self.issued.when(application, sequence);
        let first = self.faults.partition_point(|(_, _, end)| *end < issued);
        let lived_through = self.faults[first..].iter();
        let mut lived_through = lived_through
            .take_while(|(_, begin, _)| *begin <= ended)
            .map(|(kind, ..)| *kind);
        let first = lived_through.next()?;
        if first == Kind::BridgeKilled {
            return Some(first);
        }
        Some(
            lived_through
                .find(|kind| *kind == Kind::BridgeKilled)
                .unwrap_or(first),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_belongs_to_what_it_lived_through() {
        let mut timeline = Timeline::default();
        for (now, count) in [(10, 5), (20, 10), (100, 11)] {
            timeline.issued.note(now, [count, 0]);
        }
        timeline.fault(Kind::Cut(0), 30, 40);
        timeline.fault(Kind::BridgeKilled, 50, 60);
        let cause = |sequence, ended| timeline.cause(0, sequence, ended);
        // Issued before 10, between 10 and 20, and between 20 and 100.
        assert_eq!(cause(5, 29), None);
        assert_eq!(cause(6, 30), Some(Kind::Cut(0)));
        assert_eq!(cause(6, 49), Some(Kind::Cut(0)));
        assert_eq!(cause(10, 50), Some(Kind::BridgeKilled));
        assert_eq!(cause(11, 100), Some(Kind::BridgeKilled));
    }
}
