//! What may be written later than it was said: losing it costs a second delivery.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::Settled;

/// How much of it is written in one commit: with the log that this needs, the reserve is enough.
pub(crate) const AT_ONCE: usize = 1024;

/// Removals and attempts by the numbers of their records, so that neighbours on the disk are
/// written together.
#[derive(Debug, Default)]
pub(crate) struct Later {
    pub(crate) removed: BTreeSet<i64>,
    pub(crate) attempted: BTreeMap<i64, u32>,
    /// The sinks that have a record by now.
    pub(crate) settled: BTreeMap<i64, Settled>,
}

impl Later {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.removed.len() + self.attempted.len() + self.settled.len()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.removed.extend(other.removed);
        for (seq, more) in other.attempted {
            *self.attempted.entry(seq).or_default() += more;
        }
        self.settled.extend(other.settled);
    }

    /// Takes out what one commit writes.
    pub(crate) fn take(&mut self) -> Self {
        let mut taken = Self::default();
        while taken.len() < AT_ONCE
            && let Some(seq) = self.removed.pop_first()
        {
            taken.removed.insert(seq);
        }
        while taken.len() < AT_ONCE
            && let Some((seq, more)) = self.attempted.pop_first()
        {
            taken.attempted.insert(seq, more);
        }
        while taken.len() < AT_ONCE
            && let Some((seq, settled)) = self.settled.pop_first()
        {
            taken.settled.insert(seq, settled);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_written_in_parts_oldest_first() {
        let mut later = Later {
            removed: (0..1500).collect(),
            attempted: [(7, 1)].into(),
            ..Later::default()
        };
        later.add(Later {
            removed: [1499, 1500].into(),
            attempted: [(7, 2)].into(),
            ..Later::default()
        });
        assert_eq!(later.len(), 1502);
        let first = later.take();
        assert!(first.removed.iter().copied().eq(0..1024) && first.attempted.is_empty());
        let rest = later.take();
        assert!(rest.removed.iter().copied().eq(1024..1501) && rest.attempted[&7] == 3);
        assert!(later.is_empty());
    }
}
