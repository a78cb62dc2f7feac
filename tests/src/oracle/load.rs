//! Issues events, so many at a time that the cloud always has some.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use vodbridge_simulator::cloud::Queue;

use super::stage::Stage;
use super::timeline::Issued;

/// Events that wait to be pulled: several pulls of every puller.
const TO_PULL: usize = 512;

/// Events that wait to be posted. Few: where nobody listens the cloud gives up a callback at once.
const TO_POST: usize = 64;

/// One of so many events is posted. Callbacks cannot outrun the others while nobody listens.
const ONE_IN: u64 = 3;

const TICK: Duration = Duration::from_millis(5);

pub(super) struct Load {
    pulled: Queue,
    posted: Queue,
    rate: u64,
    start: tokio::time::Instant,
}

impl Load {
    pub(super) fn new(stage: &Stage, rate: u64) -> Self {
        Self {
            pulled: stage.pulled.clone(),
            posted: stage.posted.clone(),
            rate,
            start: stage.start,
        }
    }

    /// Issues until it is told to finish, and says when which were issued.
    pub(super) async fn feed(self, finishing: watch::Receiver<bool>) -> Issued {
        let mut issued = Issued::default();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while !*finishing.borrow() {
            ticks.tick().await;
            let (pulled, posted) = (self.pulled.stats(), self.posted.stats());
            let all = pulled.counts.issued + posted.counts.issued;
            let due = (self.start.elapsed().as_secs_f64() * self.rate as f64) as u64;
            let due = usize::try_from(due.saturating_sub(all)).unwrap_or(usize::MAX);
            self.pulled.issue(missing(pulled.waiting, TO_PULL.min(due)));
            if posted.counts.issued <= all / ONE_IN {
                self.posted.issue(missing(posted.waiting, TO_POST.min(due)));
            }
            let now = u32::try_from(self.start.elapsed().as_millis()).unwrap_or(u32::MAX);
            let [pulled, posted] = [&self.pulled, &self.posted].map(|it| it.stats().counts.issued);
            issued.note(now, [pulled, posted]);
        }
        issued
    }
}

fn missing(waiting: usize, wanted: usize) -> u32 {
    u32::try_from(wanted.saturating_sub(waiting)).unwrap_or_default()
}
