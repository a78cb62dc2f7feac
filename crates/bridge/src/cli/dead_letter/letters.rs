//! Where dead letters are: the configured topic, and the last resort in the state directory.

use std::time::Duration;

use anyhow::{Context, Error, Result};
use clap::Args;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{DeadLetter, Envelope, Message, Messages, NoDeadLetter, Reader};
use vodbridge_sink_file::FileReader;
use vodbridge_sink_rabbitmq::Place;

use super::filter::Filter;
use crate::assemble::STATE;
use crate::cli::{Files, reading};
use crate::config::{self, Config};

/// How long a broker may take to be reached.
const REACH: Duration = Duration::from_secs(60);

/// What the commands have in common.
#[derive(Debug, Args)]
pub(super) struct Letters {
    #[command(flatten)]
    pub(super) files: Files,
    #[command(flatten)]
    filter: Filter,
    /// Read this queue [default: EXCHANGE.dead_letters, which `provision` makes]. Its
    /// messages are taken out and given back, so it may have no other consumer.
    #[arg(help_heading = "RabbitMQ", long, value_name = "NAME")]
    queue: Option<String>,
    /// How often that queue hands out a message before it drops it: reading stops 5 short of that.
    /// RabbitMQ 4.0 to 4.2 have 20 by default; 0: no limit.
    #[arg(
        help_heading = "RabbitMQ",
        long,
        value_name = "N",
        default_value = "20",
        requires = "queue"
    )]
    delivery_limit: u32,
}

/// What is found where dead letters are.
pub(super) enum Found {
    /// One that the filter takes.
    Letter(Box<Kept>),
    /// A message that cannot be read as one.
    Unreadable(Error),
    /// The rest of a place cannot be read.
    Broken(Error),
}

/// A dead letter and where it is.
pub(super) struct Kept {
    pub(super) letter: DeadLetter,
    /// The event that it is on the topic.
    pub(super) record: Envelope,
    pub(super) position: String,
}

impl Letters {
    /// Everything that is there now, the topic first.
    pub(super) async fn read<'a>(&'a self, config: &Config) -> BoxStream<'a, Found> {
        let sink = &config.dead_letter.sink;
        let on_topic = match self.topic(config) {
            Ok(reader) => (sink.clone(), open(&*reader, config, sink).await),
            Err(error) => (sink.clone(), Err(error)),
        };
        let files = FileReader::of(&config.state_directory);
        let last_resort = (STATE.to_owned(), open(&files, config, STATE).await);
        let found = move |(place, messages): (String, Result<Messages>)| match messages {
            Ok(messages) => {
                let found = move |message| {
                    let found = match message {
                        Ok(message) => self.letter(&place, message),
                        Err(error) => Some(Found::Broken(broken(&place, error))),
                    };
                    async move { found }
                };
                messages.filter_map(found).boxed()
            }
            Err(error) => stream::iter([Found::Broken(error)]).boxed(),
        };
        stream::iter([on_topic, last_resort])
            .flat_map(found)
            .boxed()
    }

    fn topic(&self, config: &Config) -> Result<Box<dyn Reader>> {
        let name = &config.dead_letter.sink;
        let sink = config.sinks.get(name);
        let sink = sink.context("dead_letter.sink is checked with the configuration")?;
        reading::open(name, sink, self.place(sink))
    }

    fn place(&self, sink: &config::Sink) -> Place {
        match (&self.queue, sink) {
            (None, config::Sink::RabbitMq(_)) => Place::DeadLetters,
            _ => Place::Queue {
                name: self.queue.clone(),
                delivery_limit: Some(self.delivery_limit).filter(|limit| *limit > 0),
            },
        }
    }

    /// The dead letter in a message; None where it is another event, or not meant.
    fn letter(&self, place: &str, message: Message) -> Option<Found> {
        let position = format!("{place}: {}", message.position);
        let record = match message.event {
            Ok(record) => record,
            Err(foreign) => return Some(Found::Unreadable(Error::new(foreign).context(position))),
        };
        match DeadLetter::decode(&record) {
            Ok(letter) if self.filter.takes(&letter) => Some(Found::Letter(Box::new(Kept {
                letter,
                record,
                position,
            }))),
            Ok(_) | Err(NoDeadLetter::Type(_)) => None,
            Err(error) => Some(Found::Unreadable(Error::new(error).context(position))),
        }
    }
}

async fn open(reader: &dyn Reader, config: &Config, place: &str) -> Result<Messages> {
    let now = CancellationToken::new();
    now.cancel();
    let topics = [config.dead_letter.topic.clone()];
    let opened = timeout(REACH, reader.read(&topics, now)).await;
    let opened = opened.with_context(|| format!("{place}: not reached within {REACH:?}"))?;
    opened.map_err(|error| broken(place, error))
}

fn broken(place: &str, error: vodbridge_core::BoxError) -> Error {
    Error::from_boxed(error).context(format!("{place} cannot be read"))
}
