//! The one task that publishes on a channel.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::types::ShortString;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use vodbridge_core::PublishError;

use crate::confirms::{Answer, Confirms, Resolved, Ticket};
use crate::connection::Link;
use crate::error::{Failure, size_limit};
use crate::flight::Flight;
use crate::message::Message;
use crate::session::{Session, SessionFailure};
use crate::size::SizeLimit;

/// A connection that holds open publishes and confirmed none for so long is replaced, unless
/// the broker said that it blocks. So is one that was only refused (nack) for so long: a channel
/// that was opened while a quorum queue had lost its leader may ask the dead one for ever.
const STALL: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(500);
/// Jobs taken at a time.
const BATCH: usize = 128;

/// A message to publish, and where its verdict goes. A closed `reply` means that nobody waits
/// any more: such a job is never sent.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) message: Message,
    pub(crate) reply: oneshot::Sender<Result<(), PublishError>>,
}

impl Job {
    fn split(self) -> (Message, Ticket) {
        let ticket = Ticket {
            mark: self.message.mark,
            bytes: self.message.body.len(),
            reply: self.reply,
        };
        (self.message, ticket)
    }
}

/// Owns one channel of whatever session there is.
pub(crate) struct ChannelOwner {
    exchange: ShortString,
    size: Arc<SizeLimit>,
    /// Which of a session's channels.
    index: usize,
    /// How many publishes may be open, and how many may wait.
    window: usize,
    jobs: mpsc::Receiver<Job>,
    links: watch::Receiver<Link>,
    link: Link,
    waiting: VecDeque<Job>,
    flight: Flight,
    confirms: Confirms,
    /// When a publish was last confirmed, or the first open one sent.
    progress: Instant,
    /// When the broker began to refuse all publishes.
    refused: Option<Instant>,
}

impl ChannelOwner {
    pub(crate) fn new(
        exchange: ShortString,
        size: Arc<SizeLimit>,
        index: usize,
        window: usize,
        jobs: mpsc::Receiver<Job>,
        links: watch::Receiver<Link>,
    ) -> Self {
        Self {
            exchange,
            size,
            index,
            window,
            jobs,
            links,
            link: Link::Down,
            waiting: VecDeque::new(),
            flight: Flight::default(),
            confirms: Confirms::default(),
            progress: Instant::now(),
            refused: None,
        }
    }

    /// Runs until the connector ends or the last sender of jobs is gone.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut round = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                Some(first) = self.flight.next(), if self.flight.len() > 0 => {
                    round.push(first);
                    self.settle(&mut round);
                }
                changed = self.links.changed() => match changed {
                    Ok(()) => self.relink(&mut round),
                    Err(_) => return,
                },
                taken = self.jobs.recv_many(&mut batch, BATCH), if self.waiting.len() < self.window => {
                    if taken == 0 {
                        return;
                    }
                    self.waiting.extend(batch.drain(..));
                }
                _ = tick.tick() => self.tick(),
            }
            self.send();
        }
    }

    /// Completes a round of confirms and gives the verdicts.
    fn settle(&mut self, round: &mut Vec<Resolved>) {
        self.flight.drain(round);
        self.progress = Instant::now();
        for resolved in round.iter() {
            match &resolved.answer {
                Answer::Failed(error) => {
                    if let Some(limit) = size_limit(error) {
                        self.size.learn(limit, self.progress);
                    }
                }
                Answer::Ack => self.acked(),
                Answer::Nack => self.refused(),
            }
        }
        if let Err(reason) = self.confirms.settle(round, self.flight.len()) {
            let doubt = false;
            self.fail(SessionFailure { reason, doubt });
        }
    }

    fn acked(&mut self) {
        self.refused = None;
        if let Some(session) = self.link.session() {
            session.verdicts.acked();
        }
    }

    fn refused(&mut self) {
        let since = *self.refused.get_or_insert(self.progress);
        if let Some(session) = self.link.session() {
            session.verdicts.refused(self.progress);
        }
        if self.progress.duration_since(since) > STALL {
            self.give_up("refused (nack) all publishes");
        }
    }

    fn relink(&mut self, round: &mut Vec<Resolved>) {
        let link = self.links.borrow_and_update().clone();
        let same = match (self.link.session(), link.session()) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            // What was confirmed before the end counts; what is still open is lost.
            self.settle(round);
            self.flight = Flight::default();
            self.confirms = Confirms::default();
            self.refused = None;
        }
        self.link = link;
        self.progress = Instant::now();
    }

    /// Hands on what waits, as far as the link allows.
    fn send(&mut self) {
        match &self.link {
            Link::Up(session) if !self.waiting.is_empty() && !session.has_failed() => {
                self.publish(session.clone());
            }
            Link::NoExchange => {
                for job in self.waiting.drain(..) {
                    let exchange = self.exchange.to_string();
                    job.split().1.fail(Failure::NoExchange { exchange }, true);
                }
            }
            Link::Up(_) | Link::Blocked(_) | Link::Down => {}
        }
    }

    fn publish(&mut self, session: Arc<Session>) {
        if self.flight.len() == 0 {
            self.progress = Instant::now();
        }
        while self.flight.len() < self.window {
            let Some(job) = self.waiting.pop_front() else {
                return;
            };
            if job.reply.is_closed() {
                continue;
            }
            let (message, ticket) = job.split();
            let size = message.body.len();
            if let Some(limit) = self.size.exceeded(size, Instant::now()) {
                // The broker would close the channel over it.
                ticket.fail(Failure::Body { size, limit }, true);
                continue;
            }
            let (size, frame_max) = (message.header_bytes, session.frame_max);
            if size > frame_max {
                // The broker would close the connection over it.
                ticket.fail(Failure::Headers { size, frame_max }, true);
                continue;
            }
            let channel = &session.channels[self.index];
            self.flight
                .publish(channel, &self.exchange, message, ticket);
        }
    }

    fn tick(&mut self) {
        self.waiting.retain(|job| !job.reply.is_closed());
        let hangs = self.flight.len() > 0 && self.progress.elapsed() > STALL;
        if hangs && matches!(self.link, Link::Up(_)) {
            let open = self.flight.len();
            self.give_up(&format!("confirmed none of {open} publishes"));
        }
    }

    /// What the broker did for too long.
    fn give_up(&self, what: &str) {
        let reason = format!("the broker {what} for {} s", STALL.as_secs());
        self.fail(SessionFailure {
            reason,
            doubt: true,
        });
    }

    fn fail(&self, failure: SessionFailure) {
        if let Some(session) = self.link.session() {
            session.fail(failure);
        }
    }
}
