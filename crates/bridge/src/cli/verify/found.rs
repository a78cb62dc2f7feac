//! What is found while the topics are read.

use std::collections::HashSet;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{Messages, Reader};
use vodbridge_simulator::cloud::LedgerEntry;
use vodbridge_sink_file::FileReader;

use super::issued::{Digest, Issued};
use super::ledger::CloudSide;
use super::letters::Letters;
use super::tally::{Tally, Unknown};
use super::verdict::Verdict;
use crate::config::Config;

/// What the sinks and the dead letter have.
pub(super) struct Found<'a> {
    config: &'a Config,
    issued: &'a Issued,
    named: usize,
    /// The sinks, in the configuration's order.
    sinks: Vec<&'a str>,
    tallies: Vec<(String, Tally)>,
    letters: Letters,
}

impl<'a> Found<'a> {
    pub(super) fn new(config: &'a Config, issued: &'a Issued, named: usize) -> Self {
        Self {
            config,
            issued,
            named,
            sinks: config.sinks.keys().map(String::as_str).collect(),
            tallies: Vec::new(),
            letters: Letters::new(named),
        }
    }

    /// Takes all that is on the topics of the next sink.
    pub(super) async fn take(&mut self, sink: &str, mut messages: Messages) -> Result<()> {
        let dead_letter = &self.config.dead_letter;
        let mut tally = Tally::new(self.issued, self.named);
        while let Some(message) = messages.next().await {
            let message = message.map_err(anyhow::Error::from_boxed);
            let message = message.with_context(|| format!("sinks.{sink}"))?;
            if sink == dead_letter.sink && message.topic == dead_letter.topic {
                self.letters.add(self.issued, &self.sinks, &message);
            } else {
                tally.add(self.issued, &message);
            }
        }
        self.tallies.push((sink.to_owned(), tally));
        Ok(())
    }

    /// Takes the dead letters that no sink took, where the state directory is here.
    pub(super) async fn take_last_resort(&mut self, until: &CancellationToken) -> Result<()> {
        let reader = FileReader::of(&self.config.state_directory);
        let topics = [self.config.dead_letter.topic.clone()];
        let messages = reader.read(&topics, until.clone()).await;
        let mut messages = messages.map_err(anyhow::Error::from_boxed)?;
        while let Some(message) = messages.next().await {
            let message = message.map_err(anyhow::Error::from_boxed);
            let message = message.context("state_directory")?;
            self.letters.add(self.issued, &self.sinks, &message);
        }
        Ok(())
    }

    /// Forgets what seemed never to have been issued and was: since the ledger was read, or by an
    /// application that is not looked at.
    pub(super) async fn forgive(&mut self, cloud: &CloudSide) -> Result<()> {
        let unknown = self.unknown().flat_map(|list| list.iter());
        let mut left: HashSet<Digest> = unknown.flat_map(|one| [one.id, one.content]).collect();
        if left.is_empty() {
            return Ok(());
        }
        let mut known = HashSet::new();
        let look = |entry: LedgerEntry| {
            let digests = entry.ids.iter().chain(&entry.content);
            for digest in digests.map(|text| Digest::of(text)) {
                known.extend(left.take(&digest));
            }
        };
        cloud.entries(look).await?;
        let is_known = |one: &Unknown| known.contains(&one.id) || known.contains(&one.content);
        for list in self.unknown() {
            list.retain(|one| !is_known(one));
        }
        Ok(())
    }

    fn unknown(&mut self) -> impl Iterator<Item = &mut Vec<Unknown>> {
        let tallies = self.tallies.iter_mut();
        tallies
            .map(|(_, tally)| &mut tally.unknown)
            .chain([&mut self.letters.unknown])
    }

    pub(super) fn verdict(self) -> Verdict {
        Verdict::of(self.issued, self.tallies, self.letters, self.named)
    }
}
