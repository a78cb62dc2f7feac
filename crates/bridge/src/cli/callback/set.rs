//! `vodbridge callback set`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args, ValueEnum};
use hyper::Uri;
use serde_json::json;
use vodbridge_core::Secret;
use vodbridge_sources::queue::QueueConfig;
use vodbridge_sources::webhook::WebhookConfig;
use vodbridge_vod::api::{EventConfigChange, Mode};

use super::plan::Plan;
use super::{Application, Common};
use crate::cli::{Output, Usage, block_on, output};
use crate::config::read_secret;

/// Letters and digits of a sign key at most; the vendor's reference of `ModifyEventConfig`:
/// <https://cloud.tencent.com/document/api/266/55244>.
const LONGEST_KEY: usize = 32;

/// Change the application's settings in the cloud, after showing what would change.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)))]
pub(super) struct Set {
    #[command(flatten)]
    common: Common,
    /// pull: events are queued until they are pulled (可靠回调). push: they are posted to the
    /// URL (普通回调).
    #[arg(long, value_enum, group = "change")]
    mode: Option<WantedMode>,
    /// Where callbacks are posted to; '' clears it.
    #[arg(long, group = "change", value_parser = url)]
    url: Option<String>,
    /// Variable with the key that callbacks are to be signed with.
    #[arg(
        long,
        value_name = "NAME",
        group = "change",
        conflicts_with = "sign_key_file"
    )]
    sign_key_env: Option<String>,
    /// File with the key that callbacks are to be signed with.
    #[arg(long, value_name = "FILE", group = "change")]
    sign_key_file: Option<PathBuf>,
    /// Whether finished uploads are told (NewFileUpload).
    #[arg(long, value_enum, group = "change")]
    upload: Option<Switch>,
    /// Whether deletions are told (FileDeleted).
    #[arg(long, value_enum, group = "change")]
    delete: Option<Switch>,
    /// Whether finished persistence is told (PersistenceComplete).
    #[arg(long, value_enum, group = "change")]
    persistence: Option<Switch>,
    /// Change it without asking.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WantedMode {
    Push,
    Pull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl Set {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = self.common.files.load()?;
        let (name, queue) = self.common.choose(&config)?;
        let wanted = self.wanted()?;
        block_on(async {
            let application = Application::open(name, queue)?;
            let current = application.describe().await?;
            let same =
                |(_, webhook): &(&str, &WebhookConfig)| webhook.sub_app_id == queue.sub_app_id;
            let webhooks: Vec<_> = config.webhooks().filter(same).collect();
            let plan = Plan::new(&current, wanted, &webhooks);
            let agreed = plan.is_empty() || self.agreed(name, queue, &plan)?;
            if agreed && !plan.is_empty() {
                application.modify(&plan.change).await?;
            }
            Ok(self.conclude(name, queue, &plan, agreed))
        })
    }

    fn wanted(&self) -> Result<EventConfigChange> {
        let mode = self.mode.map(|mode| match mode {
            WantedMode::Push => Mode::Push,
            WantedMode::Pull => Mode::Pull,
        });
        let on = |switch: Option<Switch>| switch.map(|switch| switch == Switch::On);
        Ok(EventConfigChange {
            mode,
            notification_url: self.url.clone(),
            sign_key: self.sign_key()?,
            upload: on(self.upload),
            delete: on(self.delete),
            persistence: on(self.persistence),
        })
    }

    /// The sign key that a variable or a file holds. No error shows it.
    fn sign_key(&self) -> Result<Option<Secret>> {
        let (place, key) = match (&self.sign_key_env, &self.sign_key_file) {
            (Some(name), _) => {
                let key = std::env::var(name).map_err(|_| "is not set, or no text".to_owned());
                (format!("the variable {name}"), key)
            }
            (_, Some(file)) => {
                let key = read_secret(file).map_err(|error| format!("cannot be read: {error}"));
                (format!("the file {}", file.display()), key)
            }
            (None, None) => return Ok(None),
        };
        let good = |key: &String| {
            (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        match key {
            Ok(key) if good(&key) => Ok(Some(Secret::new(key))),
            Ok(_) => bail!(Usage(format!(
                "{place} holds no sign key: it has 1 to {LONGEST_KEY} letters and digits"
            ))),
            Err(problem) => bail!(Usage(format!("{place} {problem}"))),
        }
    }

    /// Shows what would change. Whether it is to be done.
    fn agreed(&self, name: &str, queue: &QueueConfig, plan: &Plan) -> Result<bool> {
        if self.common.output == Output::Json {
            return Ok(self.yes);
        }
        output::line(format!(
            "application {} at {} (source {name})",
            queue.sub_app_id, queue.endpoint
        ));
        for difference in &plan.differences {
            let shown = |text: &str| match text {
                "" => "none".to_owned(),
                text => text.to_owned(),
            };
            output::line(format!(
                "  {:<12} {} -> {}",
                difference.setting,
                shown(&difference.from),
                shown(&difference.to)
            ));
        }
        for warning in &plan.warnings {
            output::line(format!("  note: {warning}"));
        }
        if self.yes || !output::can_ask() {
            return Ok(self.yes);
        }
        Ok(output::ask(
            "Change it, for every receiver of this application?",
        )?)
    }

    fn conclude(&self, name: &str, queue: &QueueConfig, plan: &Plan, agreed: bool) -> ExitCode {
        let changed = agreed && !plan.is_empty();
        match self.common.output {
            Output::Json => output::json(&json!({
                "source": name,
                "sub_app_id": queue.sub_app_id,
                "changes": plan.differences,
                "notes": plan.warnings,
                "changed": changed,
            })),
            Output::Text if changed => output::line("changed"),
            Output::Text if agreed => output::line("nothing to change: it is so already"),
            Output::Text => {}
        }
        if agreed {
            return ExitCode::SUCCESS;
        }
        output::error("nothing was changed; `--yes` changes it without asking");
        ExitCode::FAILURE
    }
}

/// A URL that can be posted to, or none.
fn url(text: &str) -> Result<String, String> {
    let uri = text.parse::<Uri>();
    let postable = uri.is_ok_and(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        scheme && uri.host().is_some_and(|host| !host.is_empty())
    });
    if text.is_empty() || postable {
        Ok(text.to_owned())
    } else {
        Err("write http://HOST/PATH or https://HOST/PATH".to_owned())
    }
}
