//! One task that owns the channel. Tasks that share one are faster, and told of acks that were
//! another message's: see the `interleave` example of the sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tokio::sync::{mpsc, oneshot};

/// What may wait for the task, and what it takes at a time.
const QUEUE: usize = 1024;
const BATCH: usize = 128;

pub(super) struct Publisher {
    jobs: mpsc::Sender<Job>,
    _connection: Connection,
}

struct Job {
    routing_key: String,
    id: String,
    body: Bytes,
    reply: oneshot::Sender<Result<()>>,
}

/// A confirm, and the ids of the message it is for and of the one that came back with it.
struct Confirmed {
    id: String,
    confirmation: lapin::Result<Confirmation>,
    reply: oneshot::Sender<Result<()>>,
}

impl Publisher {
    pub(super) async fn new(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(own(channel, queue));
        Ok(Self {
            jobs,
            _connection: connection,
        })
    }

    pub(super) async fn publish(&self, key: &str, number: usize, body: Bytes) -> Result<()> {
        let (reply, verdict) = oneshot::channel();
        let job = Job {
            routing_key: key.to_owned(),
            id: number.to_string(),
            body,
            reply,
        };
        ensure!(self.jobs.send(job).await.is_ok(), "the channel is closed");
        verdict.await?
    }
}

/// Publishes what comes, and gives verdicts on whole rounds of confirms.
async fn own(channel: Channel, mut jobs: mpsc::Receiver<Job>) -> Result<()> {
    let mut open = FuturesUnordered::new();
    let (mut batch, mut round) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    loop {
        tokio::select! {
            biased;
            Some(first) = open.next(), if !open.is_empty() => {
                round.push(first);
                drain(&mut open, &mut round);
                settle(&mut round);
            }
            taken = jobs.recv_many(&mut batch, BATCH) => {
                ensure!(taken > 0, "the last publisher is gone");
                for Job { routing_key, id, body, reply } in batch.drain(..) {
                    let confirm = publish(&channel, routing_key, &id, &body).await?;
                    open.push(async move { Confirmed { id, confirmation: confirm.await, reply } });
                }
            }
        }
    }
}

async fn publish(
    channel: &Channel,
    routing_key: String,
    id: &str,
    body: &[u8],
) -> lapin::Result<lapin::PublisherConfirm> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let persistent = BasicProperties::default()
        .with_delivery_mode(2)
        .with_message_id(id.into());
    channel
        .basic_publish("vod".into(), routing_key.into(), options, body, persistent)
        .await
}

/// Takes what is complete at this moment: a message's return is attached to a confirm that
/// completes no later than its own.
fn drain<F: Future<Output = Confirmed>>(
    open: &mut FuturesUnordered<F>,
    round: &mut Vec<Confirmed>,
) {
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    let mut context = Context::from_waker(&waker);
    loop {
        woken.0.store(false, Ordering::SeqCst);
        match open.poll_next_unpin(&mut context) {
            Poll::Ready(Some(confirmed)) => round.push(confirmed),
            Poll::Ready(None) => return,
            Poll::Pending if woken.0.load(Ordering::SeqCst) => {}
            Poll::Pending => return,
        }
    }
}

fn settle(round: &mut Vec<Confirmed>) {
    let returned: Vec<String> = round.iter().filter_map(returned).collect();
    for Confirmed {
        id,
        confirmation,
        reply,
    } in round.drain(..)
    {
        let verdict = match confirmation {
            Err(error) => Err(error.into()),
            Ok(Confirmation::Ack(_)) if !returned.contains(&id) => Ok(()),
            Ok(_) => Err(anyhow!("nacked or returned")),
        };
        // The request may be gone.
        reply.send(verdict).ok();
    }
}

fn returned(confirmed: &Confirmed) -> Option<String> {
    let Ok(Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message))) =
        &confirmed.confirmation
    else {
        return None;
    };
    message
        .delivery
        .properties
        .message_id()
        .as_ref()
        .map(ToString::to_string)
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}
