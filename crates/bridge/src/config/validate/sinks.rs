//! Sinks: their names, and one kind for each.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::value::{Error as ValueError, MapDeserializer};
use vodbridge_sink_file::FileConfig;

use super::{Check, kinds};
use crate::config::Sink;
use crate::config::errors::instead_of;
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
            kinds::check(sink, &path.join(*key), check);
        }
        if let Some(sink) = check.one_kind(&path, kinds, &KINDS) {
            sinks.insert(name, sink);
        }
    }
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
