//! `vodbridge verify`.

mod aside;
mod due;
mod found;
mod issued;
mod ledger;
mod show;
mod tally;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use hyper::Uri;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{Messages, Reader};
use vodbridge_simulator::cloud::LedgerEntry;

use self::due::Due;
use self::found::Found;
use self::issued::Issued;
use self::ledger::CloudSide;
use self::verdict::Verdict;
use super::reading::Queues;
use super::{Files, Output, Usage, block_on, output};
use crate::config::Config;

/// How often the simulator is asked how far it is.
const LOOK: Duration = Duration::from_millis(250);

/// Hold what is on the topics against what the simulated cloud issued: which events that it holds
/// for received are missing, which are there twice, behind a younger one, or were never issued.
///
/// Reads every topic from its beginning and consumes nothing, and looks into the spools of this
/// machine, beside a running bridge too. Exit 0 if nothing is missing and nothing unexpected,
/// else 1. Neither an event in the dead letter is missing nor one that waits in a spool; one that
/// is still open is not due.
#[derive(Debug, Args)]
pub(super) struct Verify {
    #[command(flatten)]
    files: Files,
    /// Where `vodbridge simulate` listens.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9700")]
    simulator: Uri,
    /// A ledger that was kept (`/_control/ledger`), instead of a simulator that runs.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["simulator", "wait"])]
    ledger: Option<PathBuf>,
    /// First wait until the cloud has issued everything and nothing is open, at most so long.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
    /// How many of each kind are named.
    #[arg(long, value_name = "N", default_value = "20")]
    limit_printed: usize,
    /// Form of the output.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    #[command(flatten)]
    queues: Queues,
    /// Read RabbitMQ by a queue of our own, bound while waiting: for exchanges whose queues have
    /// consumers. It sees what is published from then on.
    #[arg(
        long,
        requires = "wait",
        conflicts_with = "queue",
        help_heading = "RabbitMQ"
    )]
    own_queue: bool,
}

impl Verify {
    pub(super) fn run(&self) -> Result<ExitCode> {
        if self.simulator.authority().is_none() || self.simulator.scheme_str() != Some("http") {
            bail!(Usage(format!(
                "--simulator {} is no http://host:port",
                self.simulator
            )));
        }
        let config = self.files.load()?;
        let verdict = block_on(self.verify(&config))?;
        match self.output {
            Output::Json => output::json(&verdict),
            Output::Text => show::print(&verdict),
        }
        Ok(match verdict.ok {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    async fn verify(&self, config: &Config) -> Result<Verdict> {
        let cloud = match &self.ledger {
            Some(file) => CloudSide::File(file.clone()),
            None => CloudSide::Simulator(self.simulator.clone()),
        };
        let topics = topics(config);
        let until = CancellationToken::new();
        let mut own = self.own_queues(config, &topics, &until).await?;
        let in_time = match self.wait {
            Some(wait) => self.wait(&cloud, wait).await?,
            None => true,
        };
        until.cancel();

        let mut due = Due::new(config);
        let mut issued = Issued::default();
        let take = |entry| {
            if let Some(targets) = due.targets(&entry) {
                issued.add(&entry, targets);
            }
        };
        cloud.entries(take).await?;
        if issued.counts.issued == 0 && !due.strangers.is_empty() {
            let strangers = &due.strangers;
            bail!("no source of this configuration receives what applications {strangers:?} tell");
        }
        let bar = self.bar("{spinner} {elapsed}  {pos} messages read");
        let mut found = Found::new(config, &issued, self.limit_printed, bar);
        found.take_spools().await?;
        for (name, sink) in &config.sinks {
            let messages = match own.remove(name.as_str()) {
                Some(messages) => messages,
                None => {
                    let reader = self.queues.open(name, sink)?;
                    read(name, &*reader, &topics[name.as_str()], &until).await?
                }
            };
            found.take(name, messages).await?;
        }
        found.take_last_resort(&until).await?;
        found.forgive(&cloud).await?;
        let mut verdict = found.verdict();
        name_absent(&cloud, &mut verdict).await?;
        if let Some(wait) = self.wait.filter(|_| !in_time) {
            verdict.ok = false;
            let note = format!("the cloud had not ended after {wait:?}; what is open is not due");
            verdict.notes.push(note);
        }
        for stranger in due.strangers {
            let note = format!("application {stranger} is left out: no source receives its events");
            verdict.notes.push(note);
        }
        Ok(verdict)
    }

    /// Binds queues of our own, where that was asked for, and says so: what is published from then
    /// on is seen.
    async fn own_queues<'c>(
        &self,
        config: &'c Config,
        topics: &BTreeMap<&str, Vec<String>>,
        until: &CancellationToken,
    ) -> Result<BTreeMap<&'c str, Messages>> {
        let mut own = BTreeMap::new();
        for (name, sink) in config.sinks.iter().filter(|_| self.own_queue) {
            if let Some(reader) = self.queues.open_own(name, sink)? {
                let messages = read(name, &*reader, &topics[name.as_str()], until).await?;
                own.insert(name.as_str(), messages);
            }
        }
        let names: Vec<_> = own.keys().collect();
        match self.output {
            _ if names.is_empty() => {}
            Output::Json => output::json(&json!({ "following": names })),
            Output::Text => names
                .iter()
                .for_each(|name| output::line(format!("{name}: following by a queue of our own"))),
        }
        Ok(own)
    }

    /// What people see of long work.
    fn bar(&self, template: &str) -> ProgressBar {
        if self.output != Output::Text || !output::is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(LOOK);
        bar
    }

    /// Resolves when the simulator has ended, or to false when the time is up.
    async fn wait(&self, cloud: &CloudSide, wait: Duration) -> Result<bool> {
        let deadline = Instant::now() + wait;
        let bar = self.bar("{spinner} {elapsed} {wide_bar} {pos} of {len} events have ended");
        loop {
            let progress = cloud.progress().await?;
            let ended = progress.issued - progress.open;
            bar.set_length(progress.issued);
            bar.set_position(ended);
            if progress.has_ended() || Instant::now() >= deadline {
                bar.finish_and_clear();
                return Ok(progress.has_ended());
            }
            sleep_until(deadline.min(Instant::now() + LOOK)).await;
        }
    }
}

fn topics(config: &Config) -> BTreeMap<&str, Vec<String>> {
    let topics = config.topics().into_iter();
    topics
        .map(|(sink, topics)| (sink, topics.into_iter().collect()))
        .collect()
}

async fn read(
    sink: &str,
    reader: &dyn Reader,
    topics: &[String],
    until: &CancellationToken,
) -> Result<Messages> {
    let read = reader.read(topics, until.clone()).await;
    read.map_err(anyhow::Error::from_boxed)
        .with_context(|| format!("sinks.{sink}"))
}

/// Says of each event that is named what the ledger says of it.
async fn name_absent(cloud: &CloudSide, verdict: &mut Verdict) -> Result<()> {
    let mut absent: HashMap<_, Vec<_>> = HashMap::new();
    for event in verdict.absent() {
        let key = (event.sub_app_id, event.sequence);
        absent.entry(key).or_default().push(event);
    }
    if absent.is_empty() {
        return Ok(());
    }
    let name = |entry: LedgerEntry| {
        let named = absent.get_mut(&(entry.sub_app_id, entry.sequence));
        for event in named.into_iter().flatten() {
            event.ty.clone_from(&entry.ty);
            event.subject.clone_from(&entry.subject);
            event.id = entry.ids.first().cloned();
        }
    };
    cloud.entries(name).await
}
