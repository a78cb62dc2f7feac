//! `vodbridge provision`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde::Serialize;
use tokio::time::timeout;

use super::{Files, Output, block_on, output};
use crate::assemble;
use crate::config::Config;

/// How long a broker may take to be reached, and then to create everything.
const REACH: Duration = Duration::from_secs(60);

/// Create what is missing in the brokers: topics, exchange and queue, streams. Idempotent;
/// nothing that exists is changed.
#[derive(Debug, Args)]
pub(super) struct Provision {
    #[command(flatten)]
    files: Files,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Made {
    sink: String,
    what: String,
    created: bool,
}

impl Provision {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = self.files.load()?;
        let made = block_on(provision(&config))?;
        match self.output {
            Output::Json => output::json(&made),
            Output::Text => {
                for Made {
                    sink,
                    what,
                    created,
                } in &made
                {
                    output::line(format!(
                        "{sink}: {what}: {}",
                        if *created { "created" } else { "there" }
                    ));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn provision(config: &Config) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for (name, sink) in assemble::try_open_sinks(config) {
        let sink = match sink {
            Ok(sink) => sink,
            Err(error) if assemble::is_in_use(&error) => {
                let what = "directory, in use by a running bridge".to_owned();
                made.push(Made {
                    sink: name,
                    what,
                    created: false,
                });
                continue;
            }
            Err(error) => return Err(error),
        };
        let broker = &sink.broker;
        let reached = timeout(REACH, broker.reached()).await;
        reached.map_err(|_| match broker.health().problem {
            Some(problem) => anyhow!("sinks.{name}: {}; {}", problem.what, problem.remedy),
            None => anyhow!("sinks.{name}: the broker was not reached within {REACH:?}"),
        })?;
        let provisioned = timeout(REACH, broker.provision(&sink.topics)).await;
        let provisioned =
            provisioned.with_context(|| format!("sinks.{name}: not done within {REACH:?}"))?;
        let provisioned = provisioned
            .map_err(|error| anyhow!("sinks.{name}: {}", vodbridge_core::chain(&*error)))?;
        made.extend(provisioned.into_iter().map(|p| Made {
            sink: name.clone(),
            what: p.what,
            created: p.created,
        }));
        if let Err(error) = broker.close().await {
            tracing::debug!(%error, "the sink did not close cleanly");
        }
    }
    Ok(made)
}
