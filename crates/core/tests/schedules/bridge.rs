//! A bridge that does what a schedule says.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep, timeout};
use vodbridge_core::testing::envelope;
use vodbridge_core::{
    Content, DeadLetter, Ended, Intake, Metrics, Patience, Pipeline, Reason, Reserved,
};

use crate::broker::Broker;
use crate::model::Model;
use crate::step::{Arrival, Step};
use crate::world::{TYPES, World};

/// Longer than any delivery: three of the longest patience.
const LONGEST: Duration = Duration::from_secs(61);
/// More than any chain of tasks that wake each other.
const TURNS: usize = 64;
/// More than a delivery with all of its attempts needs.
const MOST_TURNS: usize = 10_000;

pub(crate) struct Bridge {
    world: World,
    model: Arc<Mutex<Model>>,
    broker: Arc<Broker>,
    pipeline: Arc<Pipeline>,
    intake: Arc<Intake>,
    registry: Registry,
    reserved: Vec<Reserved>,
    calls: Vec<Running>,
    /// Calls that have ended, and whose callers are not answered.
    ended: Vec<Answered>,
}

struct Running {
    call: usize,
    id: String,
    task: JoinHandle<Ended>,
}

struct Answered {
    call: usize,
    id: String,
    ended: Ended,
}

/// A call that is dropped, or panics, has not ended well.
struct Drops<'a>(&'a Mutex<Model>, Option<usize>);

impl Drop for Drops<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.1 {
            lock(self.0).dropped(call, Instant::now());
        }
    }
}

fn lock(model: &Mutex<Model>) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that is woken again and again is one that others wait for, for ever.
async fn patiently(ends: impl Future<Output = Ended>, model: &Mutex<Model>) -> Ended {
    let (mut ends, mut turns) = (pin!(ends), 0);
    poll_fn(|context| {
        turns += 1;
        if turns == MOST_TURNS {
            lock(model).must(false, || "it goes round and round".to_owned());
            resume_unwind(Box::new("round and round"));
        }
        ends.as_mut().poll(context)
    })
    .await
}

fn raw(id: &str) -> DeadLetter {
    DeadLetter {
        id: id.to_owned(),
        reason: Reason::Unparsable,
        source: "source".into(),
        sink: None,
        error: None,
        attempts: 0,
        first: SystemTime::UNIX_EPOCH,
        last: SystemTime::UNIX_EPOCH,
        content: Content::Raw {
            body: id.to_owned().into(),
            headers: Vec::new(),
            occurrence: None,
        },
    }
}

impl Bridge {
    pub(crate) fn new(world: World) -> Self {
        let model = Arc::new(Mutex::new(Model::new(world.clone())));
        let broker = Broker::new(model.clone());
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let (pipeline, intake) = world.build(&broker, &metrics);
        Self {
            world,
            model,
            broker,
            pipeline,
            intake: Arc::new(intake),
            registry,
            reserved: Vec::new(),
            calls: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Takes one step, and holds what follows of it against the model.
    pub(crate) async fn take(&mut self, step: Step) {
        match step {
            Step::Arrive(arrival) => self.arrive(arrival),
            Step::Raw { patience, reserved } => self.dead_letter(patience, reserved),
            Step::Answer { pick, verdict } => self.broker.answer(pick, verdict),
            Step::Pass(time) => sleep(time).await,
            Step::Abort { pick } if !self.calls.is_empty() => {
                self.calls[pick % self.calls.len()].task.abort();
            }
            Step::Release { pick, in_time } if !self.ended.is_empty() => {
                let ended = self.ended.swap_remove(pick % self.ended.len());
                self.release(ended, in_time);
            }
            Step::Reserve { count } => {
                let count = count.min(self.world.max_in_flight);
                let now = timeout(Duration::ZERO, self.intake.reserve(count));
                self.reserved.extend(now.await.into_iter().flatten());
            }
            Step::Unreserve => self.reserved.clear(),
            Step::Cut => {
                self.pipeline.cut();
                self.model().cut = true;
            }
            Step::Abort { .. } | Step::Release { .. } => {}
        }
        self.settle().await;
    }

    fn arrive(&mut self, arrival: Arrival) {
        let (id, ty) = (arrival.event.to_string(), arrival.event % TYPES.len());
        let now = Instant::now();
        if self.model().is_half_forgotten(&id, now) {
            return;
        }
        let patience = Patience {
            unroutable_until: arrival.limit.map(|limit| now + limit),
            ..Patience::until(now + arrival.patience)
        };
        self.deliver(id, ty, patience, arrival.reserved);
    }

    fn deliver(&mut self, id: String, ty: usize, patience: Patience, reserved: bool) {
        let permit = self.reserved.pop_if(|_| reserved);
        let required = self.world.required(ty);
        let intake = self.intake.clone();
        self.call(
            id.clone(),
            &required,
            patience,
            permit.is_some(),
            async move {
                let envelope = envelope(&id, TYPES[ty]);
                match permit {
                    Some(permit) => intake.deliver_reserved(permit, &envelope, patience).await,
                    None => intake.deliver(&envelope, patience).await,
                }
            },
        );
    }

    fn dead_letter(&mut self, patience: Duration, reserved: bool) {
        let permit = self.reserved.pop_if(|_| reserved);
        let letter = raw(&format!("raw {}", self.model().calls.len()));
        let patience = Patience::until(Instant::now() + patience);
        let intake = self.intake.clone();
        self.call(
            letter.id.clone(),
            &[],
            patience,
            permit.is_some(),
            async move {
                let until = patience.deadline;
                match permit {
                    Some(permit) => intake.dead_letter_reserved(permit, &letter, until).await,
                    None => intake.dead_letter(&letter, until).await,
                }
            },
        );
    }

    fn call(
        &mut self,
        id: String,
        required: &[usize],
        patience: Patience,
        reserved: bool,
        ends: impl Future<Output = Ended> + Send + 'static,
    ) {
        let now = Instant::now();
        let call = self.model().arrives(&id, required, patience, reserved, now);
        let model = self.model.clone();
        let task = tokio::spawn(async move {
            let mut drops = Drops(&model, Some(call));
            let ended = patiently(ends, &model).await;
            drops.1 = None;
            lock(&model).ended(call, &ended, Instant::now());
            ended
        });
        self.calls.push(Running { call, id, task });
    }

    fn release(&mut self, answered: Answered, in_time: bool) {
        let Answered { call, id, ended } = answered;
        if in_time && ended.result.is_ok() {
            self.intake.confirmed(&id);
        }
        let in_time = in_time && ended.result.is_ok();
        drop(ended);
        self.model().released(call, in_time);
    }

    /// Lets everything happen that happens by itself at this moment.
    async fn settle(&mut self) {
        for _ in 0..TURNS {
            yield_now().await;
        }
        for index in (0..self.calls.len()).rev() {
            if self.calls[index].task.is_finished() {
                let Running { call, id, task } = self.calls.swap_remove(index);
                // One that was dropped or panicked has no end.
                if let Ok(ended) = task.await {
                    self.ended.push(Answered { call, id, ended });
                }
            }
        }
        let in_flight = self.in_flight();
        let reserved = self.reserved.len();
        let mut model = self.model();
        model.is_quiet(in_flight, reserved, Instant::now());
        let violations = std::mem::take(&mut model.violations);
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// Ends everything well, and looks whether all that was taken was given back.
    pub(crate) async fn finish(&mut self) {
        self.broker.ack_all();
        self.settle().await;
        sleep(LONGEST).await;
        self.settle().await;
        assert!(self.calls.is_empty(), "a call never ends");
        self.reserved.clear();
        while let Some(ended) = self.ended.pop() {
            self.release(ended, true);
        }
        assert_eq!(self.in_flight(), 0, "a permit is not given back");
        let most = self.world.max_in_flight;
        let all = timeout(Duration::ZERO, self.intake.reserve(most));
        assert_eq!(all.await.expect("a permit is not given back").len(), most);
        if !self.model().cut {
            self.broker.hold();
            for ty in 0..TYPES.len() {
                self.has_all_shares(ty).await;
            }
        }
    }

    /// As many deliveries as may wait for one sink can begin at once.
    async fn has_all_shares(&mut self, ty: usize) {
        let publishes = self.world.required(ty).len().max(1) * self.world.share();
        let before = self.model().calls.len();
        for number in before..before + self.world.share() {
            let patience = Patience::until(Instant::now() + Duration::from_secs(10));
            self.deliver(format!("probe {number}"), ty, patience, false);
        }
        self.settle().await;
        let open = self.model().open();
        assert_eq!(open, publishes, "a share is not given back");
        for running in self.calls.drain(..) {
            running.task.abort();
        }
        self.settle().await;
    }

    /// What the metric says.
    fn in_flight(&self) -> usize {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a text");
        let name = "vodbridge_deliveries_in_flight{";
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.rsplit(' ').next());
        value.and_then(|value| value.parse().ok()).expect("a gauge")
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        lock(&self.model)
    }
}
