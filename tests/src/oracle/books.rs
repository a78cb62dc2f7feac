//! What the cloud issued, and what was found of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use vodbridge_core::DEAD_LETTER_TYPE;
use vodbridge_simulator::cloud::{LedgerEntry, Queue, State};
use vodbridge_vod::{Catalogue, Normalizer, Notification, Via};

use super::Kind;
use super::stage::BROKERS;
use super::timeline::Timeline;

/// The prefix of every type of the product.
const TYPE_PREFIX: &str = "com.tencent.cloud.vod.";

/// The first half of a digest.
type Digest = u128;

/// Every event that was issued.
pub(super) struct Books {
    pub(super) events: Vec<Entry>,
    index: Index,
    /// What was found and nobody issued.
    pub(super) unknown: Vec<String>,
}

/// One event.
pub(super) struct Entry {
    pub(super) application: u64,
    pub(super) sequence: u64,
    pub(super) state: State,
    pub(super) cause: Option<Kind>,
    /// How often it is on each broker.
    pub(super) copies: [u8; 3],
    /// For which sinks it is in the dead letter.
    pub(super) letters: [bool; 3],
    /// Whether it is in the undelivered file. That is no confirm.
    pub(super) undelivered: bool,
    /// Whether it is in the spool.
    pub(super) spooled: bool,
}

/// Where events are found by their content.
struct Index {
    by_content: HashMap<Digest, u32>,
    /// The ids that a pulled event of a type which can happen twice may have.
    by_id: HashMap<Digest, u32>,
    normalizers: HashMap<u64, Normalizer>,
    /// Whether only `by_id` tells the ids of this event; posted ones take in when they came.
    kinds: Vec<Ids>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// The fingerprint.
    Content,
    /// Those of `by_id`.
    Listed,
    /// Any.
    Any,
}

/// What a place holds.
pub(super) struct Place<'b> {
    index: &'b Books,
    kind: Where,
    pub(super) found: Vec<(u32, Finding)>,
    unknown: Vec<String>,
}

/// What a place is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// A broker, by its place in [`BROKERS`].
    Broker(usize),
    /// The state directory: undelivered events, and dead letters that no broker took.
    State,
    /// The spool, as it is exported.
    Spool,
}

/// What was found of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    OnBroker(usize),
    /// For one sink, or for all.
    DeadLetter(Option<usize>),
    Undelivered,
    Spooled,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Read<'b> {
    id: &'b str,
    #[serde(rename = "type")]
    ty: &'b str,
    vodsubappid: Option<&'b str>,
    vodextra: Option<&'b str>,
    deadlettersink: Option<&'b str>,
    #[serde(borrow)]
    data: &'b RawValue,
}

/// What a dead letter says, or a line of an export.
#[derive(Deserialize)]
struct Letter<'b> {
    #[serde(borrow)]
    event: Option<&'b RawValue>,
}

impl Books {
    /// The ledgers of the queues, each event with the fault that it lived through.
    pub(super) fn of<const N: usize>(queues: [&Queue; N], timeline: &Timeline) -> Result<Self> {
        let mut index = Index {
            by_content: HashMap::new(),
            by_id: HashMap::new(),
            normalizers: HashMap::new(),
            kinds: Vec::new(),
        };
        let mut events = Vec::new();
        for (at, queue) in queues.into_iter().enumerate() {
            let id = queue.sub_app_id();
            let catalogue = Arc::new(Catalogue::default());
            let normalizer = Normalizer::new(id, "oracle", Via::Queue, catalogue);
            index.normalizers.insert(id, normalizer);
            for entry in queue.ledger() {
                let event = u32::try_from(events.len())?;
                index.add(event, &entry)?;
                let ended = entry.ended_ms.unwrap_or(u32::MAX);
                events.push(Entry {
                    application: id,
                    sequence: entry.sequence,
                    state: entry.state,
                    cause: timeline.cause(at, entry.sequence, ended),
                    copies: [0; 3],
                    letters: [false; 3],
                    undelivered: false,
                    spooled: false,
                });
            }
        }
        let unknown = Vec::new();
        Ok(Self {
            events,
            index,
            unknown,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// A place that is still to be read.
    pub(super) fn place(&self, kind: Where) -> Place<'_> {
        Place {
            index: self,
            kind,
            found: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Enters what a place holds.
    pub(super) fn enter(&mut self, (found, unknown): (Vec<(u32, Finding)>, Vec<String>)) {
        self.unknown.extend(unknown);
        for (event, finding) in found {
            let entry = &mut self.events[event as usize];
            match finding {
                Finding::OnBroker(at) => entry.copies[at] = entry.copies[at].saturating_add(1),
                Finding::DeadLetter(Some(at)) => entry.letters[at] = true,
                Finding::DeadLetter(None) => entry.letters = [true; 3],
                Finding::Undelivered => entry.undelivered = true,
                Finding::Spooled => entry.spooled = true,
            }
        }
    }
}

impl Entry {
    /// Whether the cloud has no more reason to send it: it was confirmed, or answered in time.
    pub(super) fn is_confirmed(&self) -> bool {
        matches!(self.state, State::Confirmed | State::Refused)
    }

    /// Whether it is on every broker.
    pub(super) fn is_delivered(&self) -> bool {
        self.copies.iter().all(|copies| *copies > 0)
    }

    /// Whether the cloud counts on somebody who has it not.
    pub(super) fn is_missing(&self) -> bool {
        let somewhere = self.copies.iter().zip(self.letters);
        let mut kept = somewhere.map(|(copies, letter)| *copies > 0 || letter);
        self.is_confirmed() && !self.spooled && !kept.all(|kept| kept)
    }
}

impl Index {
    fn add(&mut self, event: u32, entry: &LedgerEntry) -> Result<()> {
        let fingerprint = entry.fingerprint.as_deref().context("no event")?;
        let twice = self.by_content.insert(digest(fingerprint)?, event);
        ensure!(
            twice.is_none(),
            "two events have the same content: {entry:?}"
        );
        self.kinds
            .push(match (entry.repeatable, entry.ids.is_empty()) {
                (false, _) => Ids::Content,
                (true, false) => Ids::Listed,
                (true, true) => Ids::Any,
            });
        if entry.repeatable {
            for id in &entry.ids {
                self.by_id.insert(digest(id)?, event);
            }
        }
        Ok(())
    }

    /// The event that this is one of; None of one that nobody issued.
    fn find(&self, read: &Read<'_>) -> Result<Option<u32>> {
        let name = read.ty.strip_prefix(TYPE_PREFIX);
        let normalizer = read.vodsubappid.and_then(|id| id.parse().ok());
        let normalizer = normalizer.and_then(|id: u64| self.normalizers.get(&id));
        let (Some(name), Some(normalizer), None) = (name, normalizer, read.vodextra) else {
            return Ok(None);
        };
        // A type that is known takes its payload from a single field of any name.
        let notification = format!(r#"{{"EventType":"{name}","Payload":{}}}"#, read.data);
        let notification = Notification::parse(notification.as_bytes())?;
        let normalized = normalizer.normalize(&notification, SystemTime::UNIX_EPOCH)?;
        let [content, _] = halves(normalized.fingerprint());
        let Some(event) = self.by_content.get(&content) else {
            return Ok(None);
        };
        let id = digest(read.id)?;
        let is_its_id = match self.kinds[*event as usize] {
            Ids::Content => id == content,
            Ids::Listed => self.by_id.get(&id) == Some(event),
            Ids::Any => true,
        };
        Ok(Some(*event).filter(|_| is_its_id))
    }
}

impl Place<'_> {
    /// Takes what stands in one message, or in one line.
    pub(super) fn take(&mut self, body: &[u8]) -> Result<()> {
        let found = self.identify(body);
        let found = found.with_context(|| String::from_utf8_lossy(body).into_owned())?;
        match found {
            Some(found) => self.found.push(found),
            None => self
                .unknown
                .push(String::from_utf8_lossy(body).into_owned()),
        }
        Ok(())
    }

    fn identify(&self, body: &[u8]) -> Result<Option<(u32, Finding)>> {
        if self.kind == Where::Spool {
            let record: Letter<'_> = serde_json::from_slice(body)?;
            let event = record.event.context("a record without an event")?;
            let event = self.index.index.find(&serde_json::from_str(event.get())?)?;
            return Ok(event.map(|event| (event, Finding::Spooled)));
        }
        let read: Read<'_> = serde_json::from_slice(body)?;
        if read.ty == DEAD_LETTER_TYPE {
            let letter: Letter<'_> = serde_json::from_str(read.data.get())?;
            let sink = read.deadlettersink.map(|sink| {
                BROKERS
                    .iter()
                    .position(|broker| *broker == sink)
                    .context("no such sink")
            });
            let finding = Finding::DeadLetter(sink.transpose()?);
            let Some(event) = letter.event else {
                return Ok(None);
            };
            let event = self.index.index.find(&serde_json::from_str(event.get())?)?;
            return Ok(event.map(|event| (event, finding)));
        }
        let finding = match self.kind {
            Where::Broker(at) => Finding::OnBroker(at),
            Where::State | Where::Spool => Finding::Undelivered,
        };
        let event = self.index.index.find(&read)?;
        Ok(event.map(|event| (event, finding)))
    }

    pub(super) fn close(self) -> (Vec<(u32, Finding)>, Vec<String>) {
        (self.found, self.unknown)
    }
}

/// The first half of an id, which is 64 hex digits.
fn digest(hex: &str) -> Result<Digest> {
    let Some((first, _)) = hex.split_at_checked(32) else {
        bail!("{hex} is no id");
    };
    Ok(Digest::from_str_radix(first, 16)?)
}

fn halves(digest: [u8; 32]) -> [Digest; 2] {
    let half = |at: usize| {
        digest[at..at + 16]
            .iter()
            .fold(0, |all, byte| all << 8 | u128::from(*byte))
    };
    [half(0), half(16)]
}

#[cfg(test)]
mod tests;
