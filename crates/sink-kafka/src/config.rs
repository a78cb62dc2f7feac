//! What the operator writes under `sinks.<name>.kafka`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use vodbridge_core::Template;
use vodbridge_core::cloudevents::Mode;

/// Bytes of a topic's name at most: the broker refuses longer ones as `INVALID_TOPIC_EXCEPTION`.
pub const LONGEST_TOPIC: usize = 249;

/// Whether it is `host:port`, where the host may be an IPv6 address in brackets. librdkafka takes
/// an empty host for `localhost`, and passes over what it cannot read.
pub fn is_broker(text: &str) -> bool {
    let is_host = |host: &str| match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            !host.is_empty() && host.bytes().all(safe)
        }
    };
    text.rsplit_once(':')
        .is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        for broker in [
            "kafka-0.example.com:9092",
            "127.0.0.1:1",
            "a_b:65535",
            "[::1]:9092",
        ] {
            assert!(is_broker(broker), "{broker}");
        }
        for text in [
            "",
            ":9092",
            "kafka",
            "kafka:",
            "kafka:0",
            "kafka:65536",
            "kafka:port",
            "a:1,b:1",
            "a b:1",
            "ssl://kafka:9093",
            "::1:9092",
            "[kafka]:9092",
        ] {
            assert!(!is_broker(text), "{text}");
        }
    }
}
