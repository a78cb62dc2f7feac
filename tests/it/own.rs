//! A broker of a test's own, to break, as the only sink of a bridge.

use anyhow::Result;
use serde_json::{Value, json};
use vodbridge_tests::bridge::{Bridge, Setup};
use vodbridge_tests::brokers::cluster::Cluster;
use vodbridge_tests::brokers::kafka::Kafka;
use vodbridge_tests::brokers::nats::Nats;
use vodbridge_tests::brokers::rabbitmq::RabbitMq;
use vodbridge_tests::brokers::{Broker, kafka, nats, rabbitmq};
use vodbridge_tests::clients::{self, Client, Message};
use vodbridge_tests::ports::free_port;
use vodbridge_tests::proxy::Proxy;

/// A broker with the topology that `vodbridge provision` makes.
pub(crate) type Own<K> = Owned<Broker<K>>;

/// The same of a cluster.
pub(crate) type OwnCluster<K> = Owned<Cluster<K>>;

/// A broker or a cluster of them.
pub(crate) struct Owned<B> {
    pub(crate) broker: B,
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
    Owned::new(broker, clients::kafka(address), "vod.", sink).await
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
    Owned::new(broker, clients::rabbitmq(address), "vod.events", sink).await
}

pub(crate) async fn own_nats() -> Result<Own<Nats>> {
    let broker = nats::start().await?;
    let address = broker.address();
    let sink = format!(
        r#"nats: {{ servers: ["{address}"], subject: "vod.{{event_type}}", stream: VOD }}"#
    );
    Owned::new(broker, clients::nats(address), "VOD", sink).await
}

/// One behind a proxy, which its clients go through, ours too.
pub(crate) async fn own_kafka_behind() -> Result<(Own<Kafka>, Proxy)> {
    let port = free_port()?;
    let broker = Broker::start(Kafka::new()?.behind(port)).await?;
    let proxy = Proxy::listen(port, broker.port())?;
    let address = format!("127.0.0.1:{port}");
    let sink = format!(r#"kafka: {{ brokers: ["{address}"], topic: "vod.{{event_type}}" }}"#);
    let own = Owned::new(broker, clients::kafka(address), "vod.", sink).await?;
    Ok((own, proxy))
}

/// One, and a proxy that leads to it.
pub(crate) async fn own_rabbitmq_behind() -> Result<(Own<RabbitMq>, Proxy)> {
    let own = own_rabbitmq().await?;
    let proxy = Proxy::start(own.broker.port())?;
    Ok((own, proxy))
}

/// One, and a proxy that leads to it.
pub(crate) async fn own_nats_behind() -> Result<(Own<Nats>, Proxy)> {
    let own = own_nats().await?;
    let proxy = Proxy::start(own.broker.port())?;
    Ok((own, proxy))
}

/// A cluster, with one topic for all events.
pub(crate) async fn own_kafka_cluster() -> Result<OwnCluster<Kafka>> {
    let cluster = kafka::start_cluster().await?;
    let brokers = cluster.addresses();
    let client = clients::kafka(brokers.join(","));
    let sink = format!("kafka: {{ brokers: {brokers:?}, topic: vod.events }}");
    Owned::new(cluster, client, "vod.events", sink).await
}

/// A cluster with a stream of three replicas.
pub(crate) async fn own_nats_cluster() -> Result<OwnCluster<Nats>> {
    let cluster = nats::start_cluster().await?;
    let servers = cluster.addresses();
    let client = clients::nats(servers.join(","));
    let stream = json!({ "name": "VOD", "subjects": ["vod.>"], "num_replicas": 3 });
    client.call("create_stream", stream).await?;
    let sink =
        format!(r#"nats: {{ servers: {servers:?}, subject: "vod.{{event_type}}", stream: VOD }}"#);
    Owned::new(cluster, client, "VOD", sink).await
}

/// A cluster behind a balancer, here one that leads to a single node, with a quorum queue of three
/// members.
pub(crate) async fn own_rabbitmq_cluster() -> Result<(OwnCluster<RabbitMq>, Proxy)> {
    let cluster = rabbitmq::start_cluster().await?;
    let balancer = Proxy::start(cluster.members[0].port())?;
    let address = format!("amqp://guest:guest@127.0.0.1:{}/%2f", balancer.port());
    let sink = format!(
        r#"rabbitmq: {{ url: "{address}", exchange: vod, routing_key: "vod.{{event_type}}" }}"#
    );
    let client = clients::rabbitmq(address);
    let own = Owned::new(cluster, client, "vod.events", sink).await?;
    Ok((own, balancer))
}

impl<B> Owned<B> {
    async fn new(broker: B, client: Client, place: &'static str, sink: String) -> Result<Self> {
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

/// The events in the files of a bridge's state directory: dead letters that no broker took, and
/// what is undelivered.
pub(crate) fn kept(bridge: &Bridge) -> Result<Vec<Value>> {
    let mut events = Vec::new();
    for entry in std::fs::read_dir(bridge.directory().join("state"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "ndjson") {
            for line in std::fs::read_to_string(&path)?.lines() {
                events.push(serde_json::from_str(line)?);
            }
        }
    }
    Ok(events)
}
