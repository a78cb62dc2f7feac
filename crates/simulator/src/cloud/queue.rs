//! One application: its events, and how it wants to be told of them.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::config::{CloudConfig, MixedConfirm};
use super::ending::{Ending, Observer};
use super::events::{Content, Counts, Delivery, Events, Stale, State};
use super::faults::Disorder;
use super::handle::Handles;
use super::recorded::Recorded;
use super::settings::{Change, InvalidChange, Mode, Settings};
use super::stream::Stream;

/// Shortest sleep between looks at the leases.
const WAKE: Duration = Duration::from_millis(1);

/// The events of one application (SubAppId). A clone is the same queue.
#[derive(Debug, Clone)]
pub struct Queue(pub(super) Arc<Application>);

#[derive(Debug)]
pub(super) struct Application {
    pub(super) sub_app_id: u64,
    pub(super) stream: Stream,
    pub(super) handles: Handles,
    lease: Duration,
    long_poll: Duration,
    mixed: MixedConfirm,
    observer: Option<Observer>,
    /// Held from an ending until the observer knows of it.
    telling: Mutex<()>,
    state: Mutex<Inner>,
    /// Told when events come or the settings change.
    news: Notify,
    /// Told when events are confirmed.
    ended: watch::Sender<()>,
}

/// How the posting of one event ended.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) attempts: u32,
    pub(super) state: State,
    pub(super) after: Duration,
    pub(super) answer: Bytes,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) events: Events,
    pub(super) settings: Settings,
    pub(super) disorder: Disorder,
    /// The next number of the stream.
    next: u32,
}

/// A queue at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct QueueStats {
    /// What has happened so far.
    #[serde(flatten)]
    pub counts: Counts,
    /// Deliveries that a pull could get now.
    pub waiting: usize,
    /// Deliveries under a lease, or being posted.
    pub hidden: usize,
}

impl std::ops::Add for QueueStats {
    type Output = Self;

    /// Of two queues together.
    fn add(self, other: Self) -> Self {
        Self {
            counts: self.counts + other.counts,
            waiting: self.waiting + other.waiting,
            hidden: self.hidden + other.hidden,
        }
    }
}

impl Application {
    pub(super) fn new(sub_app_id: u64, seed: u64, config: &CloudConfig) -> Self {
        let scale = config.time_scale;
        Self {
            sub_app_id,
            stream: Stream::new(seed, &config.samples, config.null_fields),
            handles: Handles::new(seed, sub_app_id),
            lease: scale.real(config.lease),
            long_poll: scale.real(config.long_poll),
            mixed: config.mixed_confirm,
            observer: config.observer.clone(),
            telling: Mutex::default(),
            state: Mutex::new(Inner {
                events: Events::new(),
                settings: Settings::default(),
                disorder: Disorder::none(seed),
                next: 0,
            }),
            news: Notify::new(),
            ended: watch::Sender::new(()),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for events as long as a long poll does. Empty: none came.
    pub(super) async fn pull(&self) -> Vec<Delivery> {
        let until = Instant::now() + self.long_poll;
        let taken = self.wait_for(until, |inner, now| {
            let Inner {
                events, disorder, ..
            } = inner;
            let taken = match inner.settings.mode {
                Mode::Pull => events.pull(now, self.lease, disorder),
                Mode::Push => Vec::new(),
            };
            Some(taken).filter(|taken| !taken.is_empty())
        });
        taken.await.unwrap_or_default()
    }

    /// Waits for an event that has to be posted: the mode is PUSH, and there is a URL.
    pub(super) async fn next_to_post(&self) -> (u32, Content) {
        let patience = Duration::from_secs(3_600);
        loop {
            let next = self.wait_for(Instant::now() + patience, |inner, now| {
                let Settings {
                    mode,
                    notification_url,
                    ..
                } = &inner.settings;
                if *mode == Mode::Pull || notification_url.is_empty() {
                    return None;
                }
                inner.events.take_to_post(now, &mut inner.disorder)
            });
            if let Some(next) = next.await {
                return next;
            }
        }
    }

    /// Tries `take` now, at all news and whenever a lease ends, the last time at `until`.
    async fn wait_for<T>(
        &self,
        until: Instant,
        mut take: impl FnMut(&mut Inner, Instant) -> Option<T>,
    ) -> Option<T> {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            let now = Instant::now();
            let wake = {
                let mut inner = self.lock();
                if let Some(taken) = take(&mut inner, now) {
                    return Some(taken);
                }
                let lease = inner.events.next_end().unwrap_or(until);
                lease.max(now + WAKE).min(until)
            };
            if now >= until {
                return None;
            }
            tokio::select! {
                () = news => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Appends the events as an answer has them: objects with commas between them.
    pub(super) fn write(&self, deliveries: &[Delivery], out: &mut String) {
        for (at, delivery) in deliveries.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            let handle = self.handles.handle(delivery.number);
            match &delivery.content {
                Content::Stream(number) => {
                    write!(out, r#"{{"EventHandle":"{handle}","#).expect("a String takes any text");
                    self.stream.write_pulled(*number, out);
                }
                Content::Recorded(recorded) => recorded.write_pulled(handle, out),
            }
        }
    }

    pub(super) fn confirm<'h>(
        &self,
        handles: impl IntoIterator<Item = &'h str>,
    ) -> Result<(), Stale> {
        let handles = handles.into_iter();
        let deliveries: Vec<_> = handles
            .map(|handle| self.handles.delivery(handle))
            .collect();
        let (now, mut ended) = (Instant::now(), Vec::new());
        let telling = self.telling();
        let mut inner = self.lock();
        let confirmed = inner
            .events
            .confirm(now, &deliveries, self.mixed, &mut ended);
        drop(inner);
        for confirmed in ended {
            let after = now + self.lease - confirmed.lease_end;
            self.tell(confirmed.event, after, Bytes::new());
        }
        drop(telling);
        self.ended.send_replace(());
        confirmed
    }

    /// How the posting of an event ended.
    pub(super) fn posted(&self, event: u32, posted: Posted) {
        let Posted {
            attempts,
            state,
            after,
            answer,
        } = posted;
        let telling = self.telling();
        let ended = self.lock().events.posted(event, attempts, state);
        if ended {
            self.tell(event, after, answer);
        }
        drop(telling);
        self.ended.send_replace(());
    }

    fn telling(&self) -> MutexGuard<'_, ()> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: u32, after: Duration, answer: Bytes) {
        let Some(observer) = &self.observer else {
            return;
        };
        if let Some(entry) = self.entry(&self.normalizer(), event) {
            observer.tell(Ending {
                entry,
                after,
                answer,
            });
        }
    }

    pub(super) fn change(&self, change: Change) -> Result<(), InvalidChange> {
        self.lock().settings.change(change)?;
        self.news.notify_waiters();
        Ok(())
    }

    pub(super) fn stats(&self) -> QueueStats {
        let events = &mut self.lock().events;
        QueueStats {
            waiting: events.waiting(Instant::now()),
            hidden: events.hidden(),
            counts: events.counts(),
        }
    }
}

impl Queue {
    /// The application.
    pub fn sub_app_id(&self) -> u64 {
        self.0.sub_app_id
    }

    /// Issues the next `events` of the stream. Those whose switch is off do not happen: others
    /// take their place.
    pub fn issue(&self, events: u32) {
        let application = &*self.0;
        let mut inner = application.lock();
        let (mut left, mut skipped) = (events, 0);
        while left > 0 && skipped < application.stream.types() {
            let number = inner.next;
            let Some(sample) = application.stream.sample(number) else {
                break;
            };
            inner.next = number.wrapping_add(1);
            if inner.settings.lets_happen(sample.event_type) {
                inner.events.issue(Content::Stream(number));
                (left, skipped) = (left - 1, 0);
            } else {
                skipped += 1;
            }
        }
        drop(inner);
        application.news.notify_waiters();
    }

    /// Issues a recorded notification, whatever the switches say.
    pub fn issue_recorded(&self, recorded: impl IntoIterator<Item = Recorded>) {
        let mut inner = self.0.lock();
        for recorded in recorded {
            inner.events.issue(Content::Recorded(Arc::new(recorded)));
        }
        drop(inner);
        self.0.news.notify_waiters();
    }

    /// Changes how the application is told of its events, as ModifyEventConfig does.
    ///
    /// # Errors
    /// Where the change cannot be made.
    pub fn change(&self, change: Change) -> Result<(), InvalidChange> {
        self.0.change(change)
    }

    /// Where its events are.
    pub fn stats(&self) -> QueueStats {
        self.0.stats()
    }

    /// Resolves when every event issued so far is confirmed, or its posting has ended.
    pub async fn finished(&self) {
        let mut ended = self.0.ended.subscribe();
        while self.stats().counts.open() > 0 && ended.changed().await.is_ok() {}
        drop(self.0.telling());
    }
}

#[cfg(test)]
mod tests;
