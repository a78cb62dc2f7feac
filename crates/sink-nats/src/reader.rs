//! What the streams of the sink hold, read through consumers that leave nothing behind.

use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::{self, stream};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{BoxError, Message, Messages, Reader, messages};

use crate::received::event;
use crate::sink::NatsSink;
use crate::topology::takes;
use crate::{NatsConfig, NatsConfigError};

/// Where nothing came for so long, the stream is asked whether there is more.
const SILENCE: Duration = Duration::from_secs(1);

/// Reads the sink's subjects from the streams that store them, through ordered consumers: they
/// ack nothing, and the server forgets them.
pub struct NatsReader(NatsSink);

impl NatsReader {
    /// Starts to connect. Settings that cannot work are errors, as for the sink.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn new(name: &str, config: &NatsConfig) -> Result<Self, NatsConfigError> {
        NatsSink::new(name, config, 1).map(Self)
    }
}

impl Reader for NatsReader {
    fn read<'a>(
        &'a self,
        topics: &'a [String],
        until: CancellationToken,
    ) -> BoxFuture<'a, Result<Messages, BoxError>> {
        async move {
            self.0.connected().await?;
            let streams = match &self.0.config.stream {
                Some(name) => Vec::from_iter(self.0.stream(name).await?),
                None => self.0.streams_of(topics).await?.0,
            };
            let (sender, messages) = messages();
            for config in streams {
                let subjects = topics.iter().filter(|topic| takes(&config, topic));
                let subjects: Vec<_> = subjects.cloned().collect();
                if subjects.is_empty() {
                    continue;
                }
                let reading = Reading {
                    stream: self.0.jetstream.get_stream(&config.name).await?,
                    subjects,
                    read: 0,
                    sender: sender.clone(),
                };
                tokio::spawn(reading.run(until.clone()));
            }
            Ok(messages)
        }
        .boxed()
    }
}

struct Reading {
    stream: stream::Stream,
    subjects: Vec<String>,
    /// Sequence of the last message that was read.
    read: u64,
    sender: mpsc::Sender<Result<Message, BoxError>>,
}

impl Reading {
    async fn run(mut self, until: CancellationToken) {
        let sender = self.sender.clone();
        let reading = async {
            self.follow(&until).await?;
            self.finish().await
        };
        tokio::select! {
            result = reading => if let Err(error) = result {
                // Whoever asked may have left.
                sender.send(Err(error)).await.ok();
            },
            () = sender.closed() => {}
        }
    }

    /// Reads what there is and what comes, until it is told to end.
    async fn follow(&mut self, until: &CancellationToken) -> Result<(), BoxError> {
        if until.is_cancelled() {
            return Ok(());
        }
        let (mut messages, _) = self.consume().await?;
        loop {
            tokio::select! {
                () = until.cancelled() => return Ok(()),
                message = messages.next() => match message {
                    Some(message) => self.take(&message?, u64::MAX).await?,
                    None => return Err(Ended.into()),
                },
            };
        }
    }

    /// Reads what is left of what is there now.
    async fn finish(&mut self) -> Result<(), BoxError> {
        let last = self.stream.info().await?.state.last_sequence;
        loop {
            let (mut messages, mut pending) = self.consume().await?;
            while pending > 0 && self.read < last {
                let Ok(message) = timeout(SILENCE, messages.next()).await else {
                    break;
                };
                pending = self.take(&message.ok_or(Ended)??, last).await?;
            }
            // Nothing came although something was to come: it may have been removed.
            if pending == 0 || self.read >= last {
                return Ok(());
            }
        }
    }

    /// A consumer of what was not read yet, and how many messages that is.
    async fn consume(&self) -> Result<(Ordered, u64), BoxError> {
        let (filter_subject, filter_subjects) = match &self.subjects[..] {
            [one] => (one.clone(), Vec::new()),
            several => (String::new(), several.to_vec()),
        };
        let config = OrderedConfig {
            description: Some("vodbridge reader".to_owned()),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.read + 1,
            },
            filter_subject,
            filter_subjects,
            ..OrderedConfig::default()
        };
        let consumer = self.stream.create_consumer(config).await?;
        let pending = consumer.cached_info().num_pending;
        Ok((consumer.messages().await?, pending))
    }

    /// Hands a message on, unless it is behind `last`. Returns how many are to come.
    async fn take(&mut self, message: &jetstream::Message, last: u64) -> Result<u64, BoxError> {
        let info = message.info()?;
        self.read = info.stream_sequence;
        if self.read <= last {
            let message = Message {
                topic: message.subject.to_string(),
                position: format!("stream {} sequence {}", info.stream, self.read),
                event: event(message.headers.as_ref(), message.payload.clone()),
            };
            // Where nobody takes it any more, `run` ends.
            self.sender.send(Ok(message)).await.ok();
        }
        Ok(info.pending)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the server ended the reading: look whether the stream is still there")]
struct Ended;
