//! The brokers' Python clients, the CloudEvents Python SDK and the cloud vendor's: what this
//! project did not write. They also make and remove topics, queues and streams for the tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::installed;

/// Longer than any read waits for its messages.
const PATIENCE: Duration = Duration::from_secs(120);

/// A message as a client took it from the broker.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// Topic, routing key or subject.
    pub topic: String,
    /// The key of a Kafka record.
    pub key: Option<String>,
    /// Headers, as the client decodes them.
    pub headers: BTreeMap<String, String>,
    /// The properties of an AMQP message that are set.
    pub properties: BTreeMap<String, String>,
    /// The body, byte for byte.
    #[serde(deserialize_with = "bytes")]
    pub body: Vec<u8>,
    /// What the CloudEvents SDK makes of it.
    pub event: Reading,
}

/// The CloudEvents SDK's reading of a message.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Reading {
    /// An event.
    Event(Event),
    /// No event, because of `error`.
    Error {
        /// What the SDK says.
        error: String,
    },
}

/// The attributes of an event.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// `specversion`
    pub specversion: String,
    /// `id`
    pub id: String,
    /// `type`
    #[serde(rename = "type")]
    pub ty: String,
    /// `source`
    pub source: String,
    /// `subject`
    pub subject: Option<String>,
    /// `time`, as ISO 8601 with an offset.
    pub time: Option<String>,
    /// `datacontenttype`
    pub datacontenttype: Option<String>,
    /// `dataschema`
    pub dataschema: Option<String>,
    /// Everything else.
    pub extensions: BTreeMap<String, String>,
}

impl Message {
    /// The event in the message.
    ///
    /// # Errors
    /// Where the SDK cannot read one.
    pub fn event(&self) -> Result<&Event> {
        match &self.event {
            Reading::Event(event) => Ok(event),
            Reading::Error { error } => {
                let body = String::from_utf8_lossy(&self.body);
                anyhow::bail!(
                    "{} on {} is no event: {error}\n{body}",
                    self.topic,
                    self.topic
                )
            }
        }
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(serde::de::Error::custom)
}

fn script(name: &str) -> PathBuf {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    clients.join(name)
}

/// A client of one broker.
#[derive(Debug, Clone)]
pub struct Client {
    script: &'static str,
    address: String,
    /// The argument of `read` that says from where.
    place: &'static str,
}

/// confluent-kafka. Reads the topics with a prefix.
pub fn kafka(address: impl Into<String>) -> Client {
    Client {
        script: "kafka_client.py",
        address: address.into(),
        place: "prefix",
    }
}

/// pika. Reads a queue, and empties it by that.
pub fn rabbitmq(address: impl Into<String>) -> Client {
    Client {
        script: "rabbitmq_client.py",
        address: address.into(),
        place: "queue",
    }
}

/// nats-py. Reads a stream.
pub fn nats(address: impl Into<String>) -> Client {
    Client {
        script: "nats_client.py",
        address: address.into(),
        place: "name",
    }
}

/// The vendor's SDK, `tencentcloud-sdk-python-vod`: calls a cloud at `host:port`. It reads no
/// messages.
pub fn cloud_sdk(address: impl Into<String>) -> Client {
    Client {
        script: "cloud_sdk.py",
        address: address.into(),
        place: "",
    }
}

impl Client {
    /// Runs a function of `tests/clients/` with named arguments, and returns what it yields.
    ///
    /// # Errors
    /// Where it fails; the message holds the client's own.
    pub async fn call(&self, command: &str, arguments: Value) -> Result<Vec<Value>> {
        let run = Command::new(installed::tool("python")?)
            .arg(script(self.script))
            .args([&self.address, command, &arguments.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let what = || format!("{} {command} {arguments}", self.script);
        let output = timeout(PATIENCE, run)
            .await
            .with_context(what)?
            .with_context(what)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {errors}", what());
        let lines = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        lines.collect::<Result<_, _>>().with_context(what)
    }

    /// Hands over the bodies of everything at `place`, a prefix of topics, a queue or a stream, one
    /// by one: there may be more of them than fit into memory. Returns how many there were. None of
    /// them may hold a line break.
    ///
    /// # Errors
    /// Where they cannot be read, or `each` fails.
    pub async fn bodies(
        &self,
        place: &str,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let arguments = json!({ self.place: place }).to_string();
        let what = || format!("{} bodies {arguments}", self.script);
        let mut child = Command::new(installed::tool("python")?)
            .arg(script(self.script))
            .args([&self.address, "bodies", &arguments])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(what)?;
        let output = child.stdout.take().context("no output")?;
        let mut output = BufReader::with_capacity(1 << 20, output);
        let (mut count, mut line) = (0, Vec::new());
        loop {
            line.clear();
            let read = timeout(PATIENCE, output.read_until(b'\n', &mut line));
            if read.await.with_context(what)?? == 0 {
                break;
            }
            each(line.trim_ascii_end())?;
            count += 1;
        }
        let status = child.wait().await?;
        ensure!(status.success(), "{}: {status}", what());
        Ok(count)
    }

    /// The port of the member of a cluster that leads the topic, queue or stream `place`, once there
    /// is one.
    ///
    /// # Errors
    /// Where none comes to lead.
    pub async fn leader(&self, place: &str) -> Result<u16> {
        let lines = self.call("leader", json!({ self.place: place })).await?;
        let port = lines.first().and_then(Value::as_u64);
        Ok(port.context("no port")?.try_into()?)
    }

    /// Resolves when every replica of the topic, queue or stream `place` has what its leader has.
    ///
    /// # Errors
    /// Where one stays behind.
    pub async fn in_sync(&self, place: &str) -> Result<()> {
        let waited = self.call("in_sync", json!({ self.place: place })).await;
        waited.map(drop)
    }

    /// Everything that is at `place` now: a prefix of topics, a queue, or a stream.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn read(&self, place: &str) -> Result<Vec<Message>> {
        self.read_at_least(0, place, Duration::ZERO).await
    }

    /// Everything at `place`, once at least `count` messages are there or the time is up.
    ///
    /// # Errors
    /// Where it cannot be read. Too few messages are no error here.
    pub async fn read_at_least(
        &self,
        count: usize,
        place: &str,
        within: Duration,
    ) -> Result<Vec<Message>> {
        let arguments =
            json!({ self.place: place, "at_least": count, "within": within.as_secs_f64() });
        let lines = self.call("read", arguments).await?;
        lines
            .into_iter()
            .map(|line| Ok(serde_json::from_value(line)?))
            .collect()
    }
}
