//! What must hold of every schedule, said without tasks, locks or retries: the model is told of
//! each thing that happens, and keeps what contradicts it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use vodbridge_core::{DEAD_LETTER_RESERVE, Outcome, Patience};

use crate::broker::{Place, Verdict, What};
use crate::world::World;

/// What has ended is remembered for so long at least, and for twice as long at most.
const REMEMBERED: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) world: World,
    pub(crate) events: BTreeMap<String, Event>,
    pub(crate) calls: Vec<Call>,
    pub(crate) cut: bool,
    pub(crate) violations: Vec<String>,
}

/// An event through all of its copies, or a raw notification on its way to the dead letter.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) required: BTreeSet<usize>,
    /// What each sink has made of it, as far as that is remembered.
    settled: BTreeMap<usize, Outcome>,
    /// It goes nowhere, and its dead letter is durable.
    kept: bool,
    shadowed: BTreeSet<usize>,
    pub(crate) lead: Option<Lead>,
    /// When its last delivery ended, and how.
    pub(crate) last: Option<(Instant, Option<Outcome>)>,
}

/// The delivery of an event that is in flight.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) call: usize,
    /// The latest deadline of its copies.
    pub(crate) deadline: Instant,
    /// The deadline that the sinks could still make use of.
    pub(crate) due: Instant,
    /// Three patiences.
    latest: Instant,
    /// Until when it waits for a destination.
    limit: Option<Instant>,
    /// It has published, so it has its permit and its shares.
    pub(crate) admitted: bool,
    pub(crate) open: Vec<(Place, What)>,
    /// The last word of each sink.
    verdicts: BTreeMap<usize, Verdict>,
    /// The refusals that are on their way to the dead letter, and those that it refused as well.
    pub(crate) letters: BTreeSet<Option<usize>>,
    pub(crate) lost: BTreeSet<Option<usize>>,
}

/// One call of the intake.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) role: Role,
    pub(crate) begun: Instant,
    pub(crate) deadline: Instant,
    /// It came with a permit.
    pub(crate) reserved: bool,
    pub(crate) done: bool,
    pub(crate) permit: Permit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Lead,
    Join,
    Settled(Outcome),
}

/// Whether a permit is in use, as far as can be seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    No,
    Perhaps,
    Yes,
}

impl Lead {
    /// The sinks that refused the event for good.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = usize> {
        let last = self.verdicts.iter();
        last.filter_map(|(sink, last)| (*last == Verdict::Permanent).then_some(*sink))
    }

    fn may_have_letter(&self, refused_by: usize) -> bool {
        match self.verdicts.get(&refused_by) {
            Some(Verdict::Permanent) => true,
            Some(Verdict::Unroutable) => self.limit.is_some(),
            _ => false,
        }
    }
}

impl Event {
    /// The sinks that have neither acked it nor been replaced by a dead letter.
    pub(crate) fn open(&self) -> impl Iterator<Item = usize> {
        let open = |sink: &&usize| !self.settled.contains_key(sink);
        self.required.iter().filter(open).copied()
    }

    /// What is durable of it says that it is delivered; None: it is not.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        if self.required.is_empty() {
            return self.kept.then_some(Outcome::DeadLettered);
        }
        let is_lettered = |outcome: &Outcome| *outcome == Outcome::DeadLettered;
        match self.open().next() {
            Some(_) => None,
            None if self.settled.values().any(is_lettered) => Some(Outcome::DeadLettered),
            None => Some(Outcome::Delivered),
        }
    }

    /// It was confirmed, or too long ago.
    pub(crate) fn forget(&mut self) {
        (self.settled, self.shadowed) = Default::default();
        (self.kept, self.last) = (false, None);
    }

    /// How long it is remembered depends on others; then its copies say nothing.
    fn is_half_forgotten(&self, now: Instant) -> bool {
        let age = self.last.map(|(at, _)| now - at);
        age.is_some_and(|age| (REMEMBERED..2 * REMEMBERED).contains(&age))
    }

    /// Whether the publish is one that should be.
    fn published(&self, lead: &Lead, place: Place, what: &What, now: Instant) -> Result<(), &str> {
        let check = |holds, wrong| if holds { Ok(()) } else { Err(wrong) };
        check(now < lead.deadline, "after its deadline")?;
        check(
            !lead.open.contains(&(place, what.clone())),
            "beside another",
        )?;
        match (what, place) {
            (What::Letter(_, None), _) => {
                check(self.required.is_empty(), "it goes somewhere")?;
                check(!self.kept, "it is kept")
            }
            (What::Letter(_, Some(sink)), _) => {
                check(lead.may_have_letter(*sink), "nobody refused it")?;
                check(!self.settled.contains_key(sink), "it is settled")
            }
            (What::Event(_), Place::Sink(sink)) if self.required.contains(&sink) => {
                let until = lead.deadline - DEAD_LETTER_RESERVE;
                check(now < until, "in the time of the dead letter")?;
                check(!self.settled.contains_key(&sink), "it is settled")?;
                let refused = lead.refusals().any(|refused| refused == sink);
                check(!refused, "it was refused for good")
            }
            (What::Event(_), Place::Sink(sink)) => {
                check(!self.shadowed.contains(&sink), "its shadow had it")
            }
            (What::Event(_), _) => Err("not as a dead letter"),
        }
    }
}

impl Model {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            events: BTreeMap::new(),
            calls: Vec::new(),
            cut: false,
            violations: Vec::new(),
        }
    }

    pub(crate) fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }

    /// Whether nothing can be said of a copy that would come now.
    pub(crate) fn is_half_forgotten(&self, id: &str, now: Instant) -> bool {
        let event = self.events.get(id);
        event.is_some_and(|event| event.is_half_forgotten(now))
    }

    /// An event arrives, or a raw notification, which no sink is required for. Gives its number.
    pub(crate) fn arrives(
        &mut self,
        id: &str,
        required: &[usize],
        patience: Patience,
        reserved: bool,
        now: Instant,
    ) -> usize {
        let call = self.calls.len();
        let event = self.events.entry(id.to_owned()).or_default();
        event.required = required.iter().copied().collect();
        if event.last.is_some_and(|(at, _)| now - at >= 2 * REMEMBERED) {
            event.forget();
        }
        let deadline = patience.deadline;
        let outcome = event.last.and_then(|(_, outcome)| outcome);
        let role = match (&mut event.lead, outcome) {
            (Some(lead), _) => {
                // What the sinks were given up for stays given up.
                let in_time = now < lead.due - DEAD_LETTER_RESERVE;
                lead.deadline = lead.deadline.max(deadline.min(lead.latest));
                lead.due = if in_time { lead.deadline } else { lead.due };
                Role::Join
            }
            (None, Some(outcome)) => Role::Settled(outcome),
            (None, None) => {
                event.lead = Some(Lead {
                    call,
                    deadline,
                    due: deadline,
                    latest: deadline + 2 * (deadline - now),
                    limit: patience.unroutable_until,
                    admitted: false,
                    open: Vec::new(),
                    verdicts: BTreeMap::new(),
                    letters: BTreeSet::new(),
                    lost: BTreeSet::new(),
                });
                Role::Lead
            }
        };
        self.calls.push(Call {
            id: id.to_owned(),
            role,
            begun: now,
            deadline,
            reserved,
            done: false,
            permit: Permit::No,
        });
        call
    }

    /// A publish has begun.
    pub(crate) fn published(&mut self, place: Place, what: &What, now: Instant) {
        let cut = self.cut;
        let event = self.events.get_mut(what.id()).expect("it arrived");
        let required = &event.required;
        let shadow = match (what, place) {
            (What::Event(_), Place::Sink(sink)) => (!required.contains(&sink)).then_some(sink),
            _ => None,
        };
        let found = match &event.lead {
            Some(lead) => event
                .published(lead, place, what, now)
                .map_err(str::to_owned),
            None if shadow.is_some() => Ok(()),
            None => Err("no delivery of it is in flight".to_owned()),
        };
        event.shadowed.extend(shadow);
        if let Some(lead) = &mut event.lead {
            lead.admitted = true;
            if let What::Letter(_, refused_by) = what {
                lead.letters.insert(*refused_by);
            }
            if shadow.is_none() {
                lead.open.push((place, what.clone()));
            }
            self.calls[lead.call].permit = Permit::Yes;
        }
        self.must(!cut || shadow.is_some(), || {
            format!("{what:?} at {place:?}: after the cut")
        });
        if let Err(wrong) = found {
            self.must(false, || format!("{what:?} at {place:?}: {wrong}"));
        }
    }

    /// A publish that was waited for has its answer.
    pub(crate) fn answered(&mut self, place: Place, what: &What, verdict: Verdict) {
        let has_last_resort = self.world.has_last_resort;
        let event = self.events.get_mut(what.id()).expect("it arrived");
        let Some(lead) = &mut event.lead else {
            return;
        };
        match (what, place) {
            (What::Event(_), Place::Sink(sink)) if event.required.contains(&sink) => {
                lead.verdicts.insert(sink, verdict);
                if verdict == Verdict::Ack {
                    event.settled.insert(sink, Outcome::Delivered);
                }
            }
            (What::Event(_), _) => {}
            (What::Letter(_, refused_by), _) => match (verdict, refused_by) {
                (Verdict::Ack, None) => event.kept = true,
                (Verdict::Ack, Some(sink)) => {
                    event.settled.insert(*sink, Outcome::DeadLettered);
                }
                (Verdict::Permanent, _) if place == Place::LastResort || !has_last_resort => {
                    lead.lost.insert(*refused_by);
                }
                _ => {}
            },
        }
    }

    /// A publish is over, answered or given up.
    pub(crate) fn closed(&mut self, place: Place, what: &What) {
        let event = self.events.get_mut(what.id()).expect("it arrived");
        if let Some(lead) = &mut event.lead {
            lead.open.retain(|open| *open != (place, what.clone()));
        }
    }

    /// The publishes that are waited for.
    pub(crate) fn open(&self) -> usize {
        let leads = self.events.values().filter_map(|event| event.lead.as_ref());
        leads.map(|lead| lead.open.len()).sum()
    }

    /// The caller has its answer: the permit is given back, and the event forgotten if the answer
    /// came in time.
    pub(crate) fn released(&mut self, call: usize, in_time: bool) {
        let call = &mut self.calls[call];
        call.permit = Permit::No;
        let event = self.events.get_mut(&call.id).expect("it arrived");
        if in_time && event.lead.is_none() {
            event.forget();
        }
    }
}
