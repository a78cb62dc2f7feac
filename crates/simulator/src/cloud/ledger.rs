//! What was issued, and what the cloud knows of it: what a reader of the topics is held against.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde::{Deserialize, Serialize};
use vodbridge_core::Envelope;
use vodbridge_vod::{Catalogue, Normalizer, Notification, Via, raw_id};

use super::events::{Content, State};
use super::queue::{Application, Queue};

/// One event that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Whose it is.
    pub sub_app_id: u64,
    /// Its place in the order of issue, from 1.
    pub sequence: u64,
    /// What the cloud knows of it.
    pub state: State,
    /// When it came to that state, in milliseconds after the start of the cloud; None while open.
    pub ended_ms: Option<u32>,
    /// How often it was delivered, by pulls and posts.
    pub deliveries: u32,
    /// The CloudEvents type; None where it cannot become an event.
    #[serde(rename = "type")]
    pub ty: Option<String>,
    /// The CloudEvents subject.
    pub subject: Option<String>,
    /// The outcome that routes match on.
    pub outcome: Option<String>,
    /// Every id that it may have downstream: one, or for what can happen twice one of each handle.
    /// Empty for such an event that was posted, since its id takes in when it was received.
    pub ids: Vec<String>,
    /// The id without an occurrence, which two events with the same content have in common.
    pub fingerprint: Option<String>,
    /// Whether two events can have the same content.
    pub repeatable: bool,
    /// Of a repeatable event, [`content`]: what tells it downstream where no id does.
    pub content: Option<String>,
}

/// SHA-256, in hex, over what consumers see of the content of an event: its type, its data and
/// its `vodextra`, each ended by a line break. Two events have the same when they differ only in
/// when they occurred.
pub fn content(event: &Envelope) -> String {
    let extra = event.extension("vodextra").unwrap_or_default();
    let parts = [event.ty().as_bytes(), &event.data(), extra.as_bytes()];
    let text: Vec<u8> = parts
        .iter()
        .flat_map(|part| [part, &b"\n"[..]])
        .flatten()
        .copied()
        .collect();
    raw_id(&text)
}

impl Application {
    /// The entry of event `event`, counted from 0.
    pub(super) fn entry(&self, normalizer: &Normalizer, event: u32) -> Option<LedgerEntry> {
        let (record, deliveries) = self.lock().events.record(event)?;
        let body = self.posted_body(&record.content);
        let notification = Notification::parse(&body).ok();
        let normalize = || {
            let notification = notification.as_ref()?;
            normalizer
                .normalize(notification, SystemTime::UNIX_EPOCH)
                .ok()
        };
        let mut entry = LedgerEntry {
            sub_app_id: self.sub_app_id,
            sequence: u64::from(event) + 1,
            state: record.state,
            ended_ms: Some(record.ended).filter(|_| record.state != State::Open),
            deliveries: record.deliveries,
            ty: None,
            subject: None,
            outcome: None,
            ids: Vec::new(),
            fingerprint: None,
            repeatable: false,
            content: None,
        };
        let Some(normalized) = normalize() else {
            return Some(entry);
        };
        entry.repeatable = normalized.is_repeatable();
        let envelope = normalized.into_envelope(None);
        entry.ty = Some(envelope.ty().to_owned());
        entry.subject = envelope.subject().map(str::to_owned);
        entry.outcome = envelope.label("outcome").map(str::to_owned);
        entry.fingerprint = Some(envelope.id().to_owned());
        entry.content = entry.repeatable.then(|| content(&envelope));
        if entry.repeatable {
            let ids = deliveries.into_iter().filter_map(|delivery| {
                let handle = self.handles.handle(delivery).to_string();
                let envelope = normalize()?.into_envelope(Some(&handle));
                Some(envelope.id().to_owned())
            });
            entry.ids = ids.collect();
        } else {
            entry.ids = vec![envelope.id().to_owned()];
        }
        Some(entry)
    }

    /// The content of an event as it is posted.
    pub(super) fn posted_body(&self, content: &Content) -> Bytes {
        match content {
            Content::Stream(number) => {
                let mut body = String::with_capacity(4096);
                self.stream.write_posted(*number, &mut body);
                body.into()
            }
            Content::Recorded(recorded) => recorded.posted(),
        }
    }

    pub(super) fn normalizer(&self) -> Normalizer {
        static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(Arc::default);
        Normalizer::new(self.sub_app_id, "", Via::Queue, CATALOGUE.clone())
    }
}

impl Queue {
    /// Every event that was issued, in that order. Events issued meanwhile may come too.
    pub fn ledger(&self) -> impl Iterator<Item = LedgerEntry> + use<> {
        let application = self.0.clone();
        let normalizer = application.normalizer();
        (0..).map_while(move |event| application.entry(&normalizer, event))
    }
}

/// The ledger of some applications, an entry a line, made as it is read.
pub(super) struct Ledger {
    queues: VecDeque<Box<dyn Iterator<Item = LedgerEntry> + Send>>,
}

/// Bytes of the ledger that are made at once.
const CHUNK: usize = 16 * 1024;

impl Ledger {
    pub(super) fn of(queues: impl IntoIterator<Item = Queue>) -> Self {
        let queues = queues.into_iter();
        Self {
            queues: queues.map(|queue| Box::new(queue.ledger()) as _).collect(),
        }
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK
            && let Some(queue) = self.queues.front_mut()
        {
            match queue.next().map(|entry| serde_json::to_vec(&entry)) {
                Some(Ok(entry)) => {
                    chunk.extend(entry);
                    chunk.push(b'\n');
                }
                _ => drop(self.queues.pop_front()),
            }
        }
        Some(Bytes::from(chunk)).filter(|chunk| !chunk.is_empty())
    }
}

impl Body for Ledger {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.chunk().map(|chunk| Ok(Frame::data(chunk))))
    }
}
