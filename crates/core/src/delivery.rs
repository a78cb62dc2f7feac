//! The state of one delivery: how long it may go on, and which sinks have settled it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout_at};

use crate::places::{Needs, Places, Taken};
use crate::{SinkSet, Targets};

/// Kept back of every deadline, so that a dead letter can still be written.
pub const DEAD_LETTER_RESERVE: Duration = Duration::from_secs(2);

/// A sender that keeps repeating an event extends its delivery to so many patiences at most.
const SENDS: u32 = 3;

/// How long a delivery may go on.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// No publish starts after it.
    pub deadline: Instant,
    /// When an event without a destination stops waiting for one and is dead-lettered. None: it
    /// waits for the deadline and is then not delivered.
    pub unroutable_until: Option<Instant>,
    /// Whether another attempt may be started that the deadline would cut off: it may succeed, and
    /// it may land after its event was given up. True where nobody delivers the event later; else
    /// the delivery ends instead.
    pub cuts_attempts: bool,
    /// Whether a sink that does not answer is passed by: the delivery ends, not delivered, once
    /// the others have settled. True where the event is delivered to that sink later.
    pub passes_by: bool,
}

impl Patience {
    /// Until `deadline`; an unroutable event is then not delivered.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline,
            unroutable_until: None,
            cuts_attempts: true,
            passes_by: false,
        }
    }

    /// The same, passing by the sinks that do not answer.
    pub fn passing_by(self) -> Self {
        Self {
            passes_by: true,
            ..self
        }
    }

    /// The same for an event that is delivered later if not by then: what could land after its
    /// deadline, and so a second time, is not started.
    pub fn without_cut_attempts(self) -> Self {
        Self {
            cuts_attempts: false,
            ..self
        }
    }
}

/// Room to wait for the dead letter's sink, among others of the source.
#[derive(Debug)]
pub(crate) struct Room {
    _share: Option<Taken>,
}

/// One envelope on its way: shared between the copies of an event, and between one attempt of
/// the cloud and the next.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) targets: Targets,
    acked: AtomicU64,
    dead_lettered: AtomicU64,
    /// Sinks that are left out.
    passed_by: SinkSet,
    deadline: Mutex<Instant>,
    /// However many copies come, it ends by then.
    latest: Instant,
    unroutable_until: Option<Instant>,
    pub(crate) cuts_attempts: bool,
    begun: AtomicBool,
    shadowed: AtomicBool,
    pub(crate) started: SystemTime,
    /// What it holds of the source's places until each sink has settled.
    shares: Mutex<Option<Taken>>,
    /// Where refusals get room to wait for the dead letter's sink.
    places: Option<Arc<Places>>,
}

impl Delivery {
    pub(crate) fn new(targets: Targets, patience: Patience) -> Self {
        Self {
            targets,
            acked: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            passed_by: SinkSet::default(),
            deadline: Mutex::new(patience.deadline),
            latest: patience.deadline + (patience.deadline - Instant::now()) * (SENDS - 1),
            unroutable_until: patience.unroutable_until,
            cuts_attempts: patience.cuts_attempts,
            begun: AtomicBool::new(false),
            shadowed: AtomicBool::new(false),
            started: SystemTime::now(),
            shares: Mutex::new(None),
            places: None,
        }
    }

    /// A delivery that goes on where `earlier` stopped: only to the sinks still open.
    pub(crate) fn resuming(earlier: &Self, patience: Patience) -> Self {
        Self {
            acked: AtomicU64::new(earlier.acked.load(Relaxed)),
            dead_lettered: AtomicU64::new(earlier.dead_lettered.load(Relaxed)),
            shadowed: AtomicBool::new(true),
            started: earlier.started,
            places: earlier.places.clone(),
            ..Self::new(earlier.targets, patience)
        }
    }

    /// Some sinks have acked it before, and some are left out.
    pub(crate) fn without(self, acked: SinkSet, passed_by: SinkSet) -> Self {
        self.acked.fetch_or(acked.bits(), Relaxed);
        Self { passed_by, ..self }
    }

    /// It takes its places among others of the source.
    pub(crate) fn among(self, places: Arc<Places>) -> Self {
        let places = Some(places);
        Self { places, ..self }
    }

    /// Resolves once there is room to wait for the dead letter's sink. None: not before the
    /// deadline. Hold it for one dead letter only: an event that several sinks refuse waits for
    /// room again, and would wait for itself.
    pub(crate) async fn room_to_wait_for_dead_letter(&self) -> Option<Room> {
        let Some(places) = &self.places else {
            return Some(Room { _share: None });
        };
        loop {
            let deadline = self.deadline();
            match timeout_at(deadline, places.take(Needs::dead_letter())).await {
                Ok(share) => {
                    return Some(Room {
                        _share: Some(share),
                    });
                }
                Err(_) if self.deadline() > deadline => {}
                Err(_) => return None,
            }
        }
    }

    /// The required sinks that have neither acked nor been replaced by a dead letter, nor are left
    /// out.
    pub(crate) fn open(&self) -> SinkSet {
        let open = self.targets.required.without(self.settled());
        open.without(self.passed_by)
    }

    /// Of the sinks that are left out, one that has not got it.
    pub(crate) fn passed_by(&self) -> Option<usize> {
        self.passed_by.without(self.settled()).iter().next()
    }

    /// The sinks that have acked it, or whose refusal is in the dead letter.
    pub(crate) fn settled(&self) -> SinkSet {
        SinkSet::from_bits(self.acked.load(Relaxed) | self.dead_lettered.load(Relaxed))
    }

    pub(crate) fn any_dead_lettered(&self) -> bool {
        self.dead_lettered.load(Relaxed) != 0
    }

    pub(crate) fn acked(&self, sink: usize) {
        self.acked.fetch_or(SinkSet::of([sink]).bits(), Relaxed);
        self.release(sink);
    }

    pub(crate) fn dead_lettered(&self, sink: usize) {
        self.dead_lettered
            .fetch_or(SinkSet::of([sink]).bits(), Relaxed);
        self.release(sink);
    }

    /// True the first time: shadow sinks get one publish an event.
    pub(crate) fn take_shadow(&self) -> bool {
        !self.targets.shadow.is_empty() && !self.shadowed.swap(true, Relaxed)
    }

    /// Moves the deadline later; never earlier.
    pub(crate) fn extend(&self, deadline: Instant) {
        let mut current = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *current = deadline.min(self.latest).max(*current);
    }

    pub(crate) fn deadline(&self) -> Instant {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last moment for a publish to an ordinary sink.
    pub(crate) fn publish_until(&self) -> Instant {
        let deadline = self.deadline();
        deadline
            .checked_sub(DEAD_LETTER_RESERVE)
            .unwrap_or(deadline)
    }

    pub(crate) fn unroutable_until(&self) -> Option<Instant> {
        self.unroutable_until
    }

    /// It has its permits: from now on something may be published.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Relaxed);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Relaxed)
    }

    /// Keeps its share of each sink until that has settled.
    pub(crate) fn keep_shares(&self, shares: Taken) {
        *self.shares() = Some(shares);
    }

    fn release(&self, sink: usize) {
        if let Some(shares) = &mut *self.shares() {
            shares.release(sink);
        }
    }

    /// Gives all shares back: the delivery has ended.
    pub(crate) fn release_all(&self) {
        self.shares().take();
    }

    fn shares(&self) -> MutexGuard<'_, Option<Taken>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_the_dead_letters_room_is_as_long_as_copies_make_it() {
        let seconds = Duration::from_secs;
        let places = Places::with(1, 1, 1);
        let taken = places.take(Needs::dead_letter()).await;
        let patience = Patience::until(Instant::now() + seconds(5));
        let delivery = Delivery::new(Targets::default(), patience).among(places);
        let meanwhile = async {
            sleep(seconds(4)).await;
            delivery.extend(Instant::now() + seconds(8));
            advance(seconds(7)).await;
            drop(taken);
        };
        let (room, ()) = tokio::join!(delivery.room_to_wait_for_dead_letter(), meanwhile);
        assert!(room.is_some());
        let nobody_leaves = delivery.room_to_wait_for_dead_letter().await;
        assert!(nobody_leaves.is_none() && Instant::now() >= delivery.deadline());
    }
}
