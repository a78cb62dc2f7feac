//! The event configuration of an application: DescribeEventConfig, ModifyEventConfig.

use serde::{Deserialize, Deserializer, Serialize};
use vodbridge_core::Secret;

/// Longest SignKey: the vendor's client library, `ModifyEventConfigRequest`.
const LONGEST_KEY: usize = 32;

/// How an application is told of its events.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) notification_url: String,
    pub(super) upload: Switch,
    pub(super) delete: Switch,
    pub(super) persistence: Switch,
    pub(super) sign_key: Option<Secret>,
    /// Counts changes, so that who posts sees them.
    pub(super) version: u64,
}

/// `Mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// 普通回调: events are posted to the callback URL.
    #[serde(rename = "PUSH")]
    Push,
    /// 可靠回调: events are pulled.
    #[serde(rename = "PULL")]
    Pull,
}

/// Whether events of a kind happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// They do.
    #[serde(rename = "ON")]
    On,
    /// They do not.
    #[serde(rename = "OFF")]
    Off,
}

/// What to change; None leaves a setting as it is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// How the application is told.
    pub mode: Option<Mode>,
    /// The callback URL of the 3.0 format; empty clears it.
    pub notification_url: Option<String>,
    /// `UploadMediaCompleteEventSwitch`
    pub upload: Option<Switch>,
    /// `DeleteMediaCompleteEventSwitch`
    pub delete: Option<Switch>,
    /// `PersistenceCompleteEventSwitch`
    pub persistence: Option<Switch>,
    /// `SignKey`; empty clears it.
    #[serde(deserialize_with = "sign_key")]
    pub sign_key: Option<Secret>,
}

/// A change that cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// The URL is none that can be posted to.
    #[error("NotificationUrl must be like https://host/path, or empty")]
    Url,
    /// The key is none.
    #[error("SignKey must be at most 32 letters and digits")]
    SignKey,
}

impl Default for Settings {
    /// Pulled, every switch on: a cloud on which nothing happens would show little. The real
    /// switches are off until someone turns them on.
    fn default() -> Self {
        Self {
            mode: Mode::Pull,
            notification_url: String::new(),
            upload: Switch::On,
            delete: Switch::On,
            persistence: Switch::On,
            sign_key: None,
            version: 0,
        }
    }
}

impl Settings {
    /// The event types that a switch governs.
    pub(super) const SWITCHED: [&str; 3] = ["NewFileUpload", "FileDeleted", "PersistenceComplete"];

    /// Whether an event of this type happens.
    pub(super) fn lets_happen(&self, event_type: &str) -> bool {
        let [upload, delete, persistence] = Self::SWITCHED;
        let switch = match event_type {
            name if name == upload => self.upload,
            name if name == delete => self.delete,
            name if name == persistence => self.persistence,
            _ => Switch::On,
        };
        switch == Switch::On
    }

    pub(super) fn change(&mut self, change: Change) -> Result<(), InvalidChange> {
        let url = change.notification_url.as_deref().unwrap_or_default();
        if !url.is_empty() && !is_url(url) {
            return Err(InvalidChange::Url);
        }
        let key = change.sign_key.as_ref().map_or("", Secret::expose);
        if key.len() > LONGEST_KEY || !key.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(InvalidChange::SignKey);
        }
        self.mode = change.mode.unwrap_or(self.mode);
        self.upload = change.upload.unwrap_or(self.upload);
        self.delete = change.delete.unwrap_or(self.delete);
        self.persistence = change.persistence.unwrap_or(self.persistence);
        if let Some(url) = change.notification_url {
            self.notification_url = url;
        }
        if let Some(key) = change.sign_key {
            self.sign_key = Some(key).filter(|key| !key.expose().is_empty());
        }
        self.version += 1;
        Ok(())
    }
}

/// A key as it is written; [`Secret`] itself takes none that is empty.
fn sign_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    let key = Option::<String>::deserialize(deserializer)?;
    Ok(key.map(Secret::new))
}

fn is_url(url: &str) -> bool {
    url.parse::<hyper::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}
