//! `vodbridge dead-letter`.

mod filter;
mod journal;
mod letters;
mod list;
mod pretty;
mod replay;
mod show;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Look through the dead letters, and publish them again once their cause is gone.
#[derive(Debug, Args)]
pub(super) struct DeadLetters {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One line for each dead letter.
    List(list::List),
    /// Everything that a dead letter keeps.
    Show(show::Show),
    /// Publish dead letters again, with the ids that they have. None is removed by that, and none
    /// is published twice to a sink, however often this is run.
    Replay(replay::Replay),
}

impl DeadLetters {
    pub(super) fn run(&self) -> Result<ExitCode> {
        match &self.command {
            Command::List(list) => list.run(),
            Command::Show(show) => show.run(),
            Command::Replay(replay) => replay.run(),
        }
    }
}
