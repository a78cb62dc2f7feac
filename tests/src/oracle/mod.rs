//! The oracle: numbered events on both of the cloud's modes, a bridge with three brokers as required
//! sinks, faults of every kind, and a count at the end of what became of each event.
//!
//! The cloud pulls at one application's events and posts another's, both by the rules of the real
//! one. What it counts as confirmed, or as answered in time, has to be on every broker, in the dead
//! letter, or in the spool. Whatever is on a broker is matched by its content with what the cloud
//! issued: the event's fingerprint is made anew from the data that was read back.

mod books;
mod deeds;
mod disk;
mod fault;
mod load;
mod readers;
mod report;
mod stage;
mod timeline;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use vodbridge_simulator::{Sample, samples};

pub use fault::{Fault, Kind, schedule};
pub use report::{Report, Row};
pub use stage::BROKERS;

use books::Books;
use load::Load;
use stage::Stage;
use timeline::Timeline;

/// How long nothing may happen: several leases.
const STALL: Duration = Duration::from_secs(90);

/// As many messages as RabbitMQ takes along through a restart without taking long for it.
const MANY: u64 = 20_000;

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Another build of the binary than the one under test.
    pub binary: Option<PathBuf>,
    /// What the events are made of.
    pub samples: Vec<&'static Sample>,
    /// How many there are at least; they go on until the last fault is over.
    pub events: u64,
    /// Not more of them a second.
    pub rate: u64,
    /// One after the other, evenly among the events.
    pub faults: Vec<Fault>,
    /// After this time no fault begins and no event is issued any more.
    pub at_most: Duration,
    /// Decides ids and order of the events, and what befalls the cloud's calls.
    pub seed: u64,
}

/// Samples of which each event has a content of its own, with at most so many bytes.
pub fn numbered(at_most: usize) -> Vec<&'static Sample> {
    let all = samples().iter().filter(|sample| {
        // Of this form all events are equal: it holds no id.
        sample.is_catalogued() && sample.name != "ProcessImageAsyncCompleteEvent"
    });
    all.filter(|sample| sample.body.len() <= at_most).collect()
}

/// Does what is planned and says what became of the events. `tell` hears how it goes.
///
/// # Errors
/// Where something that is no fault of the plan goes wrong, or the bridge does not recover.
pub async fn run(plan: &Plan, tell: &dyn Fn(String)) -> Result<Report> {
    let mut stage = Stage::start(plan).await?;
    tell("brokers and bridge run".to_owned());
    let start = Instant::now();
    let (finish, finishing) = watch::channel(false);
    let load = Load::new(&stage, plan.rate);
    let feeding = tokio::spawn(load.feed(finishing));
    let mut timeline = Timeline::default();
    let mut done = Vec::new();
    for (number, fault) in (1..).zip(&plan.faults) {
        let due = plan.events * number / (plan.faults.len() as u64 + 1);
        let gone_on = until_ended(&stage, due, start + plan.at_most).await;
        if !gone_on.with_context(|| stage.bridge.log_tail())? {
            break;
        }
        let begin = stage.now();
        let befallen = stage.befall(fault).await;
        befallen.with_context(|| format!("{fault}\n{}", stage.bridge.log_tail()))?;
        timeline.fault(fault.kind, begin, stage.now());
        tell(format!(
            "{number}/{}: {fault}, over in {:.1} s; {}",
            plan.faults.len(),
            f64::from(stage.now() - begin) / 1e3,
            stage.count()
        ));
        done.push(*fault);
        stage.empty_rabbitmq(MANY).await?;
    }
    until_ended(&stage, plan.events, start + plan.at_most).await?;
    finish.send_replace(true);
    timeline.issued = feeding.await?;
    stage.come_to_rest().await?;
    let elapsed = start.elapsed();
    tell(format!("all ended; {}", stage.count()));

    let mut books = Books::of([&stage.pulled, &stage.posted], &timeline)?;
    tell(format!("{} events in the ledger", books.len()));
    let places = readers::read_all(&stage, &books).await?;
    for place in places {
        books.enter(place);
    }
    Ok(Report::new(plan, &done, elapsed, &stage, &books))
}

/// Resolves once so many events have ended. False: the time is up.
async fn until_ended(stage: &Stage, count: u64, until: Instant) -> Result<bool> {
    let mut last = (0, Instant::now());
    loop {
        let ended = stage.ended();
        if ended >= count {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        if ended > last.0 {
            last = (ended, Instant::now());
        }
        ensure!(last.1.elapsed() < STALL, "{ended} events ended, no more do");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something that has to come soon.
async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> Result<T> {
    let waited = timeout(STALL, wait).await;
    waited.with_context(|| format!("{what}: not within {STALL:?}"))
}
