//! One of a sink's connections, with the tasks that publish on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vodbridge_core::{HealthCell, PublishError};

use crate::channel::{ChannelOwner, Job};
use crate::connection::{Connector, Link};
use crate::error::Failure;
use crate::message::Message;
use crate::session::address;
use crate::size::SizeLimit;

/// What the lanes of a sink have in common.
#[derive(Debug)]
pub(crate) struct Broker {
    /// Of the sink.
    pub(crate) name: String,
    pub(crate) uri: AMQPUri,
    pub(crate) exchange: ShortString,
    pub(crate) size: Arc<SizeLimit>,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
}

/// A connection that is kept up, and the way to its channels.
#[derive(Debug)]
pub(crate) struct Lane {
    jobs: Vec<mpsc::Sender<Job>>,
    next: AtomicUsize,
    pub(crate) health: Arc<HealthCell>,
    pub(crate) reached: watch::Receiver<bool>,
}

impl Lane {
    /// Starts to connect. At most `window` publishes are open on each of the `channels`, and as
    /// many wait for it. `carries` says what, to the operator.
    pub(crate) fn start(
        broker: &Broker,
        carries: &'static str,
        channels: usize,
        window: usize,
    ) -> Self {
        let starting = format!("connecting to {}", address(&broker.uri));
        let health = Arc::new(HealthCell::starting(starting));
        let (link, links) = watch::channel(Link::Down);
        let (reached_sender, reached) = watch::channel(false);
        let jobs = (0..channels)
            .map(|index| {
                let (sender, jobs) = mpsc::channel(window);
                let owner = ChannelOwner::new(
                    broker.exchange.clone(),
                    broker.size.clone(),
                    index,
                    window,
                    jobs,
                    links.clone(),
                );
                broker.tasks.spawn(owner.run());
                sender
            })
            .collect();
        let connector = Connector {
            name: broker.name.clone(),
            carries,
            uri: broker.uri.clone(),
            exchange: broker.exchange.to_string(),
            channels,
            link,
            reached: reached_sender,
            health: health.clone(),
            closing: broker.closing.clone(),
        };
        broker.tasks.spawn(connector.run());
        Self {
            jobs,
            next: AtomicUsize::new(0),
            health,
            reached,
        }
    }

    /// Resolves to the verdict on the message.
    pub(crate) async fn publish(&self, message: Message) -> Result<(), PublishError> {
        let (reply, verdict) = oneshot::channel();
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.jobs.len();
        if self.jobs[index].send(Job { message, reply }).await.is_err() {
            return Err(PublishError::Transient(Box::new(Failure::Closed)));
        }
        verdict
            .await
            .unwrap_or_else(|_| Err(PublishError::Transient(Box::new(Failure::Lost))))
    }
}
