//! Confirms: batched by what waits, several at once, never after the lease.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use vodbridge_core::{Intake, LogLimit, chain};
use vodbridge_vod::api::{Action, ErrorClass, MAX_HANDLES, confirm_events};

use super::backoff::Backoff;
use super::handles::{Handles, Receipt};
use super::metrics::QueueSourceMetrics;
use crate::cloud::{CallError, CloudClient};

/// One call may take so long.
const CALL: Duration = Duration::from_secs(2);
/// Calls under way at once.
const CALLS: usize = 16;
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// Confirms the receipts of one source.
pub(super) struct Confirmer {
    pub(super) cloud: Arc<CloudClient>,
    pub(super) sub_app_id: u64,
    pub(super) intake: Arc<Intake>,
    pub(super) metrics: Arc<QueueSourceMetrics>,
    /// What its receipts were given by.
    pub(super) handles: Arc<Mutex<Handles>>,
    pub(super) failures: LogLimit,
}

impl Confirmer {
    pub(super) fn new(
        cloud: Arc<CloudClient>,
        sub_app_id: u64,
        intake: Arc<Intake>,
        metrics: Arc<QueueSourceMetrics>,
        handles: Arc<Mutex<Handles>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            cloud,
            sub_app_id,
            intake,
            metrics,
            handles,
            failures: LogLimit::new(LOG_PAUSE),
        })
    }

    /// Confirms what comes, until nobody can send any more and all is confirmed or given up.
    pub(super) async fn run(self: Arc<Self>, mut receipts: mpsc::Receiver<Receipt>) {
        let calls = Arc::new(Semaphore::new(CALLS));
        let tasks = TaskTracker::new();
        let mut batch = Vec::with_capacity(MAX_HANDLES);
        loop {
            let Ok(call) = calls.clone().acquire_owned().await else {
                break;
            };
            // What came while all calls were under way goes together.
            if receipts.recv_many(&mut batch, MAX_HANDLES).await == 0 {
                break;
            }
            let confirmer = self.clone();
            let receipts = std::mem::replace(&mut batch, Vec::with_capacity(MAX_HANDLES));
            tasks.spawn(async move {
                confirmer.confirm(receipts).await;
                drop(call);
            });
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Confirms a batch, again and again while its leases last.
    fn confirm(&self, mut receipts: Vec<Receipt>) -> BoxFuture<'_, ()> {
        async move {
            let mut backoff = Backoff::default();
            loop {
                receipts = self.still_due(receipts);
                let Some(lease_end) = receipts.iter().map(|receipt| receipt.lease_end).min() else {
                    return;
                };
                let deadline = lease_end.min(Instant::now() + CALL);
                match self.call(&receipts, deadline).await {
                    Ok(()) => return self.confirmed(receipts),
                    Err(error) => match error.class(Action::ConfirmEvents) {
                        ErrorClass::Stale if receipts.len() > 1 => {
                            let rest = receipts.split_off(receipts.len() / 2);
                            self.confirm(receipts).await;
                            receipts = rest;
                        }
                        ErrorClass::Stale => return self.metrics.confirm("stale", 1),
                        ErrorClass::Stop => {
                            self.log(&error);
                            return self.metrics.confirm("failed", receipts.len());
                        }
                        _ => {
                            self.log(&error);
                            sleep(backoff.next().min(lease_end - Instant::now())).await;
                        }
                    },
                }
            }
        }
        .boxed()
    }

    async fn call(&self, receipts: &[Receipt], deadline: Instant) -> Result<(), CallError> {
        let handles: Vec<_> = receipts.iter().map(|receipt| &*receipt.handle).collect();
        let body = confirm_events(self.sub_app_id, &handles);
        self.cloud
            .call(Action::ConfirmEvents, body, deadline)
            .await?;
        Ok(())
    }

    /// Drops the receipts whose lease is over: the cloud would refuse them. And those whose handle
    /// another event has arrived under meanwhile: it would be deleted with them. Their events come
    /// again.
    fn still_due(&self, mut receipts: Vec<Receipt>) -> Vec<Receipt> {
        let (now, before) = (Instant::now(), receipts.len());
        receipts.retain(|receipt| receipt.lease_end > now);
        let within_lease = receipts.len();
        let expired = before - within_lease;
        if expired > 0 {
            self.metrics.lease_expired.inc_by(expired as u64);
        }
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        receipts.retain(|receipt| handles.may_confirm(&receipt.handle));
        let withheld = within_lease - receipts.len();
        if withheld > 0 {
            self.metrics.withheld.inc_by(withheld as u64);
        }
        receipts
    }

    fn confirmed(&self, receipts: Vec<Receipt>) {
        self.metrics.confirm("confirmed", receipts.len());
        let now = Instant::now();
        for receipt in receipts {
            let since_pull = now.saturating_duration_since(receipt.pulled);
            self.metrics
                .confirmed(receipt.lease_end.saturating_duration_since(now), since_pull);
            for event in receipt.events {
                self.intake.confirmed(&event.id);
            }
        }
    }

    fn log(&self, error: &CallError) {
        if let Some(held_back) = self.failures.allows() {
            tracing::warn!(
                source = &**self.intake.source(),
                error = chain(error),
                remedy = error.remedy(Action::ConfirmEvents),
                held_back,
                "a confirm failed; events that are not confirmed within their lease come again, \
                 and are confirmed then without a second publish"
            );
        }
    }
}
