//! Every topic that a configuration can produce.

use std::collections::{BTreeMap, BTreeSet};

use vodbridge_core::{Glob, Template};

use super::{Config, EventOutcome, Match, Route, Sink};

/// What topic templates can be filled from.
pub(super) const LABELS: [&str; 4] = ["event_type", "sub_app_id", "source", "outcome"];

impl Sink {
    /// What names the topic of an event: topic, routing key or subject.
    pub(crate) fn template(&self) -> &Template {
        match self {
            Self::Kafka(config) => &config.topic,
            Self::RabbitMq(config) => &config.routing_key,
            Self::Nats(config) => &config.subject,
            Self::File(config) => &config.topic,
        }
    }

    /// The kind, and the key of its template.
    pub(super) fn template_key(&self) -> [&'static str; 2] {
        match self {
            Self::Kafka(_) => ["kafka", "topic"],
            Self::RabbitMq(_) => ["rabbitmq", "routing_key"],
            Self::Nats(_) => ["nats", "subject"],
            Self::File(_) => ["file", "topic"],
        }
    }

    /// Bytes of a topic, routing key or subject at most.
    pub(super) fn longest_topic(&self) -> usize {
        match self {
            Self::Kafka(_) => vodbridge_sink_kafka::LONGEST_TOPIC,
            Self::RabbitMq(_) => vodbridge_sink_rabbitmq::LONGEST_NAME,
            Self::Nats(_) => vodbridge_sink_nats::LONGEST_SUBJECT,
            Self::File(_) => vodbridge_sink_file::LONGEST_TOPIC,
        }
    }
}

impl Config {
    /// The topics of each sink, dead letters included.
    pub(crate) fn topics(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let names = self.sinks.keys();
        names
            .map(|name| (name.as_str(), self.topics_of(name)))
            .collect()
    }

    /// The topics of a sink, dead letters included.
    pub(crate) fn topics_of(&self, name: &str) -> BTreeSet<String> {
        let mut topics = self.event_topics(name);
        if name == self.dead_letter.sink {
            topics.insert(self.dead_letter.topic.clone());
        }
        topics
    }

    /// The topics of events on a sink: the template filled with every value that its labels can
    /// take on the routes to the sink.
    pub(super) fn event_topics(&self, name: &str) -> BTreeSet<String> {
        let mut topics = BTreeSet::new();
        let Some(sink) = self.sinks.get(name) else {
            return topics;
        };
        if self.routes.is_empty() {
            self.fill(sink.template(), &Match::default(), &mut topics);
        }
        let here = |route: &&Route| route.to.contains_key(name);
        for route in self.routes.values().filter(here) {
            self.fill(sink.template(), &route.matching, &mut topics);
        }
        topics
    }

    /// Fills the template for every event that can match.
    fn fill(&self, template: &Template, matching: &Match, topics: &mut BTreeSet<String>) {
        let globs: Vec<Glob> = matching.event_type.iter().map(Glob::new).collect();
        let known: Vec<&str> = self.catalogue.topic_names().collect();
        let event_types = known.iter().filter(|name| match **name {
            _ if globs.is_empty() => true,
            other @ ("other" | "v2.other") => matching
                .event_type
                .iter()
                .any(|p| reaches_unknown(p, other, &known)),
            name => globs.iter().any(|glob| glob.matches(name)),
        });
        for event_type in event_types {
            for (name, source) in &self.sources {
                let sub_app_id = source.sub_app_id();
                if !admits(&matching.source, name) || !admits(&matching.sub_app_id, &sub_app_id) {
                    continue;
                }
                let sub_app_id = sub_app_id.to_string();
                for outcome in EventOutcome::ALL
                    .iter()
                    .filter(|o| admits(&matching.outcome, *o))
                {
                    topics.insert(template.fill(|label| match label {
                        "event_type" => event_type,
                        "sub_app_id" => &sub_app_id,
                        "source" => name,
                        // No other label passes the checks.
                        _ => outcome.as_str(),
                    }));
                }
            }
        }
    }
}

/// Whether a condition holds; one without values always does.
fn admits<T: PartialEq<U>, U: ?Sized>(values: &[T], value: &U) -> bool {
    values.is_empty() || values.iter().any(|v| v == value)
}

/// Whether the pattern can match the true name of an event whose topic says `other`: a name that
/// is not known. One that starts with `v2.` may be of a 2.0 body or not.
fn reaches_unknown(pattern: &str, other: &str, known: &[&str]) -> bool {
    let unknown = !known.contains(&pattern) || pattern == other;
    match (pattern.split_once('*'), other) {
        (Some((prefix, _)), "v2.other") => prefix.starts_with("v2.") || "v2.".starts_with(prefix),
        (None, "v2.other") => unknown && pattern.starts_with("v2."),
        (Some(_), _) => true,
        (None, _) => unknown || pattern.starts_with("v2."),
    }
}
