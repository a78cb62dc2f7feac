//! Apache Kafka in KRaft mode, broker and controller in one process, run from its jars.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::cluster::{Cluster, MEMBERS};
use super::{Broker, Kind, Shared};
use crate::installed;
use crate::ports::free_port;
use crate::process::bound_to_us;

/// A Kafka broker.
#[derive(Debug)]
pub struct Kafka {
    id: usize,
    port: u16,
    /// What it tells clients to come to.
    advertised_port: u16,
    controller_port: u16,
    /// Of all members of the cluster, itself included.
    voters: String,
    options: Vec<(String, String)>,
}

/// A JVM that starts fast and stays small.
const JVM: [&str; 5] = [
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Xshare:auto",
    "-Xmx256m",
];

const LOGGING: &str = "\
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c: %m%n
";

impl Kafka {
    /// A broker that makes no topic unless asked to.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn new() -> Result<Self> {
        let (port, controller_port) = (free_port()?, free_port()?);
        Ok(Self {
            id: 1,
            port,
            advertised_port: port,
            controller_port,
            voters: voter(1, controller_port),
            options: Vec::new(),
        })
    }

    /// Three members of one cluster. A topic is on all of them, and takes events as long as two
    /// have it. Who is gone is missed within three seconds.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn cluster() -> Result<[Self; MEMBERS]> {
        let mut members = [Self::new()?, Self::new()?, Self::new()?];
        for (member, id) in members.iter_mut().zip(1..) {
            member.id = id;
        }
        let voters = (members.iter())
            .map(|member| voter(member.id, member.controller_port))
            .collect::<Vec<_>>()
            .join(",");
        Ok(members.map(|mut member| {
            member.voters.clone_from(&voters);
            member
                .option("default.replication.factor", "3")
                .option("min.insync.replicas", "2")
                .option("broker.heartbeat.interval.ms", "500")
                .option("broker.session.timeout.ms", "3000")
        }))
    }

    /// Sends clients to another port, which leads to it.
    #[must_use]
    pub fn behind(mut self, port: u16) -> Self {
        self.advertised_port = port;
        self
    }

    /// Sets a broker option, for example `auto.create.topics.enable`.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    fn properties(&self, directory: &Path) -> String {
        let Self {
            id,
            port,
            advertised_port,
            controller_port,
            voters,
            options,
        } = self;
        let data = directory.join("data");
        let mut text = format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{advertised_port}\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.voters={voters}\n\
             log.dirs={}\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             log.index.size.max.bytes=1048576\n\
             log.cleaner.dedupe.buffer.size=4194304\n",
            data.display()
        );
        for (name, value) in options {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}

impl Kind for Kafka {
    const NAME: &'static str = "kafka";
    const VARIABLE: &'static str = "VODBRIDGE_TEST_KAFKA";

    fn port(&self) -> u16 {
        self.port
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn install(&mut self, directory: &Path) -> Result<()> {
        std::fs::write(
            directory.join("server.properties"),
            self.properties(directory),
        )?;
        std::fs::write(directory.join("log4j2.properties"), LOGGING)?;
        let mut format = java(directory, "kafka.tools.StorageTool")?;
        format.args([
            "format",
            "-t",
            "AAAAAAAAAAAAAAAAAAAAAA",
            "-c",
            "server.properties",
        ]);
        let output = tokio::process::Command::from(format)
            .output()
            .await
            .context("cannot run java")?;
        ensure!(
            output.status.success(),
            "the storage cannot be formatted: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    fn command(&self, directory: &Path) -> Result<Command> {
        let mut command = java(directory, "kafka.Kafka")?;
        command.arg("server.properties");
        Ok(command)
    }

    /// Asks for the metadata of the cluster, which names this broker once it is registered.
    /// <https://kafka.apache.org/protocol.html#The_Messages_Metadata>
    async fn greet(&self) -> Result<()> {
        let mut stream = TcpStream::connect(self.address()).await?;
        // Key 3, version 0, correlation id 1, no client id, an empty list of topics.
        let request = [0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
        stream.write_u32(request.len().try_into()?).await?;
        stream.write_all(&request).await?;
        let _length = stream.read_u32().await?;
        ensure!(stream.read_u32().await? == 1, "another correlation id");
        let mut brokers = Vec::new();
        for _ in 0..stream.read_u32().await? {
            let _id = stream.read_u32().await?;
            let mut host = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut host).await?;
            brokers.push(stream.read_u32().await?);
        }
        let registered = brokers.contains(&self.advertised_port.into());
        ensure!(registered, "not registered yet, but {brokers:?} are");
        Ok(())
    }
}

fn voter(id: usize, controller_port: u16) -> String {
    format!("{id}@127.0.0.1:{controller_port}")
}

fn java(directory: &Path, main: &str) -> Result<Command> {
    let mut command = bound_to_us("java");
    command
        .args(JVM)
        .arg("-Dlog4j2.configurationFile=log4j2.properties")
        .arg("-cp")
        .arg(installed::kafka_class_path()?)
        .arg(main)
        .current_dir(directory);
    Ok(command)
}

/// The address of a broker that the tests of this process share.
///
/// # Errors
/// Where it cannot be started.
pub async fn shared() -> Result<String> {
    static SHARED: Shared<Kafka> = Shared::new();
    SHARED.address(Kafka::new).await
}

/// Starts a broker of one's own.
///
/// # Errors
/// Where it does not become ready.
pub async fn start() -> Result<Broker<Kafka>> {
    Broker::start(Kafka::new()?).await
}

/// Starts a cluster of one's own.
///
/// # Errors
/// Where a member does not become ready.
pub async fn start_cluster() -> Result<Cluster<Kafka>> {
    Cluster::start(Kafka::cluster()?).await
}
