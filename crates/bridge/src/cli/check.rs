//! `vodbridge check`.

mod queue;
mod sinks;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use futures_util::future::{join, join_all};
use serde::Serialize;
use serde_json::json;

use super::{EX_USAGE, Files, Output, block_on, output};
use crate::config::{Config, Source};

/// Check the configuration; with --connect the brokers, their topology and the cloud too.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    files: Files,
    /// Also reach the brokers, and compare their topology with what publishing needs; and ask the
    /// cloud whether the queue sources' events can come.
    #[arg(long)]
    connect: bool,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Found {
    blocking: bool,
    what: String,
    remedy: String,
}

impl Check {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = match self.files.load() {
            Ok(config) => config,
            Err(errors) if self.output == Output::Json => {
                output::json(&json!({ "ok": false, "findings": errors }));
                return Ok(ExitCode::from(EX_USAGE));
            }
            Err(errors) => return Err(errors.into()),
        };
        let (sinks, queues) = if self.connect {
            let (sinks, queues) = block_on(connect(&config))?;
            (Some(sinks), queues)
        } else {
            let written = |(name, queue)| queue::Checked::written(name, queue);
            (None, config.queues().map(written).collect())
        };
        let ok = sinks.iter().flatten().all(|sink| sink.ok) && queues.iter().all(|q| q.ok);
        match self.output {
            Output::Json => output::json(&json!({ "ok": ok, "sinks": sinks, "queues": queues })),
            Output::Text => {
                print(&config);
                queues
                    .iter()
                    .for_each(|queue| print_queue(queue, self.connect));
                sinks.iter().flatten().for_each(print_sink);
            }
        }
        Ok(if ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Asks every broker and the cloud, all at once.
async fn connect(config: &Config) -> Result<(Vec<sinks::Checked>, Vec<queue::Checked>)> {
    let queues = config
        .queues()
        .map(|(name, queue)| queue::Checked::connected(config, name, queue));
    let (sinks, queues) = join(sinks::connect(config), join_all(queues)).await;
    Ok((sinks?, queues))
}

fn print(config: &Config) {
    output::line("the configuration is valid");
    for (name, source) in &config.sources {
        let doing = match source {
            Source::Webhook(webhook) => {
                let signed = match webhook.sign_keys.is_empty() {
                    true => "not verified",
                    false => "signature verified",
                };
                format!("http://{}{} ({signed})", webhook.listen, webhook.path)
            }
            Source::Queue(queue) => format!(
                "application {} of {}, {} pullers",
                queue.sub_app_id, queue.endpoint, queue.pullers
            ),
        };
        output::line(format!("  source {name}: {doing}"));
        if let Source::Webhook(webhook) = source
            && let Some(spool) = &webhook.spool
        {
            let directory = spool.directory.display();
            output::line(format!(
                "    what is not acked in time waits in {directory}"
            ));
        }
    }
    for (name, topics) in config.topics() {
        output::line(format!("  sink {name}: {} topics", topics.len()));
    }
    output::line(format!(
        "  dead letters: {} on sink {}",
        config.dead_letter.topic, config.dead_letter.sink
    ));
}

fn print_queue(queue: &queue::Checked, connected: bool) {
    if connected {
        output::line(format!("{}: {}", queue.source, verdict(queue.ok)));
    } else if !queue.findings.is_empty() {
        output::line(format!("{}:", queue.source));
    }
    if let Some(credentials) = &queue.credentials {
        output::line(format!("  credentials: {credentials}"));
    }
    if let Some(told) = &queue.told {
        output::line(format!("  the cloud says: {told}"));
    }
    print_findings(&queue.findings);
}

fn print_sink(sink: &sinks::Checked) {
    output::line(format!("{}: {}", sink.sink, verdict(sink.ok)));
    if let Some(ack) = &sink.ack {
        output::line(format!("  an ack means: {ack}"));
    }
    print_findings(&sink.findings);
}

fn verdict(ok: bool) -> &'static str {
    if ok { "ready" } else { "not ready" }
}

fn print_findings(findings: &[Found]) {
    for Found {
        blocking,
        what,
        remedy,
    } in findings
    {
        let mark = if *blocking { "error" } else { "note" };
        output::line(format!("  {mark}: {what}; {remedy}"));
    }
}
