//! Fakes for tests. They are tested themselves, below.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::{BoxError, Envelope, Event, Health, HealthCell, Label, PublishError, Sink};

/// An event with this id and type, and little else.
pub fn event(id: &str, event_type: &'static str) -> Event {
    Event {
        id: id.to_owned(),
        source: "https://vod.example/1".into(),
        ty: event_type.into(),
        subject: Some("5285890784273533167".to_owned()),
        time: "2026-01-01T00:00:00Z".to_owned(),
        partition_key: Some("5285890784273533167".to_owned()),
        extensions: Vec::new(),
        labels: vec![
            Label::new("event_type", event_type),
            Label::new("source", "callback"),
        ],
    }
}

/// An encoded event with this id and type.
pub fn envelope(id: &str, event_type: &'static str) -> Envelope {
    event(id, event_type).encode(|data| data.extend_from_slice(b"{}"))
}

/// What a [`FakeSink`] does with one publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Acks at once.
    Ack,
    /// Acks after this long.
    AckAfter(Duration),
    /// Fails: for now.
    Transient,
    /// Fails: no destination.
    Unroutable,
    /// Fails: for good.
    Permanent,
    /// Never resolves.
    Hang,
    /// Panics.
    Panic,
}

/// A sink that does what its script says, then the same thing for ever.
#[derive(Debug)]
pub struct FakeSink {
    name: String,
    script: Mutex<(VecDeque<Step>, Step)>,
    acked: Mutex<Vec<Envelope>>,
    started: watch::Sender<usize>,
    open: AtomicUsize,
    most_open: AtomicUsize,
    health: HealthCell,
}

impl FakeSink {
    /// Does `script`, then `after` for ever.
    pub fn new(name: &str, script: impl IntoIterator<Item = Step>, after: Step) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            script: Mutex::new((script.into_iter().collect(), after)),
            acked: Mutex::default(),
            started: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            most_open: AtomicUsize::new(0),
            health: HealthCell::starting("a fake"),
        })
    }

    /// Acks everything.
    pub fn acking(name: &str) -> Arc<Self> {
        Self::new(name, [], Step::Ack)
    }

    /// From now on, `after`.
    pub fn then(&self, after: Step) {
        *lock(&self.script) = (VecDeque::new(), after);
    }

    /// The ids that it has acked, in order.
    pub fn acked(&self) -> Vec<String> {
        lock(&self.acked)
            .iter()
            .map(|e| e.id().to_owned())
            .collect()
    }

    /// The envelopes that it has acked, in order.
    pub fn envelopes(&self) -> Vec<Envelope> {
        lock(&self.acked).clone()
    }

    /// Publishes that have started so far.
    pub fn started(&self) -> usize {
        *self.started.borrow()
    }

    /// The most publishes that were open at once.
    pub fn most_open(&self) -> usize {
        self.most_open.load(SeqCst)
    }

    /// Resolves once this many publishes have started.
    pub async fn wait_started(&self, count: usize) {
        let mut started = self.started.subscribe();
        started
            .wait_for(|n| *n >= count)
            .await
            .expect("the sender lives in self");
    }

    async fn act(&self, envelope: &Envelope) -> Result<(), PublishError> {
        let step = {
            let mut script = lock(&self.script);
            let after = script.1;
            script.0.pop_front().unwrap_or(after)
        };
        let open = Open(&self.open);
        self.most_open
            .fetch_max(self.open.fetch_add(1, SeqCst) + 1, SeqCst);
        self.started.send_modify(|n| *n += 1);
        let fail =
            |kind: fn(BoxError) -> PublishError| Err(kind(format!("{step:?} as scripted").into()));
        match step {
            Step::Ack => {}
            Step::AckAfter(time) => tokio::time::sleep(time).await,
            Step::Transient => return fail(PublishError::Transient),
            Step::Unroutable => return fail(PublishError::Unroutable),
            Step::Permanent => return fail(PublishError::Permanent),
            Step::Hang => pending().await,
            Step::Panic => panic!("as scripted"),
        }
        lock(&self.acked).push(envelope.clone());
        drop(open);
        Ok(())
    }
}

struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for FakeSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        self.act(envelope).boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        Duration::from_secs(3)
    }

    fn health(&self) -> Health {
        self.health.get()
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        async { Ok(()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn does_what_the_script_says() {
        let sink = FakeSink::new(
            "fake",
            [Step::Transient, Step::Unroutable, Step::Permanent],
            Step::Ack,
        );
        let envelope = envelope("1", "FileDeleted");
        let kinds = [
            sink.publish(&envelope).await.map_err(|e| e.kind()),
            sink.publish(&envelope).await.map_err(|e| e.kind()),
            sink.publish(&envelope).await.map_err(|e| e.kind()),
            sink.publish(&envelope).await.map_err(|e| e.kind()),
        ];
        assert_eq!(
            kinds,
            [
                Err("transient"),
                Err("unroutable"),
                Err("permanent"),
                Ok(())
            ]
        );
        assert_eq!(sink.acked(), ["1"]);
        assert_eq!((sink.started(), sink.most_open()), (4, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_publish_is_not_acked() {
        let sink = FakeSink::new("fake", [], Step::AckAfter(Duration::from_secs(1)));
        let envelope = envelope("1", "FileDeleted");
        let publish = tokio::time::timeout(Duration::from_millis(1), sink.publish(&envelope)).await;
        assert!(publish.is_err() && sink.acked().is_empty());
    }
}
