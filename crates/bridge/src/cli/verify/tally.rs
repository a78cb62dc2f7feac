//! What was found on the topics of one sink.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use vodbridge_core::{Envelope, Message};
use vodbridge_simulator::cloud::content;

use super::issued::{Digest, Found, Issued, Spare};

/// A message that is named in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Named {
    pub(super) topic: String,
    pub(super) position: String,
    /// None: it is no event.
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// A message whose event nobody issued.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) id: Digest,
    pub(super) content: Digest,
    /// Only of the first.
    pub(super) named: Option<Named>,
}

/// What one sink has.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How often each event that was issued is there, up to 255.
    seen: Vec<u8>,
    pub(super) spare: Spare,
    pub(super) duplicated: u64,
    pub(super) duplicates: Vec<Named>,
    /// Events behind a younger one of the same partition key, on one topic.
    pub(super) reordered: u64,
    youngest: HashMap<u64, u64>,
    pub(super) unknown: Vec<Unknown>,
    /// Messages that are no events.
    pub(super) foreign: u64,
    pub(super) strangers: Vec<Named>,
    /// How many messages of a kind are named.
    named: usize,
}

impl Tally {
    pub(super) fn new(issued: &Issued, named: usize) -> Self {
        Self {
            seen: vec![0; issued.events.len()],
            named,
            ..Self::default()
        }
    }

    /// Whether event `index` is there by its own id.
    pub(super) fn has(&self, index: usize) -> bool {
        self.seen[index] > 0
    }

    /// Takes note of a message.
    pub(super) fn add(&mut self, issued: &Issued, message: &Message) {
        let event = match &message.event {
            Ok(event) => event,
            Err(foreign) => {
                self.foreign += 1;
                let named = name(message, Some(foreign.reason.clone()));
                keep(&mut self.strangers, self.named, named);
                return;
            }
        };
        let id = Digest::of(event.id());
        let copy = match issued.find(id, || content_of(event)) {
            Some(Found::Event(index)) => {
                let seen = &mut self.seen[index as usize];
                *seen = seen.saturating_add(1);
                let copy = *seen > 1;
                if !copy {
                    self.order(issued, index, &message.topic, event);
                }
                copy
            }
            Some(Found::OneOf(group)) => !self.spare.add(group, id),
            None => {
                let named = self.unknown.len() < self.named;
                self.unknown.push(Unknown {
                    id,
                    content: content_of(event),
                    named: named.then(|| name(message, None)),
                });
                false
            }
        };
        if copy {
            self.duplicated += 1;
            keep(&mut self.duplicates, self.named, name(message, None));
        }
    }

    fn order(&mut self, issued: &Issued, index: u32, topic: &str, event: &Envelope) {
        let Some(key) = event.partition_key() else {
            return;
        };
        let issued = &issued.events[index as usize];
        let mut hasher = DefaultHasher::new();
        (topic, key, issued.application).hash(&mut hasher);
        let youngest = self.youngest.entry(hasher.finish()).or_default();
        if issued.sequence < *youngest {
            self.reordered += 1;
        }
        *youngest = issued.sequence.max(*youngest);
    }
}

pub(super) fn content_of(event: &Envelope) -> Digest {
    Digest::of(&content(event))
}

pub(super) fn name(message: &Message, reason: Option<String>) -> Named {
    Named {
        topic: message.topic.clone(),
        position: message.position.clone(),
        id: message
            .event
            .as_ref()
            .ok()
            .map(|event| event.id().to_owned()),
        reason,
    }
}

pub(super) fn keep<T>(kept: &mut Vec<T>, most: usize, one: T) {
    if kept.len() < most {
        kept.push(one);
    }
}
