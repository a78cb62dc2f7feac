//! What is found in the spools, on the topics and in the dead letter.

use std::collections::HashSet;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{Message, Messages, Reader};
use vodbridge_simulator::cloud::LedgerEntry;
use vodbridge_sink_file::FileReader;
use vodbridge_store::{StoreError, StoreReader};

use super::aside::Aside;
use super::issued::{Digest, Issued};
use super::ledger::CloudSide;
use super::tally::{Tally, Unknown};
use super::verdict::Verdict;
use crate::config::Config;
use crate::spools;

/// What the spools, the sinks and the dead letter have.
pub(super) struct Found<'a> {
    config: &'a Config,
    issued: &'a Issued,
    named: usize,
    /// Counts what is read.
    bar: ProgressBar,
    /// The sinks, in the configuration's order.
    sinks: Vec<&'a str>,
    tallies: Vec<(String, Tally)>,
    letters: Aside,
    spool: Aside,
    notes: Vec<String>,
}

impl<'a> Found<'a> {
    pub(super) fn new(
        config: &'a Config,
        issued: &'a Issued,
        named: usize,
        bar: ProgressBar,
    ) -> Self {
        Self {
            config,
            issued,
            named,
            bar,
            sinks: config.sinks.keys().map(String::as_str).collect(),
            tallies: Vec::new(),
            letters: Aside::new(named),
            spool: Aside::new(named),
            notes: Vec::new(),
        }
    }

    /// Takes what waits in the spools, where they are here. Beside a running bridge this comes
    /// before the topics: what leaves a spool meanwhile is found there.
    pub(super) async fn take_spools(&mut self) -> Result<()> {
        for (source, spool) in spools::configured(self.config) {
            let key = format!("sources.{source}.webhook.spool");
            let directory = &spool.directory;
            let reader = match StoreReader::open(directory) {
                Err(StoreError::Missing { .. }) => {
                    let directory = directory.display();
                    let note = format!("{key}: there is no spool in {directory}, so none is read");
                    self.notes.push(note);
                    continue;
                }
                opened => opened.with_context(|| key.clone())?,
            };
            let (mut after, mut damaged) = (None, 0_u64);
            loop {
                let seen = reader.list(after).with_context(|| key.clone())?;
                let Some(last) = seen.last() else { break };
                after = Some(last.id);
                for record in seen {
                    self.bar.inc(1);
                    let Ok(event) = record.event else {
                        damaged += 1;
                        continue;
                    };
                    let message = Message {
                        topic: key.clone(),
                        position: format!("record {}", record.id),
                        event: Ok(event),
                    };
                    let (issued, sinks) = (self.issued, &self.sinks);
                    self.spool
                        .add_record(issued, sinks, &message, &record.settled);
                }
                // A page is read at a stretch; a queue of our own is served meanwhile.
                tokio::task::yield_now().await;
            }
            if damaged > 0 {
                let note =
                    format!("{key}: {damaged} damaged records are set aside and not counted");
                self.notes.push(note);
            }
        }
        Ok(())
    }

    /// Takes all that is on the topics of the next sink.
    pub(super) async fn take(&mut self, sink: &str, mut messages: Messages) -> Result<()> {
        let dead_letter = &self.config.dead_letter;
        let mut tally = Tally::new(self.issued, self.named);
        while let Some(message) = messages.next().await {
            self.bar.inc(1);
            let message = message.map_err(anyhow::Error::from_boxed);
            let message = message.with_context(|| format!("sinks.{sink}"))?;
            if sink == dead_letter.sink && message.topic == dead_letter.topic {
                self.letters.add_letter(self.issued, &self.sinks, &message);
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
            self.letters.add_letter(self.issued, &self.sinks, &message);
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
            .chain([&mut self.letters.unknown, &mut self.spool.unknown])
    }

    pub(super) fn verdict(self) -> Verdict {
        self.bar.finish_and_clear();
        let aside = (self.letters, self.spool);
        let mut verdict = Verdict::of(self.issued, self.tallies, aside, self.named);
        verdict.notes = self.notes;
        verdict
    }
}
