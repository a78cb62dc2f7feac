//! A producer with the bridge's durability.

use std::time::Duration;

use anyhow::Result;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::time::sleep;

/// librdkafka asks for its producer id on a timer of 500 ms.
const WARM_UP: Duration = Duration::from_millis(800);

pub(super) struct Publisher(FutureProducer);

impl Publisher {
    pub(super) async fn new(address: &str, linger: &str) -> Result<Self> {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", address)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", linger)
            .create()?;
        let patience = Duration::from_secs(10);
        tokio::task::block_in_place(|| producer.client().fetch_metadata(None, patience))?;
        sleep(WARM_UP).await;
        Ok(Self(producer))
    }

    /// The number is the key: as the bridge's, it spreads over the partitions.
    pub(super) async fn publish(&self, topic: &str, number: usize, body: &[u8]) -> Result<()> {
        let key = number.to_le_bytes();
        let record = FutureRecord::to(topic).key(&key).payload(body);
        let delivery = self.0.send_result(record).map_err(|(error, _)| error)?;
        Ok(delivery.await?.map(drop).map_err(|(error, _)| error)?)
    }
}
