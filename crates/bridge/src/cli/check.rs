//! `vodbridge check`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;
use vodbridge_core::{Finding, Inspection};

use super::{EX_USAGE, Files, Output, block_on, output};
use crate::assemble::{self, OpenSink};
use crate::config::{Config, Source};

/// How long a broker may take to be reached and looked at.
const REACH: Duration = Duration::from_secs(15);

/// Check the configuration; with --connect the brokers and their topology too.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    files: Files,
    /// Also reach the brokers, and compare their topology with what publishing needs.
    #[arg(long)]
    connect: bool,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// What `check --connect` says of one sink.
#[derive(Debug, Serialize)]
struct Checked {
    sink: String,
    ok: bool,
    ack: Option<String>,
    findings: Vec<Found>,
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
                output::json(&serde_json::json!({ "ok": false, "findings": errors }));
                return Ok(ExitCode::from(EX_USAGE));
            }
            Err(errors) => return Err(errors.into()),
        };
        let checked = if self.connect {
            Some(block_on(connect(&config))?)
        } else {
            None
        };
        let ok = checked.iter().flatten().all(|sink| sink.ok);
        match self.output {
            Output::Json => output::json(&serde_json::json!({ "ok": ok, "sinks": checked })),
            Output::Text => print(&config, checked.as_deref()),
        }
        Ok(if ok {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

async fn connect(config: &Config) -> Result<Vec<Checked>> {
    let sinks: Vec<_> = assemble::try_open_sinks(config).collect();
    let checking = sinks.into_iter().map(|(name, sink)| check(name, sink));
    join_all(checking).await.into_iter().collect()
}

async fn check(name: String, sink: Result<OpenSink>) -> Result<Checked> {
    let sink = match sink {
        Ok(sink) => sink,
        Err(error) if assemble::is_in_use(&error) => return Ok(in_use(name)),
        Err(error) => return Err(error),
    };
    let checked = inspect(name, &sink).await;
    if let Err(error) = sink.broker.close().await {
        tracing::debug!(%error, "the sink did not close cleanly");
    }
    Ok(checked)
}

/// A file sink whose directory a running bridge appends to works.
fn in_use(sink: String) -> Checked {
    let found = Found {
        blocking: false,
        what: "a running bridge uses the directory".to_owned(),
        remedy: "its own log says what an ack means".to_owned(),
    };
    Checked {
        sink,
        ok: true,
        ack: None,
        findings: vec![found],
    }
}

async fn inspect(sink: String, OpenSink { broker, topics }: &OpenSink) -> Checked {
    let looked = timeout(REACH, async {
        broker.reached().await;
        broker.inspect(topics).await
    });
    let failed = |what: String| Inspection {
        findings: vec![Finding {
            blocking: true,
            what,
            remedy: "look at the address, the credentials and whether the broker runs".to_owned(),
        }],
        ..Inspection::default()
    };
    let inspection = match looked.await {
        Ok(Ok(inspection)) => inspection,
        Ok(Err(error)) => failed(vodbridge_core::chain(&*error)),
        Err(_) => match broker.health().problem {
            Some(problem) => failed(format!("{}; {}", problem.what, problem.remedy)),
            None => failed(format!("not reached within {REACH:?}")),
        },
    };
    let ok = !inspection.findings.iter().any(|finding| finding.blocking);
    let found = |f: Finding| Found {
        blocking: f.blocking,
        what: f.what,
        remedy: f.remedy,
    };
    Checked {
        sink,
        ok,
        ack: Some(inspection.ack).filter(|ack| !ack.is_empty()),
        findings: inspection.findings.into_iter().map(found).collect(),
    }
}

fn print(config: &Config, checked: Option<&[Checked]>) {
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
    }
    for (name, topics) in config.topics() {
        output::line(format!("  sink {name}: {} topics", topics.len()));
    }
    output::line(format!(
        "  dead letters: {} on sink {}",
        config.dead_letter.topic, config.dead_letter.sink
    ));
    for sink in checked.unwrap_or_default() {
        let verdict = if sink.ok { "ready" } else { "not ready" };
        output::line(format!("{}: {verdict}", sink.sink));
        if let Some(ack) = &sink.ack {
            output::line(format!("  an ack means: {ack}"));
        }
        for Found {
            blocking,
            what,
            remedy,
        } in &sink.findings
        {
            let mark = if *blocking { "error" } else { "note" };
            output::line(format!("  {mark}: {what}; {remedy}"));
        }
    }
}
