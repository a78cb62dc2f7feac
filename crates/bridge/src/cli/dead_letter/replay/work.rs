//! The work: each dead letter to the sinks that have not acked a replay of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::outlets::Outlets;
use super::restore::{Restored, Restorer};
use super::tally::{Done, Show, Tally};
use crate::cli::dead_letter::journal::{Journal, Replayed};
use crate::cli::dead_letter::letters::{Found, Letters};
use crate::config::Config;

/// What JetStream tells a replay from the event's first publish by, and one replay from another
/// only where the operator wants it again: a repeat of an interrupted one is a copy.
const MARK: &str = "replay";

/// What is done with dead letters.
pub(super) struct Work<'w> {
    restorer: &'w Restorer<'w>,
    replayed: &'w Replayed,
    again: bool,
    mark: Arc<str>,
    stop: &'w CancellationToken,
    publishing: Option<Publishing<'w>>,
    concurrency: usize,
    /// Publishes in a row that nobody answered.
    unanswered: AtomicUsize,
}

#[derive(Clone, Copy)]
struct Publishing<'w> {
    journal: &'w Journal,
    outlets: &'w Outlets<'w>,
}

impl<'w> Work<'w> {
    /// Finds out what would be published.
    pub(super) fn looking(
        restorer: &'w Restorer<'w>,
        replayed: &'w Replayed,
        again: bool,
        stop: &'w CancellationToken,
    ) -> Self {
        Self {
            restorer,
            replayed,
            again,
            mark: MARK.into(),
            stop,
            publishing: None,
            concurrency: 1,
            unanswered: AtomicUsize::new(0),
        }
    }

    /// Publishes.
    pub(super) fn publishing(
        restorer: &'w Restorer<'w>,
        journal: &'w Journal,
        outlets: &'w Outlets<'w>,
        again: bool,
        stop: &'w CancellationToken,
        concurrency: u16,
    ) -> Self {
        let now = humantime::format_rfc3339_nanos(std::time::SystemTime::now());
        let mark = match again {
            true => format!("{MARK}/{now}").into(),
            false => MARK.into(),
        };
        Self {
            publishing: Some(Publishing { journal, outlets }),
            concurrency: concurrency.into(),
            mark,
            ..Self::looking(restorer, journal.replayed(), again, stop)
        }
    }

    /// Does it with every dead letter that is there, until it is stopped.
    pub(super) async fn run(self, letters: &Letters, config: &Config, mut show: Show) -> Tally {
        let mut tally = Tally::new(self.publishing.is_some());
        let found = letters.read(config).await;
        let work = found
            .take_until(self.stop.cancelled())
            .map(|found| self.one(found))
            .buffer_unordered(self.concurrency);
        let mut work = std::pin::pin!(work);
        while let Some(done) = work.next().await {
            tally.add(&done);
            show.done(&done, &tally);
        }
        tally.stopped = self.stop.is_cancelled();
        show.end();
        tally
    }

    async fn one(&self, found: Found) -> Done {
        let kept = match found {
            Found::Letter(kept) => kept,
            Found::Unreadable(error) => return Done::Unreadable(error),
            Found::Broken(error) => return Done::Broken(error),
        };
        let restored = match self.restorer.restore(&kept.letter) {
            Ok(restored) => restored,
            Err(error) => {
                let errors = vec![(None, error)];
                return Done::Failed { kept, errors };
            }
        };
        let replayed = |sink: &String| !self.again && self.replayed.has(&kept.record, sink);
        let Restored { event, mut sinks } = restored;
        sinks.retain(|sink| !replayed(sink));
        let Some(publishing) = self.publishing.filter(|_| !sinks.is_empty()) else {
            return Done::new(kept, event, sinks);
        };
        if !publishing.journal.begin(&kept.record) {
            return Done::new(kept, event, Vec::new());
        }
        let event = event.with_mark(self.mark.clone());
        let mut errors = Vec::new();
        for sink in &sinks {
            let published = publishing.outlets.publish(sink, &event).await;
            let noted = match published {
                Ok(()) => {
                    self.unanswered.store(0, Relaxed);
                    let noted = publishing.journal.add(&kept.record, sink).await;
                    // Each repeat would publish again what is not noted.
                    noted.inspect_err(|_| self.stop.cancel())
                }
                Err(refused) => {
                    self.give_up_where_nobody_answers(refused.transient);
                    Err(refused.error)
                }
            };
            if let Err(error) = noted {
                errors.push((Some(sink.clone()), error));
            }
        }
        match errors.is_empty() {
            true => Done::new(kept, event, sinks),
            false => Done::Failed { kept, errors },
        }
    }

    /// Where as many in a row as are under way at once had no answer, the rest would have none.
    fn give_up_where_nobody_answers(&self, transient: bool) {
        if transient && self.unanswered.fetch_add(1, Relaxed) + 1 >= self.concurrency {
            self.stop.cancel();
        }
    }
}
