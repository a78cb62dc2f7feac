//! Confirms: batched by what waits, several at once, never after the lease.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use vodbridge_core::Intake;
use vodbridge_vod::api::{Action, ErrorClass, MAX_HANDLES, confirm_events};

use super::backoff::Backoff;
use super::handles::{Handles, Receipt};
use super::metrics::QueueSourceMetrics;
use super::status::Status;
use crate::cloud::{CallError, CloudClient, Turn};

/// One call may take so long.
const CALL: Duration = Duration::from_secs(2);
/// Calls under way at once.
const CALLS: usize = 16;
/// While calls are under way, a batch that is not full waits for more, but no longer than this: a
/// call costs the same for 16 handles as for one, and the account may make few.
const GATHER: Duration = Duration::from_millis(20);
/// A lease is too short for long pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Confirms the receipts of one source.
pub(super) struct Confirmer {
    pub(super) cloud: Arc<CloudClient>,
    pub(super) sub_app_id: u64,
    pub(super) intake: Arc<Intake>,
    pub(super) metrics: Arc<QueueSourceMetrics>,
    /// What its receipts were given by.
    pub(super) handles: Arc<Mutex<Handles>>,
    pub(super) status: Arc<Status>,
}

impl Confirmer {
    /// Confirms what comes, until nobody can send any more and all is confirmed or given up.
    pub(super) async fn run(self: Arc<Self>, mut receipts: mpsc::Receiver<Receipt>) {
        let mut calls = JoinSet::new();
        let mut batch = Vec::with_capacity(MAX_HANDLES);
        while receipts.recv_many(&mut batch, MAX_HANDLES).await > 0 {
            let due = Instant::now() + GATHER;
            while calls.try_join_next().is_some() {}
            while batch.len() < MAX_HANDLES && !calls.is_empty() {
                let room = MAX_HANDLES - batch.len();
                tokio::select! {
                    biased;
                    received = receipts.recv_many(&mut batch, room) => if received == 0 {
                        break;
                    },
                    Some(_) = calls.join_next() => {}
                    () = sleep_until(due) => break,
                }
            }
            while calls.len() >= CALLS {
                calls.join_next().await;
            }
            let turn = self.cloud.turn(Action::ConfirmEvents).await;
            // What came while all calls were under way, or before the turn, goes together.
            while batch.len() < MAX_HANDLES
                && let Ok(receipt) = receipts.try_recv()
            {
                batch.push(receipt);
            }
            let (confirmer, receipts) = (self.clone(), std::mem::take(&mut batch));
            calls.spawn(async move { confirmer.confirm(turn, receipts).await });
        }
        while calls.join_next().await.is_some() {}
    }

    /// Confirms a batch, again and again while its leases last.
    fn confirm(
        &self,
        mut turn: Result<Turn, CallError>,
        mut receipts: Vec<Receipt>,
    ) -> BoxFuture<'_, ()> {
        async move {
            let mut backoff = Backoff::default();
            loop {
                // Not before the turn has come: that can take long.
                receipts = self.still_due(receipts);
                let Some(lease_end) = receipts.iter().map(|receipt| receipt.lease_end).min() else {
                    return;
                };
                let deadline = lease_end.min(Instant::now() + CALL);
                let called = match turn {
                    Ok(turn) => self.call(turn, &receipts, deadline).await,
                    Err(error) => Err(error),
                };
                match called {
                    Ok(()) => return self.confirmed(receipts),
                    Err(error) => match error.class(Action::ConfirmEvents) {
                        ErrorClass::Stale if receipts.len() > 1 => {
                            let rest = receipts.split_off(receipts.len() / 2);
                            self.confirm(self.turn(&receipts).await, receipts).await;
                            receipts = rest;
                        }
                        ErrorClass::Stale => return self.metrics.confirm("stale", 1),
                        class @ ErrorClass::Stop => {
                            self.status.confirm_failed(class, &error);
                            return self.metrics.confirm("failed", receipts.len());
                        }
                        class => {
                            self.status.confirm_failed(class, &error);
                            let pause = backoff.next().min(LONGEST_PAUSE);
                            sleep(pause.min(lease_end - Instant::now())).await;
                        }
                    },
                }
                turn = self.turn(&receipts).await;
            }
        }
        .boxed()
    }

    /// Another turn, while one of the leases lasts.
    async fn turn(&self, receipts: &[Receipt]) -> Result<Turn, CallError> {
        let last = receipts.iter().map(|receipt| receipt.lease_end).max();
        let turn = self.cloud.turn(Action::ConfirmEvents);
        let turn = timeout_at(last.unwrap_or_else(Instant::now), turn).await;
        turn.unwrap_or(Err(CallError::TimedOut))
    }

    async fn call(
        &self,
        turn: Turn,
        receipts: &[Receipt],
        deadline: Instant,
    ) -> Result<(), CallError> {
        let handles: Vec<_> = receipts.iter().map(|receipt| &*receipt.handle).collect();
        let body = confirm_events(self.sub_app_id, &handles);
        self.cloud.call_in(turn, body, deadline).await?;
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
        self.status.confirmed();
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
}
