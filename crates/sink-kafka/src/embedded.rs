//! A Kafka inside the process, for the demo and for tests.

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};

use crate::lane::OffRuntime;

/// librdkafka's mock broker, listening on a free loopback port.
///
/// It keeps everything **in memory**: each partition holds its newest 5 MB, nothing survives the
/// process, and its ack means no more than that. Topics appear when a client first uses them.
/// Any Kafka client can connect; TLS, SASL and the admin API are missing.
pub struct EmbeddedKafka {
    host: OffRuntime<BaseProducer>,
}

impl EmbeddedKafka {
    /// Starts one broker; it stops when the value is dropped.
    ///
    /// # Errors
    /// No loopback port or no thread is to be had.
    pub fn start() -> KafkaResult<Self> {
        let host: BaseProducer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create()?;
        let embedded = Self {
            host: OffRuntime::new(host),
        };
        if embedded.host.client().mock_cluster().is_none() {
            let reason = "no mock broker was started".into();
            return Err(KafkaError::ClientCreation(reason));
        }
        Ok(embedded)
    }

    /// The address for clients, `127.0.0.1:PORT`.
    pub fn bootstrap(&self) -> String {
        self.cluster().bootstrap_servers()
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// The topic exists, or its name is refused.
    pub fn create(&self, topic: &str, partitions: i32) -> KafkaResult<()> {
        self.cluster().create_topic(topic, partitions, 1)
    }

    pub(crate) fn cluster(&self) -> MockCluster<'_, DefaultProducerContext> {
        self.host
            .client()
            .mock_cluster()
            .expect("`start` checked that there is one")
    }
}
