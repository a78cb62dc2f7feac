//! The comparison: what should be there, against what is.

use std::collections::BTreeMap;

use serde::Serialize;

use super::aside::Aside;
use super::issued::{Counts, Issued};
use super::tally::{Named, Tally, Unknown};

/// An event that is named in the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Absent {
    pub(super) sub_app_id: u64,
    pub(super) sequence: u64,
    #[serde(rename = "type")]
    pub(super) ty: Option<String>,
    pub(super) subject: Option<String>,
    /// None: its id takes in when it was received.
    pub(super) id: Option<String>,
}

impl Absent {
    fn new(sub_app_id: u64, sequence: u64) -> Self {
        Self {
            sub_app_id,
            sequence,
            ty: None,
            subject: None,
            id: None,
        }
    }
}

/// Things that are counted, and the first of them by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Counted<T> {
    pub(super) count: u64,
    pub(super) first: Vec<T>,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self {
            count: 0,
            first: Vec::new(),
        }
    }
}

impl<T> Counted<T> {
    fn add(&mut self, most: usize, one: impl FnOnce() -> T) {
        self.count += 1;
        if self.first.len() < most {
            self.first.push(one());
        }
    }
}

/// What is to be said of one sink.
#[derive(Debug, Default, Serialize)]
pub(super) struct SinkVerdict {
    /// Events that the cloud holds for received and whose routes require this sink.
    pub(super) due: u64,
    /// Of these, there.
    pub(super) delivered: u64,
    /// Of these, in the dead letter instead.
    pub(super) dead_lettered: u64,
    /// Of these, waiting in the spool for this sink.
    pub(super) spooled: u64,
    /// Of these, nowhere.
    pub(super) missing: Counted<Absent>,
    /// Events of routes that only shadow this sink, and that are not there.
    pub(super) shadow_missing: u64,
    /// Messages beyond the first of their event.
    pub(super) duplicated: Counted<Named>,
    /// Events behind a younger one of their partition key.
    pub(super) reordered: u64,
    /// Messages that nobody issued.
    pub(super) unexpected: Counted<Named>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// Nothing is missing and nothing unexpected.
    pub(super) ok: bool,
    #[serde(flatten)]
    pub(super) counts: Counts,
    /// Events and notifications in the dead letter.
    pub(super) dead_lettered: u64,
    /// Events and notifications that wait in the spool, some sinks of which may have them already.
    pub(super) spooled: u64,
    /// Received, due in no sink or no event at all, and neither in the dead letter nor waiting for it.
    pub(super) not_dead_lettered: Counted<Absent>,
    /// In the dead letter, and nobody issued them.
    pub(super) unexpected_dead_letters: Counted<Named>,
    /// In the spool, and nobody issued them.
    pub(super) unexpected_spooled: Counted<Named>,
    pub(super) sinks: BTreeMap<String, SinkVerdict>,
    pub(super) notes: Vec<String>,
}

impl Verdict {
    /// Compares. `tallies` are in the order of the sinks of [`Event::targets`](super::issued::Event).
    pub(super) fn of(
        issued: &Issued,
        tallies: Vec<(String, Tally)>,
        (mut letters, mut spool): (Aside, Aside),
        named: usize,
    ) -> Self {
        let mut verdict = Self {
            ok: true,
            counts: issued.counts,
            dead_lettered: letters.events() + letters.raw().len() as u64,
            spooled: spool.events() + spool.raw().len() as u64,
            not_dead_lettered: Counted::default(),
            unexpected_dead_letters: unexpected_aside(&mut letters, named),
            unexpected_spooled: unexpected_aside(&mut spool, named),
            sinks: BTreeMap::new(),
            notes: Vec::new(),
        };
        for (place, (name, tally)) in tallies.into_iter().enumerate() {
            let sink = sink(issued, place, tally, [&mut letters, &mut spool], named);
            verdict.sinks.insert(name, sink);
        }
        for (index, event) in issued.events.iter().enumerate() {
            if event.is_received()
                && event.targets.required.is_empty()
                && ![&mut letters, &mut spool]
                    .into_iter()
                    .any(|aside| aside.has(index, None) || aside.take(event.group, 0))
            {
                let absent = || Absent::new(event.application, event.sequence);
                verdict.not_dead_lettered.add(named, absent);
            }
        }
        let raw = letters.raw().union(spool.raw()).count() as u64;
        verdict.not_dead_lettered.count += issued.unreadable.saturating_sub(raw);
        verdict.ok = verdict.not_dead_lettered.count == 0
            && verdict.unexpected_dead_letters.count == 0
            && verdict.unexpected_spooled.count == 0
            && (verdict.sinks.values()).all(|s| s.missing.count == 0 && s.unexpected.count == 0);
        verdict
    }

    /// Every event that is named.
    pub(super) fn absent(&mut self) -> impl Iterator<Item = &mut Absent> {
        let sinks = self.sinks.values_mut().flat_map(|s| &mut s.missing.first);
        sinks.chain(&mut self.not_dead_lettered.first)
    }
}

fn sink(
    issued: &Issued,
    place: usize,
    mut tally: Tally,
    [letters, spool]: [&mut Aside; 2],
    named: usize,
) -> SinkVerdict {
    // One that is in several places is one event.
    letters.spare(place).leave_out(&tally.spare);
    spool.spare(place).leave_out(&tally.spare);
    spool.spare(place).leave_out(letters.spare(place));
    let mut verdict = SinkVerdict::default();
    for (index, event) in issued.events.iter().enumerate() {
        if !event.is_received() {
            continue;
        }
        let there = tally.has(index) || tally.spare.take(event.group);
        if event.targets.shadow.contains(place) {
            verdict.shadow_missing += u64::from(!there);
        }
        if !event.targets.required.contains(place) {
            continue;
        }
        verdict.due += 1;
        if there {
            verdict.delivered += 1;
        } else if letters.has(index, Some(place)) || letters.take(event.group, place) {
            verdict.dead_lettered += 1;
        } else if spool.has(index, Some(place)) || spool.take(event.group, place) {
            verdict.spooled += 1;
        } else {
            let absent = || Absent::new(event.application, event.sequence);
            verdict.missing.add(named, absent);
        }
    }
    for (index, event) in issued.events.iter().enumerate() {
        if !event.is_received() && !tally.has(index) {
            tally.spare.take(event.group);
        }
    }
    verdict.reordered = tally.reordered;
    verdict.duplicated = Counted {
        // Of what can happen twice, more ids than events: a copy that was taken for another one.
        count: tally.duplicated + tally.spare.left(),
        first: tally.duplicates,
    };
    verdict.unexpected = unexpected(tally.unknown, tally.foreign, &tally.strangers, named);
    verdict
}

fn unexpected_aside(aside: &mut Aside, named: usize) -> Counted<Named> {
    let unknown = std::mem::take(&mut aside.unknown);
    unexpected(unknown, aside.foreign, &aside.strangers, named)
}

fn unexpected(
    unknown: Vec<Unknown>,
    foreign: u64,
    strangers: &[Named],
    named: usize,
) -> Counted<Named> {
    let count = unknown.len() as u64 + foreign;
    let unknown = unknown.into_iter().filter_map(|unknown| unknown.named);
    let first = unknown.chain(strangers.iter().cloned()).take(named);
    Counted {
        count,
        first: first.collect(),
    }
}
