//! What becomes of each event: what the sinks acked of it, and how it ended for the cloud.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::mpsc;
use vodbridge_core::{DEAD_LETTER_TYPE, Template};
use vodbridge_simulator::cloud::{Ending, LedgerEntry, Mode, Observer, State};

use super::stage::Stage;
use super::times::Times;
use crate::watch::Acked;

/// Endings that the show may be behind; it misses further ones, the numbers do not.
const BEHIND: usize = 4096;
/// What was acked is kept so long for an ending that may never come: longer than the cloud takes
/// for three attempts, or for a lease.
const KEPT: Duration = Duration::from_secs(120);
/// Fewer are kept longer.
const FEW: usize = 1024;

/// Puts together what is seen on both sides of the bridge. An ack is told here before the bridge
/// hears of it, and an ending before whoever waits for it, so that nothing is missed.
pub(super) struct Story {
    modes: BTreeMap<u64, Mode>,
    templates: BTreeMap<String, Template>,
    inner: Mutex<Inner>,
}

struct Inner {
    acked: HashMap<String, Event>,
    /// How many are kept before the old ones go.
    room: usize,
    push: Tally,
    pull: Tally,
    event_types: BTreeSet<String>,
    endings: Option<mpsc::Sender<Ended>>,
    last_ending: Instant,
    missed: u64,
}

/// Numbers of one mode that the cloud does not know.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// Events that ended, and that a sink or the dead letter had acked by then.
    pub(super) acked: u64,
    /// Of these, the ones that a dead letter was acked for.
    pub(super) dead_lettered: u64,
    /// Acks of each sink.
    pub(super) acks: BTreeMap<String, u64>,
    /// From publish to ack.
    pub(super) ack_times: BTreeMap<String, Times>,
    /// From the first post, or the pull, to the answer or confirm.
    pub(super) confirm_times: Times,
}

/// What is known of an event before its end.
struct Event {
    since: Instant,
    event_type: Option<String>,
    outcome: Option<String>,
    acks: Vec<Ack>,
}

/// One sink's ack of an event.
#[derive(Debug, Clone)]
pub(super) struct Ack {
    pub(super) sink: String,
    pub(super) topic: String,
    pub(super) after: Duration,
    /// Why it is a dead letter, where it is one.
    pub(super) dead_letter: Option<String>,
}

/// An event's whole story.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) mode: Mode,
    pub(super) state: State,
    pub(super) after: Duration,
    pub(super) deliveries: u32,
    pub(super) event_type: String,
    pub(super) id: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) outcome: Option<String>,
    pub(super) acks: Vec<Ack>,
}

/// Everything that is counted here, at one moment.
pub(super) struct Tallies {
    pub(super) push: Tally,
    pub(super) pull: Tally,
    pub(super) event_types: usize,
    /// Endings that were not shown.
    pub(super) missed: u64,
}

impl Story {
    /// The story of a stage, and where its endings come from.
    pub(super) fn new(stage: &Stage) -> (Arc<Self>, mpsc::Receiver<Ended>) {
        let (endings, told) = mpsc::channel(BEHIND);
        let sinks = stage.config.sinks.iter();
        let applications = stage.applications.iter();
        let story = Self {
            modes: applications.map(|a| (a.sub_app_id, a.mode)).collect(),
            templates: sinks
                .map(|(name, sink)| (name.clone(), sink.template().clone()))
                .collect(),
            inner: Mutex::new(Inner {
                acked: HashMap::new(),
                room: FEW,
                push: Tally::default(),
                pull: Tally::default(),
                event_types: BTreeSet::new(),
                endings: Some(endings),
                last_ending: Instant::now(),
                missed: 0,
            }),
        };
        (Arc::new(story), told)
    }

    /// Tells this story of the cloud's endings.
    pub(super) fn observer(self: &Arc<Self>) -> Observer {
        let story = self.clone();
        Observer::new(move |ending| story.ended(ending))
    }

    /// A sink has acked an event, or a dead letter.
    pub(super) fn acked(&self, acked: &Acked<'_>) {
        let Acked {
            sink,
            envelope,
            after,
        } = *acked;
        let reason = || envelope.extension("deadletterreason").unwrap_or("unknown");
        let dead_letter = (envelope.ty() == DEAD_LETTER_TYPE).then(|| reason().to_owned());
        let topic = match (envelope.topic(), self.templates.get(sink)) {
            (Some(topic), _) => topic.to_owned(),
            (None, Some(template)) => template.topic(envelope).into_owned(),
            (None, None) => String::new(),
        };
        let label = |name| envelope.label(name).map(str::to_owned);
        let application = envelope.label("sub_app_id").and_then(|id| id.parse().ok());
        let mode = application.and_then(|id: u64| self.modes.get(&id));

        let mut inner = self.lock();
        if let Some(mode) = mode {
            let tally = inner.tally(*mode);
            *tally.acks.entry(sink.to_owned()).or_default() += 1;
            tally
                .ack_times
                .entry(sink.to_owned())
                .or_default()
                .add(after);
        }
        inner.make_room();
        let event = inner
            .acked
            .entry(envelope.id().to_owned())
            .or_insert_with(|| Event {
                since: Instant::now(),
                event_type: None,
                outcome: None,
                acks: Vec::new(),
            });
        if dead_letter.is_none() {
            event.event_type = label("event_type");
            event.outcome = label("outcome");
        }
        event.acks.push(Ack {
            sink: sink.to_owned(),
            topic,
            after,
            dead_letter,
        });
    }

    fn ended(&self, ending: Ending) {
        let Ending {
            entry,
            after,
            answer,
        } = ending;
        let Some(mode) = self.modes.get(&entry.sub_app_id).copied() else {
            return;
        };
        let mut inner = self.lock();
        inner.last_ending = Instant::now();
        let id = answered(&answer).or_else(|| {
            let known = entry.ids.iter().find(|id| inner.acked.contains_key(*id));
            known.or(entry.ids.first()).cloned()
        });
        let event = id.as_ref().and_then(|id| inner.acked.remove(id));
        let tally = inner.tally(mode);
        if entry.state == State::Confirmed {
            tally.confirm_times.add(after);
        }
        let (known_type, outcome, mut acks) = match event {
            Some(event) => (event.event_type, event.outcome, event.acks),
            None => (None, None, Vec::new()),
        };
        let dead_lettered = acks.iter().any(|ack| ack.dead_letter.is_some());
        tally.acked += u64::from(!acks.is_empty());
        tally.dead_lettered += u64::from(dead_lettered);
        acks.sort_by(|a, b| a.sink.cmp(&b.sink));
        let event_type = known_type.unwrap_or_else(|| short_type(&entry));
        if !acks.is_empty() && !inner.event_types.contains(&event_type) {
            inner.event_types.insert(event_type.clone());
        }
        let ended = Ended {
            mode,
            state: entry.state,
            after,
            deliveries: entry.deliveries,
            event_type,
            id,
            subject: entry.subject,
            outcome,
            acks,
        };
        if let Some(show) = &inner.endings
            && show.try_send(ended).is_err()
        {
            inner.missed += 1;
        }
    }

    /// Nothing more is shown.
    pub(super) fn close(&self) {
        self.lock().endings = None;
    }

    /// When an event ended last, or the story began.
    pub(super) fn last_ending(&self) -> Instant {
        self.lock().last_ending
    }

    /// The numbers by now.
    pub(super) fn tallies(&self) -> Tallies {
        let inner = self.lock();
        Tallies {
            push: inner.push.clone(),
            pull: inner.pull.clone(),
            event_types: inner.event_types.len(),
            missed: inner.missed,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tally(&mut self, mode: Mode) -> &mut Tally {
        match mode {
            Mode::Push => &mut self.push,
            Mode::Pull => &mut self.pull,
        }
    }

    /// Lets go of what was acked and never ended: by a shadow sink late, or of a lost callback.
    fn make_room(&mut self) {
        if self.acked.len() >= self.room {
            self.acked.retain(|_, event| event.since.elapsed() < KEPT);
            self.room = FEW.max(2 * self.acked.len());
        }
    }
}

/// The id in the bridge's answer to a callback.
fn answered(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        id: String,
    }
    let answer: Option<Answer> = serde_json::from_slice(body).ok();
    answer.map(|answer| answer.id)
}

/// The event type of what no sink has acked.
fn short_type(entry: &LedgerEntry) -> String {
    let ty = entry.ty.as_deref().unwrap_or("unknown");
    ty.rsplit('.').next().unwrap_or(ty).to_owned()
}
