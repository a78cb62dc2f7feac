//! What was issued, in as little memory as lets a message be found again.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use vodbridge_core::Targets;
use vodbridge_simulator::cloud::{LedgerEntry, State};

/// Half of a SHA-256: an id, or a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest(u128);

impl Digest {
    /// Of 64 hex digits; any other text is hashed first.
    pub(super) fn of(text: &str) -> Self {
        let half = |hex: &str| u128::from_str_radix(hex.get(..32)?, 16).ok();
        let own = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let found = Some(text).filter(|_| own).and_then(half);
        let found = found.or_else(|| half(&vodbridge_vod::raw_id(text.as_bytes())));
        Self(found.unwrap_or_default())
    }
}

/// One event that was issued.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    pub(super) application: u64,
    /// From 1, in its application.
    pub(super) sequence: u64,
    pub(super) state: State,
    /// Where its routes send it.
    pub(super) targets: Targets,
    /// Of a repeatable event, those with its content.
    pub(super) group: Option<u32>,
}

impl Event {
    /// Whether the cloud holds it for received, so that it never comes again.
    pub(super) fn is_received(&self) -> bool {
        matches!(self.state, State::Confirmed | State::Refused)
    }
}

/// What an id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The event of this index.
    Event(u32),
    /// One of the events with the same content: a repeatable one whose id takes in something that
    /// only the bridge knows.
    OneOf(u32),
}

/// How many events are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) issued: u64,
    pub(super) confirmed: u64,
    /// Callbacks that were answered with another status than 200: received, to the cloud.
    pub(super) refused: u64,
    /// Callbacks that the cloud has given up.
    pub(super) lost: u64,
    pub(super) open: u64,
}

impl Counts {
    fn add(&mut self, state: State) {
        self.issued += 1;
        *match state {
            State::Open => &mut self.open,
            State::Confirmed => &mut self.confirmed,
            State::Refused => &mut self.refused,
            State::Lost => &mut self.lost,
        } += 1;
    }
}

/// Everything that was issued.
#[derive(Debug, Default)]
pub(super) struct Issued {
    pub(super) events: Vec<Event>,
    /// Events that cannot become an event, and belong in the dead letter.
    pub(super) unreadable: u64,
    pub(super) counts: Counts,
    ids: HashMap<Digest, u32>,
    groups: HashMap<Digest, u32>,
}

impl Issued {
    /// Adds an event that is to go to these sinks.
    pub(super) fn add(&mut self, entry: &LedgerEntry, targets: Targets) {
        self.counts.add(entry.state);
        let group = entry.content.as_deref().map(|content| {
            let next = self.groups.len() as u32;
            *self.groups.entry(Digest::of(content)).or_insert(next)
        });
        let event = Event {
            application: entry.sub_app_id,
            sequence: entry.sequence,
            state: entry.state,
            targets,
            group,
        };
        if entry.ty.is_none() {
            self.unreadable += u64::from(event.is_received());
            return;
        }
        let index = self.events.len() as u32;
        for id in &entry.ids {
            // Of two events that share an id, the second is known by its content.
            self.ids.entry(Digest::of(id)).or_insert(index);
        }
        self.events.push(event);
    }

    /// What a message stands for; None: nothing that was issued. `content` is asked for only where
    /// the id does not tell.
    pub(super) fn find(&self, id: Digest, content: impl FnOnce() -> Digest) -> Option<Found> {
        if let Some(event) = self.ids.get(&id) {
            return Some(Found::Event(*event));
        }
        if self.groups.is_empty() {
            return None;
        }
        self.groups
            .get(&content())
            .map(|group| Found::OneOf(*group))
    }
}

/// How many events of each group there were more, by their ids, than were found by theirs.
#[derive(Debug, Default)]
pub(super) struct Spare(HashMap<u32, HashSet<Digest>>);

impl Spare {
    /// Takes note of an event of the group. False: it was there before.
    pub(super) fn add(&mut self, group: u32, id: Digest) -> bool {
        self.0.entry(group).or_default().insert(id)
    }

    /// Uses up one event of the group, if one is left.
    pub(super) fn take(&mut self, group: Option<u32>) -> bool {
        let Some(ids) = group.and_then(|group| self.0.get_mut(&group)) else {
            return false;
        };
        let one = ids.iter().next().copied();
        one.is_some_and(|one| ids.remove(&one))
    }

    /// Forgets those that are there too.
    pub(super) fn leave_out(&mut self, there: &Self) {
        for (group, ids) in &mut self.0 {
            if let Some(there) = there.0.get(group) {
                ids.retain(|id| !there.contains(id));
            }
        }
    }

    /// How many are left.
    pub(super) fn left(&self) -> u64 {
        self.0.values().map(|ids| ids.len() as u64).sum()
    }
}
