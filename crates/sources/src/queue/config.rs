//! What the operator writes under `sources.<name>.queue`.

use std::time::Duration;

use serde::Deserialize;
use vodbridge_core::config::{bytes, duration};

use crate::cloud::{CredentialsConfig, DEFAULT_ENDPOINT};

/// How long the cloud holds a pull that finds no event:
/// <https://cloud.tencent.com/document/api/266/33433>.
const LONG_POLL: Duration = Duration::from_secs(5);

/// Settings of a queue source: one application's events, pulled and confirmed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// The application whose queue is pulled; an event does not say.
    pub sub_app_id: u64,
    /// Whose permissions the calls have; none given: the vendor's default chain.
    #[serde(default)]
    pub credentials: CredentialsConfig,
    /// Where the cloud's API answers: `https://HOST` or, for a simulator, `http://HOST:PORT`.
    #[serde(default = "default_endpoint")]
    pub endpoint: String,
    /// Region sent with each call; none: not sent, the calls do not need one.
    #[serde(default)]
    pub region: Option<String>,
    /// Pulls open at once.
    #[serde(default = "default_pullers")]
    pub pullers: usize,
    /// How long a pulled event stays hidden from other pulls; the cloud's, which cannot be set.
    #[serde(default = "seconds::<30>", with = "duration")]
    pub lease: Duration,
    /// Kept back of the lease for the confirm; what is left of it, counted from the moment that
    /// the pull was sent, is the patience of a delivery.
    #[serde(default = "seconds::<5>", with = "duration")]
    pub lease_margin: Duration,
    /// Deliveries under way at once; at least 16 for each puller.
    #[serde(default = "default_max_in_flight")]
    pub max_in_flight: usize,
    /// Bytes of answers held at once; each puller may hold one answer more.
    #[serde(default = "default_max_bytes", with = "bytes")]
    pub max_bytes: u64,
    /// Calls a second of PullEvents and of ConfirmEvents, each, that this process makes at most
    /// for the account of these credentials; the cloud allows an account 100 of each.
    #[serde(default = "default_calls_per_second")]
    pub calls_per_second: u32,
    /// How often the backlog is asked for; 0: never.
    #[serde(default = "seconds::<15>", with = "duration")]
    pub backlog_interval: Duration,
}

impl QueueConfig {
    /// How long a delivery may go on, from the moment that its pull was sent.
    pub fn patience(&self) -> Duration {
        self.lease.saturating_sub(self.lease_margin)
    }

    /// What is left of the patience for an event that comes at the end of a long poll.
    pub fn least_patience(&self) -> Duration {
        self.patience().saturating_sub(LONG_POLL)
    }
}

fn default_endpoint() -> String {
    DEFAULT_ENDPOINT.to_owned()
}

fn default_pullers() -> usize {
    2
}

fn default_max_in_flight() -> usize {
    1024
}

fn default_max_bytes() -> u64 {
    64 << 20
}

fn default_calls_per_second() -> u32 {
    100
}

fn seconds<const N: u64>() -> Duration {
    Duration::from_secs(N)
}
