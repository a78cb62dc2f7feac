//! `vodbridge callback show`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use vodbridge_sources::queue::QueueConfig;
use vodbridge_vod::api::{EventConfig, Mode};

use super::{Application, Common, as_json, on_off, shown, word};
use crate::cli::{Output, block_on, output};

/// Print the application's settings in the cloud; the sign key is never told.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    common: Common,
}

impl Show {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = self.common.files.load()?;
        let (name, queue) = self.common.choose(&config)?;
        let settings = block_on(async {
            let application = Application::open(name, queue)?;
            Ok(application.describe().await?)
        })?;
        match self.common.output {
            Output::Json => output::json(&json!({
                "source": name,
                "sub_app_id": queue.sub_app_id,
                "endpoint": queue.endpoint,
                "settings": as_json(&settings),
            })),
            Output::Text => print(name, queue, &settings),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(name: &str, queue: &QueueConfig, settings: &EventConfig) {
    let line = |key: &str, value: &str, note: &str| {
        let text = format!("  {key:<12} {value:<5} {note}");
        output::line(text.trim_end());
    };
    output::line(format!(
        "application {} at {} (source {name})",
        queue.sub_app_id, queue.endpoint
    ));
    let mode = match settings.mode {
        Some(Mode::Push) => "posted to the URL (普通回调)",
        Some(Mode::Pull) => "queued until they are pulled (可靠回调)",
        None => "the cloud has a word that is not known here",
    };
    line("mode", word(settings.mode), mode);
    let url = match (&*shown(&settings.notification_url), settings.mode) {
        ("", Some(Mode::Push)) => "none: no event reaches anyone".to_owned(),
        ("", _) => "none".to_owned(),
        (url, Some(Mode::Pull)) => format!("{url} (no effect in pull mode)"),
        (url, _) => url.to_owned(),
    };
    output::line(format!("  {:<12} {url}", "url"));
    for (key, on, event_type) in [
        ("upload", settings.upload, "NewFileUpload"),
        ("delete", settings.delete, "FileDeleted"),
        ("persistence", settings.persistence, "PersistenceComplete"),
    ] {
        line(key, on_off(on), event_type);
    }
    output::line("  sign key     the cloud does not tell");
}
