//! Why a configuration or a publish was refused, and which class of error that is.

use lapin::ErrorKind;
use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};
use thiserror::Error;
use vodbridge_core::PublishError;

/// Why the configuration of a sink was refused. Never holds the URL: it has a password in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RabbitMqConfigError {
    /// The URL cannot be read.
    #[error(
        "url is not of the form amqp://user:password@host:5672/vhost (or amqps://); \
         percent-encode what is not a letter or digit in user, password and vhost"
    )]
    Url,
    /// The URL names its host by an IPv6 address, which the client library would ignore.
    #[error("url has an IPv6 address as its host, which is not supported; use a host name")]
    Ipv6,
    /// AMQP holds names of up to 255 bytes.
    #[error("url has a vhost of more than 255 bytes")]
    Vhost,
    /// AMQP holds names of 1 to 255 bytes; the default exchange, without a name, routes to
    /// queues and not by topic.
    #[error("exchange must be a name of 1 to 255 bytes")]
    Exchange,
    /// A connection has 1 to 2047 channels.
    #[error("channels must be from 1 to 2047")]
    Channels,
}

/// Why a publish was not acknowledged.
#[derive(Debug, Clone, Error)]
pub(crate) enum Failure {
    #[error(
        "returned by the broker ({code} {text}), routing key {routing_key:?}: bind a queue to it, \
         or look why the queue's node is down"
    )]
    Returned {
        code: u16,
        text: String,
        routing_key: String,
    },
    #[error("exchange {exchange:?} does not exist: make it with `vodbridge provision`")]
    NoExchange { exchange: String },
    #[error("refused by the broker (nack): a queue is at its limit or has lost its majority")]
    Nacked,
    #[error("the connection was lost before the ack")]
    Lost,
    #[error("acked, but the channel failed before it was certain that it had not come back")]
    Unproven,
    #[error("the connection or channel failed before the ack")]
    Client(#[source] lapin::Error),
    #[error("the routing key has {0} bytes, AMQP holds 255")]
    RoutingKey(usize),
    #[error(
        "the headers have {size} bytes and must fit a frame of {frame_max}: use structured mode, \
         or raise frame_max at the broker"
    )]
    Headers { size: usize, frame_max: usize },
    #[error("the body has {size} bytes, the broker takes {limit}: raise its max_message_size")]
    Body { size: usize, limit: usize },
    #[error("the sink is closed")]
    Closed,
}

/// What is known of a publish when its channel fails.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    /// Length of its body.
    pub(crate) bytes: usize,
    /// No other publish was open on the channel.
    pub(crate) alone: bool,
}

/// The class of a failure. A channel that the broker closes takes all open publishes with it,
/// so that only what can be told about this one is held against it; all else is about the world.
pub(crate) fn classify(failure: Failure, sent: Sent) -> PublishError {
    let class: fn(_) -> PublishError = match &failure {
        Failure::Returned { .. } | Failure::NoExchange { .. } => PublishError::Unroutable,
        Failure::RoutingKey(_) | Failure::Headers { .. } | Failure::Body { .. } => {
            PublishError::Permanent
        }
        Failure::Client(error) => match soft(error) {
            // The sink has one exchange, so that every open publish went to the missing one.
            Some((AMQPSoftError::NOTFOUND | AMQPSoftError::NOROUTE, _)) => PublishError::Unroutable,
            Some((AMQPSoftError::CONTENTTOOLARGE, _)) if sent.alone => PublishError::Permanent,
            _ if size_limit(error).is_some_and(|limit| sent.bytes > limit) => {
                PublishError::Permanent
            }
            _ => PublishError::Transient,
        },
        Failure::Nacked | Failure::Lost | Failure::Unproven | Failure::Closed => {
            PublishError::Transient
        }
    };
    class(Box::new(failure))
}

/// The channel-level error behind `error`, with the broker's words.
pub(crate) fn soft(error: &lapin::Error) -> Option<(AMQPSoftError, &str)> {
    match error.kind() {
        ErrorKind::ProtocolError(amqp) => match amqp.kind() {
            AMQPErrorKind::Soft(soft) => {
                Some((soft.clone(), AMQPError::get_message(amqp).as_str()))
            }
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

/// The limit that the broker names where it closes a channel over a body: "message size N is
/// larger than configured max size M" (`max_message_size`; "than max size M" where it is the
/// default).
pub(crate) fn size_limit(error: &lapin::Error) -> Option<usize> {
    match soft(error)? {
        (AMQPSoftError::PRECONDITIONFAILED, text) => {
            text.rsplit_once("max size ")?.1.trim().parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use lapin::protocol::AMQPHardError;
    use lapin::{ChannelState, ConnectionState};

    use super::*;

    fn closed(kind: impl Into<AMQPErrorKind>, text: &str) -> Failure {
        let error = AMQPError::new(kind.into(), text.into());
        Failure::Client(ErrorKind::ProtocolError(error).into())
    }

    fn client(kind: ErrorKind) -> Failure {
        Failure::Client(kind.into())
    }

    #[test]
    fn every_failure_has_its_class() {
        use AMQPHardError as Hard;
        use AMQPSoftError as Soft;
        let size =
            "PRECONDITION_FAILED - message size 2001 is larger than configured max size 2000";
        let default = "PRECONDITION_FAILED - message size 2001 is larger than max size 2000";
        let (small, large) = (2000, 2001);
        let io = || Arc::new(io::Error::from(io::ErrorKind::ConnectionReset));
        let returned = Failure::Returned {
            code: 312,
            text: "NO_ROUTE".into(),
            routing_key: "vod.other".into(),
        };
        let missing = Failure::NoExchange {
            exchange: "vod".into(),
        };
        let headers = Failure::Headers {
            size: 200_000,
            frame_max: 131_072,
        };
        let body = Failure::Body {
            size: 2001,
            limit: 2000,
        };
        let table = [
            (returned, small, "unroutable"),
            (missing, small, "unroutable"),
            (closed(Soft::NOTFOUND, "no exchange"), small, "unroutable"),
            (closed(Soft::NOROUTE, ""), small, "unroutable"),
            (closed(Soft::PRECONDITIONFAILED, size), large, "permanent"),
            (
                closed(Soft::PRECONDITIONFAILED, default),
                large,
                "permanent",
            ),
            (closed(Soft::PRECONDITIONFAILED, size), small, "transient"),
            (closed(Soft::PRECONDITIONFAILED, "else"), large, "transient"),
            (
                closed(Soft::ACCESSREFUSED, "no permission"),
                small,
                "transient",
            ),
            (closed(Soft::RESOURCELOCKED, ""), small, "transient"),
            (closed(Soft::NOCONSUMERS, ""), small, "transient"),
            (closed(Hard::CONNECTIONFORCED, "closed"), small, "transient"),
            (closed(Hard::RESOURCEERROR, "memory"), small, "transient"),
            (closed(Hard::INTERNALERROR, ""), small, "transient"),
            (closed(Hard::CHANNELERROR, ""), small, "transient"),
            (client(ErrorKind::IOError(io())), small, "transient"),
            (client(ErrorKind::MissingHeartbeatError), small, "transient"),
            (client(ErrorKind::ChannelsLimitReached), small, "transient"),
            (
                client(ErrorKind::InvalidConnectionState(ConnectionState::Error)),
                small,
                "transient",
            ),
            (
                client(ErrorKind::InvalidChannelState(ChannelState::Closed, "x")),
                small,
                "transient",
            ),
            (Failure::Nacked, small, "transient"),
            (Failure::Lost, small, "transient"),
            (Failure::Unproven, small, "transient"),
            (Failure::Closed, small, "transient"),
            (Failure::RoutingKey(300), small, "permanent"),
            (headers, small, "permanent"),
            (body, large, "permanent"),
        ];
        for (failure, bytes, kind) in table {
            let text = format!("{failure:?} of {bytes}");
            let sent = Sent {
                bytes,
                alone: false,
            };
            assert_eq!(classify(failure, sent).kind(), kind, "{text}");
        }
    }

    #[test]
    fn a_size_that_the_broker_does_not_name_is_held_against_a_lone_publish_only() {
        for (alone, kind) in [(true, "permanent"), (false, "transient")] {
            let sent = Sent { bytes: 1, alone };
            let failure = closed(AMQPSoftError::CONTENTTOOLARGE, "");
            assert_eq!(classify(failure, sent).kind(), kind);
        }
    }
}
