//! A queue source that does what a schedule says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, advance};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{DeadLetters, HealthCell, Intake, Metrics, Pipeline, Router, SinkSet};
use vodbridge_sources::cloud::{CloudClient, Credentials, Limiter};
use vodbridge_sources::queue::{Queue, QueueConfig, QueueMetrics};
use vodbridge_vod::Catalogue;
use vodbridge_vod::api::MAX_EVENTS;

use crate::cloud::{Cloud, Plumb, Reply};
use crate::model::{Counts, Model};
use crate::sink::{Held, Verdict};
use crate::step::{Step, World};

/// More than an exchange over the loopback has messages, the kernel's own among them.
const MESSAGES: usize = 8;
/// More turns of the runtime than any chain of tasks that wake each other.
const TURNS: usize = 8;
/// Time goes by in steps of so much.
const STEP: Duration = Duration::from_millis(50);

pub(crate) struct Source {
    lease: Duration,
    model: Arc<Mutex<Model>>,
    cloud: Arc<Cloud>,
    plumb: Plumb,
    sink: Arc<Held>,
    registry: Registry,
    drain: CancellationToken,
    running: JoinHandle<()>,
}

fn config(world: &World, endpoint: &str) -> QueueConfig {
    let World {
        pullers,
        spare,
        lease,
        calls_per_second,
    } = world;
    let max_in_flight = pullers * MAX_EVENTS + spare;
    let config = format!(
        r#"{{"sub_app_id": 1500012345, "endpoint": "{endpoint}", "pullers": {pullers},
        "credentials": {{"secret_id": "AKIDtest", "secret_key": "key"}}, "lease": "{lease}s",
        "lease_margin": "3s", "max_in_flight": {max_in_flight}, "backlog_interval": "0s",
        "calls_per_second": {calls_per_second}}}"#
    );
    serde_json::from_str(&config).expect("a configuration")
}

impl Source {
    pub(crate) async fn new(world: &World) -> Self {
        let model = Arc::new(Mutex::new(Model::new(config(world, "http://nobody"))));
        let (cloud, endpoint) = Cloud::serve(model.clone()).await;
        let config = config(world, &endpoint);
        let sink = Held::new(model.clone());
        let (metrics, queue_metrics) = (Metrics::default(), QueueMetrics::default());
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let dead_letters = DeadLetters {
            sink: sink.clone(),
            topic: "dead_letter".into(),
            last_resort: None,
        };
        let router = Router::everything(SinkSet::of([0]));
        let pipeline = Pipeline::new(vec![sink.clone()], router, dead_letters, &metrics);
        let intake = Intake::new(
            "reliable",
            Arc::new(pipeline),
            config.max_in_flight,
            metrics.source("reliable"),
        );
        let credentials = Credentials::new(&config.credentials, |_| None).expect("credentials");
        let limiter = Arc::new(Limiter::new(config.calls_per_second));
        let client = CloudClient::new(&endpoint, None, credentials, limiter);
        let queue = Queue::new(
            config,
            Arc::new(client.expect("an endpoint")),
            intake,
            Arc::new(Catalogue::default()),
            queue_metrics.source("reliable"),
            Arc::new(HealthCell::starting("pulls")),
        );
        let drain = CancellationToken::new();
        let source = Self {
            lease: Duration::from_secs(world.lease),
            model,
            cloud,
            plumb: Plumb::new().await.expect("the loopback works"),
            sink,
            registry,
            running: tokio::spawn(queue.run(drain.clone())),
            drain,
        };
        source.settle().await;
        source
    }

    /// Takes one step, and holds what follows of it against the model.
    pub(crate) async fn take(&mut self, step: Step) {
        match step {
            Step::Pull { pick, reply } => drop(self.cloud.reply(pick, true, reply)),
            Step::Confirm { pick, reply } => drop(self.cloud.reply(pick, false, reply)),
            Step::Answer {
                pick,
                count,
                verdict,
            } => self.sink.answer(pick, count, verdict),
            Step::Always(verdict) => self.sink.always(verdict),
            Step::Pass(time) => self.pass(time).await,
        }
        self.settle().await;
    }

    /// Lets everything happen that happens by itself at this moment.
    async fn settle(&self) {
        self.exchange().await;
        let counts = self.counts();
        let mut model = self.model();
        model.is_quiet(counts, Instant::now());
        let violations = std::mem::take(&mut model.violations);
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// The clock stands still while anything is on its way. Left to itself it would jump to the
    /// next timer whenever all wait for the socket.
    async fn exchange(&self) {
        for _ in 0..MESSAGES {
            for _ in 0..TURNS {
                yield_now().await;
            }
            self.plumb.wait().await.expect("the loopback works");
        }
    }

    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.exchange().await;
            advance(STEP.min(end - Instant::now())).await;
        }
    }

    /// The cloud and the sink are well again: all is confirmed in the end, and the source ends.
    pub(crate) async fn finish(&mut self) {
        self.sink.always(Some(Verdict::Ack));
        // As long as a handle is withheld for an event that nobody knows any more.
        let end = Instant::now() + Duration::from_secs(700);
        while !self.model().kept().is_empty() {
            assert!(
                Instant::now() < end,
                "not confirmed: {:?}",
                self.model().kept()
            );
            let kept = self.model().kept();
            let some = kept.into_iter().take(MAX_EVENTS).collect();
            self.cloud.reply(0, true, Reply::Events(some));
            self.settle().await;
            for _ in 0..8 {
                while self.cloud.reply(0, false, Reply::Done) {}
                self.take(Step::Pass(self.lease / 16)).await;
            }
            self.pass(self.lease / 2).await;
        }
        self.drain.cancel();
        for _ in 0..8 {
            while self.cloud.reply(0, false, Reply::Done) {}
            self.take(Step::Pass(self.lease / 4)).await;
        }
        assert!(self.running.is_finished(), "the source does not end");
        assert_eq!(self.counts().in_flight, 0, "a permit is not given back");
    }

    pub(crate) fn confirms_waiting(&self) -> usize {
        self.cloud.waiting().1
    }

    fn counts(&self) -> Counts {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a text");
        let sum = |name: &str| {
            let lines = text
                .lines()
                .filter_map(|line| line.strip_prefix("vodbridge_"));
            let values = lines.filter_map(|line| {
                let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
                labels
                    .starts_with('{')
                    .then(|| value.parse::<usize>())?
                    .ok()
            });
            values.sum::<usize>()
        };
        Counts {
            in_flight: sum("deliveries_in_flight"),
            not_delivered: sum("deliveries_not_delivered_total"),
            delivered: sum("publishes_acked_total")
                + sum("copies_resumed_total")
                + sum("copies_joined_total"),
        }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
