//! A queue source: pull, deliver, and hand the receipts to the confirmer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vodbridge_core::{Ended, HealthCell, Intake, LogLimit, Reserved, chain};
use vodbridge_vod::api::{Action, ErrorClass, MAX_EVENTS, pull_events, split_events};
use vodbridge_vod::{Catalogue, Normalizer, Via};

use super::QueueConfig;
use super::backlog::watch_backlog;
use super::backoff::Backoff;
use super::confirmer::Confirmer;
use super::event::{Event, of_answer};
use super::gate::Gate;
use super::handles::{Handles, Lease, Receipt};
use super::metrics::QueueSourceMetrics;
use super::status::Status;
use crate::cloud::{CallError, CloudClient};

/// The vendor's advice for the long poll, which answers within 5 s:
/// <https://cloud.tencent.com/document/api/266/33433>.
const POLL: Duration = Duration::from_secs(10);
/// What an answer reserves of the byte budget before it is asked for.
const ANSWER: u32 = 1 << 20;
/// An empty answer that came sooner than this was no long poll; the next one waits a little.
const SOON: Duration = Duration::from_secs(1);
/// After an error that only an operator can mend.
const RECHECK: Duration = Duration::from_secs(60);
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// One application's queue.
pub struct Queue {
    pub(super) config: QueueConfig,
    pub(super) cloud: Arc<CloudClient>,
    pub(super) intake: Arc<Intake>,
    pub(super) normalizer: Normalizer,
    pub(super) metrics: Arc<QueueSourceMetrics>,
    status: Status,
    handles: Arc<Mutex<Handles>>,
    gate: Gate,
    bytes: Arc<Semaphore>,
    tasks: TaskTracker,
    without_handle: LogLimit,
}

impl Queue {
    /// The queue that `config` names, asked through `cloud`. `health` tells how it is.
    pub fn new(
        config: QueueConfig,
        cloud: Arc<CloudClient>,
        intake: Intake,
        catalogue: Arc<Catalogue>,
        metrics: QueueSourceMetrics,
        health: Arc<HealthCell>,
    ) -> Self {
        let source = intake.source().clone();
        Self {
            normalizer: Normalizer::new(config.sub_app_id, &source, Via::Queue, catalogue),
            status: Status::new(source, health, &config),
            handles: Arc::new(Mutex::new(Handles::new())),
            gate: Gate::new(config.lease),
            bytes: Arc::new(Semaphore::new(budget(&config) as usize)),
            tasks: TaskTracker::new(),
            without_handle: LogLimit::new(LOG_PAUSE),
            intake: Arc::new(intake),
            metrics: Arc::new(metrics),
            cloud,
            config,
        }
    }

    /// Pulls until `drain`, then finishes what is in flight, confirms included. An open poll is
    /// dropped: what its answer would have brought comes again.
    pub async fn run(self, drain: CancellationToken) {
        let queue = Arc::new(self);
        // Permits bound the receipts, so there is always room.
        let (send, receipts) = mpsc::channel(queue.config.max_in_flight);
        let confirmer = Confirmer::new(
            queue.cloud.clone(),
            queue.config.sub_app_id,
            queue.intake.clone(),
            queue.metrics.clone(),
            queue.handles.clone(),
        );
        let confirmer = tokio::spawn(confirmer.run(receipts));
        let pullers = (0..queue.config.pullers).map(|_| queue.pull_all(&send));
        tokio::select! {
            biased;
            () = drain.cancelled() => {}
            _ = join_all(pullers) => {}
            () = watch_backlog(&queue) => {}
        }
        queue.status.draining();
        drop(send);
        queue.tasks.close();
        queue.tasks.wait().await;
        if let Err(error) = confirmer.await {
            tracing::error!(%error, "the confirmer failed; what it held is pulled again");
        }
    }

    async fn pull_all(self: &Arc<Self>, receipts: &mpsc::Sender<Receipt>) {
        let (mut failed, mut empty) = (Backoff::default(), Backoff::default());
        loop {
            let pause = match self.pull(receipts).await {
                Ok(Pull::Events) => {
                    empty.reset();
                    Duration::ZERO
                }
                Ok(Pull::Empty { after }) if after < SOON => empty.next().min(SOON),
                Ok(Pull::Empty { .. }) => Duration::ZERO,
                Ok(Pull::LeftToTheLease) => SOON,
                Err(error) => {
                    let class = error.class(Action::PullEvents);
                    self.metrics.pulled(result(class));
                    self.status.failed(class, &error);
                    match class {
                        ErrorClass::Stop => RECHECK,
                        _ => failed.next(),
                    }
                }
            };
            if pause.is_zero() {
                failed.reset();
            } else {
                sleep(pause).await;
            }
        }
    }

    /// One pull: permits, the call, and a task for each event of the answer.
    async fn pull(self: &Arc<Self>, receipts: &mpsc::Sender<Receipt>) -> Result<Pull, CallError> {
        self.gate.pass().await;
        let mut permits = self.intake.reserve(MAX_EVENTS as u32).await;
        let mut held = self.reserve_bytes(ANSWER.min(budget(&self.config))).await;
        let body = pull_events(self.config.sub_app_id);
        let deadline = Instant::now() + POLL;
        let called = match self.cloud.call(Action::PullEvents, body, deadline).await {
            Ok(called) => called,
            Err(error) if error.class(Action::PullEvents) == ErrorClass::Empty => {
                return Ok(self.empty(deadline - POLL));
            }
            Err(error) => return Err(error),
        };
        let received = SystemTime::now();
        let lease = Lease {
            pulled: called.sent,
            end: called.sent + self.config.lease,
        };
        let pulled = match split_events(&called.body) {
            Ok(pulled) => pulled,
            Err(error) => {
                let error = CallError::from(error);
                return match error.class(Action::PullEvents) {
                    ErrorClass::Empty => Ok(self.empty(called.sent)),
                    _ => Err(error),
                };
            }
        };
        if pulled.events.is_empty() {
            return Ok(self.empty(called.sent));
        }
        // Before anything else is waited for: from now on no handle of theirs is confirmed.
        let events = of_answer(&called.body, &pulled, lease, received);
        self.arrive(&events, lease);
        let soon = self.patience_end(lease);
        let more = async {
            let size = u32::try_from(called.body.len()).unwrap_or(u32::MAX);
            let most = budget(&self.config);
            if let Some(over) = size.min(most).checked_sub(ANSWER).filter(|over| *over > 0) {
                held.merge(self.reserve_bytes(over).await);
            }
            let missing = events.len().saturating_sub(permits.len());
            permits.extend(self.intake.reserve(missing as u32).await);
        };
        if timeout_at(soon, more).await.is_err() {
            self.metrics.pulled("no_room");
            self.leave(&events);
            return Ok(Pull::LeftToTheLease);
        }
        self.metrics.pulled("events");
        self.status.reached();
        let held = Arc::new(held);
        for (event, permit) in events.into_iter().zip(permits) {
            let (queue, receipts, held) = (self.clone(), receipts.clone(), held.clone());
            self.tasks.spawn(async move {
                queue.take(event, permit, receipts).await;
                // The bytes of the whole answer, until its last event has ended.
                drop(held);
            });
        }
        Ok(Pull::Events)
    }

    fn arrive(&self, events: &[Event], lease: Lease) {
        let mut handles = self.handles();
        for handle in events.iter().filter_map(|event| event.handle.as_ref()) {
            handles.arrive(handle, lease);
        }
    }

    fn leave(&self, events: &[Event]) {
        let mut handles = self.handles();
        for event in events {
            if let Some(handle) = &event.handle {
                handles.left(handle, &event.occurrence);
            }
        }
    }

    fn empty(&self, sent: Instant) -> Pull {
        self.metrics.pulled("empty");
        self.status.reached();
        Pull::Empty {
            after: sent.elapsed(),
        }
    }

    /// Delivers one event, and sends its receipt once every event of its handle is durable.
    async fn take(
        self: Arc<Self>,
        event: Event,
        permit: Reserved,
        receipts: mpsc::Sender<Receipt>,
    ) {
        let until = self.patience_end(event.lease);
        let (id, ended) = self.deliver(&event, permit, until).await;
        if self.gate.ended(ended.result.is_ok()) {
            self.status.slow(self.gate.is_slow());
        }
        let receipt = self.settle(&event, &id, ended);
        drop(event);
        if let Some(receipt) = receipt
            && receipts.send(receipt).await.is_err()
        {
            tracing::error!("there is no confirmer; what is not confirmed is pulled again");
        }
    }

    fn settle(&self, event: &Event, id: &Arc<str>, ended: Ended) -> Option<Receipt> {
        let Some(handle) = &event.handle else {
            if let Some(held_back) = self.without_handle.allows() {
                tracing::error!(
                    source = &**self.intake.source(),
                    id = &**id,
                    held_back,
                    "an event came without a handle, so it cannot be confirmed and comes again"
                );
            }
            return None;
        };
        if let Err(error) = &ended.result {
            self.metrics.withheld.inc();
            tracing::debug!(
                source = &**self.intake.source(),
                id = &**id,
                error = chain(error),
                "not delivered; the cloud keeps the event"
            );
        }
        self.handles().ended(handle, id, event.lease, ended)
    }

    fn patience_end(&self, lease: Lease) -> Instant {
        lease.pulled + self.config.patience()
    }

    async fn reserve_bytes(&self, bytes: u32) -> OwnedSemaphorePermit {
        let permits = self.bytes.clone().acquire_many_owned(bytes).await;
        permits.expect("the byte budget is never closed")
    }

    fn handles(&self) -> std::sync::MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a pull ended well.
enum Pull {
    Events,
    Empty {
        after: Duration,
    },
    /// There was no room for what came.
    LeftToTheLease,
}

fn budget(config: &QueueConfig) -> u32 {
    u32::try_from(config.max_bytes).unwrap_or(u32::MAX)
}

fn result(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Throttled => "throttled",
        ErrorClass::Reauthenticate => "unauthenticated",
        ErrorClass::Stop => "refused",
        ErrorClass::Empty | ErrorClass::BackOff | ErrorClass::Stale => "failed",
    }
}
