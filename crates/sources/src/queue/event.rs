//! One pulled event, from its bytes to the end of its delivery.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::HeaderMap;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use vodbridge_core::{DeadLetter, Ended, Envelope, Patience, Reason, Reserved, chain};
use vodbridge_vod::api::{Pulled, event_handle};
use vodbridge_vod::{Normalizer, Notification};

use super::handles::Lease;
use super::source::Queue;
use crate::poison;

/// Bodies over this are read where they keep nobody waiting.
const LARGE: usize = 256 * 1024;

/// One event of an answer.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) handle: Option<Arc<str>>,
    pub(super) lease: Lease,
    raw: Bytes,
    /// Tells equal events of one answer apart.
    pub(super) occurrence: Arc<str>,
    received: SystemTime,
}

/// The events of an answer.
pub(super) fn of_answer(
    answer: &Bytes,
    pulled: &Pulled<'_>,
    lease: Lease,
    received: SystemTime,
) -> Vec<Event> {
    let event = |(at, raw): (usize, &&[u8])| {
        let handle: Option<Arc<str>> = event_handle(raw).map(Arc::from);
        let equal = pulled.events.iter().take(at).filter(|other| *other == raw);
        let occurrence = match (&handle, equal.count()) {
            (Some(handle), 0) => handle.clone(),
            (Some(handle), nth) => format!("{handle}#{nth}").into(),
            (None, _) => format!("{}#{at}", pulled.request_id).into(),
        };
        Event {
            handle,
            lease,
            raw: answer.slice_ref(raw),
            occurrence,
            received,
        }
    };
    pulled.events.iter().enumerate().map(event).collect()
}

impl Queue {
    /// Delivers the event, or what can be said of it to the dead letter. The id is the event's,
    /// or one derived from its bytes.
    pub(super) async fn deliver(
        &self,
        event: &Event,
        permit: Reserved,
        until: Instant,
    ) -> (Arc<str>, Ended) {
        let delivery = AssertUnwindSafe(self.try_deliver(event, permit, until)).catch_unwind();
        match delivery.await {
            Ok(done) => done,
            Err(_) => {
                let error = "the bridge failed on it".to_owned();
                let letter = self.letter(event, Reason::Panic, error);
                let ended = Box::pin(self.intake.dead_letter(&letter, until)).await;
                (letter.id.into(), ended)
            }
        }
    }

    async fn try_deliver(
        &self,
        event: &Event,
        permit: Reserved,
        until: Instant,
    ) -> (Arc<str>, Ended) {
        let recognised = match event.raw.len() {
            ..=LARGE => recognise(&self.normalizer, event),
            _ => {
                let (normalizer, event) = (self.normalizer.clone(), event.clone());
                let recognised = spawn_blocking(move || recognise(&normalizer, &event)).await;
                recognised.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
            }
        };
        match recognised {
            Ok(envelope) => {
                let patience = Patience::until(until);
                let ended = self
                    .intake
                    .deliver_reserved(permit, &envelope, patience)
                    .await;
                (envelope.id().into(), ended)
            }
            Err((reason, error)) => {
                let letter = self.letter(event, reason, error);
                let ended = self.intake.dead_letter_reserved(permit, &letter, until);
                let ended = Box::pin(ended).await;
                (letter.id.into(), ended)
            }
        }
    }

    fn letter(&self, event: &Event, reason: Reason, error: String) -> DeadLetter {
        let occurrence = Some(event.occurrence.clone());
        let kept = poison::kept(&event.raw, &HeaderMap::new(), occurrence);
        let poison::Kept { id, content, .. } = kept;
        DeadLetter {
            id,
            reason,
            source: self.intake.source().clone(),
            sink: None,
            error: Some(error),
            attempts: 0,
            first: event.received,
            last: SystemTime::now(),
            content,
        }
    }
}

fn recognise(normalizer: &Normalizer, event: &Event) -> Result<Envelope, (Reason, String)> {
    let notification =
        Notification::parse(&event.raw).map_err(|error| (Reason::Unparsable, chain(&error)))?;
    let normalized = normalizer
        .normalize(&notification, event.received)
        .map_err(|error| (Reason::Unrecognised, chain(&error)))?;
    Ok(normalized.into_envelope(Some(&event.occurrence)))
}
