//! What stands for events that are not where they are due: in the dead letter, or in a spool.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use vodbridge_core::{DEAD_LETTER_TYPE, Envelope, Message, SinkSet};

use super::issued::{Digest, Found, Issued, Spare};
use super::tally::{Named, Unknown, content_of, keep, name};

/// What one such place has: the dead letter, or the spools.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Of each event the sinks in whose place it is kept here.
    sinks: HashMap<u32, SinkSet>,
    /// Of each sink, events kept in its place that are known by their content only.
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

impl Aside {
    pub(super) fn new(named: usize) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    /// Takes note of a message on the dead letter's topic. `sinks` are the configuration's, in its
    /// order.
    pub(super) fn add_letter(&mut self, issued: &Issued, sinks: &[&str], message: &Message) {
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
        self.add(issued, message, (id, content), place);
    }

    /// Takes note of a record of a spool: an event that waits for the sinks that do not have it, or
    /// a dead letter that waits for its own.
    pub(super) fn add_record(
        &mut self,
        issued: &Issued,
        sinks: &[&str],
        message: &Message,
        settled: &[String],
    ) {
        match &message.event {
            Ok(event) if event.ty() != DEAD_LETTER_TYPE => {
                let waits = |place: &usize| !settled.iter().any(|name| name == sinks[*place]);
                let place = SinkSet::of((0..sinks.len()).filter(waits));
                let content = || content_of(event);
                self.add(issued, message, (Digest::of(event.id()), content), place);
            }
            _ => self.add_letter(issued, sinks, message),
        }
    }

    fn add(
        &mut self,
        issued: &Issued,
        message: &Message,
        (id, content): (Digest, impl Fn() -> Digest),
        place: SinkSet,
    ) {
        match issued.find(id, &content) {
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

    /// Whether an event is kept for this sink; None: for any.
    pub(super) fn has(&self, index: usize, sink: Option<usize>) -> bool {
        let sinks = self.sinks.get(&(index as u32));
        sinks.is_some_and(|sinks| sink.is_none_or(|sink| sinks.contains(sink)))
    }

    /// Uses up one of the events with this content that are kept for a sink.
    pub(super) fn take(&mut self, group: Option<u32>, sink: usize) -> bool {
        let spare = self.spare.get_mut(&sink);
        spare.is_some_and(|spare| spare.take(group))
    }

    /// What is kept for a sink and known by its content only.
    pub(super) fn spare(&mut self, sink: usize) -> &mut Spare {
        self.spare.entry(sink).or_default()
    }

    /// Events that are kept.
    pub(super) fn events(&self) -> u64 {
        (self.sinks.len() + self.grouped.len()) as u64
    }

    /// Notifications that never became an event, by id.
    pub(super) fn raw(&self) -> &HashSet<Digest> {
        &self.raw
    }
}
