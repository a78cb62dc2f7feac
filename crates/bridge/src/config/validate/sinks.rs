//! Sinks: their templates and what each kind needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::value::{Error as ValueError, MapDeserializer};
use vodbridge_core::Template;
use vodbridge_sink_file::FileConfig;
use vodbridge_sink_kafka::KafkaConfig;
use vodbridge_sink_nats::NatsConfig;
use vodbridge_sink_rabbitmq::RabbitMqConfig;

use super::Check;
use crate::config::Sink;
use crate::config::errors::instead_of;
use crate::config::topics::LABELS;
use crate::config::tree::KeyPath;
use crate::config::written::SinkEntry;

const KINDS: [&str; 4] = ["kafka", "rabbitmq", "nats", "file"];
/// As many as a set of them can hold.
const MOST_SINKS: usize = 64;

pub(super) fn check(
    entries: BTreeMap<String, SinkEntry>,
    state_directory: &Path,
    check: &mut Check<'_>,
) -> BTreeMap<String, Sink> {
    let all = KeyPath::of(["sinks"]);
    check.that(
        entries.len() <= MOST_SINKS,
        &all,
        format!("there are more than {MOST_SINKS}"),
        "",
    );
    if entries.is_empty() {
        return default_sink(state_directory);
    }
    let mut sinks = BTreeMap::new();
    for (name, entry) in entries {
        let path = all.join(&name);
        check.name(&path, &name);
        let SinkEntry {
            kafka,
            rabbitmq,
            nats,
            file,
        } = entry;
        let kinds: Vec<(&str, Sink)> = [
            kafka.map(|c| ("kafka", Sink::Kafka(c))),
            rabbitmq.map(|c| ("rabbitmq", Sink::RabbitMq(c))),
            nats.map(|c| ("nats", Sink::Nats(c))),
            file.map(|c| ("file", Sink::File(c))),
        ]
        .into_iter()
        .flatten()
        .collect();
        for (key, sink) in &kinds {
            kind(sink, &path.join(*key), check);
        }
        if let Some(sink) = check.one_kind(&path, kinds, &KINDS) {
            sinks.insert(name, sink);
        }
    }
    directories(&sinks, state_directory, check);
    sinks
}

/// Where no broker is configured, events are kept in files.
fn default_sink(state_directory: &Path) -> BTreeMap<String, Sink> {
    let directory = state_directory
        .join("events")
        .to_string_lossy()
        .into_owned();
    let settings = MapDeserializer::<_, ValueError>::new([("directory", directory)].into_iter());
    FileConfig::deserialize(settings)
        .map(|file| ("file".to_owned(), Sink::File(file)))
        .into_iter()
        .collect()
}

/// The sink that a key names has to be there.
pub(super) fn must_exist(
    name: &str,
    sinks: &BTreeMap<String, Sink>,
    path: &KeyPath,
    check: &mut Check<'_>,
) {
    // One that is there and wrong has its own finding.
    let known = sinks.contains_key(name) || !check.report.trusts(&KeyPath::of(["sinks", name]));
    let remedy = instead_of(name, sinks.keys().map(String::as_str));
    let problem = check
        .report
        .quoting(path, format!("there is no sink {name:?}"));
    check.that(known, path, problem, remedy);
}

fn kind(sink: &Sink, path: &KeyPath, check: &mut Check<'_>) {
    match sink {
        Sink::Kafka(config) => kafka(config, path, check),
        Sink::RabbitMq(config) => rabbitmq(config, path, check),
        Sink::Nats(config) => nats(config, path, check),
        Sink::File(config) => template(&config.topic, &path.join("topic"), check),
    }
}

fn kafka(config: &KafkaConfig, path: &KeyPath, check: &mut Check<'_>) {
    template(&config.topic, &path.join("topic"), check);
    check.that(
        !config.brokers.is_empty(),
        &path.join("brokers"),
        "is empty",
        "write at least one HOST:PORT",
    );
    let options = path.join("options");
    if check.report.trusts(&options) {
        for error in vodbridge_sink_kafka::validate_options(config) {
            let path = error.key.map_or(options.clone(), |key| options.join(key));
            check.that(false, &path, error.reason, "");
        }
    }
}

fn rabbitmq(config: &RabbitMqConfig, path: &KeyPath, check: &mut Check<'_>) {
    template(&config.routing_key, &path.join("routing_key"), check);
    let url = config.url.expose();
    let scheme = url.starts_with("amqp://") || url.starts_with("amqps://");
    check.that(
        scheme,
        &path.join("url"),
        "is no AMQP URL",
        "start with `amqp://` or `amqps://`",
    );
    let remedy = "name a topic exchange; the default exchange routes to queues by name only";
    let exchange = (1..=255).contains(&config.exchange.len());
    let problem = "must have 1 to 255 bytes";
    check.that(exchange, &path.join("exchange"), problem, remedy);
    let channels = (1..=2047).contains(&config.channels);
    let problem = "must be from 1 to 2047";
    check.that(channels, &path.join("channels"), problem, "");
}

fn nats(config: &NatsConfig, path: &KeyPath, check: &mut Check<'_>) {
    template(&config.subject, &path.join("subject"), check);
    check.that(
        !config.servers.is_empty(),
        &path.join("servers"),
        "is empty",
        "write at least one nats://HOST:PORT",
    );
    for (at, server) in config.servers.iter().enumerate() {
        let remedy = "write them under `user` and `password`, or as `token`";
        let at = path.join("servers").join(at.to_string());
        check.that(
            !server.contains('@'),
            &at,
            "holds credentials, which would reach logs",
            remedy,
        );
    }
    let pair = config.user.is_some() == config.password.is_some();
    let told = ["user", "password"]
        .iter()
        .any(|key| !check.report.trusts(&path.join(*key)));
    let problem = "has one of `user` and `password`";
    check.that(pair || told, path, problem, "write both or none");
    let ways = [
        ("user", config.user.is_some()),
        ("token", config.token.is_some()),
        ("nkey_seed", config.nkey_seed.is_some()),
        ("credentials_file", config.credentials_file.is_some()),
    ];
    let ways: Vec<&str> = ways
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    check.that(
        ways.len() < 2,
        path,
        format!("has several ways to log in: {}", ways.join(", ")),
        "keep one",
    );
}

fn template(template: &Template, path: &KeyPath, check: &mut Check<'_>) {
    for label in template.labels().filter(|label| !LABELS.contains(label)) {
        let problem = check
            .report
            .quoting(path, format!("unknown label {{{label}}}"));
        check.that(false, path, problem, instead_of(label, LABELS));
    }
    check.parts(path, &template.fill(|_| "label"));
}

/// One process at a time, and one part of it, writes to a directory.
fn directories(sinks: &BTreeMap<String, Sink>, state_directory: &Path, check: &mut Check<'_>) {
    // `a//b/.` is `a/b`.
    let plain = |path: &Path| path.components().collect::<PathBuf>();
    let state = (plain(state_directory), KeyPath::of(["state_directory"]));
    let mut seen = BTreeMap::from([state]);
    for (name, sink) in sinks {
        let Sink::File(config) = sink else { continue };
        let path = KeyPath::of(["sinks", name, "file", "directory"]);
        if !check.report.trusts(&path) {
            continue;
        }
        match seen.get(&plain(&config.directory)) {
            Some(other) => {
                let problem = format!("is the same as {other} ({})", check.tree.origin(other));
                let remedy = "give each file sink a directory of its own";
                check.that(false, &path, problem, remedy);
            }
            None => drop(seen.insert(plain(&config.directory), path)),
        }
    }
}
