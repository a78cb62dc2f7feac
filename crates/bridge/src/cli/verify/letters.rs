//! What was found in the dead letter.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use vodbridge_core::{DEAD_LETTER_TYPE, Envelope, Message, SinkSet};

use super::issued::{Digest, Found, Issued, Spare};
use super::tally::{Named, Unknown, content_of, keep, name};

/// The dead letters of a bridge.
#[derive(Debug, Default)]
pub(super) struct Letters {
    /// Of each event the sinks in whose place its letters stand.
    sinks: HashMap<u32, SinkSet>,
    /// Of each sink, letters of events that are known by their content only.
    spare: BTreeMap<usize, Spare>,
    /// These, by id.
    grouped: HashSet<Digest>,
    /// Notifications that never became an event, by id.
    raw: HashSet<Digest>,
    pub(super) unknown: Vec<Unknown>,
    pub(super) foreign: u64,
    pub(super) strangers: Vec<Named>,
    named: usize,
}

/// As much of a record as is needed.
#[derive(Deserialize)]
struct Record<'a> {
    sink: Option<String>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

impl Letters {
    pub(super) fn new(named: usize) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    /// Takes note of a message on the dead letter's topic. `sinks` are the configuration's, in its
    /// order.
    pub(super) fn add(&mut self, issued: &Issued, sinks: &[&str], message: &Message) {
        let letter = message.event.as_ref().ok();
        let letter = letter.filter(|event| event.ty() == DEAD_LETTER_TYPE);
        let data = letter.map(Envelope::data).unwrap_or_default();
        let (Some(letter), Ok(record)) = (letter, serde_json::from_slice::<Record<'_>>(&data))
        else {
            self.foreign += 1;
            let reason = message.event.as_ref().err().map(|f| f.reason.clone());
            let reason = reason.unwrap_or_else(|| "no dead letter".to_owned());
            keep(&mut self.strangers, self.named, name(message, Some(reason)));
            return;
        };
        let id = Digest::of(letter.id());
        let Some(event) = record.event else {
            self.raw.insert(id);
            return;
        };
        let event = event.get().to_owned().into();
        let event = Envelope::from_structured(event, Vec::new()).ok();
        let content = || event.as_ref().map_or(id, content_of);
        // Without a sink it stands for all of them.
        let place = record
            .sink
            .map(|sink| sinks.iter().position(|name| *name == sink));
        let place = match place {
            Some(place) => SinkSet::of(place),
            None => SinkSet::of(0..sinks.len()),
        };
        match issued.find(id, content) {
            Some(Found::Event(index)) => {
                let known = self.sinks.entry(index).or_default();
                *known = SinkSet::of(known.iter().chain(place.iter()));
            }
            Some(Found::OneOf(group)) => {
                self.grouped.insert(id);
                for sink in place.iter() {
                    self.spare.entry(sink).or_default().add(group, id);
                }
            }
            None => {
                let named = self.unknown.len() < self.named;
                self.unknown.push(Unknown {
                    id,
                    content: content(),
                    named: named.then(|| name(message, None)),
                });
            }
        }
    }

    /// Whether an event has a letter for this sink; None: for any.
    pub(super) fn has(&self, index: usize, sink: Option<usize>) -> bool {
        let sinks = self.sinks.get(&(index as u32));
        sinks.is_some_and(|sinks| sink.is_none_or(|sink| sinks.contains(sink)))
    }

    /// Uses up a letter of an event that is known by its content only.
    pub(super) fn take(&mut self, group: Option<u32>, sink: usize) -> bool {
        let spare = self.spare.get_mut(&sink);
        spare.is_some_and(|spare| spare.take(group))
    }

    /// Events with a letter.
    pub(super) fn events(&self) -> u64 {
        (self.sinks.len() + self.grouped.len()) as u64
    }

    /// Notifications that never became an event.
    pub(super) fn raw(&self) -> u64 {
        self.raw.len() as u64
    }
}
