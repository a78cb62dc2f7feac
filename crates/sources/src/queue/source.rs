//! A queue source: pull, deliver, and hand the receipts to the confirmer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
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
    status: Arc<Status>,
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
            status: Arc::new(Status::new(source, health, &config)),
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
        let confirmer = Arc::new(Confirmer {
            cloud: queue.cloud.clone(),
            sub_app_id: queue.config.sub_app_id,
            intake: queue.intake.clone(),
            metrics: queue.metrics.clone(),
            handles: queue.handles.clone(),
            status: queue.status.clone(),
        });
        let confirmer = tokio::spawn(confirmer.run(receipts));
        // Tasks of their own: what comes is split where nobody else waits for it.
        let mut pullers = JoinSet::new();
        for _ in 0..queue.config.pullers {
            pullers.spawn(queue.clone().pull_all(send.clone()));
        }
        tokio::select! {
            biased;
            () = drain.cancelled() => {}
            () = watch_backlog(&queue) => {}
            Some(Err(failed)) = pullers.join_next() => {
                // A puller has no end of its own.
                if let Ok(panic) = failed.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        pullers.shutdown().await;
        queue.status.draining();
        drop(send);
        queue.tasks.close();
        queue.tasks.wait().await;
        if let Err(error) = confirmer.await {
            tracing::error!(%error, "the confirmer failed; what it held is pulled again");
        }
    }

    async fn pull_all(self: Arc<Self>, receipts: mpsc::Sender<Receipt>) {
        let (mut failed, mut empty) = (Backoff::default(), Backoff::default());
        loop {
            let pulled = self.pull(&receipts).await;
            if pulled.is_ok() {
                failed.reset();
            }
            let pause = match pulled {
                Ok(Pull::Events) => {
                    empty.reset();
                    continue;
                }
                Ok(Pull::Empty { after }) if after < SOON => empty.next().min(SOON),
                Ok(Pull::Empty { .. }) => continue,
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
            sleep(pause).await;
        }
    }

    /// One pull: permits, the call, and a task for each event of the answer.
    async fn pull(self: &Arc<Self>, receipts: &mpsc::Sender<Receipt>) -> Result<Pull, CallError> {
        self.gate.pass().await;
        let permits = self.intake.reserve(MAX_EVENTS).await;
        let held = self.reserve_bytes(ANSWER.min(budget(&self.config))).await;
        let body = pull_events(self.config.sub_app_id);
        let turn = self.cloud.turn(Action::PullEvents).await?;
        let deadline = Instant::now() + POLL;
        let called = match self.cloud.call_in(turn, body, deadline).await {
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
        self.status.reached();
        let soon = self.patience_end(lease);
        let held = timeout_at(soon, self.room_for(called.body.len(), held)).await;
        let Ok(held) = held.map(Arc::new) else {
            return Ok(self.leave(&events));
        };
        let mut permits = permits.into_iter();
        for (at, event) in events.iter().enumerate() {
            // An answer with more events than the cloud says it gives takes them one by one.
            let permit = match permits.next() {
                Some(permit) => Some(permit),
                None => timeout_at(soon, self.intake.reserve(1))
                    .await
                    .ok()
                    .and_then(|mut one| one.pop()),
            };
            let Some(permit) = permit else {
                return Ok(self.leave(&events[at..]));
            };
            let (queue, receipts, held) = (self.clone(), receipts.clone(), held.clone());
            let event = event.clone();
            self.tasks.spawn(async move {
                queue.take(event, permit, receipts).await;
                // The bytes of the whole answer, until its last event has ended.
                drop(held);
            });
        }
        self.metrics.pulled("events");
        Ok(Pull::Events)
    }

    fn arrive(&self, events: &[Event], lease: Lease) {
        let mut handles = self.handles();
        for handle in events.iter().filter_map(|event| event.handle.as_ref()) {
            handles.arrive(handle, lease);
        }
    }

    fn leave(&self, events: &[Event]) -> Pull {
        self.metrics.pulled("no_room");
        let mut handles = self.handles();
        for event in events {
            if let Some(handle) = &event.handle {
                handles.left(handle, &event.occurrence);
            }
        }
        Pull::LeftToTheLease
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

    /// What an answer of this size takes of the byte budget, in place of what was reserved for it.
    /// That goes back first: answers that each kept a part would wait for each other.
    async fn room_for(&self, size: usize, mut held: OwnedSemaphorePermit) -> OwnedSemaphorePermit {
        let size = size.min(budget(&self.config) as usize);
        match held.num_permits().checked_sub(size) {
            Some(unused) => {
                drop(held.split(unused));
                held
            }
            None => {
                drop(held);
                self.reserve_bytes(size as u32).await
            }
        }
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
