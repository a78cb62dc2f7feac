//! Which sinks are not worth waiting for.

use tokio::sync::watch;

use crate::{DEAD_LETTER_TYPE, Envelope, Intake, SinkSet};

/// Sinks that an event needs and that have not answered for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Away {
    sinks: SinkSet,
    dead_letters: bool,
    /// Whether it needs others too, which answer.
    others: bool,
}

impl Away {
    /// Every sink that it needs answers, as far as is known.
    pub fn is_empty(self) -> bool {
        self.sinks.is_empty() && !self.dead_letters
    }

    /// It needs others too, and they answer.
    pub fn leaves_others(self) -> bool {
        self.others
    }
}

impl Intake {
    /// Of the sinks that the event needs those that have not answered for a while. One that
    /// nobody has asked yet is not among them, nor one that acked or refused the last publish.
    /// The sinks named in `settled` have it.
    pub fn away(&self, envelope: &Envelope, settled: &[String]) -> Away {
        let required = match envelope.ty() {
            DEAD_LETTER_TYPE => SinkSet::default(),
            _ => self.pipeline.targets(envelope).required,
        };
        if required.is_empty() {
            return self.dead_letters_away();
        }
        let open = required.without(self.pipeline.named(settled));
        let sinks = self.pipeline.away(open);
        Away {
            sinks,
            dead_letters: false,
            others: sinks != open,
        }
    }

    /// As [`away`](Self::away), of what goes to the dead letter.
    pub fn dead_letters_away(&self) -> Away {
        Away {
            dead_letters: self.pipeline.is_dead_letter_away(),
            ..Away::default()
        }
    }

    /// Whether there is one sink that everything needs, dead letters included, and it has not
    /// answered for a while.
    pub fn is_only_sink_away(&self) -> bool {
        !self.pipeline.waits_for_several() && self.pipeline.is_dead_letter_away()
    }

    /// Changes whenever a sink that was away is back.
    pub fn returns(&self) -> watch::Receiver<u64> {
        self.pipeline.returns()
    }
}
