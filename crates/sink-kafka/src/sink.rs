//! Publishes envelopes to Kafka.
//!
//! Up to [`DIRECT`] events in flight go out at once (`direct`); beyond that they are gathered for a
//! millisecond (`batched`). librdkafka has no setting that does both, and each alone loses somewhere.
//! `examples/bench.rs` on Kafka 4.1, loopback, 2 cores shared with the broker and much else, events/s
//! and CPU per event, median of three rounds:
//!
//! | in flight | linger 0 | linger 1 ms | both |
//! |---|---|---|---|
//! | 1 | 2.6k, 112 µs | 0.6k, 245 µs | 3.2k, 103 µs |
//! | 8 | 11.6k, 58 µs | 3.4k, 64 µs | 14.0k, 55 µs |
//! | 64 | 14.0k, 64 µs | 23.7k, 12 µs | 32.8k, 11 µs |
//! | 256 | 23.3k, 20 µs | 40.1k, 16 µs | 45.3k, 13 µs |
//! | 8, 37 topics | 2.2k, 109 µs | 3.2k, 113 µs | 7.4k, 79 µs |
//! | 256, 37 topics | 7.2k, 37 µs | 25.9k, 33 µs | 15.4k, 44 µs |
//!
//! Two producers may reorder events of one key that are in flight together; the cloud orders nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode as Code;
use thiserror::Error;
use vodbridge_core::cloudevents::Mode;
use vodbridge_core::{BoxError, Envelope, Health, PublishError, Sink, Template};

use crate::KafkaConfig;
use crate::context::{LogLimit, Status};
use crate::error::{Class, DeliveryError, class};
use crate::lane::Lane;
use crate::message::Record;
use crate::options::{OptionError, client_config, creation_error, validate_options};

/// Up to this many events in flight, each goes out at once.
const DIRECT: usize = 16;
/// From here on an event fills a batch by itself and may be too large for the broker.
const LARGE: usize = 500_000;
/// librdkafka looks for messages that are past their time about once a second.
const TIMEOUT_SCAN: Duration = Duration::from_millis(1500);
/// How long closing waits for what nobody waits for any more.
const FLUSH: Duration = Duration::from_secs(2);
/// What a producer may hold, in KiB; the sources' byte budgets keep it far lower.
const QUEUE_KIB: &str = "262144";

/// What the sources ask of the sink.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long librdkafka may try to deliver a message, retries included: the shortest patience
    /// less what is kept back for the dead letter and for [`Sink::attempt_timeout`].
    pub message_timeout: Duration,
    /// How many events all sources together may have in flight.
    pub max_in_flight: usize,
}

/// Why a sink could not be made.
#[derive(Debug, Error)]
pub enum KafkaConfigError {
    /// `brokers` is empty.
    #[error("`brokers` is empty: name at least one broker as host:port")]
    NoBrokers,
    /// Some of `options` are refused.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Options(Vec<OptionError>),
    /// librdkafka could not start a producer.
    #[error("{0}")]
    Client(String),
}

/// A sink for one Kafka cluster.
pub struct KafkaSink {
    name: String,
    topic: Template,
    mode: Mode,
    attempt_timeout: Duration,
    in_flight: AtomicUsize,
    direct: Arc<Lane>,
    batched: Arc<Lane>,
    /// Started by the first event that needs it.
    alone: Arc<Lane>,
    pub(crate) client: ClientConfig,
}

impl KafkaSink {
    /// Starts connecting; [`Sink::reached`] tells when that succeeded.
    ///
    /// # Errors
    /// The options are refused, or librdkafka cannot start.
    pub fn new(
        name: &str,
        config: &KafkaConfig,
        limits: &Limits,
    ) -> Result<Self, KafkaConfigError> {
        if config.brokers.is_empty() {
            return Err(KafkaConfigError::NoBrokers);
        }
        let refused = validate_options(config);
        if !refused.is_empty() {
            return Err(KafkaConfigError::Options(refused));
        }
        let client = client_config(config);
        let logged = Arc::new(LogLimit::default());
        let lane = |batching| {
            let status = Status::new(name, &config.brokers, logged.clone());
            Arc::new(Lane::new(
                producer_config(&client, limits, batching),
                status,
            ))
        };
        let sink = Self {
            name: name.to_owned(),
            topic: config.topic.clone(),
            mode: config.mode,
            attempt_timeout: limits.message_timeout + TIMEOUT_SCAN,
            in_flight: AtomicUsize::new(0),
            direct: lane(Batching::Direct),
            batched: lane(Batching::Batched),
            alone: lane(Batching::Alone),
            client,
        };
        for lane in [&sink.direct, &sink.batched] {
            let started = lane.start();
            started.map_err(|e| KafkaConfigError::Client(creation_error(&e)))?;
        }
        Ok(sink)
    }

    async fn publish_to(&self, topic: &str, envelope: &Envelope) -> Result<(), Code> {
        let in_flight = InFlight::enter(&self.in_flight);
        let lane = match in_flight.before {
            _ if envelope.structured().len() >= LARGE => return self.alone(topic, envelope).await,
            ..DIRECT => &self.direct,
            DIRECT.. => &self.batched,
        };
        match self.send(lane, topic, envelope).await {
            // A broker refuses whole batches, and librdkafka does not split them: another event of
            // the batch may be the reason. Only a verdict on the event alone is one for good.
            Err(code) if class(code) == Class::Permanent => self.alone(topic, envelope).await,
            verdict => verdict,
        }
    }

    async fn alone(&self, topic: &str, envelope: &Envelope) -> Result<(), Code> {
        self.alone.start().map_err(|_| Code::Fail)?;
        self.send(&self.alone, topic, envelope).await
    }

    async fn send(&self, lane: &Lane, topic: &str, envelope: &Envelope) -> Result<(), Code> {
        let verdict = lane.send(Record::new(envelope, topic, self.mode))?;
        verdict.await.unwrap_or(Err(Code::PurgeQueue))
    }
}

impl Sink for KafkaSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let topic = self.topic.topic(envelope);
            self.publish_to(&topic, envelope).await.map_err(|code| {
                let topic = topic.into_owned();
                DeliveryError { topic, code }.into()
            })
        }
        .boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        self.attempt_timeout
    }

    /// The worse of the two producers.
    fn health(&self) -> Health {
        let (direct, batched) = (
            self.direct.status.health.get(),
            self.batched.status.health.get(),
        );
        if batched.problem.is_some() && direct.problem.is_none() {
            batched
        } else {
            direct
        }
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        async move {
            for lane in [&self.direct, &self.batched] {
                let mut ready = lane.status.ready.subscribe();
                // The sender lives as long as the lane.
                ready.wait_for(|ready| *ready).await.ok();
            }
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        let lanes = [&self.direct, &self.batched, &self.alone].map(Arc::clone);
        async move {
            let closing = lanes.map(|lane| tokio::task::spawn_blocking(move || lane.close(FLUSH)));
            for closed in join_all(closing).await {
                closed??;
            }
            Ok(())
        }
        .boxed()
    }
}

#[derive(Clone, Copy)]
enum Batching {
    Direct,
    Batched,
    /// Not idempotent: a refusal makes an idempotent producer wait for everything in flight and
    /// fetch a new epoch. A retry after a lost connection may leave a copy, with the same id.
    Alone,
}

fn producer_config(client: &ClientConfig, limits: &Limits, batching: Batching) -> ClientConfig {
    let (linger, batch, idempotent) = match batching {
        Batching::Direct => ("0", "10000", "true"),
        Batching::Batched => ("1", "10000", "true"),
        Batching::Alone => ("0", "1", "false"),
    };
    // A publish that was given up still counts until librdkafka's own time-out.
    let queue = (limits.max_in_flight * 2).clamp(1000, 10_000_000);
    let mut config = client.clone();
    config
        .set("acks", "all")
        .set("enable.idempotence", idempotent)
        .set(
            "message.timeout.ms",
            limits.message_timeout.as_millis().to_string(),
        )
        .set("linger.ms", linger)
        .set("batch.num.messages", batch)
        .set("queue.buffering.max.messages", queue.to_string())
        .set("queue.buffering.max.kbytes", QUEUE_KIB)
        .set("reconnect.backoff.max.ms", "1000")
        // Long enough for a broker that creates topics by itself.
        .set("topic.metadata.propagation.max.ms", "800")
        .set("statistics.interval.ms", "1000");
    config
}

/// Counts a publish until it is dropped.
struct InFlight<'a> {
    count: &'a AtomicUsize,
    /// How many there were before this one.
    before: usize,
}

impl<'a> InFlight<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        let before = count.fetch_add(1, Ordering::Relaxed);
        Self { count, before }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
