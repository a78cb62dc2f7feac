//! Who waits for an answer, and whether it came in time.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::socket::{Peer, Presence};

/// An answer that leaves later than this may reach the cloud after it has given up at 5 s.
const IN_TIME: Duration = Duration::from_millis(4500);

/// Before this nobody who waits up to 5 s gives up.
const EARLY: Duration = Duration::from_secs(2);

const WAITING: u8 = 0;
const ANSWERED_IN_TIME: u8 = 1;
const LEFT: u8 = 2;

/// One request's caller.
#[derive(Debug)]
pub(crate) struct Caller {
    since: Instant,
    state: AtomicU8,
    peer: Option<Peer>,
}

impl Caller {
    /// A caller that came at `since`, from this peer.
    pub(crate) fn new(since: Instant, peer: Option<Peer>) -> Self {
        Self {
            since,
            state: AtomicU8::new(WAITING),
            peer,
        }
    }

    /// Whether it does not listen any more. One that has closed its side early sends no more and
    /// waits; one that does so late has given up.
    fn has_gone(&self) -> bool {
        match self.peer.as_ref().map(Peer::presence) {
            None | Some(Presence::Here) => false,
            Some(Presence::Closed) => self.since.elapsed() >= EARLY,
            Some(Presence::Gone) => true,
        }
    }

    /// A 200 leaves now. True: in time, so that the cloud takes it for a confirm.
    pub(crate) fn answered(&self) -> bool {
        let in_time = self.since.elapsed() <= IN_TIME && !self.has_gone();
        self.state
            .store(if in_time { ANSWERED_IN_TIME } else { LEFT }, Relaxed);
        in_time
    }

    /// The connection is gone, or it was answered too late or not with 200.
    pub(crate) fn left(&self) {
        self.state.store(LEFT, Relaxed);
    }

    pub(crate) fn was_answered_in_time(&self) -> bool {
        self.state.load(Relaxed) == ANSWERED_IN_TIME
    }

    /// Whether the cloud sends a copy: it has gone, or waited for longer than it does.
    pub(crate) fn was_left_unanswered(&self) -> bool {
        match self.state.load(Relaxed) {
            LEFT => true,
            WAITING => self.since.elapsed() > IN_TIME || self.has_gone(),
            _ => false,
        }
    }
}

/// Marks a caller as gone unless it was answered: a dropped handler means a closed connection.
pub(crate) struct Waiting<'a>(pub(crate) &'a Caller);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.0.state.load(Relaxed) == WAITING {
            self.0.left();
        }
    }
}
