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
    /// What is tried on sinks that do not answer.
    probes: HashMap<Away, Probes>,
    /// The last record that was looked at this time.
    after: Option<RecordId>,
    /// Whether there was none after it.
    at_end: bool,
    /// When this time began.
    began: Instant,
    /// When the next time begins; None: there is more to look at this time.
    again_at: Option<Instant>,
    pause: Duration,
    /// Whether anything was delivered this time.
    progress: bool,
    /// Whether a sink was tried this time that did not answer then either.
    tried: bool,
}

/// Records that are tried on the same sinks, which do not answer. Each gets its turn: the oldest may
/// be those that such a sink never takes.
#[derive(Default)]
struct Probes {
    under_way: usize,
    /// The last one that was tried.
    last: Option<RecordId>,
    /// Whether there was no room this time for one that comes after it.
    more: bool,
}

impl Probes {
    fn take(&mut self, record: RecordId) -> bool {
        if self.more || self.last.is_some_and(|last| record <= last) {
            return false;
        }
        self.more = self.under_way >= PROBES;
        if !self.more {
            self.under_way += 1;
            self.last = Some(record);
        }
        !self.more
    }

    /// The spool has been gone through.
    fn end(&mut self) {
        if !self.more {
            self.last = None;
        }
    }
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
            began: Instant::now(),
            again_at: None,
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
            // Whatever else there is to do: records that come all the time must not put it off.
            if self.again_at.is_some_and(|at| at <= Instant::now()) && self.leaves_some() {
                self.begin_anew();
            }
            if let Some(room) = self.room() {
                self.pick(room).await;
                continue;
            }
            let again_at = self.again_at.filter(|_| self.leaves_some());
            tokio::select! {
                biased;
                () = begin.cancelled() => {}
                Some(done) = self.under_way.join_next() => self.ended(done),
                Ok(()) = self.returns.changed() => self.begin_anew(),
                () = store.changed() => self.at_end = false,
                () = sleep_until(again_at.unwrap_or(self.began)), if again_at.is_some() => {}
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
        // Where all records need the same sink, more of them need not be looked at.
        let is_away = self.deliverer.intake.is_only_sink_away();
        let most = if is_away { PROBES } else { WINDOW };
        let room = most.saturating_sub(self.queue.len());
        let fits = self.queue.bytes() < WINDOW_BYTES;
        let more = !self.at_end && !self.deliverer.spool.store.is_empty();
        (room > 0 && fits && more).then_some(room)
    }

    async fn pick(&mut self, room: usize) {
        if self.after.is_none() {
            self.began = Instant::now();
        }
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
    }

    fn key(&self, picked: &Picked) -> Option<String> {
        let keep_order = self.deliverer.spool.keeps_order();
        picked.key(keep_order).map(str::to_owned)
    }

    /// Delivers a record. Where enough others are tried on a sink that it needs and that does not
    /// answer, it goes to the others that it needs, or stays.
    fn start(&mut self, picked: Picked, key: Option<String>) {
        let (away, bytes) = (self.deliverer.away(&picked), picked.bytes);
        let mut tries = || self.probes.entry(away).or_default().take(picked.id);
        let probe = (!away.is_empty() && tries()).then_some(away);
        let passing_by = !away.is_empty() && probe.is_none();
        if passing_by && !away.leaves_others() {
            self.queue.left(key.as_deref(), bytes);
            return;
        }
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
            probes.under_way -= 1;
        }
        match done.ending {
            Ending::Settled => {
                self.progress = true;
                self.begin_soon();
                let next = self.queue.settled(done.key.as_deref(), done.bytes)?;
                Some((next, done.key))
            }
            Ending::Failed => {
                if done.probe.is_some() {
                    // There is always somebody who tries: it is how a return is noticed.
                    self.tried = true;
                    self.begin_soon();
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

    /// The spool has been gone through; some time later it is again. What has come since does not
    /// move that time.
    fn end(&mut self) {
        self.at_end = true;
        if self.again_at.is_some() {
            return;
        }
        self.pause = match self.progress || self.tried {
            true => SHORTEST_PAUSE,
            false => (self.pause * 2).min(LONGEST_PAUSE),
        };
        // A long way is not gone again and again.
        let took = self.began.elapsed().min(LONGEST_PAUSE);
        let pause = match self.progress {
            true => self.pause,
            false => self.pause.max(took),
        };
        (self.progress, self.tried) = (false, false);
        self.probes.values_mut().for_each(Probes::end);
        self.again_at = Some(Instant::now() + pause);
    }

    /// Something has changed: if there is nothing more to look at, it is gone through again soon.
    fn begin_soon(&mut self) {
        let soon = Instant::now() + SHORTEST_PAUSE;
        self.again_at = self.again_at.map(|at| at.min(soon));
    }

    fn begin_anew(&mut self) {
        self.queue.begin_anew();
        self.probes.values_mut().for_each(|of| of.more = false);
        self.after = None;
        self.at_end = false;
        self.again_at = None;
    }
}
