//! One record out of the spool, to the end of one delivery.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::Instant;
use vodbridge_core::{
    Away, Content, DEAD_LETTER_TYPE, DeadLetter, Envelope, Intake, Patience, Reason,
};
use vodbridge_store::{Entry, Held, Record, RecordId};

use super::Spool;

/// A record that this source has, and nobody else.
pub(super) struct Picked {
    pub(super) id: RecordId,
    pub(super) entry: Entry,
    held: Held,
    /// Of its event, for the memory that it takes.
    pub(super) bytes: usize,
}

/// How its delivery ended.
pub(super) enum Ending {
    /// Acked or dead-lettered, and taken out.
    Settled,
    /// Left for another time.
    Failed,
}

/// What delivers records.
pub(super) struct Deliverer {
    pub(super) spool: Arc<Spool>,
    pub(super) intake: Intake,
    /// How long one delivery may go on.
    pub(super) patience: Duration,
}

impl Picked {
    pub(super) fn new((record, held): (Record, Held)) -> Self {
        let Record { id, entry } = record;
        let bytes = entry.envelope.structured().len();
        Self {
            id,
            entry,
            held,
            bytes,
        }
    }

    pub(super) fn envelope(&self) -> &Envelope {
        &self.entry.envelope
    }

    /// What keeps it behind others; none where it need not be.
    pub(super) fn key(&self, keep_order: bool) -> Option<&str> {
        let key = self.envelope().partition_key();
        key.filter(|_| keep_order && !self.is_letter())
    }

    /// Whether it is a dead letter that could not be written: it goes nowhere else.
    fn is_letter(&self) -> bool {
        self.envelope().ty() == DEAD_LETTER_TYPE
    }
}

impl Deliverer {
    /// The sinks that the record needs and that do not answer.
    pub(super) fn away(&self, picked: &Picked) -> Away {
        match self.has_expired(picked) {
            true => self.intake.dead_letters_away(),
            false => self.intake.away(picked.envelope(), &picked.entry.settled),
        }
    }

    fn has_expired(&self, picked: &Picked) -> bool {
        let age = SystemTime::now().duration_since(picked.entry.received);
        let max_age = self.spool.store.config().max_age;
        !picked.is_letter() && age.is_ok_and(|age| age > max_age)
    }

    /// Delivers the event, or writes it to the dead letter where it is too old. `passing_by`: only
    /// to sinks that answer.
    pub(super) async fn deliver(&self, picked: Picked, passing_by: bool) -> Ending {
        let deadline = Instant::now() + self.patience;
        let expired = self.has_expired(&picked);
        let mut settled = Vec::new();
        let done = match expired {
            true => self.give_up(&picked, Reason::Expired, deadline).await,
            false => {
                let patience = Patience::until(deadline).without_cut_attempts();
                let patience = match passing_by {
                    true => patience.passing_by(),
                    false => patience,
                };
                let (envelope, known) = (picked.envelope(), &picked.entry.settled);
                let delivery = self.intake.deliver_any(envelope, known, patience);
                match AssertUnwindSafe(delivery).catch_unwind().await {
                    Ok(ended) => {
                        settled = ended.settled;
                        ended.result.is_ok()
                    }
                    Err(_) => self.give_up(&picked, Reason::Panic, deadline).await,
                }
            }
        };
        let metrics = &self.spool.metrics;
        if !done {
            metrics.failed.inc();
            self.spool.failed(picked.held, &settled).await;
            return Ending::Failed;
        }
        match expired {
            true => metrics.expired.inc(),
            false => metrics.delivered.inc(),
        };
        let id = picked.entry.envelope.id();
        if !self.spool.settled(id, picked.held).await {
            self.intake.confirmed(id);
        }
        Ending::Settled
    }

    async fn give_up(&self, picked: &Picked, reason: Reason, deadline: Instant) -> bool {
        let entry = &picked.entry;
        let error = match reason {
            Reason::Expired => {
                let max_age = self.spool.store.config().max_age;
                let max_age = humantime::format_duration(max_age);
                format!("no sink took it within {max_age} in the spool")
            }
            _ => "the bridge failed on it".to_owned(),
        };
        let letter = DeadLetter {
            id: entry.envelope.id().to_owned(),
            reason,
            source: self.intake.source().clone(),
            sink: None,
            error: Some(error),
            attempts: entry.attempts,
            first: entry.received,
            last: SystemTime::now(),
            content: Content::Event(entry.envelope.clone()),
        };
        let written = AssertUnwindSafe(self.intake.dead_letter(&letter, deadline));
        let written = written.catch_unwind().await;
        written.is_ok_and(|ended| ended.result.is_ok())
    }
}
