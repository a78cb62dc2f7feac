//! Where notifications come from, and what the kinds have in common.

use std::time::Duration;

use vodbridge_sources::queue::QueueConfig;
use vodbridge_sources::spool::WINDOW;
use vodbridge_sources::webhook::WebhookConfig;

use super::Config;

/// Where notifications come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The cloud posts them here (普通回调).
    Webhook(Box<WebhookConfig>),
    /// The cloud keeps them until they are pulled and confirmed (可靠回调).
    Queue(Box<QueueConfig>),
}

impl Source {
    /// The application whose notifications come by it.
    pub(crate) fn sub_app_id(&self) -> u64 {
        match self {
            Self::Webhook(webhook) => webhook.sub_app_id,
            Self::Queue(queue) => queue.sub_app_id,
        }
    }

    /// How long a delivery may go on.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            Self::Webhook(webhook) => webhook.patience,
            Self::Queue(queue) => queue.patience(),
        }
    }

    /// How long any delivery may go on at least: a pull may have waited for its events.
    pub(crate) fn least_patience(&self) -> Duration {
        match self {
            Self::Webhook(webhook) => webhook.patience,
            Self::Queue(queue) => queue.least_patience(),
        }
    }

    /// Deliveries under way at once, those out of the spool included.
    pub(crate) fn max_in_flight(&self) -> usize {
        match self {
            Self::Webhook(webhook) => {
                webhook.max_in_flight + webhook.spool.as_ref().map_or(0, |_| WINDOW)
            }
            Self::Queue(queue) => queue.max_in_flight,
        }
    }
}

impl Config {
    /// The webhook sources, by name.
    pub(crate) fn webhooks(&self) -> impl Iterator<Item = (&str, &WebhookConfig)> {
        self.sources
            .iter()
            .filter_map(|(name, source)| match source {
                Source::Webhook(webhook) => Some((name.as_str(), &**webhook)),
                Source::Queue(_) => None,
            })
    }

    /// The queue sources, by name.
    pub(crate) fn queues(&self) -> impl Iterator<Item = (&str, &QueueConfig)> {
        self.sources
            .iter()
            .filter_map(|(name, source)| match source {
                Source::Queue(queue) => Some((name.as_str(), &**queue)),
                Source::Webhook(_) => None,
            })
    }
}
