//! The open connections of a listener: capped, and at the cap the longest idle one makes room.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The open connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Arc<Semaphore>,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    became_idle: Notify,
    opened: AtomicU64,
    start: Instant,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    /// Milliseconds after the listener's start; [`BUSY`] while a request is under way.
    idle_since: AtomicU64,
    close: CancellationToken,
    /// Asked to close by a drain, which waits for a request on its way.
    draining: AtomicBool,
}

const BUSY: u64 = u64::MAX;

/// A connection's place under the cap, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    pub(super) connection: Arc<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(cap)),
            open: Mutex::default(),
            became_idle: Notify::new(),
            opened: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    /// A place for one more connection. At the cap it closes the longest idle one, or waits for
    /// one to end or idle: nothing is accepted only to be closed.
    pub(super) async fn admit(self: &Arc<Self>) -> Slot {
        loop {
            let idle = self.became_idle.notified();
            if self.slots.available_permits() == 0 {
                self.close_longest_idle();
            }
            tokio::select! {
                permit = self.slots.clone().acquire_owned() => {
                    return self.open(permit.expect("the slots are never closed"));
                }
                () = idle => {}
            }
        }
    }

    fn open(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Slot {
        let number = self.opened.fetch_add(1, Relaxed);
        let idle_since = AtomicU64::new(self.now());
        let connection = Arc::new(Connection {
            number,
            idle_since,
            close: CancellationToken::new(),
            draining: AtomicBool::new(false),
        });
        self.lock().insert(number, connection.clone());
        Slot {
            connections: self.clone(),
            connection,
            _permit: permit,
        }
    }

    /// Asks the connection that has been idle the longest to close.
    pub(super) fn close_longest_idle(&self) {
        let open = self.lock();
        let idle = open
            .values()
            .filter(|c| c.idle_since.load(Relaxed) != BUSY && !c.close.is_cancelled());
        if let Some(longest) = idle.min_by_key(|c| (c.idle_since.load(Relaxed), c.number)) {
            longest.close.cancel();
        }
    }

    /// Asks every connection to close once it has answered what it has received.
    pub(super) fn close_all(&self) {
        for connection in self.lock().values() {
            connection.draining.store(true, Relaxed);
            connection.close.cancel();
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(BUSY - 1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// A request is under way on the connection until the guard is dropped.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.connection.idle_since.store(BUSY, Relaxed);
        Busy(self)
    }

    /// Whether a request is under way on the connection.
    pub(super) fn is_busy(&self) -> bool {
        self.connection.idle_since.load(Relaxed) == BUSY
    }

    /// Resolves when the connection is to close; in a drain `linger` after that.
    pub(super) async fn asked_to_close(&self, linger: Duration) {
        self.connection.close.cancelled().await;
        if self.connection.draining.load(Relaxed) {
            sleep(linger).await;
        }
    }

    /// For how long no request has been under way on the connection.
    pub(super) fn idle_for(&self) -> Duration {
        match self.connection.idle_since.load(Relaxed) {
            BUSY => Duration::ZERO,
            since => Duration::from_millis(self.connections.now().saturating_sub(since)),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.connection.number);
    }
}

/// See [`Slot::busy`].
pub(super) struct Busy<'a>(&'a Slot);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let connections = &self.0.connections;
        self.0
            .connection
            .idle_since
            .store(connections.now(), Relaxed);
        if connections.slots.available_permits() == 0 {
            connections.became_idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn at_the_cap_the_longest_idle_connection_makes_room() {
        let connections = Arc::new(Connections::new(3));
        let first = connections.admit().await;
        advance(Duration::from_secs(1)).await;
        let second = connections.admit().await;
        let third = connections.admit().await;
        let busy = first.busy();
        let mut fourth = Box::pin(connections.admit());
        assert!(fourth.as_mut().now_or_never().is_none());
        assert!(second.connection.close.is_cancelled(), "idle the longest");
        assert!(!first.connection.close.is_cancelled() && !third.connection.close.is_cancelled());
        drop(second);
        fourth.await;
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_busy_accepting_waits() {
        let connections = Arc::new(Connections::new(1));
        let only = connections.admit().await;
        let busy = only.busy();
        let mut next = Box::pin(connections.admit());
        assert!(next.as_mut().now_or_never().is_none());
        assert!(!only.connection.close.is_cancelled());
        drop(busy);
        assert!(next.as_mut().now_or_never().is_none());
        assert!(only.connection.close.is_cancelled(), "it became idle");
        drop(only);
        next.await;
    }
}
