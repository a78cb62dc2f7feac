//! What the operator writes under `sinks.<name>.nats`.

use std::path::PathBuf;

use serde::Deserialize;
use vodbridge_core::cloudevents::Mode;
use vodbridge_core::{Secret, Template};

/// Settings of a NATS JetStream sink.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// Servers of one cluster, `nats://host:4222` or `tls://host:4222`. A password in the URL is
    /// refused: it belongs under `user` and `password`, where it stays out of logs.
    pub servers: Vec<String>,
    /// The subject of an event.
    pub subject: Template,
    /// The stream that has to store it; a publish that another stream would take is unroutable.
    #[serde(default)]
    pub stream: Option<String>,
    /// Structured (default) or binary.
    #[serde(default)]
    pub mode: Mode,
    /// User name, with `password`.
    #[serde(default)]
    pub user: Option<String>,
    /// Password, with `user`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// A token instead of user and password.
    #[serde(default)]
    pub token: Option<Secret>,
    /// An NKey seed instead of user and password.
    #[serde(default)]
    pub nkey_seed: Option<Secret>,
    /// A `.creds` file (JWT and seed) instead of user and password.
    #[serde(default)]
    pub credentials_file: Option<PathBuf>,
}
