//! `vodbridge simulate`.

mod options;
mod show;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use vodbridge_simulator::cloud::Cloud;

use self::options::Plan;
use self::show::Show;
use super::{Output, Usage, block_on};
use crate::drain::Signals;

/// How often the numbers are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Be the cloud: an API of events to pull and confirm, and a sender of callbacks.
///
/// It does what the vendor's documents say: long polls of 5 s, at most 16 events a call, leases of
/// 30 s, signed calls, 100 calls a second, errors in their form; callbacks with 5 s for an answer
/// and three attempts. Its state is in memory, and its end is Ctrl-C. While it runs,
/// `/_control/stats`, `/_control/ledger`, `/_control/faults`, `/_control/issue` and
/// `/_control/settings` on its address tell and take JSON.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    #[command(flatten)]
    options: options::Options,
    /// Form of the output: json is one object a line.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

impl Simulate {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let plan = self.options.plan().map_err(Usage)?;
        block_on(play(plan, self.output))
    }
}

/// Listens, issues events as planned, and shows what comes of them until a signal.
async fn play(plan: Plan, output: Output) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let cloud = Cloud::bind(plan.listen, plan.config.clone()).await;
    let cloud = cloud.with_context(|| {
        format!(
            "cannot listen on {}; --listen names another address",
            plan.listen
        )
    })?;
    cloud.set_faults(plan.faults.clone());
    for (sub_app_id, change) in &plan.callbacks {
        let queue = cloud.queue(*sub_app_id).context("no such application")?;
        queue.change(change.clone()).context("--callback")?;
    }
    let mut show = Show::new(output, &plan, &cloud);
    let mut issuing = JoinSet::new();
    for queue in cloud.queues() {
        queue.issue_recorded(plan.recorded.iter().cloned());
        match (plan.events, plan.rate) {
            (events, Some(rate)) => {
                issuing.spawn(cloud.issue_at(&queue, rate, events));
            }
            (Some(events), None) => queue.issue(u32::try_from(events).unwrap_or(u32::MAX)),
            (None, None) => {}
        }
    }
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = looks.tick() => show.progress(&cloud.stats()),
        }
    }
    show.conclude(&cloud.stats());
    Ok(ExitCode::SUCCESS)
}
