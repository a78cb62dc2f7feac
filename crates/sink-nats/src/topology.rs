//! The streams that store what is published, and what their acks mean.
//!
//! <https://docs.nats.io/nats-concepts/jetstream/streams>

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamByNameErrorKind, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, PersistenceMode, RetentionPolicy, StorageType,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use vodbridge_core::{BoxError, Finding, Inspection, Provisioned, Topology};

use crate::sink::NatsSink;
use crate::subject::{covering, covers};

/// Longer than a delivery and the cloud's copies of it take.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
const SHORT_WINDOW: Duration = Duration::from_secs(60);

impl Topology for NatsSink {
    fn inspect<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<Inspection, BoxError>> {
        async move {
            self.connected().await?;
            let (streams, homeless) = match &self.config.stream {
                Some(name) => (Vec::from_iter(self.stream(name).await?), topics.to_vec()),
                None => self.streams_of(topics).await?,
            };
            let homeless: Vec<_> = homeless
                .into_iter()
                .filter(|topic| !streams.iter().any(|stream| takes(stream, topic)))
                .collect();
            let mut inspection = Inspection::default();
            if let Some(name) = self.config.stream.as_ref().filter(|_| streams.is_empty()) {
                inspection.findings.push(blocking(
                    format!("there is no stream {name}"),
                    "create it, or run `vodbridge provision`",
                ));
            } else if !homeless.is_empty() {
                inspection.findings.push(blocking(
                    format!("no stream that may store them takes {}", homeless.join(", ")),
                    "add the subjects to a stream; `vodbridge provision` creates the one that `stream` names",
                ));
            }
            let limit = self.client.max_payload();
            let acks: Vec<String> = streams.iter().map(meaning).collect();
            inspection.ack = if acks.is_empty() {
                "no stream, no ack".into()
            } else {
                format!("{}; messages up to {limit} bytes", acks.join("; "))
            };
            inspection.findings.extend(streams.iter().flat_map(findings));
            Ok(inspection)
        }
        .boxed()
    }

    fn provision<'a>(
        &'a self,
        topics: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Provisioned>, BoxError>> {
        async move {
            self.connected().await?;
            let Some(name) = &self.config.stream else {
                let (streams, homeless) = self.streams_of(topics).await?;
                if !homeless.is_empty() {
                    return Err(NAMELESS.into());
                }
                return Ok(streams
                    .iter()
                    .map(|stream| existing(stream, topics))
                    .collect());
            };
            if let Some(stream) = self.stream(name).await? {
                return Ok(vec![existing(&stream, topics)]);
            }
            Ok(vec![self.create(name, topics).await?])
        }
        .boxed()
    }
}

const NAMELESS: &str =
    "no stream takes all subjects, and the sink names none to create: set `stream`";

impl NatsSink {
    pub(crate) async fn stream(&self, name: &str) -> Result<Option<Config>, BoxError> {
        match self.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream.cached_info().config.clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(api)
                    if api.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(error.into()),
            },
        }
    }

    /// The streams that take the topics, and the topics that none takes.
    pub(crate) async fn streams_of(
        &self,
        topics: &[String],
    ) -> Result<(Vec<Config>, Vec<String>), BoxError> {
        let (mut streams, mut homeless): (Vec<Config>, _) = (Vec::new(), Vec::new());
        for topic in topics {
            if streams.iter().any(|stream| takes(stream, topic)) {
                continue;
            }
            match self.jetstream.stream_by_subject(topic).await {
                Ok(name) => streams.extend(self.stream(&name).await?),
                Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {
                    homeless.push(topic.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((streams, homeless))
    }

    async fn create(&self, name: &str, topics: &[String]) -> Result<Provisioned, BoxError> {
        let subjects = covering(&self.config.subject, topics);
        let what = format!("stream {name} over {}", subjects.join(", "));
        let config = Config {
            name: name.into(),
            subjects,
            storage: StorageType::File,
            num_replicas: 1,
            duplicate_window: DUPLICATE_WINDOW,
            ..Config::default()
        };
        match self.jetstream.create_stream(config).await {
            Ok(_) => Ok(Provisioned {
                what,
                created: true,
            }),
            Err(error) => Err(match error.kind() {
                CreateStreamErrorKind::JetStream(api)
                    if api.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP =>
                {
                    format!("{what}: another stream takes some of these subjects; name that one under `stream`, or change its subjects").into()
                }
                _ => error.into(),
            }),
        }
    }
}

pub(crate) fn takes(stream: &Config, topic: &str) -> bool {
    stream.subjects.iter().any(|subject| covers(subject, topic))
}

/// What is there is reported and never changed: its subjects are somebody's decision.
fn existing(stream: &Config, topics: &[String]) -> Provisioned {
    let mut what = format!("stream {} over {}", stream.name, stream.subjects.join(", "));
    let left_out: Vec<&str> = topics
        .iter()
        .map(String::as_str)
        .filter(|topic| !takes(stream, topic))
        .collect();
    if !left_out.is_empty() {
        what += &format!(", which does not take {}", left_out.join(", "));
    }
    Provisioned {
        what,
        created: false,
    }
}

/// What an ack of the stream means. It is never an fsync, unless the server is told so.
///
/// <https://docs.nats.io/running-a-nats-service/configuration#jetstream> (`sync_interval`)
fn meaning(stream: &Config) -> String {
    let copies = match (stream.storage, stream.num_replicas) {
        (StorageType::File, 1) => "in the file of one server, fsynced by its sync_interval".into(),
        (StorageType::File, n) => {
            format!("in the files of most of {n} servers, fsynced by their sync_interval")
        }
        (StorageType::Memory, 1) => "in the memory of one server".into(),
        (StorageType::Memory, n) => format!("in the memory of most of {n} servers"),
    };
    let retention = match stream.retention {
        RetentionPolicy::Limits => "limits",
        RetentionPolicy::Interest => "interest",
        RetentionPolicy::WorkQueue => "workqueue",
    };
    let discard = match stream.discard {
        DiscardPolicy::Old => "old",
        DiscardPolicy::New => "new",
    };
    format!(
        "stream {}: {copies}; retention {retention}, discard {discard}, duplicate window {} s",
        stream.name,
        stream.duplicate_window.as_secs(),
    )
}

/// What the operator should know of a stream. (`-1` stands for no limit.)
fn findings(stream: &Config) -> Vec<Finding> {
    let name = &stream.name;
    let limited =
        stream.max_bytes > 0 || stream.max_messages > 0 || stream.max_messages_per_subject > 0;
    [
        (
            stream.no_ack,
            true,
            "acknowledges nothing (no_ack)",
            "set no_ack to false",
        ),
        (
            stream.sealed,
            true,
            "is sealed and stores nothing",
            "publish to another stream",
        ),
        (
            stream.retention == RetentionPolicy::Interest,
            false,
            "has retention `interest`: without a consumer it acknowledges and stores nothing",
            "use retention `limits`, or create the consumers first",
        ),
        (
            stream.storage == StorageType::Memory,
            false,
            "is in memory: a restart of its servers loses what was acknowledged",
            "use storage `file`",
        ),
        (
            stream.discard == DiscardPolicy::Old && limited,
            false,
            "drops its oldest events when it is full (discard `old`)",
            "use discard `new`, which refuses new ones until there is room, or raise the limits",
        ),
        (
            stream.persist_mode == Some(PersistenceMode::Async),
            false,
            "acknowledges before it has stored (persist_mode `async`)",
            "use the default persist_mode",
        ),
        (
            stream.duplicate_window < SHORT_WINDOW,
            false,
            "forgets ids so soon that retries are stored twice",
            "set duplicate_window to 10 minutes",
        ),
    ]
    .into_iter()
    .filter(|(found, ..)| *found)
    .map(|(_, blocking, what, remedy)| Finding {
        blocking,
        what: format!("stream {name} {what}"),
        remedy: remedy.into(),
    })
    .collect()
}

fn blocking(what: String, remedy: &str) -> Finding {
    Finding {
        blocking: true,
        what,
        remedy: remedy.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Config {
        Config {
            name: "VOD".into(),
            subjects: vec!["vod.>".into()],
            num_replicas: 1,
            duplicate_window: DUPLICATE_WINDOW,
            max_bytes: -1,
            max_messages: -1,
            max_messages_per_subject: -1,
            ..Config::default()
        }
    }

    #[test]
    fn a_stream_as_provisioned_raises_no_finding() {
        assert_eq!(findings(&stream()), []);
        assert_eq!(
            meaning(&stream()),
            "stream VOD: in the file of one server, fsynced by its sync_interval; \
             retention limits, discard old, duplicate window 600 s"
        );
    }

    #[test]
    fn settings_that_weaken_an_ack_are_findings() {
        type Change = fn(&mut Config);
        let changes: [(Change, bool, &str); 7] = [
            (|s| s.no_ack = true, true, "no_ack"),
            (|s| s.sealed = true, true, "sealed"),
            (
                |s| s.retention = RetentionPolicy::Interest,
                false,
                "interest",
            ),
            (|s| s.storage = StorageType::Memory, false, "memory"),
            (|s| s.max_bytes = 1024, false, "oldest"),
            (
                |s| s.persist_mode = Some(PersistenceMode::Async),
                false,
                "async",
            ),
            (|s| s.duplicate_window = Duration::ZERO, false, "twice"),
        ];
        for (change, blocking, word) in changes {
            let mut stream = stream();
            change(&mut stream);
            let found = findings(&stream);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].what.contains(word) && found[0].blocking == blocking,
                "{found:?}"
            );
        }
    }

    #[test]
    fn an_existing_stream_with_other_subjects_is_reported() {
        let topics = ["vod.x".to_owned(), "other.x".to_owned()];
        let found = existing(&stream(), &topics);
        assert!(!found.created);
        assert_eq!(
            found.what,
            "stream VOD over vod.>, which does not take other.x"
        );
    }
}
