//! What the operator configured: layered YAML files, variables on top, checked as a whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vodbridge_core::config::duration;
use vodbridge_sink_file::FileConfig;
use vodbridge_sink_kafka::KafkaConfig;
use vodbridge_sink_nats::NatsConfig;
use vodbridge_sink_rabbitmq::RabbitMqConfig;
use vodbridge_vod::Catalogue;

mod errors;
mod provider;
mod read;
mod secrets;
mod source;
mod stand_in;
#[cfg(test)]
mod tests;
mod topics;
mod tree;
mod validate;
mod written;

pub(crate) use errors::ConfigErrors;
pub(crate) use secrets::read_secret;
pub(crate) use source::Source;
pub(crate) use stand_in::WrittenSource;
pub(crate) use written::{EventOutcome, Match};

/// A configuration that passed every check, with its defaults filled in.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The operator's own listener.
    pub admin: Admin,
    /// What must outlive the process: undelivered events, the last resort of the dead letter.
    pub state_directory: PathBuf,
    /// How the process ends.
    pub drain: Drain,
    /// How it logs.
    pub log: Log,
    /// The event types that can stand in a topic: the documented ones and those that the operator
    /// added.
    pub catalogue: Arc<Catalogue>,
    /// Where notifications come from, by name; at least one.
    pub sources: BTreeMap<String, Source>,
    /// Where events go, by name; at least one.
    pub sinks: BTreeMap<String, Sink>,
    /// Which events go where, by name; none: every event to every sink.
    pub routes: BTreeMap<String, Route>,
    /// Where goes what can never be delivered.
    pub dead_letter: DeadLetter,
}

/// The listener for probes, metrics and the dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// Its address, loopback unless told otherwise.
    pub listen: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9600)),
        }
    }
}

/// How the process ends after SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Drain {
    /// A webhook listener is closed once no request came for so long.
    #[serde(with = "duration")]
    pub grace: Duration,
    /// From the signal to the end, the grace included.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            timeout: Duration::from_secs(35),
        }
    }
}

/// How the process logs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// Pretty on a terminal, else JSON.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// The least severe level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogLevel {
    /// Data at risk, or an operator needed.
    Error,
    /// Recovered.
    Warn,
    /// Lifecycle.
    #[default]
    Info,
    /// Batches.
    Debug,
    /// Everything.
    Trace,
}

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) enum Sink {
    /// A Kafka cluster.
    Kafka(KafkaConfig),
    /// A RabbitMQ exchange.
    RabbitMq(RabbitMqConfig),
    /// A NATS JetStream stream.
    Nats(NatsConfig),
    /// NDJSON files in a directory.
    File(FileConfig),
}

/// A match on events and the sinks that they go to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// What an event must have; nothing given: every event.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// The sinks, by name; at least one.
    #[serde(default)]
    pub to: BTreeMap<String, Target>,
}

/// How a route uses a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Target {
    /// Published and measured, never waited for.
    pub shadow: bool,
}

/// Where goes what can never be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    /// Name of the sink.
    pub sink: String,
    /// Topic, subject or routing key there.
    pub topic: String,
}

/// Reads the files in their order, each changing what those before it said, then the variables
/// whose name starts with `VODBRIDGE_`; `variables` are also those that `{env: NAME}` names.
/// Without files: the first of `./vodbridge.yaml` and `/etc/vodbridge/vodbridge.yaml` that is
/// there.
///
/// # Errors
///
/// Everything that is wrong, at once.
pub(crate) fn load(
    files: &[PathBuf],
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigErrors> {
    load_changed(files, variables, |_| {})
}

/// Reads the same, but with `sources` of the written ones in their place, and `drain` in that of
/// the written one. Nothing is asked of what was written there, not even its secrets.
///
/// # Errors
///
/// Everything that is wrong with the rest, at once.
pub(crate) fn load_with<T: Serialize>(
    files: &[PathBuf],
    variables: impl IntoIterator<Item = (String, String)>,
    sources: impl FnOnce(Vec<WrittenSource>) -> T,
    drain: &impl Serialize,
) -> Result<Config, ConfigErrors> {
    load_changed(files, variables, |tree| {
        let sources = sources(stand_in::written(tree));
        stand_in::put(tree, "sources", &sources);
        stand_in::put(tree, "drain", drain);
    })
}

fn load_changed(
    files: &[PathBuf],
    variables: impl IntoIterator<Item = (String, String)>,
    change: impl FnOnce(&mut tree::Tree),
) -> Result<Config, ConfigErrors> {
    let variables: BTreeMap<_, _> = variables.into_iter().collect();
    let mut report = errors::Report::default();
    let figment = provider::layers(files, &variables, &mut report);
    let complete = report.is_empty();
    let mut tree = tree::Tree::new(figment);
    change(&mut tree);
    secrets::resolve(&mut tree, &variables, &mut report);
    if !complete {
        // What is missing may be in the layer that could not be read.
        report.excuse_missing(tree::KeyPath::default());
    }
    let written = read::read(&mut tree, &mut report);
    let config = written
        .filter(|_| complete)
        .map(|w| validate::config(w, &tree, &variables, &mut report));
    report.into_result(config)
}
