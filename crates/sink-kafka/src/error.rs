//! What a refusal of librdkafka or of the broker means for the event.

use rdkafka::types::RDKafkaErrorCode as Code;
use thiserror::Error;
use vodbridge_core::PublishError;

/// Why an event is not acknowledged.
#[derive(Debug, Error)]
#[error("kafka did not acknowledge the event on topic {topic}; {}", remedy(*.code))]
pub struct DeliveryError {
    /// The topic that it was published to.
    pub topic: String,
    /// What librdkafka or the broker said.
    #[source]
    pub code: Code,
}

impl From<DeliveryError> for PublishError {
    fn from(error: DeliveryError) -> Self {
        match class(error.code) {
            Class::Permanent => Self::Permanent(error.into()),
            Class::Unroutable => Self::Unroutable(error.into()),
            Class::Transient => Self::Transient(error.into()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Permanent,
    Unroutable,
    Transient,
}

/// Permanent is about this event alone, unroutable about its topic; whatever else there is, refused
/// permissions included, is about the world and may pass.
/// <https://kafka.apache.org/protocol#protocol_error_codes>
pub(crate) fn class(code: Code) -> Class {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidMessage
        | Code::InvalidRecord => Class::Permanent,
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic => Class::Unroutable,
        _ => Class::Transient,
    }
}

/// What the operator can do about it.
pub(crate) fn remedy(code: Code) -> &'static str {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => {
            "raise `max.message.bytes` of the topic, or `message.max.bytes` under `options` where that is the limit"
        }
        Code::InvalidMessage | Code::InvalidRecord => {
            "a compacted topic takes no event without a key: use `cleanup.policy=delete`"
        }
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic => "create the topic, for example with `vodbridge provision`",
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => {
            "check `sasl.mechanisms`, `sasl.username` and `sasl.password` under `options`"
        }
        Code::SSL => "check `security.protocol` and `ssl.ca.location` under `options`",
        Code::Resolve => {
            "check the host names under `brokers` and those that the brokers advertise"
        }
        Code::TopicAuthorizationFailed => "grant the user WRITE and DESCRIBE on the topic",
        Code::ClusterAuthorizationFailed | Code::Fatal => {
            "the producer is started anew by itself; if this repeats, grant the user IDEMPOTENT_WRITE on the cluster"
        }
        Code::OutOfOrderSequenceNumber => {
            "the producer is started anew by itself; but a broker has lost events that it had acked: look for an unclean leader election or a damaged disk"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "bring back the brokers that hold the topic's other replicas"
        }
        Code::QueueFull => "the broker is slower than the events come: look at its load",
        _ => {
            "check that the brokers run and that they and the addresses they advertise can be reached from here"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_class() {
        let table = [
            (
                Class::Permanent,
                &[
                    Code::MessageSizeTooLarge,
                    Code::MessageBatchTooLarge,
                    Code::InvalidMessageSize,
                    Code::InvalidMessage,
                    Code::InvalidRecord,
                ][..],
            ),
            (
                Class::Unroutable,
                &[
                    Code::UnknownTopicOrPartition,
                    Code::UnknownTopic,
                    Code::UnknownPartition,
                    Code::UnknownTopicId,
                    Code::InvalidTopic,
                ],
            ),
            (
                Class::Transient,
                &[
                    Code::Unknown,
                    Code::Fail,
                    Code::QueueFull,
                    Code::MessageTimedOut,
                    Code::RequestTimedOut,
                    Code::BrokerTransportFailure,
                    Code::AllBrokersDown,
                    Code::NotEnoughReplicas,
                    Code::NotEnoughReplicasAfterAppend,
                    Code::LeaderNotAvailable,
                    Code::NotLeaderForPartition,
                    Code::KafkaStorageError,
                    Code::Authentication,
                    Code::SSL,
                    Code::Resolve,
                    Code::TopicAuthorizationFailed,
                    Code::ClusterAuthorizationFailed,
                    Code::SaslAuthenticationFailed,
                    Code::PolicyViolation,
                    Code::InvalidTimestamp,
                    Code::InvalidDifferentRecord,
                    Code::InvalidRequiredAcks,
                    Code::UnsupportedVersion,
                    Code::UnsupportedCompressionType,
                    Code::ThrottlingQuotaExceeded,
                    Code::OutOfOrderSequenceNumber,
                    Code::DuplicateSequenceNumber,
                    Code::InvalidProducerEpoch,
                    Code::UnknownProducerId,
                    Code::PurgeQueue,
                    Code::PurgeInflight,
                    Code::Fatal,
                    Code::GaplessGuarantee,
                ],
            ),
        ];
        for (expected, codes) in table {
            for code in codes {
                assert_eq!(class(*code), expected, "{code:?}");
            }
        }
    }

    #[test]
    fn an_error_names_topic_cause_and_remedy() {
        let error = DeliveryError {
            topic: "vod.Gone".into(),
            code: Code::UnknownTopic,
        };
        let text = error.to_string();
        assert!(
            text.contains("vod.Gone") && text.contains("provision"),
            "{text}"
        );
        let PublishError::Unroutable(source) = PublishError::from(error) else {
            panic!("an unknown topic is no destination");
        };
        assert!(source.source().is_some());
    }
}
