//! What `check` says of a queue source: whether its events can come.

use serde::Serialize;
use serde_json::Value;
use vodbridge_sources::queue::QueueConfig;
use vodbridge_vod::api::{EventConfig, Mode};

use super::Found;
use crate::cli::callback::{Application, as_json, in_a_line};
use crate::config::Config;

/// What `check` says of one queue source.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    pub(super) source: String,
    pub(super) ok: bool,
    /// Where the credentials come from; with --connect.
    pub(super) credentials: Option<String>,
    /// The application's settings in the cloud; with --connect, where they can be had.
    pub(super) settings: Option<Value>,
    #[serde(skip)]
    pub(super) told: Option<String>,
    pub(super) findings: Vec<Found>,
}

impl Checked {
    /// What can be said without the cloud.
    pub(super) fn written(name: &str, queue: &QueueConfig) -> Self {
        let mut findings = Vec::new();
        if queue.endpoint.starts_with("http:") {
            findings.push(note(
                "the endpoint is not HTTPS: what is pulled can be read on its way, and changed",
                "write https://, unless the endpoint is a simulator".to_owned(),
            ));
        }
        Self {
            source: name.to_owned(),
            ok: true,
            credentials: None,
            settings: None,
            told: None,
            findings,
        }
    }

    /// Asks the cloud too: whether the credentials are good, and whether events of the
    /// application come by its queue.
    pub(super) async fn connected(config: &Config, name: &str, queue: &QueueConfig) -> Self {
        let mut checked = Self::written(name, queue);
        let application = match Application::open(name, queue) {
            Ok(application) => application,
            Err(error) => {
                let remedy = "mend the credentials or the endpoint".to_owned();
                checked
                    .findings
                    .push(blocking(format!("{error:#}"), remedy));
                checked.ok = false;
                return checked;
            }
        };
        checked.credentials = Some(application.credentials());
        match application.describe().await {
            Ok(settings) => {
                checked.settings = Some(as_json(&settings));
                checked.told = Some(in_a_line(&settings));
                let mut webhooks = config.webhooks();
                let webhook = webhooks.find(|(_, of)| of.sub_app_id == queue.sub_app_id);
                let webhook = webhook.map(|(name, _)| name);
                checked.findings.extend(of_mode(name, &settings, webhook));
                checked.findings.extend(of_switches(name, &settings));
            }
            Err(refused) => checked
                .findings
                .push(blocking(refused.what, refused.remedy)),
        }
        checked.ok = !checked.findings.iter().any(|found| found.blocking);
        checked
    }
}

fn note(what: &str, remedy: String) -> Found {
    Found {
        blocking: false,
        what: what.to_owned(),
        remedy,
    }
}

fn blocking(what: String, remedy: String) -> Found {
    Found {
        blocking: true,
        what,
        remedy,
    }
}

/// An application has one of the two modes, so of a queue and a webhook one gets nothing.
fn of_mode(name: &str, settings: &EventConfig, webhook: Option<&str>) -> Option<Found> {
    let pull = format!("`vodbridge callback set --source {name} --mode pull`");
    match (settings.mode, webhook) {
        (Some(Mode::Pull), None) => None,
        (Some(Mode::Pull), Some(webhook)) => Some(note(
            &format!(
                "the application is in pull mode, where its callback URL has no effect: \
                 sources.{webhook} gets nothing"
            ),
            format!(
                "remove sources.{webhook}, or `vodbridge callback set --source {name} --mode push`"
            ),
        )),
        (Some(Mode::Push), Some(webhook)) if !settings.notification_url.is_empty() => Some(note(
            &format!(
                "the application is in push mode: its events are posted, as to sources.{webhook}, \
                 and this source gets nothing"
            ),
            format!("remove one of the two sources, or {pull}"),
        )),
        (Some(Mode::Push), _) => Some(blocking(
            "the application is in push mode: this source gets nothing".to_owned(),
            format!("{pull}; it ends the callbacks to the URL for whoever receives them now"),
        )),
        (None, _) => Some(note(
            "the application is in a mode that is not known here",
            format!("if nothing comes, {pull}"),
        )),
    }
}

fn of_switches(name: &str, settings: &EventConfig) -> impl Iterator<Item = Found> {
    let switches = [
        ("upload", settings.upload, "NewFileUpload"),
        ("delete", settings.delete, "FileDeleted"),
        ("persistence", settings.persistence, "PersistenceComplete"),
    ];
    let off = switches.into_iter().filter(|(_, on, _)| !on);
    off.map(move |(switch, _, event_type)| {
        note(
            &format!("the switch {switch} is off: no {event_type} comes"),
            format!("if you want them, `vodbridge callback set --source {name} --{switch} on`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(mode: Option<Mode>, url: &str) -> EventConfig {
        EventConfig {
            mode,
            notification_url: url.to_owned(),
            upload: true,
            delete: true,
            persistence: true,
        }
    }

    #[test]
    fn a_mode_in_which_nothing_comes_is_an_error() {
        let url = "https://receiver.example.com/";
        for (mode, url, webhook, blocks) in [
            (Some(Mode::Pull), "", None, None),
            (Some(Mode::Pull), url, Some("callback"), Some(false)),
            (Some(Mode::Push), url, None, Some(true)),
            (Some(Mode::Push), url, Some("callback"), Some(false)),
            (Some(Mode::Push), "", Some("callback"), Some(true)),
            (None, "", None, Some(false)),
        ] {
            let found = of_mode("reliable", &settings(mode, url), webhook);
            assert_eq!(
                found.as_ref().map(|found| found.blocking),
                blocks,
                "{found:?}"
            );
            let set = "vodbridge callback set --source reliable --mode";
            assert!(found.is_none_or(|found| found.remedy.contains(set)));
        }
    }

    #[test]
    fn a_switch_that_is_off_is_told_with_its_remedy() {
        let settings = EventConfig {
            delete: false,
            ..settings(Some(Mode::Pull), "")
        };
        let found: Vec<_> = of_switches("reliable", &settings).collect();
        let [found] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert!(
            !found.blocking && found.what.contains("FileDeleted"),
            "{found:?}"
        );
        assert!(found.remedy.contains("--delete on"), "{found:?}");
    }
}
