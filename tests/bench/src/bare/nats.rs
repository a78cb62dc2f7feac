//! A JetStream publish that awaits its ack.

use anyhow::Result;
use async_nats::jetstream::{self, Context};
use bytes::Bytes;

pub(super) struct Publisher(Context);

impl Publisher {
    pub(super) async fn new(address: &str) -> Result<Self> {
        Ok(Self(jetstream::new(async_nats::connect(address).await?)))
    }

    pub(super) async fn publish(&self, subject: &str, body: Bytes) -> Result<()> {
        self.0.publish(subject.to_owned(), body).await?.await?;
        Ok(())
    }
}
