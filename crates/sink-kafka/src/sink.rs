//! Publishes envelopes to Kafka.
//!
//! Up to [`DIRECT`] events in flight go out at once (`direct`); beyond that they are gathered for a
//! millisecond (`batched`). librdkafka has no setting that does both, and each alone loses somewhere:
//! linger 0 in CPU under load, linger 1 ms in the latency of a lone caller. Measured by `examples/bench.rs` on Kafka 4.1
//! and two cores shared with the broker and other builds, so best of three to six short interleaved
//! rounds; rates spread up to fivefold, CPU per event far less:
//!
//! | in flight | linger 0 | linger 1 ms | both |
//! |---|---|---|---|
//! | 1 | 4.1k/s, 91 µs | 0.7k/s, 223 µs | 3.7k/s, 90 µs |
//! | 8 | 13.2k/s, 46 µs | 4.5k/s, 28 µs | 16.4k/s, 35 µs |
//! | 64 | 43k/s, 17 µs | 35k/s, 11 µs | 34k/s, 7 µs |
//! | 256 | 99k/s, 9 µs | 47k/s, 10 µs | 56k/s, 10 µs |
//! | 1,024 | 51k/s, 12 µs | 48k/s, 10 µs | 64k/s, 10 µs |
//! | 8, 37 topics | 9.7k/s, 79 µs | 3.7k/s, 74 µs | 10.1k/s, 61 µs |
//! | 64, 37 topics | 14k/s, 61 µs | 4.8k/s, 64 µs | 15k/s, 58 µs |
//! | 256, 37 topics | 15k/s, 32 µs | 28k/s, 29 µs | 26k/s, 33 µs |
//! | 8, 3 ms away | 1.6k/s, 107 µs | 1.6k/s, 69 µs | 1.6k/s, 138 µs |
//! | 64, 3 ms away | 7.7k/s, 102 µs | 7.8k/s, 79 µs | 9.3k/s, 97 µs |
//! | 256, 3 ms away | 30k/s, 37 µs | 19k/s, 40 µs | 16k/s, 46 µs |
//!
//! With a longer round trip all three burn CPU: an idempotent librdkafka spins while a partition's
//! next batch waits for the one in flight. Two producers may reorder events of one key that are in
//! flight together; the cloud orders nothing.

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
use crate::producer::{Batching, producer_config};

/// Up to this many events in flight, each goes out at once.
const DIRECT: usize = 16;
/// From here on an event fills a batch by itself and may be too large for the broker.
const LARGE: usize = 500_000;
/// librdkafka looks for messages that are past their time about once a second.
const TIMEOUT_SCAN: Duration = Duration::from_millis(1500);
/// How long closing waits for what nobody waits for any more.
const FLUSH: Duration = Duration::from_secs(2);

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
        if let Err(error) = self.alone.start() {
            tracing::error!(sink = self.name, "{}", creation_error(&error));
        }
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
