//! What must hold of every schedule, as far as the cloud and a sink can see it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use vodbridge_sources::queue::QueueConfig;
use vodbridge_vod::api::{MAX_EVENTS, MAX_HANDLES};

/// How long a handle is withheld at least for an event that was not delivered.
const REMEMBERED: Duration = Duration::from_secs(300);

/// One event of an answer: its number, and the handle that it bears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulled {
    pub(crate) number: usize,
    pub(crate) handle: usize,
}

impl Pulled {
    /// Every fourth is one that nobody can read.
    pub(crate) fn text(&self) -> String {
        let Self { number, handle } = self;
        match number % 4 {
            3 => format!(r#"{{"EventHandle":"h{handle}","Strange":"<{number}>"}}"#),
            _ => format!(
                r#"{{"EventHandle":"h{handle}","EventType":"NewFileUpload","FileUploadEvent":{{"FileId":"<{number}>"}}}}"#
            ),
        }
    }
}

/// The number of the event that these bytes are of, or are the dead letter of.
pub(crate) fn number_in(data: &[u8]) -> usize {
    let text = String::from_utf8_lossy(data);
    let from = text.find('<').map(|at| &text[at + 1..]);
    let number = from.and_then(|text| text.split('>').next()?.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {text}"))
}

/// What the bridge's metrics say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) in_flight: usize,
    pub(crate) not_delivered: usize,
    /// Deliveries that ended well, as far as they were counted.
    pub(crate) delivered: usize,
}

#[derive(Debug)]
pub(crate) struct Model {
    config: QueueConfig,
    /// The events that a handle stands for, and when each was pulled last under it.
    handles: BTreeMap<String, BTreeMap<usize, Instant>>,
    /// Those that the cloud knows no more: to confirm one again does no harm.
    deleted: BTreeSet<String>,
    durable: BTreeSet<usize>,
    /// Publishes that wait, by event.
    open: BTreeMap<usize, usize>,
    /// Pulling is slow since then, and so many pulls were sent since.
    slow: Option<(Instant, u32)>,
    counts: Counts,
    failed_before: usize,
    pub(crate) violations: Vec<String>,
}

impl Model {
    pub(crate) fn new(config: QueueConfig) -> Self {
        Self {
            config,
            handles: BTreeMap::new(),
            deleted: BTreeSet::new(),
            durable: BTreeSet::new(),
            open: BTreeMap::new(),
            slow: None,
            counts: Counts::default(),
            failed_before: 0,
            violations: Vec::new(),
        }
    }

    pub(crate) fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(what());
        }
    }

    /// A pull was sent, and so many wait now.
    pub(crate) fn pulls(&mut self, waiting: usize, now: Instant) {
        let in_flight: usize = self.open.values().sum();
        let (most, taken) = (self.config.max_in_flight, waiting * MAX_EVENTS + in_flight);
        self.must(taken <= most, || {
            format!("{waiting} pulls with {in_flight} in flight, {most} permits")
        });
        if let Some((since, pulls)) = &mut self.slow {
            *pulls += 1;
            let leases = (now - *since).as_millis() / self.config.lease.as_millis();
            // Each puller may have passed the gate before it closed.
            let most = self.config.pullers + 1 + leases as usize;
            let pulls = *pulls as usize;
            self.must(pulls <= most, || {
                format!("{pulls} pulls while no sink takes anything")
            });
        }
    }

    /// A pull that was sent then brings events.
    pub(crate) fn brought(&mut self, events: &[Pulled], sent: Instant) {
        for Pulled { number, handle } in events {
            // It is settled at once, so that pulling is fast again.
            self.slow = self.slow.filter(|_| !self.durable.contains(number));
            let handle = format!("h{handle}");
            self.deleted.remove(&handle);
            let events = self.handles.entry(handle).or_default();
            // An earlier pull may be answered later: the handle's lease is not shorter by that.
            let last = events.entry(*number).or_insert(sent);
            *last = sent.max(*last);
        }
    }

    /// A confirm was sent.
    pub(crate) fn confirms(&mut self, handles: &[String], now: Instant) {
        let count = handles.len();
        self.must((1..=MAX_HANDLES).contains(&count), || {
            format!("{count} handles")
        });
        let mut wrong = Vec::new();
        for handle in handles
            .iter()
            .filter(|handle| !self.deleted.contains(*handle))
        {
            let Some(events) = self.handles.get(handle) else {
                wrong.push("nobody gave it".to_owned());
                continue;
            };
            let pulled = events.values().max().copied().unwrap_or(now);
            if let Some(late) = now.checked_duration_since(pulled + self.config.lease) {
                wrong.push(format!("{late:?} after its lease"));
            }
            let recent = events.iter().filter(|(_, sent)| now - **sent < REMEMBERED);
            for (number, _) in recent {
                if !self.durable.contains(number) {
                    wrong.push(format!("event {number} is not durable"));
                }
            }
        }
        for wrong in wrong {
            self.must(false, || format!("{handles:?} confirmed: {wrong}"));
        }
    }

    /// The cloud has deleted what these handles stand for.
    pub(crate) fn confirmed(&mut self, handles: &[String]) {
        for handle in handles {
            self.handles.remove(handle);
            self.deleted.insert(handle.clone());
        }
    }

    /// A publish of an event has begun, or of its dead letter.
    pub(crate) fn published(&mut self, number: usize) {
        *self.open.entry(number).or_default() += 1;
    }

    /// It is acked, or over without an ack.
    pub(crate) fn closed(&mut self, number: usize, is_acked: bool) {
        if is_acked {
            self.durable.insert(number);
            self.slow = None;
        }
        let left = self.open.get_mut(&number).expect("it was published");
        *left -= 1;
        if *left == 0 {
            self.open.remove(&number);
        }
    }

    /// Nothing happens any more by itself at this moment.
    pub(crate) fn is_quiet(&mut self, counts: Counts, now: Instant) {
        const PATIENT: usize = 64;
        if counts.delivered != self.counts.delivered {
            self.failed_before = counts.not_delivered;
        }
        self.counts = counts;
        let is_slow = counts.not_delivered - self.failed_before >= PATIENT;
        self.slow = self.slow.or(Some((now, 0))).filter(|_| is_slow);
        let most = self.config.max_in_flight;
        let in_flight = counts.in_flight;
        self.must(in_flight <= most, || {
            format!("{in_flight} in flight, {most} permits")
        });
    }

    /// What the cloud still keeps, as a pull would bring it.
    pub(crate) fn kept(&self) -> Vec<Pulled> {
        let each = self.handles.iter().flat_map(|(handle, events)| {
            let handle = handle.trim_start_matches('h').parse().expect("a number");
            events.keys().map(move |number| Pulled {
                number: *number,
                handle,
            })
        });
        each.collect()
    }
}
