//! Delivers what the spool holds: oldest first, many at once, in a window of memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{Away, Intake};
use vodbridge_store::{Order, RecordId};

use super::Spool;
use super::queue::Queue;
use super::record::{Deliverer, Ending, Picked};

/// Records that the source has at once.
pub const WINDOW: usize = 512;
/// Bytes of their events, but for those of one more read.
const WINDOW_BYTES: usize = 32 << 20;
/// Records that are tried at once on a sink that does not answer: enough that one which alone
/// cannot be delivered does not hide that the sink is back, and too few to burden it.
const PROBES: usize = 8;
/// Between two times that the spool is gone through, while some of it cannot be delivered.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Delivers the records of one spool until they are acked or dead-lettered.
pub struct SpoolSource {
    deliverer: Arc<Deliverer>,
    returns: watch::Receiver<u64>,
    queue: Queue,
    under_way: JoinSet<Done>,
    /// How many are tried on sinks that do not answer.
    probes: HashMap<Away, usize>,
    /// The last record that was looked at this time.
    after: Option<RecordId>,
    /// Whether there was none after it.
    at_end: bool,
    again_at: Instant,
    pause: Duration,
    /// Whether anything was delivered this time.
    progress: bool,
    /// Whether a sink was tried this time that did not answer then either.
    tried: bool,
}

/// The end of one delivery.
struct Done {
    key: Option<String>,
    bytes: usize,
    probe: Option<Away>,
    ending: Ending,
}

impl SpoolSource {
    /// A source over a spool. `intake` is one beside the webhook's, for [`WINDOW`] deliveries,
    /// each of which may go on for `patience`.
    pub fn new(spool: Arc<Spool>, intake: Intake, patience: Duration) -> Self {
        Self {
            returns: intake.returns(),
            deliverer: Arc::new(Deliverer {
                spool,
                intake,
                patience,
            }),
            queue: Queue::default(),
            under_way: JoinSet::new(),
            probes: HashMap::new(),
            after: None,
            at_end: false,
            again_at: Instant::now(),
            pause: SHORTEST_PAUSE,
            progress: false,
            tried: false,
        }
    }

    /// Delivers until `begin`, then finishes what is under way; the rest stays where it is.
    pub async fn run(mut self, begin: CancellationToken) {
        let deliverer = self.deliverer.clone();
        let store = &deliverer.spool.store;
        while !begin.is_cancelled() {
            if let Some(room) = self.room() {
                self.pick(room).await;
                continue;
            }
            tokio::select! {
                biased;
                () = begin.cancelled() => {}
                Some(done) = self.under_way.join_next() => self.ended(done),
                Ok(()) = self.returns.changed() => self.begin_anew(),
                () = store.changed() => self.at_end = false,
                () = sleep_until(self.again_at), if self.at_end && self.leaves_some() => {
                    self.begin_anew();
                }
            }
        }
        self.queue.leave_waiting();
        while let Some(done) = self.under_way.join_next().await {
            self.finish(done);
        }
    }

    /// How many records may be picked now.
    fn room(&mut self) -> Option<usize> {
        // What has ended comes first: it may be what others wait behind.
        while let Some(done) = self.under_way.try_join_next() {
            self.ended(done);
        }
        self.deliverer.spool.note_if_empty();
        let all_away = self.deliverer.intake.all_away();
        let most = if all_away { PROBES } else { WINDOW };
        let room = most.saturating_sub(self.queue.len());
        let fits = self.queue.bytes() < WINDOW_BYTES;
        let more = !self.at_end && !self.deliverer.spool.store.is_empty();
        (room > 0 && fits && more).then_some(room)
    }

    async fn pick(&mut self, room: usize) {
        let spool = &self.deliverer.spool;
        let order = match spool.keeps_order() {
            true => Order::ByKey,
            false => Order::None,
        };
        // The store says in the log what is wrong with it.
        let picked = spool
            .store
            .pick(self.after, room, order)
            .await
            .unwrap_or_default();
        match picked.last() {
            Some((last, _)) => self.after = Some(last.id),
            None => self.end(),
        }
        for picked in picked {
            let picked = Picked::new(picked);
            let key = self.key(&picked);
            if let Some(picked) = self.queue.enter(picked, key.as_deref()) {
                self.start(picked, key);
            }
        }
        if self.queue.has_passed_enough() {
            self.end();
        }
    }

    fn key(&self, picked: &Picked) -> Option<String> {
        let keep_order = self.deliverer.spool.keeps_order();
        picked.key(keep_order).map(str::to_owned)
    }

    /// Delivers a record. Where enough others are tried on a sink that it needs and that does not
    /// answer, it goes to the others that it needs, or stays.
    fn start(&mut self, picked: Picked, key: Option<String>) {
        let (away, bytes) = (self.deliverer.away(&picked), picked.bytes);
        let probes = self.probes.entry(away).or_default();
        let probe = (!away.is_empty() && *probes < PROBES).then_some(away);
        let passing_by = !away.is_empty() && probe.is_none();
        if passing_by && !away.leaves_others() {
            self.queue.left(key.as_deref(), bytes);
            return;
        }
        *probes += usize::from(probe.is_some());
        let deliverer = self.deliverer.clone();
        self.under_way.spawn(async move {
            let ending = deliverer.deliver(picked, passing_by).await;
            Done {
                key,
                bytes,
                probe,
                ending,
            }
        });
    }

    fn ended(&mut self, done: Result<Done, JoinError>) {
        if let Some((picked, key)) = self.finish(done) {
            self.start(picked, key);
        }
    }

    /// Takes note of an end. Returns the record that waited behind it.
    fn finish(&mut self, done: Result<Done, JoinError>) -> Option<(Picked, Option<String>)> {
        let done = match done {
            Ok(done) => done,
            // A delivery does not panic: it catches what sinks do.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if let Some(probes) = done.probe.and_then(|away| self.probes.get_mut(&away)) {
            *probes -= 1;
        }
        match done.ending {
            Ending::Settled => {
                self.progress = true;
                let next = self.queue.settled(done.key.as_deref(), done.bytes)?;
                Some((next, done.key))
            }
            Ending::Failed => {
                if done.probe.is_some() {
                    // There is always somebody who tries: it is how a return is noticed.
                    self.tried = true;
                    self.again_at = self.again_at.min(Instant::now() + SHORTEST_PAUSE);
                }
                self.queue.left(done.key.as_deref(), done.bytes);
                None
            }
        }
    }

    /// Whether there are records that this source does not have: left, held by others, or about
    /// to go.
    fn leaves_some(&self) -> bool {
        self.deliverer.spool.store.len() > self.queue.len() as u64
    }

    /// The spool has been gone through; some time later it is again.
    fn end(&mut self) {
        self.at_end = true;
        self.pause = match self.progress || self.tried {
            true => SHORTEST_PAUSE,
            false => (self.pause * 2).min(LONGEST_PAUSE),
        };
        (self.progress, self.tried) = (false, false);
        self.again_at = Instant::now() + self.pause;
    }

    fn begin_anew(&mut self) {
        self.queue.begin_anew();
        self.after = None;
        self.at_end = false;
    }
}
