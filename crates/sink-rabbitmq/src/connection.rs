//! Keeps a sink connected: opens sessions in the background, watches and replaces them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vodbridge_core::{HealthCell, State};

use crate::session::{OpenError, Session, address};

const MIN_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(2);
/// A connection that lasted so long is tried again without a delay that has grown.
const STEADY: Duration = Duration::from_secs(5);

/// What the tasks that publish know of the connection.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    /// No connection: publishes wait.
    Down,
    /// A connection to a broker without the exchange: publishes are unroutable.
    NoExchange,
    /// Publishes are sent.
    Up(Arc<Session>),
    /// The broker takes no publishes for now: they wait, what is open stays open.
    Blocked(Arc<Session>),
}

impl Link {
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Up(session) | Self::Blocked(session) => Some(session),
            Self::Down | Self::NoExchange => None,
        }
    }
}

/// Keeps a sink connected.
pub(crate) struct Connector {
    pub(crate) name: String,
    /// What it is for, to the operator: "events".
    pub(crate) carries: &'static str,
    pub(crate) uri: AMQPUri,
    pub(crate) exchange: String,
    pub(crate) channels: usize,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) reached: watch::Sender<bool>,
    pub(crate) health: Arc<HealthCell>,
    pub(crate) closing: CancellationToken,
}

impl Connector {
    /// Runs until `closing` is cancelled.
    pub(crate) async fn run(self) {
        let mut delay = Delay::default();
        let mut doubt = None;
        while !self.closing.is_cancelled() {
            let began = Instant::now();
            self.connection(&mut doubt).await;
            if began.elapsed() > STEADY {
                delay = Delay::default();
            }
            tokio::select! {
                () = tokio::time::sleep(delay.next()) => {}
                () = self.closing.cancelled() => return,
            }
        }
    }

    /// One connection, from the attempt to its end. `doubt` is why the one before was given up,
    /// until an ack shows that this one is better.
    async fn connection(&self, doubt: &mut Option<String>) {
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = self.closing.cancelled() => return,
        };
        match opened {
            Ok(session) => {
                let session = Arc::new(session);
                self.watch(&session, doubt).await;
                // Before the socket goes, so that no publish is sent into its end.
                self.link.send_replace(Link::Down);
                session.close().await;
            }
            Err(error) => {
                let link = match error {
                    OpenError::NoExchange(_) => Link::NoExchange,
                    _ => Link::Down,
                };
                self.link.send_replace(link);
                self.unreachable(&error);
            }
        }
    }

    async fn open(&self) -> Result<Session, OpenError> {
        let name = format!("{} {}", self.name, self.carries);
        let mut session = Session::connect(&self.uri, &name).await?;
        self.reached.send_replace(true);
        session.open_channels(self.channels, &self.exchange).await?;
        Ok(session)
    }

    /// Hands the session to the tasks that publish, until it ends.
    async fn watch(&self, session: &Arc<Session>, doubt: &mut Option<String>) {
        let mut events = session.events();
        self.open_for_publishes(session, doubt);
        // The library tells most ends of a connection, not all.
        let mut poll = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(lapin::Event::ConnectionBlocked(reason)) => self.blocked(session, &reason),
                    Some(lapin::Event::ConnectionUnblocked) => {
                        self.open_for_publishes(session, doubt);
                    }
                    Some(lapin::Event::Error(error)) => return self.lost(&error.to_string()),
                    Some(_) => {}
                    None => return self.lost("the connection ended"),
                },
                _ = poll.tick() => {
                    if !session.is_connected() {
                        return self.lost("the connection ended");
                    }
                    self.look_at_verdicts(session, doubt);
                }
                failure = session.failure() => {
                    *doubt = failure.doubt.then(|| failure.reason.clone());
                    return self.lost(&failure.reason);
                }
                () = self.closing.cancelled() => return,
            }
        }
    }

    fn open_for_publishes(&self, session: &Arc<Session>, doubt: &Option<String>) {
        self.link.send_replace(Link::Up(session.clone()));
        match doubt {
            Some(reason) => self.doubtful(reason),
            None => self.up(),
        }
    }

    fn up(&self) {
        let (carries, exchange) = (self.carries, &self.exchange);
        let address = address(&self.uri);
        let doing = format!("publishing {carries} to exchange {exchange:?} on {address}");
        if self.health.up(&doing) {
            info!(sink = self.name, "{doing}");
        }
    }

    /// Not logged: whoever delivers says what became of the event.
    fn doubtful(&self, what: &str) {
        let remedy = "look whether the broker hangs, a queue is at its limit, or a quorum queue has \
                      lost most of its members: `rabbitmqctl list_queues name messages online`";
        self.health.degraded(what, remedy);
    }

    /// Keeps the health in step with what the broker says to the publishes.
    fn look_at_verdicts(&self, session: &Session, doubt: &mut Option<String>) {
        if session.verdicts.has_acked() {
            *doubt = None;
        }
        match self.health.get().state {
            State::Up if session.verdicts.refuses() => {
                self.doubtful("the broker refuses publishes (nack)");
            }
            State::Degraded if doubt.is_none() && !session.verdicts.refuses() => self.up(),
            _ => {}
        }
    }

    fn blocked(&self, session: &Arc<Session>, reason: &str) {
        self.link.send_replace(Link::Blocked(session.clone()));
        let what = format!("the broker blocks all publishes: {reason}");
        let remedy = "give the broker memory or disk, or drain its queues: \
                      `rabbitmq-diagnostics alarms` says which";
        if self.health.down(&what, remedy) {
            error!(sink = self.name, remedy, "{what}");
        }
    }

    fn lost(&self, what: &str) {
        let remedy = "none needed if it comes back: the sink reconnects by itself";
        if self.health.down(what, remedy) {
            warn!(
                sink = self.name,
                "connection for {} lost: {what}", self.carries
            );
        }
    }

    fn unreachable(&self, error: &OpenError) {
        let what = format!("{}: {error}", address(&self.uri));
        let remedy = self.remedy(error);
        let before = self.health.get().problem;
        let news = before.is_none_or(|problem| problem.what != what);
        self.health.down(&what, remedy);
        if news {
            error!(
                sink = self.name,
                remedy, "cannot publish {}: {what}", self.carries
            );
        }
    }

    fn remedy(&self, error: &OpenError) -> &'static str {
        let OpenError::Client(error) = error else {
            return match error {
                OpenError::NoExchange(_) => "`vodbridge provision` makes the exchange",
                _ => "look whether the broker hangs, or whether the port is another service's",
            };
        };
        let vhost = "look at the vhost of the url and the user's permissions on it: no path is the \
                     vhost `/`, a path of `/` alone is the vhost without a name";
        match error.kind() {
            ErrorKind::ProtocolError(amqp) => match amqp.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
                    "look at the user and password of the url"
                }
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH) => {
                    vhost
                }
                _ => "look at the broker's log",
            },
            ErrorKind::IOError(_) if self.uri.scheme == AMQPScheme::AMQPS => {
                "look at host and port of the url, whether the broker speaks TLS there, and \
                 whether this system trusts its certificate"
            }
            _ => "look at host and port of the url, and whether the broker runs",
        }
    }
}

/// The time before the next attempt: it doubles, and a part of it is left to chance, so that
/// bridges do not come all at once.
struct Delay(Duration);

impl Default for Delay {
    fn default() -> Self {
        Self(MIN_DELAY)
    }
}

impl Delay {
    fn next(&mut self) -> Duration {
        // Each `RandomState` has new random keys.
        let chance = RandomState::new().hash_one(0) % 500;
        let delay = self.0.mul_f64(0.5 + chance as f64 / 1000.0);
        self.0 = (self.0 * 2).min(MAX_DELAY);
        delay.max(MIN_DELAY / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_two_seconds_and_vary() {
        let mut delay = Delay::default();
        let delays: Vec<_> = (0..20).map(|_| delay.next()).collect();
        assert!(delays[0] <= MIN_DELAY);
        assert!(
            delays[10..]
                .iter()
                .all(|d| (MAX_DELAY / 2..=MAX_DELAY).contains(d))
        );
        assert!(delays[10..].iter().any(|d| *d != delays[19]));
    }
}
