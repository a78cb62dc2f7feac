//! Many callers at once, each posting one notification after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use vodbridge_tests::bridge::WEBHOOK_PATH;
use vodbridge_tests::clients::Message;
use vodbridge_tests::http::{Connection, Response, post};

/// Longer than the bridge leaves any request without an end.
const PATIENCE: Duration = Duration::from_secs(40);

/// A notification by its number.
pub(crate) type Body = fn(usize) -> Vec<u8>;

/// Callers at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    callers: JoinSet<Tally>,
}

struct Shared {
    address: String,
    body: Body,
    next: AtomicUsize,
    last: usize,
    confirmed: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
}

/// What the callers were told.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// The numbers that were answered 200.
    pub(crate) confirmed: BTreeSet<usize>,
    /// Other answers, by number.
    pub(crate) refused: BTreeMap<usize, String>,
    /// Connections that ended without an answer while the listener went on.
    pub(crate) broken: Vec<String>,
}

impl Load {
    /// Starts so many callers, who post the notifications 0 to `last` between them.
    pub(crate) fn start(address: &str, callers: usize, last: usize, body: Body) -> Self {
        Self::start_at(address, callers, 0..last + 1, body)
    }

    /// The same with these numbers.
    pub(crate) fn start_at(
        address: &str,
        callers: usize,
        numbers: std::ops::Range<usize>,
        body: Body,
    ) -> Self {
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            body,
            next: AtomicUsize::new(numbers.start),
            last: numbers.end - 1,
            confirmed: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
        });
        let callers = (0..callers).map(|_| call(shared.clone())).collect();
        Self { shared, callers }
    }

    /// Resolves when so many more notifications have been answered 200.
    pub(crate) async fn confirms(&self, more: usize) -> Result<()> {
        let mut confirmed = self.shared.confirmed.subscribe();
        let goal = *confirmed.borrow() + more;
        let reached = confirmed.wait_for(|count| *count >= goal);
        timeout(PATIENCE, reached)
            .await
            .with_context(|| format!("not {more} more confirms"))??;
        Ok(())
    }

    /// Lets every caller finish its request, and returns what they were told.
    pub(crate) async fn stop(self) -> Tally {
        self.shared.stopping.send_replace(true);
        self.finish().await
    }

    /// Waits until all is posted, or the listener is gone.
    pub(crate) async fn finish(self) -> Tally {
        let mut all = Tally::default();
        for tally in self.callers.join_all().await {
            all.confirmed.extend(tally.confirmed);
            all.refused.extend(tally.refused);
            all.broken.extend(tally.broken);
        }
        all
    }
}

async fn call(shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    while !*shared.stopping.borrow() {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number > shared.last {
            break;
        }
        let answer = request(&shared, &mut connection, number).await;
        match answer {
            Ok(answer) if answer.status == 200 => {
                tally.confirmed.insert(number);
                shared.confirmed.send_modify(|count| *count += 1);
            }
            Ok(answer) => {
                let answer = format!("{} {}", answer.status, answer.text());
                tally.refused.insert(number, answer);
            }
            Err(error) => {
                connection = None;
                if Connection::open(&shared.address).await.is_err() {
                    break;
                }
                tally.broken.push(format!("{error:#}"));
            }
        }
    }
    tally
}

/// Posts on the caller's connection, which is made anew where the last answer closed it.
async fn request(
    shared: &Shared,
    connection: &mut Option<Connection>,
    number: usize,
) -> Result<Response> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(&shared.address).await?,
    };
    open.send(&post(WEBHOOK_PATH, &(shared.body)(number)))
        .await?;
    let answer = open.response(PATIENCE).await?;
    if answer.header("connection") != Some("close") {
        *connection = Some(open);
    }
    Ok(answer)
}

/// What a fault has cost.
#[derive(Debug)]
pub(crate) struct Loss {
    issued: usize,
    confirmed: usize,
    delivered: usize,
    duplicated: usize,
    missing: Vec<usize>,
}

impl Loss {
    /// Prints the row of a table: the fault, issued, confirmed, delivered, duplicated, missing.
    ///
    /// # Errors
    /// Where an event is missing.
    #[allow(
        clippy::print_stdout,
        reason = "shown where a test is asked for its output"
    )]
    pub(crate) fn none(&self, fault: &str) -> Result<()> {
        let Self {
            issued,
            confirmed,
            delivered,
            duplicated,
            missing,
        } = self;
        println!(
            "| {fault} | {issued} | {confirmed} | {delivered} | {duplicated} | {} |",
            missing.len()
        );
        ensure!(
            missing.is_empty(),
            "answered 200, and nowhere: {:?}, …",
            &missing[..missing.len().min(10)]
        );
        Ok(())
    }
}

impl Tally {
    /// Holds the answers against what is durable: the numbers of the notifications found.
    pub(crate) fn loss(&self, numbers: &[usize]) -> Loss {
        let found = BTreeSet::from_iter(numbers.iter().copied());
        Loss {
            issued: self.confirmed.len() + self.refused.len() + self.broken.len(),
            confirmed: self.confirmed.len(),
            delivered: found.len(),
            duplicated: numbers.len() - found.len(),
            missing: self.confirmed.difference(&found).copied().collect(),
        }
    }
}

/// The numbers of the notifications that the messages are made of.
///
/// # Errors
/// Where a message is made of none.
pub(crate) fn numbers(messages: &[Message]) -> Result<Vec<usize>> {
    let number = |message: &Message| {
        let subject = message.event()?.subject.clone().context("no subject")?;
        Ok(subject.parse()?)
    };
    messages.iter().map(number).collect()
}
