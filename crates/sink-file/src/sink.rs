//! The sink that appends envelopes to files.

use std::future::ready;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use vodbridge_core::{BoxError, Envelope, Health, PublishError, Sink, Template};

use crate::config::FileConfig;
use crate::error::FileSinkError;
use crate::log::FileLog;

/// Long for a disk: one that hangs takes a second attempt no better than the first.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// Appends each envelope, as one line of structured JSON, to the file of its topic. An ack means
/// that the line is fsynced on this one disk.
pub struct FileSink {
    name: String,
    pub(crate) directory: PathBuf,
    topic: Template,
    pub(crate) log: FileLog,
}

impl FileSink {
    /// Makes the directory where it is missing, and locks it until the sink is closed or dropped.
    pub fn open(name: &str, config: &FileConfig) -> Result<Self, FileSinkError> {
        Ok(Self {
            name: name.into(),
            directory: config.directory.clone(),
            topic: config.topic.clone(),
            log: FileLog::open(&config.directory, config.rotate_bytes)?,
        })
    }
}

impl Sink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let topic = self.topic.topic(envelope);
            self.log.append(&topic, envelope.structured()).await?;
            Ok(())
        }
        .boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        ATTEMPT_TIMEOUT
    }

    fn health(&self) -> Health {
        self.log.health()
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        self.log.close().map(Ok).boxed()
    }
}
