//! What is shown of the demo, and when; how it looks is in `text` and `json`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{Health, State};
use vodbridge_simulator::cloud::{Cloud, Queue, QueueStats};

use super::bridge::Parts;
use super::stage::Stage;
use super::story::{Ended, Story, Tally};
use super::text::Text;
use super::{Demo, json};
use crate::cli::{Output, output};

/// How often the numbers, and the parts of the bridge, are looked at.
const LOOK: Duration = Duration::from_millis(200);
/// An end that takes longer says what it waits for.
const SOON: Duration = Duration::from_secs(1);

/// Shows endings as they come.
pub(super) struct Show {
    form: Form,
    story: Arc<Story>,
    queues: [Vec<Queue>; 2],
    parts: Parts,
    /// What was last said of each part that is not well.
    troubles: BTreeMap<String, State>,
    ending: CancellationToken,
    start: Instant,
}

enum Form {
    Json,
    Text(Text),
}

/// Where everything is.
pub(super) struct Facts {
    /// Where callbacks are posted.
    pub(super) urls: Vec<String>,
    /// Where the queue is pulled from.
    pub(super) endpoint: String,
    /// The address of the Kafka in memory.
    pub(super) kafka: Option<String>,
    pub(super) directory: PathBuf,
    pub(super) sinks: Vec<String>,
    pub(super) rate: u32,
    pub(super) seed: u64,
}

/// One mode's numbers, of the cloud's side and the sinks'.
pub(super) struct Numbers {
    pub(super) cloud: QueueStats,
    pub(super) tally: Tally,
}

/// All numbers at one moment.
pub(super) struct Totals {
    pub(super) pushed: Numbers,
    pub(super) pulled: Numbers,
    pub(super) event_types: usize,
    pub(super) missed: u64,
    pub(super) elapsed: Duration,
}

impl Facts {
    pub(super) fn new(demo: &Demo, stage: &Stage, cloud: &Cloud, address: SocketAddr) -> Self {
        Self {
            urls: stage.urls(address),
            endpoint: cloud.endpoint(),
            kafka: stage.kafka.as_ref().map(|kafka| kafka.bootstrap()),
            directory: stage.directory.clone(),
            sinks: stage.config.sinks.keys().cloned().collect(),
            rate: demo.rate,
            seed: demo.seed,
        }
    }
}

impl Totals {
    /// Whether some events have not ended.
    fn open(&self) -> bool {
        [&self.pushed, &self.pulled]
            .iter()
            .any(|numbers| numbers.cloud.counts.open() > 0)
    }
}

impl Numbers {
    /// Whether some happened, and each of them is acked and confirmed.
    pub(super) fn whole(&self) -> bool {
        let (counts, acked) = (&self.cloud.counts, self.tally.acked);
        counts.confirmed == counts.issued && acked == counts.issued
    }
}

impl Show {
    pub(super) fn new(
        format: Output,
        story: Arc<Story>,
        queues: [Vec<Queue>; 2],
        parts: Parts,
    ) -> Self {
        let form = match format {
            Output::Json => Form::Json,
            Output::Text => Form::Text(Text::new(output::is_terminal())),
        };
        Self {
            form,
            story,
            queues,
            parts,
            troubles: BTreeMap::new(),
            ending: CancellationToken::new(),
            start: Instant::now(),
        }
    }

    /// To be cancelled when no more events happen.
    pub(super) fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Shows until every ending has been told. True: every event was acked and confirmed.
    pub(super) async fn run(mut self, facts: Facts, mut endings: mpsc::Receiver<Ended>) -> bool {
        match &mut self.form {
            Form::Json => output::json(&json::started(&facts)),
            Form::Text(text) => text.introduce(&facts),
        }
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ending = self.ending.clone();
        let waiting = async {
            ending.cancelled().await;
            tokio::time::sleep(SOON).await;
        };
        let mut waiting = std::pin::pin!(waiting);
        let mut told = false;
        loop {
            tokio::select! {
                ended = endings.recv() => match ended {
                    Some(ended) => self.show(&ended),
                    None => break,
                },
                _ = looks.tick() => self.look(),
                () = &mut waiting, if !told => {
                    told = true;
                    if let Form::Text(text) = &self.form && self.totals().open() {
                        text.wait();
                    }
                }
            }
        }
        let totals = self.totals();
        match &self.form {
            Form::Json => output::json(&json::summary(&totals)),
            Form::Text(text) => text.conclude(&totals),
        }
        let (pushed, pulled) = (&totals.pushed, &totals.pulled);
        let some = pushed.cloud.counts.issued + pulled.cloud.counts.issued > 0;
        some && pushed.whole() && pulled.whole()
    }

    fn show(&self, ended: &Ended) {
        match &self.form {
            Form::Json => output::json(&json::event(ended)),
            Form::Text(text) => text.event(ended),
        }
    }

    fn look(&mut self) {
        let health = self.parts.health().into_iter();
        let told = health.filter_map(|(name, health)| {
            let before = self.troubles.get(name);
            let well = matches!(health.state, State::Starting | State::Up);
            let news = match before {
                Some(before) => *before != health.state,
                None => !well,
            };
            news.then(|| (name.to_owned(), health))
        });
        for (name, health) in told.collect::<Vec<_>>() {
            self.trouble(&name, &health);
            match health.state {
                State::Up => self.troubles.remove(&name),
                state => self.troubles.insert(name, state),
            };
        }
        if let Form::Text(text) = &self.form
            && text.is_live()
        {
            text.update(&self.totals());
        }
    }

    fn trouble(&self, name: &str, health: &Health) {
        match &self.form {
            Form::Json => output::json(&json::health(name, health)),
            Form::Text(text) => text.health(name, health),
        }
    }

    fn totals(&self) -> Totals {
        let sum = |queues: &[Queue]| {
            let stats = queues.iter().map(Queue::stats);
            stats.fold(QueueStats::default(), |sum, stats| sum + stats)
        };
        let [push, pull] = &self.queues;
        let (push, pull) = (sum(push), sum(pull));
        let tallies = self.story.tallies();
        let numbers = |cloud, tally| Numbers { cloud, tally };
        Totals {
            pushed: numbers(push, tallies.push),
            pulled: numbers(pull, tallies.pull),
            event_types: tallies.event_types,
            missed: tallies.missed,
            elapsed: self.start.elapsed(),
        }
    }
}
