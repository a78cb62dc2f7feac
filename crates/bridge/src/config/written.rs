//! The file as it is written: entries of optional kinds, before they are checked.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use vodbridge_sink_file::FileConfig;
use vodbridge_sink_kafka::KafkaConfig;
use vodbridge_sink_nats::NatsConfig;
use vodbridge_sink_rabbitmq::RabbitMqConfig;
use vodbridge_sources::queue::QueueConfig;
use vodbridge_sources::webhook::WebhookConfig;

use super::{Admin, Drain, Log, Route};

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default)]
    pub(super) admin: Admin,
    #[serde(default = "default_state_directory")]
    pub(super) state_directory: PathBuf,
    #[serde(default)]
    pub(super) drain: Drain,
    #[serde(default)]
    pub(super) log: Log,
    #[serde(default)]
    pub(super) event_types: Vec<String>,
    #[serde(default)]
    pub(super) sources: BTreeMap<String, SourceEntry>,
    #[serde(default)]
    pub(super) sinks: BTreeMap<String, SinkEntry>,
    #[serde(default)]
    pub(super) routes: BTreeMap<String, Route>,
    #[serde(default)]
    pub(super) dead_letter: DeadLetterEntry,
}

/// A source, of one kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceEntry {
    pub(super) webhook: Option<WebhookConfig>,
    pub(super) queue: Option<QueueConfig>,
}

/// A sink, of one kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkEntry {
    pub(super) kafka: Option<KafkaConfig>,
    pub(super) rabbitmq: Option<RabbitMqConfig>,
    pub(super) nats: Option<NatsConfig>,
    pub(super) file: Option<FileConfig>,
}

/// Where dead letters go; with a single sink it need not be said.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DeadLetterEntry {
    pub(super) sink: Option<String>,
    pub(super) topic: String,
}

impl Default for DeadLetterEntry {
    fn default() -> Self {
        Self {
            sink: None,
            topic: "vod.dead_letter".to_owned(),
        }
    }
}

fn default_state_directory() -> PathBuf {
    PathBuf::from("/var/lib/vodbridge")
}

/// What an event must have to take a route: of each key that is given, one of the values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Match {
    /// Patterns of event types, in which `*` stands for any characters.
    #[serde(deserialize_with = "one_or_many")]
    pub event_type: Vec<String>,
    /// How it went.
    #[serde(deserialize_with = "one_or_many")]
    pub outcome: Vec<EventOutcome>,
    /// The application.
    #[serde(deserialize_with = "one_or_many")]
    pub sub_app_id: Vec<u64>,
    /// The name of the source that it came by.
    #[serde(deserialize_with = "one_or_many")]
    pub source: Vec<String>,
}

/// How what an event reports went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EventOutcome {
    /// Still under way.
    Progress,
    /// All of it succeeded.
    Succeeded,
    /// Some of it failed.
    Failed,
    /// The notification does not tell.
    Unknown,
}

impl EventOutcome {
    /// Every outcome.
    pub(crate) const ALL: [Self; 4] =
        [Self::Progress, Self::Succeeded, Self::Failed, Self::Unknown];

    /// The value of the label `outcome`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Progress => "progress",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// One value, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct OneOrMany<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one value or a list of them")
        }
        fn visit_str<E: de::Error>(self, value: &str) -> Result<Vec<T>, E> {
            T::deserialize(value.into_deserializer()).map(|v| vec![v])
        }
        fn visit_u64<E: de::Error>(self, value: u64) -> Result<Vec<T>, E> {
            T::deserialize(value.into_deserializer()).map(|v| vec![v])
        }
        fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<T>, E> {
            T::deserialize(value.into_deserializer()).map(|v| vec![v])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            std::iter::from_fn(|| list.next_element().transpose()).collect()
        }
    }
    deserializer.deserialize_any(OneOrMany(PhantomData))
}
