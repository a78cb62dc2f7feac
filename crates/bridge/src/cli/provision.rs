//! `vodbridge provision`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;
use vodbridge_core::Provisioned;

use super::{Files, Output, block_on, output};
use crate::assemble::{self, OpenSink};
use crate::config::Config;

/// How long a broker may take to be reached, and then to create everything.
const REACH: Duration = Duration::from_secs(60);
/// A wait that is longer is told of.
const SOON: Duration = Duration::from_secs(3);

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
    let sinks: Vec<_> = assemble::try_open_sinks(config).collect();
    let making = sinks.into_iter().map(|(name, sink)| make(name, sink));
    let made: Result<Vec<_>> = join_all(making).await.into_iter().collect();
    Ok(made?.into_iter().flatten().collect())
}

async fn make(name: String, sink: Result<OpenSink>) -> Result<Vec<Made>> {
    let OpenSink { broker, topics } = match sink {
        Ok(sink) => sink,
        Err(error) if assemble::is_in_use(&error) => {
            let what = "directory, in use by a running bridge".to_owned();
            return Ok(vec![Made {
                sink: name,
                what,
                created: false,
            }]);
        }
        Err(error) => return Err(error),
    };
    let waited = async {
        if timeout(SOON, broker.reached()).await.is_err() {
            let problem = broker.health().problem;
            let why = problem.map_or(String::new(), |problem| format!(": {}", problem.what));
            output::note(format!(
                "waiting up to {REACH:?} for the broker of sinks.{name}{why}"
            ));
            broker.reached().await;
        }
    };
    timeout(REACH, waited)
        .await
        .map_err(|_| match broker.health().problem {
            Some(problem) => anyhow!("sinks.{name}: {}; {}", problem.what, problem.remedy),
            None => anyhow!("sinks.{name}: the broker was not reached within {REACH:?}"),
        })?;
    let provisioned = timeout(REACH, broker.provision(&topics)).await;
    let provisioned =
        provisioned.with_context(|| format!("sinks.{name}: not done within {REACH:?}"))?;
    let provisioned =
        provisioned.map_err(|error| anyhow!("sinks.{name}: {}", vodbridge_core::chain(&*error)))?;
    if let Err(error) = broker.close().await {
        tracing::debug!(%error, "the sink did not close cleanly");
    }
    let made = |one: Provisioned| Made {
        sink: name.clone(),
        what: one.what,
        created: one.created,
    };
    Ok(provisioned.into_iter().map(made).collect())
}
