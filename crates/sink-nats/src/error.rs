//! Why a configuration is refused, and why a publish was not acknowledged.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use async_nats::jetstream::context::{PublishError as AckError, PublishErrorKind};
use async_nats::jetstream::{Error as ApiError, ErrorCode};
use thiserror::Error;
use vodbridge_core::PublishError;

/// Why a configuration cannot work, whatever the server does.
#[derive(Debug, Error)]
pub enum NatsConfigError {
    /// There is no server.
    #[error("servers is empty: give at least one, for example nats://127.0.0.1:4222")]
    NoServer,
    /// A server's URL holds a user, password or token. The message must not repeat it.
    #[error(
        "server {number} of servers holds a user, password or token: put it under `user` and `password` or `token`, where it stays out of logs"
    )]
    SecretInServer {
        /// Counted from 1.
        number: usize,
    },
    /// A server's URL cannot be read, or its scheme is not served.
    #[error("server {server:?} is no nats:// or tls:// URL")]
    Server {
        /// The URL.
        server: String,
    },
    /// More than one way to authenticate, or half of one.
    #[error(
        "give one of: `user` with `password`, `token`, `nkey_seed`, `credentials_file`, or none of them"
    )]
    Authentication,
    /// The credentials file cannot be read.
    #[error("cannot use credentials_file {}", file.display())]
    Credentials {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The template gives no subject.
    #[error("subject {0:?} has an empty token: put something before, between and after its dots")]
    Subject(String),
    /// The stream cannot be one's name.
    #[error("stream {0:?} is no stream name: use letters, digits, `_` and `-`")]
    Stream(String),
    /// The client did not take the options.
    #[error("the NATS client cannot be started")]
    Client(#[source] io::Error),
}

/// Why a publish was not acknowledged.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("not connected to a NATS server")]
    NotConnected,
    #[error("the NATS server is about to stop")]
    Stopping(#[source] Refusal),
    #[error("no stream answers for subject {0:?}, and JetStream does not say that there is none")]
    NoLeader(String),
    #[error("no stream takes subject {0:?}")]
    NoStream(String),
    #[error("{0:?} is no subject that can be published to")]
    Subject(String),
    #[error("not stored under subject {subject:?}")]
    NotStored { subject: String, source: Refusal },
}

/// What the client says of a publish. Its text ends with its cause, so it names no source.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) AckError);

const NO_STREAM: &str =
    "make the configured stream take this subject, or run `vodbridge provision`";

impl Failure {
    /// The code of the JetStream API, where the server gave one.
    fn code(&self) -> Option<ErrorCode> {
        let Self::NotStored { source, .. } = self else {
            return None;
        };
        let api = source.0.source()?.downcast_ref::<ApiError>()?;
        Some(api.error_code())
    }

    fn kind(&self) -> Option<PublishErrorKind> {
        match self {
            Self::NotStored { source, .. } => Some(source.0.kind()),
            Self::NotConnected
            | Self::Stopping(_)
            | Self::NoLeader(_)
            | Self::NoStream(_)
            | Self::Subject(_) => None,
        }
    }

    pub(crate) fn is_timeout(&self) -> bool {
        self.kind() == Some(PublishErrorKind::TimedOut)
    }

    /// What the operator can do.
    pub(crate) fn remedy(&self) -> &'static str {
        if let Self::NoLeader(_) = self {
            return "wait for the stream's leader election; where it does not end, look at the cluster and at the user's permission for $JS.API.STREAM.NAMES";
        }
        if let Self::NoStream(_) = self {
            return NO_STREAM;
        }
        match (self.kind(), self.code()) {
            (Some(PublishErrorKind::StreamNotFound), _)
            | (_, Some(ErrorCode::STREAM_NOT_MATCH | ErrorCode::STREAM_NOT_FOUND)) => NO_STREAM,
            (Some(PublishErrorKind::MaxPayloadExceeded), _) => {
                "raise the server's max_payload; such events are dead letters"
            }
            (_, Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)) => {
                "raise the stream's max_msg_size; such events are dead letters"
            }
            (_, Some(ErrorCode::STREAM_STORE_FAILED)) => {
                "make room in the stream or raise its limits; publishing goes on by itself"
            }
            _ => "look at the server's log, its disk and the user's permissions",
        }
    }
}

impl From<Failure> for PublishError {
    fn from(failure: Failure) -> Self {
        let class = match (&failure, failure.kind(), failure.code()) {
            (Failure::Subject(_), ..)
            | (_, Some(PublishErrorKind::MaxPayloadExceeded), _)
            | (
                ..,
                Some(
                    ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
                    | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM,
                ),
            ) => Self::Permanent,
            (Failure::NoStream(_), ..)
            | (_, Some(PublishErrorKind::StreamNotFound), _)
            | (.., Some(ErrorCode::STREAM_NOT_MATCH | ErrorCode::STREAM_NOT_FOUND)) => {
                Self::Unroutable
            }
            _ => Self::Transient,
        };
        class(failure.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_stored(source: AckError) -> Failure {
        Failure::NotStored {
            subject: "vod.x".into(),
            source: Refusal(source),
        }
    }

    fn kind(kind: PublishErrorKind) -> Failure {
        not_stored(AckError::new(kind))
    }

    fn code(code: u16, err_code: u64) -> Failure {
        let answer = format!(r#"{{"code":{code},"err_code":{err_code},"description":"text"}}"#);
        let api: ApiError = serde_json::from_str(&answer).unwrap();
        not_stored(AckError::with_source(PublishErrorKind::Other, api))
    }

    #[test]
    fn the_unknown_is_transient() {
        let no_stream = AckError::new(PublishErrorKind::StreamNotFound);
        let stopping = Failure::Stopping(Refusal(no_stream));
        for (failure, class) in [
            (Failure::NotConnected, "transient"),
            (stopping, "transient"),
            (Failure::NoLeader("vod.x".into()), "transient"),
            (Failure::NoStream("vod.x".into()), "unroutable"),
            (Failure::Subject("a b".into()), "permanent"),
            (kind(PublishErrorKind::StreamNotFound), "unroutable"),
            (kind(PublishErrorKind::MaxPayloadExceeded), "permanent"),
            (kind(PublishErrorKind::TimedOut), "transient"),
            (kind(PublishErrorKind::BrokenPipe), "transient"),
            (kind(PublishErrorKind::MaxAckPending), "transient"),
            (kind(PublishErrorKind::WrongLastSequence), "transient"),
            (kind(PublishErrorKind::Other), "transient"),
            (code(400, 10054), "permanent"), // larger than the stream takes
            (code(400, 10097), "permanent"), // headers over 64 KiB
            (code(400, 10060), "unroutable"), // another stream than expected
            (code(404, 10059), "unroutable"), // stream not found
            (code(503, 10077), "transient"), // stream full
            (code(503, 10023), "transient"), // insufficient resources
            (code(503, 10076), "transient"), // JetStream not enabled
            (code(503, 10008), "transient"), // no leader
            (code(400, 10109), "transient"), // sealed: an operator's slip
            (code(500, 1), "transient"),
        ] {
            let text = format!("{failure:?}");
            assert_eq!(PublishError::from(failure).kind(), class, "{text}");
        }
    }
}
