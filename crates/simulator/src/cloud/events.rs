//! The events of one application and where each of them is: waiting, hidden by a lease, or done.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::config::MixedConfirm;
use super::faults::Disorder;
use super::recorded::Recorded;

/// Most events of a pull, and most handles of a confirm:
/// <https://cloud.tencent.com/document/api/266/33433>.
pub(super) const BATCH: usize = 16;

/// Every event that was issued, in order. What is kept of one is small: a stream of a million
/// has to fit.
#[derive(Debug)]
pub(super) struct Events {
    start: Instant,
    records: Vec<Record>,
    /// Deliveries of an event after its first, by event.
    further: HashMap<u32, Vec<u32>>,
    /// Places of events that can be pulled now; a duplicate stands here twice.
    waiting: VecDeque<u32>,
    /// Leases by delivery.
    leases: HashMap<u32, Lease>,
    /// When leases end, in that order: they are all equally long. A lease that was confirmed or
    /// begun anew leaves its old entry behind.
    ends: VecDeque<(Instant, Range<u32>)>,
    /// Deliveries so far; the next one's number.
    deliveries: u32,
    hidden: usize,
    counts: Counts,
}

/// What is kept of an event.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) content: Content,
    /// Its first delivery by a pull.
    first: Option<u32>,
    /// How often it was delivered, by a pull or a post.
    pub(super) deliveries: u32,
    pub(super) state: State,
    /// When it came to that state, in milliseconds after the start; wraps after 49 days.
    pub(super) ended: u32,
}

/// Where the content of an event comes from.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// The stream's event of that number.
    Stream(u32),
    Recorded(Arc<Recorded>),
}

/// What the cloud knows of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not confirmed yet.
    Open,
    /// Confirmed, or its callback was answered 200 in time.
    Confirmed,
    /// Its callback was answered in time, but not with 200: received, to the cloud.
    Refused,
    /// The cloud has given up posting it.
    Lost,
}

#[derive(Debug)]
struct Lease {
    event: u32,
    /// Another event under the same handle.
    sibling: Option<u32>,
    end: Instant,
}

/// An event as it is handed to a pull.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) number: u32,
    pub(super) content: Content,
}

/// What happened to the events of an application so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Events that were issued.
    pub issued: u64,
    /// Events that are confirmed, or whose callback was answered 200 in time.
    pub confirmed: u64,
    /// Events whose callback was answered otherwise.
    pub refused: u64,
    /// Events that the cloud has given up posting.
    pub lost: u64,
    /// Events handed to pulls, each as often as it was.
    pub deliveries: u64,
    /// Of these, not the first of their event.
    pub redeliveries: u64,
    /// Deliveries whose lease ended without a confirm.
    pub leases_expired: u64,
    /// Handles that came after their lease, or twice.
    pub late_handles: u64,
    /// Handles that were never given out.
    pub unknown_handles: u64,
    /// Callbacks that were posted, each attempt.
    pub posts: u64,
}

impl Counts {
    /// Events that nothing is known of yet.
    pub fn open(&self) -> u64 {
        self.issued - self.confirmed - self.refused - self.lost
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    /// Of two applications together.
    fn add(self, other: Self) -> Self {
        Self {
            issued: self.issued + other.issued,
            confirmed: self.confirmed + other.confirmed,
            refused: self.refused + other.refused,
            lost: self.lost + other.lost,
            deliveries: self.deliveries + other.deliveries,
            redeliveries: self.redeliveries + other.redeliveries,
            leases_expired: self.leases_expired + other.leases_expired,
            late_handles: self.late_handles + other.late_handles,
            unknown_handles: self.unknown_handles + other.unknown_handles,
            posts: self.posts + other.posts,
        }
    }
}

/// An event that a confirm brought to its end, and when the lease of its handle would have ended.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) event: u32,
    pub(super) lease_end: Instant,
}

/// A confirm had handles that stand for nothing, or for nothing any more.
#[derive(Debug)]
pub(super) struct Stale;

impl Events {
    /// None yet; its clock starts.
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            records: Vec::new(),
            further: HashMap::new(),
            waiting: VecDeque::new(),
            leases: HashMap::new(),
            ends: VecDeque::new(),
            deliveries: 0,
            hidden: 0,
            counts: Counts::default(),
        }
    }

    /// Lets an event wait.
    pub(super) fn issue(&mut self, content: Content) {
        // Beyond u32::MAX events the records alone would take 100 GB.
        self.waiting.push_back(self.records.len() as u32);
        self.records.push(Record {
            content,
            first: None,
            deliveries: 0,
            state: State::Open,
            ended: 0,
        });
        self.counts.issued += 1;
    }

    /// Up to 16 events, hidden until `lease` is over, and none if none waits.
    pub(super) fn pull(
        &mut self,
        now: Instant,
        lease: Duration,
        disorder: &mut Disorder,
    ) -> Vec<Delivery> {
        self.expire(now);
        let end = now + lease;
        let fresh = self.deliveries;
        let mut taken: Vec<Delivery> = Vec::new();
        while taken.len() < BATCH
            && let Some(event) = self.next_waiting(disorder)
        {
            if disorder.duplicates() {
                self.waiting.push_back(event);
            }
            let before = taken.last().map(|delivery| delivery.number);
            let number = match before {
                Some(before) if disorder.shares() && self.share(before, event) => before,
                _ => self.lease(event, end, disorder.keeps_handles()),
            };
            self.hidden += 1;
            taken.push(self.deliver(event, number));
        }
        if self.deliveries > fresh {
            self.ends.push_back((end, fresh..self.deliveries));
        }
        taken
    }

    fn next_waiting(&mut self, disorder: &mut Disorder) -> Option<u32> {
        let place = disorder.place_below(self.waiting.len())?;
        self.waiting.remove(place)
    }

    /// Puts the event under the handle of another one of the same pull, if that has room.
    fn share(&mut self, delivery: u32, event: u32) -> bool {
        match self.leases.get_mut(&delivery) {
            Some(lease) if lease.sibling.is_none() => {
                lease.sibling = Some(event);
                true
            }
            _ => false,
        }
    }

    /// Begins a lease and says under which number.
    fn lease(&mut self, event: u32, end: Instant, keeps_handle: bool) -> u32 {
        let lease = Lease {
            event,
            sibling: None,
            end,
        };
        let known = self.records[event as usize].first.filter(|_| keeps_handle);
        // A handle that still hides another copy of the event is no use for this one.
        let known = known.filter(|number| !self.leases.contains_key(number));
        let number = known.unwrap_or(self.deliveries);
        match known {
            Some(number) => self.ends.push_back((end, number..number + 1)),
            None => self.deliveries += 1,
        }
        self.leases.insert(number, lease);
        number
    }

    fn deliver(&mut self, event: u32, number: u32) -> Delivery {
        let record = &mut self.records[event as usize];
        self.counts.deliveries += 1;
        self.counts.redeliveries += u64::from(record.deliveries > 0);
        record.deliveries += 1;
        match record.first {
            None => record.first = Some(number),
            Some(first) if first != number => self.further.entry(event).or_default().push(number),
            Some(_) => {}
        }
        Delivery {
            number,
            content: record.content.clone(),
        }
    }

    /// Lets the events of leases that are over wait again, before all others.
    fn expire(&mut self, now: Instant) {
        let mut over = Vec::new();
        while self.ends.front().is_some_and(|(end, _)| *end <= now)
            && let Some((_, numbers)) = self.ends.pop_front()
        {
            for number in numbers {
                if self
                    .leases
                    .get(&number)
                    .is_some_and(|lease| lease.end <= now)
                    && let Some(lease) = self.leases.remove(&number)
                {
                    over.extend([lease.event].into_iter().chain(lease.sibling));
                }
            }
        }
        self.hidden -= over.len();
        self.counts.leases_expired += over.len() as u64;
        for event in over.into_iter().rev() {
            if self.records[event as usize].state == State::Open {
                self.waiting.push_front(event);
            }
        }
    }

    /// Confirms deliveries, None being a handle that is none, and adds the events that end by it.
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        deliveries: &[Option<u32>],
        mixed: MixedConfirm,
        confirmed: &mut Vec<Confirmed>,
    ) -> Result<(), Stale> {
        self.expire(now);
        let mut stale = false;
        for delivery in deliveries {
            match delivery {
                Some(number) if self.leases.contains_key(number) => continue,
                Some(number) if *number < self.deliveries => self.counts.late_handles += 1,
                _ => self.counts.unknown_handles += 1,
            }
            stale = true;
        }
        if !stale || mixed == MixedConfirm::Good {
            for number in deliveries.iter().flatten() {
                if let Some(lease) = self.leases.remove(number) {
                    for event in [lease.event].into_iter().chain(lease.sibling) {
                        self.hidden -= 1;
                        if self.end(event, State::Confirmed) {
                            let lease_end = lease.end;
                            confirmed.push(Confirmed { event, lease_end });
                        }
                    }
                }
            }
        }
        if stale { Err(Stale) } else { Ok(()) }
    }

    /// The next event to post, which waits no more.
    pub(super) fn take_to_post(
        &mut self,
        now: Instant,
        disorder: &mut Disorder,
    ) -> Option<(u32, Content)> {
        self.expire(now);
        let event = self.next_waiting(disorder)?;
        if disorder.duplicates() {
            self.waiting.push_back(event);
        }
        self.hidden += 1;
        Some((event, self.records[event as usize].content.clone()))
    }

    /// How the posting of an event ended, after so many attempts. True: the event ended by it.
    pub(super) fn posted(&mut self, event: u32, attempts: u32, state: State) -> bool {
        self.records[event as usize].deliveries += attempts;
        self.counts.posts += u64::from(attempts);
        self.hidden -= 1;
        self.end(event, state)
    }

    /// False: it had ended before.
    fn end(&mut self, event: u32, state: State) -> bool {
        let record = &mut self.records[event as usize];
        if record.state != State::Open {
            return false;
        }
        record.state = state;
        record.ended = self.start.elapsed().as_millis() as u32;
        match state {
            State::Confirmed => self.counts.confirmed += 1,
            State::Refused => self.counts.refused += 1,
            State::Lost => self.counts.lost += 1,
            State::Open => {}
        }
        true
    }

    /// When the first of the leases ends, at the earliest.
    pub(super) fn next_end(&self) -> Option<Instant> {
        Some(self.ends.front()?.0)
    }

    /// How many can be pulled now.
    pub(super) fn waiting(&mut self, now: Instant) -> usize {
        self.expire(now);
        self.waiting.len()
    }

    /// How many are delivered and not confirmed, or being posted.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Event `event`, and the numbers of its deliveries by pulls.
    pub(super) fn record(&self, event: u32) -> Option<(Record, Vec<u32>)> {
        let record = self.records.get(event as usize)?.clone();
        let further = self.further.get(&event).into_iter().flatten();
        let deliveries = record.first.into_iter().chain(further.copied()).collect();
        Some((record, deliveries))
    }
}
