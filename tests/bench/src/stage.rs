//! What is measured on which broker.

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use vodbridge_tests::bridge::Setup;
use vodbridge_tests::brokers::{Broker, Kind, kafka::Kafka, nats::Nats, rabbitmq::RabbitMq};
use vodbridge_tests::ports::free_port;
use vodbridge_tests::process::Process;
use vodbridge_tests::scratch;

use crate::bodies::Bodies;
use crate::process::part;
use crate::stock::Stock;
use crate::target::Target;

/// Each direction's share of the 3 ms that [`Scenario::KafkaFar`] adds.
const ONE_WAY_MICROS: &str = "1500";

/// A broker, and what is particular about it or the notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// One topic of 4 partitions.
    Kafka,
    /// 37 topics of 1 partition, notifications of all types in turn.
    #[value(name = "kafka-37-topics")]
    #[serde(rename = "kafka-37-topics")]
    KafkaTopics,
    /// One topic of 4 partitions, 3 ms added to each round trip.
    #[value(name = "kafka-3ms")]
    #[serde(rename = "kafka-3ms")]
    KafkaFar,
    /// A durable quorum queue.
    #[value(name = "rabbitmq")]
    #[serde(rename = "rabbitmq")]
    RabbitMq,
    /// A JetStream stream on files, synced every 2 minutes as the server does by default.
    Nats,
    /// The file sink, every group of events fsynced. There is no bare loop.
    File,
    /// The file sink with one topic; notifications of all types are pulled from the simulated
    /// cloud, see [`crate::pulling`].
    Queue,
    /// The same with a topic of each type, and so a file.
    #[value(name = "queue-37-topics")]
    #[serde(rename = "queue-37-topics")]
    QueueTopics,
}

/// A scenario, set up: the targets to measure, and what they stand on.
pub(crate) struct Stage {
    pub(crate) bodies: Bodies,
    pub(crate) bare: Vec<Target>,
    pub(crate) bridge: Target,
    pub(crate) stock: Stock,
    /// None where there is no broker.
    pub(crate) broker_pid: Option<u32>,
    _environment: Environment,
}

/// Ends with the stage.
#[derive(Default)]
struct Environment {
    _broker: Option<Box<dyn Send + Sync>>,
    _relay: Option<Process>,
    _directory: Option<tempfile::TempDir>,
}

impl Scenario {
    pub(crate) const ALL: [Self; 8] = [
        Self::Kafka,
        Self::KafkaTopics,
        Self::KafkaFar,
        Self::RabbitMq,
        Self::Nats,
        Self::File,
        Self::Queue,
        Self::QueueTopics,
    ];

    /// The file sink's topic where notifications are pulled.
    pub(crate) fn pulled_to(self) -> Option<&'static str> {
        match self {
            Self::Queue => Some("vod"),
            Self::QueueTopics => Some("vod.{event_type}"),
            _ => None,
        }
    }

    /// What notifications are posted on.
    pub(crate) async fn set_up(self) -> Result<Stage> {
        match self {
            Self::Kafka => kafka("4", Bodies::Transcode, false).await,
            Self::KafkaTopics => kafka("1", Bodies::All, false).await,
            Self::KafkaFar => kafka("4", Bodies::Transcode, true).await,
            Self::RabbitMq => rabbitmq().await,
            Self::Nats => nats().await,
            Self::File => file().await,
            Self::Queue | Self::QueueTopics => bail!("nothing is posted"),
        }
    }
}

async fn kafka(partitions: &str, bodies: Bodies, far: bool) -> Result<Stage> {
    let relay_port = free_port()?;
    let mut kind = Kafka::new()?
        .option("num.partitions", partitions)
        // Old segments go while it runs, so that the disk does not fill.
        .option("log.segment.bytes", "67108864")
        .option("log.retention.bytes", "134217728")
        .option("log.retention.check.interval.ms", "5000")
        .option("log.segment.delete.delay.ms", "1000");
    if far {
        kind = kind.behind(relay_port);
    }
    let broker = Broker::start(kind).await?;
    let mut environment = Environment::default();
    let address = if far {
        let directory = scratch::directory("relay")?;
        let (listen, to) = (relay_port.to_string(), broker.port().to_string());
        let command = part(&["delay", &listen, &to, ONE_WAY_MICROS])?;
        let relay = Process::start("relay", command, &directory.path().join("log")).await?;
        crate::target::listening(&relay, relay_port).await?;
        environment._relay = Some(relay);
        environment._directory = Some(directory);
        format!("127.0.0.1:{relay_port}")
    } else {
        broker.address()
    };
    let sink = format!("kafka: {{ brokers: [\"{address}\"], topic: \"vod.{{event_type}}\" }}");
    let setup = provisioned(&sink).await?;
    let stock = Stock::kafka(&address)?;
    stock.ready().await?;
    let topics = topics(bodies);
    let mut bare = Vec::new();
    for linger in ["0", "1"] {
        let name = format!("linger {linger}");
        let arguments = ["kafka", &address, "--linger", linger, "--topics", &topics];
        bare.push(Target::bare(&name, &arguments).await?);
    }
    Ok(Stage {
        bodies,
        bare,
        bridge: Target::bridge(setup).await?,
        stock,
        broker_pid: Some(broker.id()),
        _environment: keep(environment, broker),
    })
}

async fn rabbitmq() -> Result<Stage> {
    let broker = Broker::start(RabbitMq::new()?).await?;
    let address = broker.address();
    let sink = format!(
        "rabbitmq: {{ url: \"{address}\", exchange: vod, routing_key: \"vod.{{event_type}}\" }}"
    );
    let setup = provisioned(&sink).await?;
    let arguments = ["rabbitmq", &address, "--topics", &topics(Bodies::Transcode)];
    Ok(Stage {
        bodies: Bodies::Transcode,
        bare: vec![Target::bare("owner task", &arguments).await?],
        bridge: Target::bridge(setup).await?,
        stock: Stock::rabbitmq(&address).await?,
        broker_pid: Some(broker.id()),
        _environment: keep(Environment::default(), broker),
    })
}

async fn nats() -> Result<Stage> {
    let broker = Broker::start(Nats::new()?).await?;
    let address = broker.address();
    let sink = format!(
        "nats: {{ servers: [\"{address}\"], subject: \"vod.{{event_type}}\", stream: VOD }}"
    );
    let setup = provisioned(&sink).await?;
    let arguments = ["nats", &address, "--topics", &topics(Bodies::Transcode)];
    Ok(Stage {
        bodies: Bodies::Transcode,
        bare: vec![Target::bare("send_publish", &arguments).await?],
        bridge: Target::bridge(setup).await?,
        stock: Stock::nats(&address).await?,
        broker_pid: Some(broker.id()),
        _environment: keep(Environment::default(), broker),
    })
}

async fn file() -> Result<Stage> {
    // The directory goes when the bridge ends, so that it may be on any file system.
    let sink =
        "file: { directory: \"{directory}/events\", ephemeral: true, rotate_bytes: 67108864 }";
    let setup = provisioned(sink).await?;
    Ok(Stage {
        bodies: Bodies::Transcode,
        bare: Vec::new(),
        bridge: Target::bridge(setup).await?,
        stock: Stock::None,
        broker_pid: None,
        _environment: Environment::default(),
    })
}

fn keep<K: Kind>(environment: Environment, broker: Broker<K>) -> Environment {
    Environment {
        _broker: Some(Box::new(broker)),
        ..environment
    }
}

async fn provisioned(sink: &str) -> Result<Setup> {
    let setup = Setup::new(&format!("sinks: {{ events: {{ {sink} }} }}\n"))?;
    setup.run(&["provision"]).await?;
    Ok(setup)
}

/// The topics that the bridge publishes these notifications to: the bare loop takes the same.
fn topics(bodies: Bodies) -> String {
    let types = bodies.event_types();
    let topics: Vec<String> = types.iter().map(|ty| format!("vod.{ty}")).collect();
    topics.join(",")
}
