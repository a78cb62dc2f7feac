//! `vodbridge spool`: what waits on the disk, and what to do with it.

mod change;
mod list;
mod undelivered;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use tokio::time::{Instant, sleep};
use vodbridge_store::{StoreError, StoreReader};

use super::{Files, Output, Usage, block_on, output};
use crate::config::Config;
use crate::spools;

/// Between two looks at a spool that is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// Show, export, retry or drop the events that wait in a spool.
#[derive(Debug, Args)]
pub(super) struct Spool {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the records, oldest first; a bridge may be running.
    List(list::List),
    /// Write the records as lines of JSON, each with its whole event; a bridge may be running.
    Export(list::Export),
    /// Have records delivered as if they had just come, or replay the undelivered file.
    Retry(change::Retry),
    /// Remove records for good.
    Drop(change::Drop),
    /// Wait until no record waits any more: what a pod does before it goes for good.
    Wait(Wait),
}

/// Which spools.
#[derive(Debug, Args)]
struct Which {
    #[command(flatten)]
    files: Files,
    /// Webhook source whose spool it is; repeatable [default: every one that has a spool]
    #[arg(long = "source", value_name = "NAME")]
    sources: Vec<String>,
    /// Directory of a spool, whatever the configuration says
    #[arg(long, value_name = "DIR", conflicts_with_all = ["sources", "files"])]
    directory: Option<PathBuf>,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Which {
    /// Their directories.
    fn directories(&self) -> Result<Vec<PathBuf>> {
        if let Some(directory) = &self.directory {
            return Ok(vec![directory.clone()]);
        }
        self.of(&self.files.load()?)
    }

    fn of(&self, config: &Config) -> Result<Vec<PathBuf>> {
        let all: Vec<_> = spools::configured(config).collect();
        if all.is_empty() {
            let problem = "no source of the configuration has a spool; name one with --directory";
            bail!(Usage(problem.to_owned()));
        }
        for name in &self.sources {
            if !all.iter().any(|(source, _)| source == name) {
                bail!(Usage(format!("{name:?} is no source with a spool")));
            }
        }
        let wanted = |name: &str| self.sources.is_empty() || self.sources.iter().any(|n| n == name);
        let all = all.into_iter().filter(|(source, _)| wanted(source));
        Ok(all.map(|(_, spool)| spool.directory.clone()).collect())
    }

    /// The only one of them.
    fn directory(&self) -> Result<PathBuf> {
        let mut directories = self.directories()?;
        match (directories.pop(), directories.is_empty()) {
            (Some(directory), true) => Ok(directory),
            _ => bail!(Usage(
                "records have numbers in each spool: name one with --source".to_owned()
            )),
        }
    }
}

/// Wait until no record waits any more.
#[derive(Debug, Args)]
struct Wait {
    #[command(flatten)]
    which: Which,
    /// For how long at most; then it fails.
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    patience: Duration,
}

impl Spool {
    pub(super) fn run(&self) -> Result<ExitCode> {
        match &self.command {
            Command::List(list) => list.run(),
            Command::Export(export) => export.run(),
            Command::Retry(retry) => retry.run(),
            Command::Drop(drop) => drop.run(),
            Command::Wait(wait) => wait.run(),
        }
    }
}

impl Wait {
    fn run(&self) -> Result<ExitCode> {
        let directories = self.which.directories()?;
        block_on(async {
            let end = Instant::now() + self.patience;
            for directory in directories {
                while is_awaited(&directory)? {
                    if Instant::now() >= end {
                        output::error(format!("events still wait in {}", directory.display()));
                        return Ok(ExitCode::FAILURE);
                    }
                    sleep(LOOK).await;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Whether a record waits that can be delivered.
fn is_awaited(directory: &std::path::Path) -> Result<bool> {
    let reader = match StoreReader::open(directory) {
        Err(StoreError::Missing { .. }) => return Ok(false),
        opened => opened?,
    };
    let mut after = None;
    loop {
        let seen = reader.list(after).context("the spool cannot be read")?;
        let Some(last) = seen.last() else {
            return Ok(false);
        };
        if seen.iter().any(|record| record.event.is_ok()) {
            return Ok(true);
        }
        after = Some(last.id);
    }
}
