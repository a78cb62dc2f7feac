//! The sink port: what a broker has to offer, and how a publish may fail.

use std::time::Duration;

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::{Envelope, Health};

/// An error of any kind, with its source chain.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Somewhere that envelopes are published to.
pub trait Sink: Send + Sync + 'static {
    /// The name that the operator gave it.
    fn name(&self) -> &str;

    /// Resolves once the broker has acknowledged the envelope as durable.
    ///
    /// Dropping the future means "not acknowledged"; the broker may still hold a copy.
    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>>;

    /// How long one publish may take before it is given up as transient. Shorter than any
    /// patience, so that one hung attempt leaves time for another.
    fn attempt_timeout(&self) -> Duration;

    /// What it does, since when, and what is wrong.
    fn health(&self) -> Health;

    /// Resolves once the broker has been reached for the first time.
    fn reached(&self) -> BoxFuture<'_, ()>;

    /// Flushes and disconnects. Called once, after the last publish has resolved.
    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>>;
}

/// The broker behind a sink: what its ack means, and the topics that it holds.
pub trait Topology: Send + Sync + 'static {
    /// Reaches the broker and compares it with what publishing to `topics` needs.
    fn inspect<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<Inspection, BoxError>>;

    /// Creates what is missing for `topics`. Idempotent; changes nothing that exists.
    fn provision<'a>(
        &'a self,
        topics: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<Provisioned>, BoxError>>;
}

/// What [`Topology::inspect`] found.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    /// What an ack of this broker means: replicas, min ISR, fsync, durable or transient.
    pub ack: String,
    /// What the operator should know.
    pub findings: Vec<Finding>,
}

/// Something about the broker that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether events would fail to be delivered because of it.
    pub blocking: bool,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// One thing that [`Topology::provision`] looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provisioned {
    /// For example `topic vod.NewFileUpload`.
    pub what: String,
    /// False: it was there before.
    pub created: bool,
}

/// Why a publish was not acknowledged. Classified once, in each sink's `error.rs`.
#[derive(Debug, Error)]
pub enum PublishError {
    /// About the world: the same envelope may be acknowledged later. The default for the
    /// unknown, so that an outage never empties itself into the dead letter.
    #[error("not acknowledged for now")]
    Transient(#[source] BoxError),
    /// No destination for it now: a returned message, no stream, an unknown topic.
    #[error("no destination")]
    Unroutable(#[source] BoxError),
    /// About this envelope: it will never be acknowledged.
    #[error("refused for good")]
    Permanent(#[source] BoxError),
}

impl PublishError {
    /// The word for metrics and dead letters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transient(_) => "transient",
            Self::Unroutable(_) => "unroutable",
            Self::Permanent(_) => "permanent",
        }
    }
}
