//! Normal callbacks (普通回调): the cloud posts each notification here.

mod config;

pub use config::{SignTolerance, WebhookConfig};
