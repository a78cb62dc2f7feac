//! Normal callbacks (普通回调): the cloud posts each notification here.

mod answer;
mod body;
mod caller;
mod config;
mod connections;
mod endpoint;
mod listener;
mod occurrence;
mod quota;
mod socket;
mod spooled;

pub use config::{SignTolerance, WebhookConfig};
pub use endpoint::{Endpoint, UNDELIVERED};
pub use listener::{Drain, Listener};
