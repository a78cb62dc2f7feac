//! Sinks whose publishes wait until the schedule says what becomes of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;
use vodbridge_core::{
    BoxError, DEAD_LETTER_TYPE, Envelope, Health, HealthCell, PublishError, Sink,
};

use crate::model::Model;

/// How long one publish may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// One of the sinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Sink(usize),
    DeadLetter,
    LastResort,
}

/// What a publish is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// An event, by its id.
    Event(String),
    /// The dead letter of an event that this sink refused, or that goes nowhere.
    Letter(String, Option<usize>),
}

impl What {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Event(id) | Self::Letter(id, _) => id,
        }
    }
}

/// What becomes of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ack,
    Transient,
    Unroutable,
    Permanent,
    Panic,
}

/// Everything behind the sinks: the publishes that wait, and the model that sees each of them.
#[derive(Debug)]
pub(crate) struct Broker {
    model: Arc<Mutex<Model>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(u64, oneshot::Sender<Verdict>)>,
    count: u64,
    acks_all: bool,
}

impl State {
    fn wait(&mut self, answer: oneshot::Sender<Verdict>) -> u64 {
        self.count += 1;
        if self.acks_all {
            answer.send(Verdict::Ack).ok();
        } else {
            self.waiting.push((self.count, answer));
        }
        self.count
    }
}

impl Broker {
    pub(crate) fn new(model: Arc<Mutex<Model>>) -> Arc<Self> {
        Arc::new(Self {
            model,
            state: Mutex::default(),
        })
    }

    pub(crate) fn sink(self: &Arc<Self>, place: Place) -> Arc<dyn Sink> {
        Arc::new(Held {
            name: format!("{place:?}"),
            place,
            broker: self.clone(),
            health: HealthCell::starting("waits for its schedule"),
        })
    }

    /// Answers one of the publishes that wait.
    pub(crate) fn answer(&self, pick: usize, verdict: Verdict) {
        let mut state = self.state();
        let waiting = state.waiting.len();
        if waiting > 0 {
            let (_, answer) = state.waiting.remove(pick % waiting);
            answer.send(verdict).ok();
        }
    }

    /// From now on everything is acked, what waits included.
    pub(crate) fn ack_all(&self) {
        let mut state = self.state();
        state.acks_all = true;
        for (_, answer) in state.waiting.drain(..) {
            answer.send(Verdict::Ack).ok();
        }
    }

    /// From now on publishes wait again.
    pub(crate) fn hold(&self) {
        self.state().acks_all = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn publish(&self, place: Place, what: What) -> Result<(), PublishError> {
        self.model().published(place, &what, Instant::now());
        let (answer, verdict) = oneshot::channel();
        let number = self.state().wait(answer);
        // Dropped before it has an answer: it is not acked.
        let _waits = Waits {
            broker: self,
            number,
            place,
            what: &what,
        };
        let verdict = verdict.await.expect("nothing is removed without an answer");
        self.model().answered(place, &what, verdict);
        let error = || BoxError::from(format!("{verdict:?}, as scheduled"));
        match verdict {
            Verdict::Ack => Ok(()),
            Verdict::Transient => Err(PublishError::Transient(error())),
            Verdict::Unroutable => Err(PublishError::Unroutable(error())),
            Verdict::Permanent => Err(PublishError::Permanent(error())),
            // As a panic, but nothing is printed.
            Verdict::Panic => std::panic::resume_unwind(Box::new("as scheduled")),
        }
    }
}

struct Waits<'a> {
    broker: &'a Broker,
    number: u64,
    place: Place,
    what: &'a What,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let number = self.number;
        self.broker.state().waiting.retain(|(n, _)| *n != number);
        self.broker.model().closed(self.place, self.what);
    }
}

struct Held {
    name: String,
    place: Place,
    broker: Arc<Broker>,
    health: HealthCell,
}

fn what(envelope: &Envelope) -> What {
    let id = envelope.id().to_owned();
    if envelope.ty() != DEAD_LETTER_TYPE {
        return What::Event(id);
    }
    let refused_by = envelope.extension("deadlettersink");
    let number = |name: &str| {
        let digits = name.chars().filter(char::is_ascii_digit);
        digits.collect::<String>().parse().ok()
    };
    What::Letter(id, refused_by.and_then(number))
}

impl Sink for Held {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        self.broker.publish(self.place, what(envelope)).boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        ATTEMPT
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
