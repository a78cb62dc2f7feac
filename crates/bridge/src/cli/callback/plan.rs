//! What a change of an application's settings comes to.

use serde::Serialize;
use vodbridge_core::Secret;
use vodbridge_sources::webhook::WebhookConfig;
use vodbridge_vod::api::{EventConfig, EventConfigChange, Mode};

use super::{on_off, shown, word};

/// One setting that changes. The sign key is in neither text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    pub(super) setting: &'static str,
    pub(super) from: String,
    pub(super) to: String,
}

/// The part of a wanted change that changes something, and what follows from it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) differences: Vec<Difference>,
    pub(super) warnings: Vec<String>,
    pub(super) change: EventConfigChange,
}

impl Plan {
    /// From the settings as they are to those that are wanted. `webhooks` are the configured
    /// sources of the same application, which a change may cut off.
    pub(super) fn new(
        current: &EventConfig,
        wanted: EventConfigChange,
        webhooks: &[(&str, &WebhookConfig)],
    ) -> Self {
        let other = |wanted: Option<bool>, is: bool| wanted.filter(|wanted| *wanted != is);
        let change = EventConfigChange {
            mode: wanted.mode.filter(|mode| Some(*mode) != current.mode),
            notification_url: wanted
                .notification_url
                .filter(|url| *url != current.notification_url),
            // It cannot be compared: the cloud does not tell it.
            sign_key: wanted.sign_key,
            upload: other(wanted.upload, current.upload),
            delete: other(wanted.delete, current.delete),
            persistence: other(wanted.persistence, current.persistence),
        };
        Self {
            differences: differences(current, &change),
            warnings: warnings(current, &change, webhooks),
            change,
        }
    }

    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }
}

/// The settings that a change of switches is about, with the event types that they let happen.
fn switches<'a>(
    current: &EventConfig,
    change: &'a EventConfigChange,
) -> [(&'static str, &'static str, bool, &'a Option<bool>); 3] {
    [
        ("upload", "NewFileUpload", current.upload, &change.upload),
        ("delete", "FileDeleted", current.delete, &change.delete),
        (
            "persistence",
            "PersistenceComplete",
            current.persistence,
            &change.persistence,
        ),
    ]
}

fn differences(current: &EventConfig, change: &EventConfigChange) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |setting, from: &str, to: &str| {
        differences.push(Difference {
            setting,
            from: from.to_owned(),
            to: to.to_owned(),
        });
    };
    if change.mode.is_some() {
        add("mode", word(current.mode), word(change.mode));
    }
    if let Some(url) = &change.notification_url {
        add("url", &shown(&current.notification_url), &shown(url));
    }
    if change.sign_key.is_some() {
        add("sign_key", "not told by the cloud", "the given one");
    }
    for (setting, _, is, wanted) in switches(current, change) {
        if let Some(on) = wanted {
            add(setting, on_off(is), on_off(*on));
        }
    }
    differences
}

fn warnings(
    current: &EventConfig,
    change: &EventConfigChange,
    webhooks: &[(&str, &WebhookConfig)],
) -> Vec<String> {
    let mode = change.mode.or(current.mode);
    let old_url = &*current.notification_url;
    let url = change.notification_url.as_deref().unwrap_or(old_url);
    let mut warnings = Vec::new();
    match change.mode {
        Some(Mode::Pull) => {
            if !old_url.is_empty() {
                warnings.push(format!(
                    "callbacks to {} end: who receives them there gets nothing any more",
                    shown(old_url)
                ));
            }
            for (name, _) in webhooks {
                warnings.push(format!(
                    "sources.{name}.webhook gets nothing in pull mode; a queue source has to run"
                ));
            }
        }
        Some(Mode::Push) => warnings.push(
            "who pulls this application's queue gets nothing new; let it run empty first"
                .to_owned(),
        ),
        None => {}
    }
    if mode != Some(Mode::Pull) {
        if change.notification_url.is_some() && !old_url.is_empty() {
            warnings.push(format!(
                "callbacks to {} end: who receives them there gets nothing any more",
                shown(old_url)
            ));
        }
        if url.is_empty() && (change.mode.is_some() || change.notification_url.is_some()) {
            warnings.push("without a URL no event reaches anyone in push mode".to_owned());
        }
    } else if change.notification_url.is_some() {
        warnings.push("the URL has no effect in pull mode".to_owned());
    }
    if let Some(key) = &change.sign_key {
        warnings.extend(of_sign_key(key, webhooks));
    }
    for (setting, event_type, _, wanted) in switches(current, change) {
        if *wanted == Some(false) {
            warnings.push(format!(
                "with {setting} off, no {event_type} happens for anyone"
            ));
        }
    }
    warnings
}

fn of_sign_key<'a>(
    key: &'a Secret,
    webhooks: &'a [(&str, &WebhookConfig)],
) -> impl Iterator<Item = String> + 'a {
    let receivers = "callbacks are signed with the new key at once: a receiver that does not know it \
                     refuses them, and they are lost";
    let unknown = webhooks
        .iter()
        .filter(|(_, webhook)| !webhook.sign_keys.is_empty() && !webhook.sign_keys.contains(key));
    let unknown = unknown.map(|(name, _)| {
        format!(
            "sources.{name}.webhook.sign_keys lacks this key: that source answers 401, which the \
             cloud takes for received; add the key there first"
        )
    });
    std::iter::once(receivers.to_owned()).chain(unknown)
}

#[cfg(test)]
mod tests;
