//! What the demo plays on: a configuration, and where it is not given one, sinks of its own.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use vodbridge_sink_kafka::EmbeddedKafka;

use crate::config::{self, Config, Source};

/// A configuration with one webhook on a free loopback port.
pub(super) struct Stage {
    pub(super) config: Config,
    /// Where the demo's files are.
    pub(super) directory: PathBuf,
    /// The Kafka in this process, where the demo uses its own sinks.
    pub(super) kafka: Option<EmbeddedKafka>,
}

impl Stage {
    /// Uses the sinks of these files, or without any its own.
    pub(super) fn set(files: &[PathBuf]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("vodbridge-demo-").tempdir();
        let directory = directory
            .context("no directory for the demo's files; set TMPDIR to one that can be written")?;
        let directory = directory.keep();
        if !files.is_empty() {
            let mut config = config::load(files, std::env::vars())?;
            config.state_directory = directory.join("state");
            take_callbacks_here(&mut config)?;
            return Ok(Self {
                config,
                directory,
                kafka: None,
            });
        }
        let kafka = EmbeddedKafka::start().context("the Kafka in memory does not start")?;
        let file = directory.join("demo.yaml");
        fs::write(&file, own_configuration(&kafka.bootstrap(), &directory))
            .context("the demo's configuration")?;
        let config = config::load(&[file], [])?;
        Ok(Self {
            config,
            directory,
            kafka: Some(kafka),
        })
    }

    /// The path of the webhook.
    pub(super) fn path(&self) -> &str {
        let webhook = self.config.webhooks().next();
        webhook.map_or("/", |(_, webhook)| &webhook.path)
    }
}

/// Leaves one source, unsigned and on a free loopback port, and drains fast.
fn take_callbacks_here(config: &mut Config) -> Result<()> {
    let sources = std::mem::take(&mut config.sources).into_iter();
    let mut webhooks = sources.filter_map(|(name, source)| match source {
        Source::Webhook(webhook) => Some((name, webhook)),
        Source::Queue(_) => None,
    });
    let webhook = webhooks.next();
    let (name, mut webhook) =
        webhook.context("the configuration has no webhook source for the demo to post to")?;
    webhook.listen = ([127, 0, 0, 1], 0).into();
    webhook.sign_keys.clear();
    config.sources = [(name, Source::Webhook(webhook))].into();
    config.drain.grace = std::time::Duration::from_millis(100);
    Ok(())
}

fn own_configuration(bootstrap: &str, directory: &std::path::Path) -> String {
    let (events, state) = (directory.join("events"), directory.join("state"));
    format!(
        r#"# What the demo runs on.
state_directory: {state:?}
drain: {{ grace: 100ms }}
sources:
  callback: {{ webhook: {{ listen: "127.0.0.1:0", sub_app_id: 1500012345 }} }}
sinks:
  kafka: {{ kafka: {{ brokers: ["{bootstrap}"], topic: "vod.{{event_type}}" }} }}
  file: {{ file: {{ directory: {events:?}, topic: "vod.{{event_type}}", ephemeral: true }} }}
dead_letter: {{ sink: file }}
"#
    )
}
