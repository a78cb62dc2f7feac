//! One of the sink's producers, replaced when librdkafka gives it up.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use crate::context::{Context, Reply, Status, Verdict};
use crate::message::Record;
use crate::options::creation_error;

/// A producer that keeps failing is not replaced more often than this.
const MIN_LIFE: Duration = Duration::from_secs(1);

/// A producer and what is known of it.
pub(crate) struct Lane {
    config: ClientConfig,
    pub(crate) status: Arc<Status>,
    /// None before the start and once closed. Held only for the moment of handing over a record, never across an await.
    running: RwLock<Option<Running>>,
}

struct Running {
    producer: OffRuntime<ThreadedProducer<Context>>,
    since: Instant,
}

impl Running {
    fn start(config: &ClientConfig, status: &Arc<Status>) -> KafkaResult<Self> {
        let context = Context(status.clone());
        let producer = ThreadedProducer::from_config_and_context(config, context)?;
        Ok(Self {
            producer: OffRuntime::new(producer),
            since: Instant::now(),
        })
    }
}

impl Lane {
    pub(crate) fn new(config: ClientConfig, status: Status) -> Self {
        Self {
            config,
            status: Arc::new(status),
            running: RwLock::new(None),
        }
    }

    /// Starts the producer, unless it runs already.
    pub(crate) fn start(&self) -> KafkaResult<()> {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            *running = Some(Running::start(&self.config, &self.status)?);
        }
        Ok(())
    }

    /// Hands a record to librdkafka. The receiver fails where the producer ended without a report.
    pub(crate) fn send(&self, record: Record<'_>) -> Result<oneshot::Receiver<Verdict>, Code> {
        let (reply, verdict) = oneshot::channel();
        let mut base = BaseRecord::with_opaque_to(record.topic, Box::new(reply))
            .payload(&record.value[..])
            .headers(record.headers);
        base.key = record.key;
        match self.enqueue(base) {
            Ok(()) => Ok(verdict),
            Err(code) => {
                if code == Code::Fatal {
                    self.replace();
                }
                Err(code)
            }
        }
    }

    fn enqueue(&self, record: BaseRecord<'_, str, [u8], Reply>) -> Result<(), Code> {
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let producer = &running.as_ref().ok_or(Code::State)?.producer;
        producer
            .send(record)
            .map_err(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::InvalidArgument))
    }

    /// Starts a new producer in place of a fatal one. What the old one holds fails as purged.
    fn replace(&self) {
        let mut running = self.running.write().unwrap_or_else(PoisonError::into_inner);
        // Younger: somebody else has just replaced it, or replacing it does not help.
        if !matches!(&*running, Some(r) if r.since.elapsed() >= MIN_LIFE) {
            return;
        }
        match Running::start(&self.config, &self.status) {
            Ok(new) => *running = Some(new),
            Err(error) => tracing::error!("{}", creation_error(&error)),
        }
    }

    /// Waits for what librdkafka still holds, then ends its threads. Blocks.
    pub(crate) fn close(&self, bound: Duration) -> Result<(), KafkaError> {
        let running = self
            .running
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match running {
            Some(running) => running.producer.flush(bound),
            None => Ok(()),
        }
    }
}

/// A librdkafka client. Dropping one waits for its threads, so a thread of its own does it.
pub(crate) struct OffRuntime<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> OffRuntime<T> {
    pub(crate) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for OffRuntime<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only drop takes the client out")
    }
}

impl<T: Send + 'static> Drop for OffRuntime<T> {
    fn drop(&mut self) {
        let client = self.0.take();
        // Without a thread the closure, and the client with it, is dropped here.
        drop(
            std::thread::Builder::new()
                .name("kafka-drop".into())
                .spawn(move || drop(client)),
        );
    }
}
