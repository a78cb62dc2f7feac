//! `vodbridge callback`: how the cloud hands out an application's events.

mod application;
mod plan;
mod set;
mod show;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vodbridge_sources::queue::QueueConfig;
use vodbridge_vod::api::{EventConfig, Mode};

pub(super) use self::application::Application;
use super::{Files, Output, Usage};
use crate::config::Config;

/// Show or set how the cloud hands out an application's events: mode, URL, sign key, switches.
#[derive(Debug, Args)]
pub(super) struct Callback {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the application's settings in the cloud; the sign key is never told.
    Show(show::Show),
    /// Change the application's settings in the cloud, after showing what would change.
    ///
    /// The settings are the application's, for every receiver: a change can cut off a production
    /// receiver that this configuration knows nothing of. What is not given stays as it is.
    Set(set::Set),
}

/// Whose settings, and how to print them.
#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    files: Files,
    /// Queue source whose application it is and whose credentials are used [default: the only one]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Callback {
    pub(super) fn run(&self) -> Result<ExitCode> {
        match &self.command {
            Command::Show(show) => show.run(),
            Command::Set(set) => set.run(),
        }
    }
}

impl Common {
    /// The queue source that is meant.
    fn choose<'a>(&self, config: &'a Config) -> Result<(&'a str, &'a QueueConfig)> {
        let queues: Vec<_> = config.queues().collect();
        let names = || {
            let names: Vec<_> = queues.iter().map(|(name, _)| *name).collect();
            names.join(", ")
        };
        let problem = match (&self.source, queues.as_slice()) {
            (_, []) => "the configuration has no queue source; add one with the application's \
                        sub_app_id and with credentials, in a file of its own if need be"
                .to_owned(),
            (None, [only]) => return Ok(*only),
            (None, _) => format!("name one with --source: {}", names()),
            (Some(wanted), _) => match queues.iter().find(|(name, _)| name == wanted) {
                Some(found) => return Ok(*found),
                None => format!("{wanted:?} is no queue source; there is {}", names()),
            },
        };
        bail!(Usage(problem))
    }
}

/// The word for a mode, as `--mode` takes it.
fn word(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Push) => "push",
        Some(Mode::Pull) => "pull",
        None => "unknown",
    }
}

/// `on` or `off`, as the switches take them.
fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A URL without the name and the password that it may hold.
fn shown(url: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = url.split_at(authority);
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}[secret]@{host}{path}"),
        None => url.to_owned(),
    }
}

/// The settings for scripts.
pub(super) fn as_json(settings: &EventConfig) -> Value {
    json!({
        "mode": word(settings.mode),
        "url": shown(&settings.notification_url),
        "upload": settings.upload,
        "delete": settings.delete,
        "persistence": settings.persistence,
    })
}

/// The settings in a line, without the URL.
pub(super) fn in_a_line(settings: &EventConfig) -> String {
    format!(
        "{} mode, upload {}, delete {}, persistence {}",
        word(settings.mode),
        on_off(settings.upload),
        on_off(settings.delete),
        on_off(settings.persistence)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (url, expected) in [
            ("", ""),
            ("https://a.example.com/b@c", "https://a.example.com/b@c"),
            ("https://me:hunter2@a/b?c=d", "https://[secret]@a/b?c=d"),
            ("https://me:hun@ter2@a:1", "https://[secret]@a:1"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
