//! A sink whose publishes wait until the schedule answers them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use vodbridge_core::{BoxError, Envelope, Health, HealthCell, PublishError, Sink};

use crate::model::{Model, number_in};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ack,
    Transient,
    Permanent,
}

/// The sink, which is the dead letter's too.
pub(crate) struct Held {
    model: Arc<Mutex<Model>>,
    state: Mutex<State>,
    health: HealthCell,
}

#[derive(Default)]
struct State {
    waiting: Vec<(u64, oneshot::Sender<Verdict>)>,
    count: u64,
    always: Option<Verdict>,
}

impl Held {
    pub(crate) fn new(model: Arc<Mutex<Model>>) -> Arc<Self> {
        Arc::new(Self {
            model,
            state: Mutex::default(),
            health: HealthCell::starting("waits for its schedule"),
        })
    }

    /// Answers up to so many of the publishes that wait.
    pub(crate) fn answer(&self, pick: usize, count: usize, verdict: Verdict) {
        let mut state = self.state();
        for _ in 0..count.min(state.waiting.len()) {
            let waiting = state.waiting.len();
            let (_, answer) = state.waiting.remove(pick % waiting);
            answer.send(verdict).ok();
        }
    }

    /// From now on all publishes have this answer, those that wait too; None: they wait again.
    pub(crate) fn always(&self, verdict: Option<Verdict>) {
        self.state().always = verdict;
        if let Some(verdict) = verdict {
            self.answer(0, usize::MAX, verdict);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn act(&self, envelope: &Envelope) -> Result<(), PublishError> {
        let (answer, verdict) = oneshot::channel();
        let mut publish = Publish {
            sink: self,
            event: number_in(&envelope.data()),
            number: self.wait(answer),
            is_acked: false,
        };
        let model = || self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model().published(publish.event);
        let verdict = verdict.await.expect("nothing is removed without an answer");
        publish.is_acked = verdict == Verdict::Ack;
        let error = || BoxError::from(format!("{verdict:?}, as scheduled"));
        match verdict {
            Verdict::Ack => Ok(()),
            Verdict::Transient => Err(PublishError::Transient(error())),
            // The dead letter's sink refuses nothing, else it would be this sink's fault.
            Verdict::Permanent if envelope.extension("deadletterreason").is_some() => {
                Err(PublishError::Transient(error()))
            }
            Verdict::Permanent => Err(PublishError::Permanent(error())),
        }
    }

    fn wait(&self, answer: oneshot::Sender<Verdict>) -> u64 {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        match state.always {
            Some(verdict) => drop(answer.send(verdict)),
            None => state.waiting.push((number, answer)),
        }
        number
    }
}

struct Publish<'a> {
    sink: &'a Held,
    event: usize,
    number: u64,
    is_acked: bool,
}

impl Drop for Publish<'_> {
    fn drop(&mut self) {
        let Self { sink, number, .. } = *self;
        sink.state()
            .waiting
            .retain(|(waiting, _)| *waiting != number);
        let mut model = sink.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.closed(self.event, self.is_acked);
    }
}

impl Sink for Held {
    fn name(&self) -> &str {
        "sink"
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
