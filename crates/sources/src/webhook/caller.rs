//! Who waits for an answer, and whether it came in time.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::socket::Socket;

/// An answer that leaves later than this may reach the cloud after it has given up at 5 s.
const IN_TIME: Duration = Duration::from_millis(4500);

const WAITING: u8 = 0;
const ANSWERED_IN_TIME: u8 = 1;
const LEFT: u8 = 2;

/// One request's caller.
#[derive(Debug)]
pub(crate) struct Caller {
    since: Instant,
    state: AtomicU8,
    socket: Option<Socket>,
}

impl Caller {
    /// A caller that came at `since`, by this socket.
    pub(crate) fn new(since: Instant, socket: Option<Socket>) -> Self {
        Self {
            since,
            state: AtomicU8::new(WAITING),
            socket,
        }
    }

    /// In doubt, yes: one that has closed its side only is told the same, and a copy that never
    /// comes costs an entry in memory.
    fn has_gone(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::peer_has_closed)
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
