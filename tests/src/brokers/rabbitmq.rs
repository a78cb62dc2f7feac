//! RabbitMQ, a node of its own beside the system's service, if there is one.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Broker, Kind, Shared};
use crate::ports::free_port;
use crate::process::{Process, bound_to_us};

/// The start script itself: the one on the path switches to the system's user.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A RabbitMQ node.
#[derive(Debug)]
pub struct RabbitMq {
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
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
            epmd: None,
            extra: String::new(),
        })
    }

    /// Adds lines to `rabbitmq.conf`.
    #[must_use]
    pub fn configuration(mut self, lines: &str) -> Self {
        self.extra.push_str(lines);
        self.extra.push('\n');
        self
    }
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
        let configuration = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\n\
             log.console = true\n\
             log.console.level = warning\n\
             log.file = false\n\
             disk_free_limit.absolute = 1MB\n{}",
            self.port, self.extra
        );
        std::fs::write(directory.join("rabbitmq.conf"), configuration)?;
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
        command
            .env("HOME", directory)
            .env(
                "RABBITMQ_NODENAME",
                format!("vodbridge-{}@localhost", self.port),
            )
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                directory.join("enabled_plugins"),
            )
            .env("RABBITMQ_MNESIA_BASE", directory.join("data"))
            .env("RABBITMQ_LOG_BASE", directory.join("logs"))
            .env("RABBITMQ_PID_FILE", directory.join("pid"))
            .env("RABBITMQ_DIST_PORT", self.distribution_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
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
