//! What the operator writes under `sources.<name>.webhook`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use vodbridge_core::Secret;
use vodbridge_core::config::{bytes, duration};

use crate::spool::SpoolConfig;

/// Settings of a webhook source: one application's callbacks on one path.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Address to listen on. Sources with the same address share one listener.
    pub listen: SocketAddr,
    /// Path of the callback URL, exact.
    #[serde(default = "default_path")]
    pub path: String,
    /// The application whose callbacks come here; a notification does not say.
    pub sub_app_id: u64,
    /// Keys that a callback may be signed with (`SignKey`); several during a rotation. None: the
    /// caller is not verified.
    #[serde(default)]
    pub sign_keys: Vec<Secret>,
    /// How far T may be from now.
    #[serde(default)]
    pub sign_tolerance: SignTolerance,
    /// From the first byte of a request until it is answered; the cloud gives up after 5 s and
    /// takes any answer for a confirm.
    #[serde(default = "seconds::<3>", with = "duration")]
    pub answer_within: Duration,
    /// How long a delivery may go on, heard or not; the cloud's copy joins it.
    #[serde(default = "seconds::<20>", with = "duration")]
    pub patience: Duration,
    /// Deliveries under way at once.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// Bytes of bodies held at once.
    #[serde(default = "mebibytes::<64>", with = "bytes")]
    pub max_bytes: u64,
    /// Bytes of one body; more is answered 413 and lost.
    #[serde(default = "mebibytes::<16>", with = "bytes")]
    pub max_body_bytes: u64,
    /// Connections of the listener; at the cap the longest idle one is closed.
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
    /// How long a request's head may take, and how long a connection may idle: longer than the
    /// proxies in front keep theirs.
    #[serde(default = "seconds::<75>", with = "duration")]
    pub header_read_timeout: Duration,
    /// How long a body may take. The connection is closed after it, never before 5.5 s.
    #[serde(default = "seconds::<6>", with = "duration")]
    pub body_timeout: Duration,
    /// Answers GET with 200, for balancers that probe the public port.
    #[serde(default)]
    pub health_path: Option<String>,
    /// Keeps events on the disk that no broker acks within `answer_within`. None: their callers
    /// hear nothing.
    #[serde(default)]
    pub spool: Option<SpoolConfig>,
}

/// How far the `T` of a signature may be from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignTolerance {
    /// `T` is the expiry; this long ago still passes.
    #[serde(default = "seconds::<300>", with = "duration")]
    pub past: Duration,
    /// This far in the future still passes.
    #[serde(default = "seconds::<86_400>", with = "duration")]
    pub ahead: Duration,
}

impl Default for SignTolerance {
    fn default() -> Self {
        Self {
            past: seconds::<300>(),
            ahead: seconds::<86_400>(),
        }
    }
}

fn default_path() -> String {
    "/vod/callback".to_owned()
}

fn default_max_in_flight() -> usize {
    1024
}

fn default_max_connections() -> usize {
    10_000
}

fn seconds<const N: u64>() -> Duration {
    Duration::from_secs(N)
}

fn mebibytes<const N: u64>() -> u64 {
    N << 20
}
