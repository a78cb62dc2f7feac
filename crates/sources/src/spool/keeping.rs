//! What a webhook answers by when no broker does.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::SetOnce;
use tokio::time::{Instant, timeout_at};
use vodbridge_core::{
    DEAD_LETTER_TYPE, Envelope, Generations, Health, LogLimit, Problem, State, chain,
};
use vodbridge_store::{AccessError, Entry, Held, Store, StoreError};

use super::SpoolConfig;
use super::metrics::SpoolSourceMetrics;

/// How long it is remembered that an event is in the spool and its caller has not heard of it: the
/// cloud's last copy has come by then.
const LIFETIME: Duration = Duration::from_secs(600);
/// Of these events, remembered at most.
const CAPACITY: usize = 100_000;
/// Between two lines of a kind.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// The spool of one source.
pub struct Spool {
    source: Arc<str>,
    pub(super) store: Store,
    keep_order: bool,
    /// Events whose callers may send copies: whether they are kept, once that is known.
    unheard: Mutex<Generations<Arc<str>, Arc<SetOnce<bool>>>>,
    pub(super) metrics: SpoolSourceMetrics,
    in_use: AtomicBool,
    refusals: LogLimit,
}

/// What became of an event that was to be kept.
pub(crate) enum Keep {
    /// It is durable.
    Kept(Kept),
    /// It is durable, since a copy of it is.
    Already,
    /// It is not durable, or nobody knows whether it is.
    Refused,
}

impl Keep {
    /// Whether it is durable.
    pub(crate) fn is_kept(&self) -> bool {
        !matches!(self, Self::Refused)
    }
}

/// An event that is durable, and whose own delivery goes on. Dropped, it is left to the
/// [`SpoolSource`](super::SpoolSource).
pub(crate) struct Kept {
    spool: Arc<Spool>,
    id: Arc<str>,
    held: Held,
}

impl Spool {
    /// Opens the spool of a source; it is this process's alone.
    pub fn open(
        source: &str,
        config: &SpoolConfig,
        metrics: SpoolSourceMetrics,
    ) -> Result<Arc<Self>, StoreError> {
        let store = Store::open(config.store())?;
        let spool = Self {
            source: source.into(),
            keep_order: config.keep_order,
            unheard: Mutex::new(Generations::new(LIFETIME, CAPACITY)),
            metrics,
            in_use: AtomicBool::new(!store.is_empty()),
            refusals: LogLimit::new(LOG_PAUSE),
            store,
        };
        if !spool.store.is_empty() {
            let (source, records) = (&*spool.source, spool.store.len());
            tracing::info!(
                source,
                records,
                "events wait in the spool and are delivered from there"
            );
        }
        Ok(Arc::new(spool))
    }

    /// The operator's name of its source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether events of one partition key keep their order.
    pub(super) fn keeps_order(&self) -> bool {
        self.keep_order
    }

    /// Makes an event durable, once whatever copies of it come, by `until`. One that comes too
    /// late for that may be kept nevertheless, and is delivered then.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        envelope: &Envelope,
        received: SystemTime,
        until: Instant,
    ) -> Keep {
        let id: Arc<str> = envelope.id().into();
        let mut first = None;
        let known = {
            let mut unheard = self.unheard();
            match unheard.get(&id) {
                Some(known) => known.clone(),
                None => {
                    let known = Arc::new(SetOnce::new());
                    unheard.insert(id.clone(), known.clone());
                    first = Some(id);
                    known
                }
            }
        };
        let Some(id) = first else {
            let kept = timeout_at(until, known.wait()).await;
            return match kept.is_ok_and(|kept| *kept) {
                true => Keep::Already,
                false => Keep::Refused,
            };
        };
        let entry = Entry {
            source: self.source.to_string(),
            received,
            attempts: 0,
            settled: Vec::new(),
            envelope: envelope.clone(),
        };
        // By itself: a caller that stops waiting must not leave its copies without an answer.
        let append = tokio::spawn(self.clone().append(id, entry, known));
        match timeout_at(until, append).await {
            Ok(Ok(Some(kept))) => Keep::Kept(kept),
            Ok(_) => Keep::Refused,
            Err(_) => {
                self.metrics.slow.inc();
                self.log_refusal("the disk is slow; look at what else writes to it");
                Keep::Refused
            }
        }
    }

    async fn append(
        self: Arc<Self>,
        id: Arc<str>,
        entry: Entry,
        known: Arc<SetOnce<bool>>,
    ) -> Option<Kept> {
        let start = Instant::now();
        let appended = self.store.append(&entry).await;
        // Nobody else sets it: an event has one append at a time.
        known.set(appended.is_ok()).ok();
        let held = match appended {
            Ok(held) => held,
            Err(error) => {
                self.unheard().remove(&id);
                match &error {
                    AccessError::Full { .. } => self.metrics.full.inc(),
                    AccessError::Io { .. } | AccessError::Closed => self.metrics.broken.inc(),
                };
                self.log_refusal(&chain(&error));
                return None;
            }
        };
        self.metrics.appended.inc();
        self.metrics.append_took(start.elapsed());
        if !self.in_use.swap(true, Relaxed) {
            let source = &*self.source;
            tracing::warn!(
                source,
                "events are not acked in time and are kept in the spool; look at the sinks"
            );
        }
        let spool = self;
        Some(Kept { spool, id, held })
    }

    /// Whether the event is in the spool: nothing more has to be done for a copy of it.
    pub(crate) fn holds(&self, id: &str) -> bool {
        let mut unheard = self.unheard();
        unheard
            .get(id)
            .is_some_and(|kept| kept.get() == Some(&true))
    }

    /// The caller of this event was answered 200 in time, so that no copy of it will come.
    pub(crate) fn confirmed(&self, id: &str) {
        self.unheard().remove(id);
    }

    /// Whether an older event of the same partition key waits, which this one must not overtake.
    pub(crate) fn must_follow(&self, envelope: &Envelope) -> bool {
        let key = envelope.partition_key();
        self.keep_order
            && envelope.ty() != DEAD_LETTER_TYPE
            && key.is_some_and(|key| self.store.has_key(key))
    }

    /// Takes out the record of an event that needs no more delivering. True: its caller may not
    /// have heard of it, so that copies may come.
    pub(super) async fn settled(&self, id: &str, held: Held) -> bool {
        if let Err(error) = self.store.take_out(held).await {
            // The next owner delivers it again.
            tracing::warn!(
                error = chain(&error),
                "a delivered record stays in the spool"
            );
        }
        self.unheard().remove(id).is_some()
    }

    pub(super) fn note_if_empty(&self) {
        if self.store.is_empty() && self.in_use.swap(false, Relaxed) {
            tracing::info!(source = &*self.source, "the spool is empty again");
        }
    }

    /// Counts a delivery that did not end well, and leaves the record for another, to the sinks
    /// that do not have it.
    pub(super) async fn failed(&self, held: Held, settled: &[String]) {
        if let Err(error) = self.store.leave(held, settled).await {
            tracing::debug!(error = chain(&error), "an attempt was not noted");
        }
    }

    /// Sets the gauges to what it holds now.
    pub fn measure(&self) {
        self.metrics.measure(&self.store);
    }

    /// What it does, and what is wrong.
    pub fn health(&self) -> Health {
        let mut health = self.store.health();
        let (records, bytes) = (self.store.len(), self.store.bytes());
        let max_bytes = self.store.config().max_bytes;
        if health.state != State::Up {
            return health;
        }
        if records > 0 {
            let age = self.store.oldest_age(SystemTime::now()).unwrap_or_default();
            let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
            let doing = &health.doing;
            health.doing = format!("{doing}: {records} wait, the oldest for {age}");
        }
        if bytes > max_bytes / 5 * 4 {
            health.state = State::Degraded;
            health.problem = Some(Problem {
                what: format!(
                    "{bytes} of {max_bytes} bytes are taken; a full spool takes no event"
                ),
                remedy: "bring the sinks back, or raise max_bytes".to_owned(),
            });
        }
        health
    }

    /// Writes what is still to be written, and lets go of the directory.
    pub async fn close(&self) {
        let records = self.store.len();
        self.store.close().await;
        if records > 0 {
            let source = &*self.source;
            tracing::warn!(
                source,
                records,
                "events are left in the spool; the next start delivers them"
            );
        }
    }

    fn log_refusal(&self, error: &str) {
        if let Some(held_back) = self.refusals.allows() {
            let source = &*self.source;
            tracing::error!(
                source,
                error,
                held_back,
                "an event could not be kept in the spool; its caller hears nothing until a broker has it"
            );
        }
    }

    fn unheard(&self) -> MutexGuard<'_, Generations<Arc<str>, Arc<SetOnce<bool>>>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// The event's own delivery has ended well.
    pub(crate) async fn delivered(self) {
        self.spool.metrics.delivered.inc();
        self.spool.settled(&self.id, self.held).await;
    }

    /// The event's own delivery has ended: it is left to the spool, for the sinks that are not
    /// among these.
    pub(crate) async fn left(self, settled: &[String]) {
        self.spool.failed(self.held, settled).await;
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use vodbridge_core::testing::envelope;

    use super::super::SpoolMetrics;
    use super::*;

    #[tokio::test]
    async fn only_where_order_is_kept_a_newer_event_follows_an_older_one_of_its_key() {
        for keep_order in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let settings = serde_json::json!({
                "directory": directory.path(), "keep_order": keep_order,
            });
            let config = serde_json::from_value(settings).unwrap();
            let metrics = SpoolMetrics::default().source("callback");
            let spool = Spool::open("callback", &config, metrics).unwrap();
            let (older, newer) = (envelope("1", "NewFileUpload"), envelope("2", "FileDeleted"));
            assert!(!spool.must_follow(&newer));
            let until = Instant::now() + Duration::from_secs(30);
            let kept = spool.keep(&older, SystemTime::now(), until);
            let Keep::Kept(kept) = kept.await else {
                panic!("it is not kept");
            };
            assert_eq!(spool.must_follow(&newer), keep_order);
            kept.delivered().await;
            spool.close().await;
        }
    }
}
