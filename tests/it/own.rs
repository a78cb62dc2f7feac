//! A broker of a test's own, to break, as the only sink of a bridge.

use anyhow::Result;
use vodbridge_tests::bridge::Setup;
use vodbridge_tests::brokers::kafka::Kafka;
use vodbridge_tests::brokers::nats::Nats;
use vodbridge_tests::brokers::rabbitmq::RabbitMq;
use vodbridge_tests::brokers::{Broker, Kind, nats};
use vodbridge_tests::clients::{self, Client, Message};

/// A broker with the topology that `vodbridge provision` makes.
pub(crate) struct Own<K: Kind> {
    pub(crate) broker: Broker<K>,
    pub(crate) client: Client,
    /// Where the client finds all events.
    pub(crate) place: &'static str,
    /// The sink `events`.
    pub(crate) sink: String,
}

pub(crate) async fn own_kafka() -> Result<Own<Kafka>> {
    own_kafka_as(Kafka::new()?).await
}

/// One that looks whether a client may do what it asks for. What no rule is about is allowed.
pub(crate) async fn own_kafka_with_acls() -> Result<Own<Kafka>> {
    let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    let kafka = Kafka::new()?
        .option("authorizer.class.name", authorizer)
        .option("allow.everyone.if.no.acl.found", "true");
    own_kafka_as(kafka).await
}

async fn own_kafka_as(kafka: Kafka) -> Result<Own<Kafka>> {
    let broker = Broker::start(kafka).await?;
    let address = broker.address();
    let sink = format!(r#"kafka: {{ brokers: ["{address}"], topic: "vod.{{event_type}}" }}"#);
    Own::new(broker, clients::kafka(address), "vod.", sink).await
}

pub(crate) async fn own_rabbitmq() -> Result<Own<RabbitMq>> {
    own_rabbitmq_with("").await
}

/// One with more lines in its `rabbitmq.conf`.
pub(crate) async fn own_rabbitmq_with(lines: &str) -> Result<Own<RabbitMq>> {
    let broker = Broker::start(RabbitMq::new()?.configuration(lines)).await?;
    let address = broker.address();
    let sink = format!(
        r#"rabbitmq: {{ url: "{address}", exchange: vod, routing_key: "vod.{{event_type}}" }}"#
    );
    Own::new(broker, clients::rabbitmq(address), "vod.events", sink).await
}

pub(crate) async fn own_nats() -> Result<Own<Nats>> {
    let broker = nats::start().await?;
    let address = broker.address();
    let sink = format!(
        r#"nats: {{ servers: ["{address}"], subject: "vod.{{event_type}}", stream: VOD }}"#
    );
    Own::new(broker, clients::nats(address), "VOD", sink).await
}

impl<K: Kind> Own<K> {
    async fn new(
        broker: Broker<K>,
        client: Client,
        place: &'static str,
        sink: String,
    ) -> Result<Self> {
        let own = Self {
            broker,
            client,
            place,
            sink,
        };
        own.setup("")?.run(&["provision"]).await?;
        Ok(own)
    }

    /// A bridge to this broker alone, with more of a configuration.
    pub(crate) fn setup(&self, more: &str) -> Result<Setup> {
        self.setup_with("", more)
    }

    /// The same with another sink beside it.
    pub(crate) fn setup_with(&self, other: &str, more: &str) -> Result<Setup> {
        let sinks = format!("events: {{ {} }}, {other}", self.sink);
        Setup::new(&format!("sinks: {{ {sinks} }}\n{more}\n"))
    }

    /// The ids of the events on the broker, once there is one.
    pub(crate) async fn ids(&self, within: std::time::Duration) -> Result<Vec<String>> {
        let messages = self.client.read_at_least(1, self.place, within).await?;
        messages
            .iter()
            .map(|message| Ok(message.event()?.id.clone()))
            .collect()
    }

    /// Everything on the broker.
    pub(crate) async fn read(&self) -> Result<Vec<Message>> {
        self.client.read(self.place).await
    }
}

/// A notification that no other test sends, `number` being new in its test.
pub(crate) fn notification(number: usize) -> Vec<u8> {
    format!(
        r#"{{"EventType":"NewFileUpload","FileUploadEvent":{{"FileId":"{number}","MediaBasicInfo":{{"Name":"upload {number}"}}}}}}"#
    )
    .into_bytes()
}
