//! `vodbridge dead-letter replay`.

mod outlets;
mod restore;
mod tally;
mod work;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use tokio_util::sync::CancellationToken;

use self::outlets::Outlets;
use self::restore::{Restorer, To};
use self::tally::{Show, Tally};
use self::work::Work;
use super::journal::{Journal, Replayed};
use super::letters::Letters;
use crate::cli::{Output, Usage, block_on, output};
use crate::config::Config;
use crate::drain::Signals;

/// Publish dead letters again, with the ids that they have: an event to the sink that refused it,
/// one that no sink refused along the routes, a raw notification as if it came now. What a sink has
/// acked is noted in the state directory and not published to it again. No dead letter is removed.
#[derive(Debug, Args)]
pub(super) struct Replay {
    #[command(flatten)]
    letters: Letters,
    /// To this sink, whatever refused it.
    #[arg(long, value_name = "SINK")]
    to: Option<String>,
    /// To every sink of the routes as they are now, those that acked it before among them.
    #[arg(long, conflicts_with = "to")]
    route: bool,
    /// What was replayed before, too.
    #[arg(long)]
    again: bool,
    /// Publish nothing, and say what would be.
    #[arg(long)]
    dry_run: bool,
    /// Without asking.
    #[arg(long)]
    yes: bool,
    /// Dead letters under way at once: a crash can repeat so many.
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Replay {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let config = self.letters.files.load()?;
        if let Some(sink) = self
            .to
            .as_ref()
            .filter(|sink| !config.sinks.contains_key(*sink))
        {
            let sinks: Vec<_> = config.sinks.keys().map(String::as_str).collect();
            let error = format!("--to {sink}: no such sink; there are {}", sinks.join(", "));
            return Err(Usage(error).into());
        }
        if !self.yes && !self.dry_run && !output::can_ask() {
            let error = "there is nobody to ask: say --yes, or --dry-run to see what would be done";
            return Err(Usage(error.to_owned()).into());
        }
        block_on(self.replay(&config))
    }

    async fn replay(&self, config: &Config) -> Result<ExitCode> {
        let stop = stop_at_a_signal()?;
        let restorer = Restorer::new(config, self.to());
        let again = self.again;
        if self.dry_run {
            let replayed = Replayed::read(&config.state_directory)?;
            let work = Work::looking(&restorer, &replayed, again, &stop);
            let tally = work
                .run(&self.letters, config, Show::plan(self.output))
                .await;
            return Ok(tally.conclude(self.output));
        }
        let journal = Journal::open(&config.state_directory)?;
        let mut expected = None;
        if !self.yes {
            let work = Work::looking(&restorer, journal.replayed(), again, &stop);
            let planned = work.run(&self.letters, config, Show::nothing()).await;
            if !agreed(&planned)? {
                return Ok(ExitCode::FAILURE);
            }
            expected = Some(planned.seen());
        }
        let outlets = Outlets::new(config);
        let work = Work::publishing(
            &restorer,
            &journal,
            &outlets,
            again,
            &stop,
            self.concurrency,
        );
        let show = Show::progress(self.output, expected);
        let tally = work.run(&self.letters, config, show).await;
        outlets.close().await;
        journal.close().await;
        Ok(tally.conclude(self.output))
    }

    fn to(&self) -> To {
        match (&self.to, self.route) {
            (Some(sink), _) => To::Sink(sink.clone()),
            (None, true) => To::Routes,
            (None, false) => To::Refuser,
        }
    }
}

fn agreed(planned: &Tally) -> Result<bool> {
    if planned.to_do() == 0 {
        output::line(planned.words());
        return Ok(false);
    }
    let question = format!("{}; go on?", planned.words());
    output::ask(&question).context("the answer cannot be read")
}

/// Cancelled at the first SIGINT or SIGTERM; a second one ends the process.
fn stop_at_a_signal() -> Result<CancellationToken> {
    let (mut signals, stop) = (Signals::new()?, CancellationToken::new());
    let stopping = stop.clone();
    tokio::spawn(async move {
        signals.next().await;
        stopping.cancel();
        output::error("interrupted: what is under way is finished; once more ends at once");
        signals.second().await;
        std::process::exit(1);
    });
    Ok(stop)
}
