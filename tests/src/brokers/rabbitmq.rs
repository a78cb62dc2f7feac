//! RabbitMQ, a node of its own beside the system's service, if there is one.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::cluster::{Cluster, MEMBERS};
use super::{Broker, Kind, PATIENCE, Shared};
use crate::ports::free_port;
use crate::process::{Process, bound_to_us};

/// The start script itself: the one on the path switches to the system's user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// A RabbitMQ node.
#[derive(Debug)]
pub struct RabbitMq {
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
    /// In a cluster, the ports of all its nodes.
    cluster: Vec<u16>,
    /// Erlang's port mapper. The node would start one that stays behind.
    epmd: Option<Process>,
    extra: String,
}

impl RabbitMq {
    /// A node with the user `guest`.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn new() -> Result<Self> {
        Ok(Self {
            port: free_port()?,
            distribution_port: free_port()?,
            epmd_port: free_port()?,
            cluster: Vec::new(),
            epmd: None,
            extra: String::new(),
        })
    }

    /// Three nodes of one cluster.
    ///
    /// # Errors
    /// Where no port is free.
    pub fn cluster() -> Result<[Self; MEMBERS]> {
        let mut members = [Self::new()?, Self::new()?, Self::new()?];
        let ports: Vec<_> = members.iter().map(|member| member.port).collect();
        let epmd_port = free_port()?;
        for member in &mut members {
            member.cluster.clone_from(&ports);
            // Each starts a port mapper. One gets the port and serves them all.
            member.epmd_port = epmd_port;
        }
        Ok(members)
    }

    /// Adds lines to `rabbitmq.conf`.
    #[must_use]
    pub fn configuration(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }

    /// What the node and whoever wants to reach it have to agree on.
    fn name_node(&self, directory: &Path, command: &mut Command) {
        command
            .env("HOME", directory)
            .env("RABBITMQ_NODENAME", node(self.port))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string());
    }
}

fn node(port: u16) -> String {
    format!("vodbridge-{port}@localhost")
}

impl Broker<RabbitMq> {
    /// Runs a command of `rabbitmqctl` on the node and returns what it prints.
    ///
    /// # Errors
    /// Where it fails; the message holds its standard error.
    pub async fn control(&self, arguments: &[&str]) -> Result<String> {
        let mut command = bound_to_us(CONTROL);
        self.kind.name_node(self.directory.path(), &mut command);
        command.arg("--quiet").args(arguments).stdin(Stdio::null());
        let output = tokio::process::Command::from(command).output();
        let output = timeout(PATIENCE, output).await??;
        let errors = String::from_utf8_lossy(&output.stderr);
        let done = output.status.success();
        ensure!(done, "rabbitmqctl {arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The port of the node that leads a quorum queue, once all three of its members are there.
    ///
    /// # Errors
    /// Where that does not come to be.
    pub async fn leader(&self, queue: &str) -> Result<u16> {
        let deadline = Instant::now() + PATIENCE;
        // An answer takes most of a second.
        loop {
            let queues = [
                "list_queues",
                "name",
                "leader",
                "online",
                "--formatter",
                "json",
            ];
            let queues: Value = serde_json::from_str(&self.control(&queues).await?)?;
            let queues = queues.as_array().map_or(&[][..], Vec::as_slice);
            let found = queues.iter().find(|found| found["name"] == queue);
            let leader = found.and_then(|queue| queue["leader"].as_str());
            let online = found.and_then(|queue| queue["online"].as_array());
            if online.is_some_and(|online| online.len() == MEMBERS)
                && let Some(port) = leader.and_then(port)
            {
                return Ok(port);
            }
            ensure!(
                Instant::now() < deadline,
                "{queue} is not whole: {queues:?}"
            );
        }
    }
}

/// The port in the name of a node.
fn port(node: &str) -> Option<u16> {
    let (name, _) = node.split_once('@')?;
    name.rsplit_once('-')?.1.parse().ok()
}

impl Kind for RabbitMq {
    const NAME: &'static str = "rabbitmq";
    const VARIABLE: &'static str = "VODBRIDGE_TEST_RABBITMQ";

    fn port(&self) -> u16 {
        self.port
    }

    fn address(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    async fn install(&mut self, directory: &Path) -> Result<()> {
        let mut configuration = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             log.console = true\n\
             log.console.level = warning\n\
             log.file = false\n\
             disk_free_limit.absolute = 1MB\n{}",
            self.port, self.extra
        );
        for (port, number) in self.cluster.iter().zip(1..) {
            let key = format!("cluster_formation.classic_config.nodes.{number}");
            configuration.push_str(&format!("{key} = {}\n", node(*port)));
        }
        std::fs::write(directory.join("rabbitmq.conf"), configuration)?;
        // What nodes and `rabbitmqctl` know each other by.
        let mut cookie = OpenOptions::new();
        let mut cookie = (cookie.write(true).create_new(true).mode(0o400))
            .open(directory.join(".erlang.cookie"))?;
        cookie.write_all(b"vodbridge-tests")?;
        std::fs::write(directory.join("enabled_plugins"), "[].\n")?;
        let mut epmd = bound_to_us("epmd");
        epmd.env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        self.epmd = Some(Process::start("epmd", epmd, &directory.join("epmd.log")).await?);
        Ok(())
    }

    /// <https://www.rabbitmq.com/docs/configure#supported-environment-variables>
    fn command(&self, directory: &Path) -> Result<Command> {
        ensure!(
            Path::new(SERVER).exists(),
            "RabbitMQ is missing: run `tests/run`, which installs it"
        );
        let mut command = bound_to_us(SERVER);
        self.name_node(directory, &mut command);
        command
            .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                directory.join("enabled_plugins"),
            )
            .env("RABBITMQ_MNESIA_BASE", directory.join("data"))
            .env("RABBITMQ_LOG_BASE", directory.join("logs"))
            .env("RABBITMQ_PID_FILE", directory.join("pid"))
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            )
            // The script becomes the node, instead of waiting for it: signals reach the node.
            .env("RUNNING_UNDER_SYSTEMD", "true");
        Ok(command)
    }

    /// The protocol header is answered by a method frame, `connection.start`.
    async fn greet(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        ensure!(stream.read_u8().await? == 1, "no method frame");
        Ok(())
    }
}

/// The address of a node that the tests of this process share.
///
/// # Errors
/// Where it cannot be started.
pub async fn shared() -> Result<String> {
    static SHARED: Shared<RabbitMq> = Shared::new();
    SHARED.address(RabbitMq::new).await
}

/// Starts a node of one's own.
///
/// # Errors
/// Where it does not become ready.
pub async fn start() -> Result<Broker<RabbitMq>> {
    Broker::start(RabbitMq::new()?).await
}

/// Starts a cluster of one's own.
///
/// # Errors
/// Where a node does not become ready.
pub async fn start_cluster() -> Result<Cluster<RabbitMq>> {
    Cluster::start(RabbitMq::cluster()?).await
}
