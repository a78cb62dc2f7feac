//! What the operator writes under `sinks.<name>.kafka`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use vodbridge_core::Template;
use vodbridge_core::cloudevents::Mode;

/// Settings of a Kafka sink.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Bootstrap brokers, `host:port`.
    pub brokers: Vec<String>,
    /// The topic of an event.
    pub topic: Template,
    /// Structured (default) or binary.
    #[serde(default)]
    pub mode: Mode,
    /// librdkafka options, for example `compression.type: zstd` or `sasl.password`; those that
    /// carry the guarantee belong to the bridge and are refused.
    /// <https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md>
    #[serde(default)]
    pub options: BTreeMap<String, OptionValue>,
}

/// The value of a librdkafka option. Some of them are secrets, so `Debug` shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct OptionValue(String);

impl OptionValue {
    /// The value as librdkafka takes it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[option]")
    }
}

impl<'de> Deserialize<'de> for OptionValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OptionVisitor;
        impl Visitor<'_> for OptionVisitor {
            type Value = OptionValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<OptionValue, E> {
                Ok(OptionValue(v.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, v: bool) -> Result<OptionValue, E> {
                Ok(OptionValue(v.to_string()))
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<OptionValue, E> {
                Ok(OptionValue(v.to_string()))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<OptionValue, E> {
                Ok(OptionValue(v.to_string()))
            }
            fn visit_f64<E: de::Error>(self, v: f64) -> Result<OptionValue, E> {
                Ok(OptionValue(v.to_string()))
            }
        }
        deserializer.deserialize_any(OptionVisitor)
    }
}
