//! librdkafka's options: which the operator may set, and what every client starts from.
//!
//! <https://github.com/confluentinc/librdkafka/blob/v2.12.1/CONFIGURATION.md>

use rdkafka::ClientConfig;
use rdkafka::config::{FromClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use rdkafka::types::RDKafkaConfRes;
use thiserror::Error;

use crate::KafkaConfig;

/// Why an option under `options` was refused. Never holds the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{reason}", key.as_ref().map(|k| format!("option {k}: ")).unwrap_or_default())]
pub struct OptionError {
    /// The option; None where several contradict each other.
    pub key: Option<String>,
    /// What is wrong with it, and what to do instead.
    pub reason: String,
}

const ACKS: &str = "an event counts as delivered only when all in-sync replicas hold it";
const TIMEOUT: &str = "it follows from the patience of the sources";
const BATCHING: &str = "the bridge batches by the number of events in flight";
const QUEUE: &str = "it follows from `max_in_flight` of the sources";
const REPORTS: &str = "every event needs its own delivery report";
const BROKERS: &str = "set `brokers` instead";
const RECONNECT: &str = "the bridge reconnects within a second";
const INTERNAL: &str = "it is not for applications";

/// Options that carry the guarantee, aliases included; a trailing `*` stands for the rest of a name.
const OWNED: &[(&str, &str)] = &[
    ("acks", ACKS),
    ("request.required.acks", ACKS),
    ("enable.idempotence", ACKS),
    ("transactional.id", ACKS),
    (
        "enable.gapless.guarantee",
        "one refused event must not stop the others",
    ),
    ("message.timeout.ms", TIMEOUT),
    ("delivery.timeout.ms", TIMEOUT),
    ("delivery.report.only.error", REPORTS),
    ("linger.ms", BATCHING),
    ("batch.num.messages", BATCHING),
    ("queue.buffering.*", QUEUE),
    ("max.in.flight*", QUEUE),
    ("reconnect.backoff.*", RECONNECT),
    (
        "topic.metadata.propagation.max.ms",
        "an unknown topic has to show within a second",
    ),
    (
        "statistics.interval.ms",
        "the bridge reads its health from the statistics",
    ),
    ("bootstrap.servers", BROKERS),
    ("metadata.broker.list", BROKERS),
    ("log.queue", INTERNAL),
    ("test.mock.*", INTERNAL),
    ("ut_*", INTERNAL),
];

/// Every option of `config` that is refused: owned by the bridge, unknown to librdkafka, malformed,
/// or in contradiction to another. Reaches no broker.
pub fn validate_options(config: &KafkaConfig) -> Vec<OptionError> {
    let mut errors: Vec<OptionError> = config
        .options
        .iter()
        .filter_map(|(key, value)| refusal(key, value.expose()))
        .collect();
    if errors.is_empty() {
        errors.extend(contradiction(config));
    }
    errors
}

fn refusal(key: &str, value: &str) -> Option<OptionError> {
    let error = |reason: String| {
        Some(OptionError {
            key: Some(key.to_owned()),
            reason,
        })
    };
    if let Some((_, why)) = OWNED.iter().find(|(pattern, _)| matches(pattern, key)) {
        return error(format!("belongs to the bridge: {why}; remove it"));
    }
    let mut alone = ClientConfig::new();
    alone.set(key, value);
    match alone.create_native_config().err()? {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..) => {
            error("librdkafka has no such option; check the spelling".into())
        }
        // librdkafka's own text may repeat the value.
        KafkaError::ClientConfig(_, text, ..) if !is_secret(key) => {
            error(format!("librdkafka refuses the value: {}", text.trim()))
        }
        _ => error("librdkafka refuses the value".into()),
    }
}

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => key.starts_with(prefix),
        None => key == pattern,
    }
}

fn is_secret(key: &str) -> bool {
    [
        "password",
        "secret",
        ".pem",
        "token",
        "oauthbearer",
        "assertion",
    ]
    .iter()
    .any(|part| key.contains(part))
}

/// Creates a producer without brokers: only then does librdkafka look at files and at options
/// that exclude each other.
fn contradiction(config: &KafkaConfig) -> Option<OptionError> {
    let mut dry = client_config(config);
    dry.remove("bootstrap.servers");
    dry.set("acks", "all").set("enable.idempotence", "true");
    match BaseProducer::from_config(&dry) {
        Ok(_) => None,
        Err(error) => Some(OptionError {
            key: None,
            reason: creation_error(&error),
        }),
    }
}

/// The text of a client that could not be created. `KafkaError::ClientConfig` would print a value.
pub(crate) fn creation_error(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientCreation(text) => format!("librdkafka refuses the options: {text}"),
        KafkaError::ClientConfig(_, _, key, _) => format!("librdkafka refuses the option {key}"),
        other => format!("no kafka client could be created: {other}"),
    }
}

/// What every client of a sink starts from; the operator's options come last.
pub(crate) fn client_config(config: &KafkaConfig) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers.join(","))
        .set("client.id", "vodbridge")
        // Keys land where a Java producer would put them.
        .set("partitioner", "murmur2_random")
        // The broker's limit decides; this one only keeps a request below `socket.request.max.bytes`.
        .set("message.max.bytes", "67108864")
        .set("ssl.ca.location", "probe")
        .set_log_level(RDKafkaLogLevel::Info);
    for (key, value) in &config.options {
        client.set(key, value.expose());
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::config_with;

    fn refused(key: &str, value: &str) -> String {
        let errors = validate_options(&config_with(&[(key, value)]));
        assert_eq!(errors.len(), 1, "{key}: {errors:?}");
        assert_eq!(errors[0].key.as_deref(), Some(key));
        errors[0].to_string()
    }

    #[test]
    fn options_of_the_bridge_are_refused_under_every_name() {
        for key in [
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "transactional.id",
            "enable.gapless.guarantee",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "delivery.report.only.error",
            "linger.ms",
            "batch.num.messages",
            "queue.buffering.max.ms",
            "queue.buffering.max.messages",
            "queue.buffering.max.kbytes",
            "queue.buffering.backpressure.threshold",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "reconnect.backoff.ms",
            "reconnect.backoff.max.ms",
            "topic.metadata.propagation.max.ms",
            "statistics.interval.ms",
            "bootstrap.servers",
            "metadata.broker.list",
            "test.mock.num.brokers",
            "ut_handle_ProduceResponse",
        ] {
            assert!(refused(key, "0").contains("belongs to the bridge"), "{key}");
        }
    }

    #[test]
    fn wrong_options_are_named_with_the_reason() {
        assert!(refused("compresion.type", "zstd").contains("no such option"));
        assert!(refused("compression.type", "zstdd").contains("zstdd"));
        assert!(refused("socket.timeout.ms", "1").contains("outside allowed range"));
        assert!(refused("dr_msg_cb", "1").contains("refuses"));
    }

    #[test]
    fn all_findings_come_at_once() {
        let errors = validate_options(&config_with(&[
            ("acks", "0"),
            ("nonsense", "1"),
            ("compression.type", "zstd"),
        ]));
        assert_eq!(errors.len(), 2);
    }

    #[test]
    fn what_only_a_client_can_tell_is_found_too() {
        let errors = validate_options(&config_with(&[
            ("security.protocol", "ssl"),
            ("ssl.ca.location", "/does/not/exist.pem"),
        ]));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].reason.contains("ssl.ca.location"), "{errors:?}");
    }

    #[test]
    fn good_options_pass() {
        let config = config_with(&[
            ("compression.type", "zstd"),
            ("security.protocol", "sasl_ssl"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "vb"),
            ("sasl.password", "hunter2"),
        ]);
        assert_eq!(validate_options(&config), []);
    }

    #[test]
    fn a_secret_is_in_no_error() {
        for (key, value) in [
            ("sasl.password", "hunter2\0"),
            ("ssl.key.password", "hunter2\0"),
            ("sasl.oauthbearer.client.secret", "hunter2\0"),
        ] {
            assert!(!refused(key, value).contains("hunter2"));
        }
        let errors = validate_options(&config_with(&[
            ("security.protocol", "ssl"),
            ("ssl.key.pem", "hunter2"),
        ]));
        assert!(
            !errors.is_empty() && !format!("{errors:?}").contains("hunter2"),
            "{errors:?}"
        );
    }
}
