//! The commands.

mod callback;
mod check;
mod dead_letter;
mod demo;
mod health;
mod output;
mod provision;
mod reading;
mod run;
mod send;
mod simulate;
mod spool;
mod topics;
mod verify;
pub(crate) mod version;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::{self, Config};

/// Configuration or usage error (`EX_USAGE` of sysexits.h).
const EX_USAGE: u8 = 64;

/// Bridges Tencent Cloud VOD notifications to Kafka, RabbitMQ and NATS JetStream.
///
/// Every notification becomes one CloudEvent on a topic named after its type, and the cloud is
/// told "received" only after the broker has acknowledged it.
#[derive(Debug, Parser)]
#[command(name = "vodbridge", version = version::long(), propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge until SIGTERM, then drain.
    Run(Files),
    /// Check the configuration; with --connect the brokers, their topology and the cloud too.
    Check(check::Check),
    /// Show or set how the cloud hands out an application's events.
    Callback(callback::Callback),
    /// Print every topic that a configuration can produce.
    Topics(topics::Topics),
    /// Create what is missing in the brokers: topics, exchange and queue, streams.
    Provision(provision::Provision),
    /// Post a sample notification to a webhook, as the cloud would.
    Send(send::Send),
    /// Show the bridge at work, on this machine and without a broker.
    Demo(demo::Demo),
    /// Be the cloud: events to pull and confirm, or posted as callbacks.
    Simulate(simulate::Simulate),
    /// Hold what is on the topics against what the simulated cloud issued.
    Verify(verify::Verify),
    /// Look through the dead letters, and publish them again.
    DeadLetter(dead_letter::DeadLetters),
    /// Show, export, retry or drop the events that wait in a spool.
    Spool(spool::Spool),
    /// Ask a running bridge's admin listener; exit 0 if it answers well.
    Health(health::Health),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The command line asks for something that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// The configuration's files.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Configuration file; repeatable, a later one changes what the earlier ones say [default:
    /// ./vodbridge.yaml, then /etc/vodbridge/vodbridge.yaml]
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The form of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

impl Files {
    fn load(&self) -> Result<Config, config::ConfigErrors> {
        config::load(&self.files, std::env::vars())
    }
}

/// Runs the command and says how it ended: 0 done, 1 failed, 64 configuration or usage.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(files) => run::run(&files),
        Command::Check(check) => check.run(),
        Command::Callback(callback) => callback.run(),
        Command::Topics(topics) => topics.run(),
        Command::Provision(provision) => provision.run(),
        Command::Send(send) => send.run(),
        Command::Demo(demo) => demo.run(),
        Command::Simulate(simulate) => simulate.run(),
        Command::Verify(verify) => verify.run(),
        Command::DeadLetter(letters) => letters.run(),
        Command::Spool(spool) => spool.run(),
        Command::Health(health) => health.run(),
        Command::Completions { shell } => {
            // By way of a buffer: the generator panics on a closed pipe.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vodbridge", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        if let Some(errors) = error.downcast_ref::<config::ConfigErrors>() {
            errors.iter().for_each(output::error);
            return ExitCode::from(EX_USAGE);
        }
        output::error(format!("{error:#}"));
        match error.is::<Usage>() {
            true => ExitCode::from(EX_USAGE),
            false => ExitCode::FAILURE,
        }
    })
}

/// Parses the command line; a usage error ends the process with 64.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        // Nobody is left to tell if the terminal is gone.
        error.print().ok();
        std::process::exit(if error.use_stderr() {
            EX_USAGE.into()
        } else {
            0
        })
    })
}

/// Runs a command on a runtime of its own.
fn block_on<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime
        .context("the runtime cannot start")?
        .block_on(command)
}
