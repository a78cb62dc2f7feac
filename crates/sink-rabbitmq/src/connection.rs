//! The connection: opened in the background, watched, and replaced for ever.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, TLSConfig};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use vodbridge_core::HealthCell;

use crate::error::{Failure, RabbitMqConfigError, soft};

/// A broker that sent nothing for twice as long is given up.
const HEARTBEAT_SECONDS: u16 = 4;
/// For everything that the broker has to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const MIN_DELAY: Duration = Duration::from_millis(200);
const MAX_DELAY: Duration = Duration::from_secs(2);

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

/// A connection with its channels, which live and die together.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    pub(crate) channels: Vec<Arc<Channel>>,
    pub(crate) frame_max: usize,
    /// Cancelled by whoever finds that the session is of no more use.
    pub(crate) failed: CancellationToken,
    socket: Socket,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("no answer from the broker within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    NoExchange(Failure),
    #[error(transparent)]
    Client(#[from] lapin::Error),
}

/// A handle on the connection's socket. The library has no way to give a connection up at once:
/// its I/O thread would wait for a frozen broker for ever.
#[derive(Debug, Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn set(&self, socket: &impl AsFd) -> io::Result<()> {
        let copy = TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        Ok(())
    }

    fn shutdown(&self) {
        if let Some(socket) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It may be closed already.
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

/// Shuts the socket down unless it is disarmed.
struct Severing(Option<Socket>);

impl Drop for Severing {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            socket.shutdown();
        }
    }
}

/// Reads the URL of a broker.
pub(crate) fn parse(url: &str) -> Result<AMQPUri, RabbitMqConfigError> {
    // The parser's own errors may hold the URL.
    let mut uri: AMQPUri = url.parse().map_err(|_| RabbitMqConfigError::Url)?;
    if uri.authority.host == "localhost" && !url.contains("localhost") && url.contains("[") {
        return Err(RabbitMqConfigError::Ipv6);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(uri)
}

/// The address without user and password.
pub(crate) fn address(uri: &AMQPUri) -> String {
    let (scheme, host, port) = (&uri.scheme, &uri.authority.host, uri.authority.port);
    format!("{scheme}://{host}:{port} vhost {}", uri.vhost)
}

/// A connection, and the handle that ends it at once.
async fn connect(uri: &AMQPUri, name: &str) -> Result<(Connection, Socket), OpenError> {
    let socket = Socket::default();
    let mut severing = Severing(Some(socket.clone()));
    let properties =
        ConnectionProperties::default().with_connection_name(format!("vodbridge {name}").into());
    let runtime = lapin::runtime::default_runtime()?;
    let handle = socket.clone();
    let connecting = Connection::connector(
        uri.clone(),
        runtime,
        async move |uri, runtime| {
            let connecting = uri.connect_with_config_async(TLSConfig::default(), &runtime);
            let stream = timeout(ANSWER_TIMEOUT, connecting)
                .await
                .map_err(io::Error::from)??;
            match &stream {
                AsyncTcpStream::Plain(tcp) => handle.set(tcp.get_ref())?,
                AsyncTcpStream::Rustls(tls) => handle.set(tls.get_ref().0.get_ref())?,
                _ => {}
            }
            Ok(stream)
        },
        properties,
    );
    let connection = timeout(ANSWER_TIMEOUT * 2, connecting)
        .await
        .map_err(|_| OpenError::Timeout)??;
    severing.0 = None;
    Ok((connection, socket))
}

impl Session {
    /// Connects. The session has no channels yet.
    pub(crate) async fn connect(uri: &AMQPUri, name: &str) -> Result<Self, OpenError> {
        let (connection, socket) = connect(uri, name).await?;
        let frame_max = match connection.configuration().frame_max() {
            0 => usize::MAX,
            bytes => bytes as usize,
        };
        Ok(Self {
            connection,
            channels: Vec::new(),
            frame_max,
            failed: CancellationToken::new(),
            socket,
        })
    }

    /// A channel with nothing set.
    pub(crate) async fn channel(&self) -> Result<Channel, OpenError> {
        answered(self.connection.create_channel()).await
    }

    /// Opens `count` channels in confirm mode, after a look whether the exchange is there.
    async fn open_channels(&mut self, count: usize, exchange: &str) -> Result<(), OpenError> {
        if !self.has_exchange(exchange).await? {
            let exchange = exchange.to_owned();
            return Err(OpenError::NoExchange(Failure::NoExchange { exchange }));
        }
        for _ in 0..count {
            let channel = self.channel().await?;
            answered(channel.confirm_select(ConfirmSelectOptions::default())).await?;
            self.channels.push(Arc::new(channel));
        }
        Ok(())
    }

    /// Whether the exchange is there. Costs a channel where it is not.
    pub(crate) async fn has_exchange(&self, exchange: &str) -> Result<bool, OpenError> {
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let channel = self.channel().await?;
        let declared = answered(channel.exchange_declare(
            ShortString::from(exchange),
            ExchangeKind::Topic,
            passive,
            FieldTable::default(),
        ));
        match declared.await {
            Ok(()) => Ok(true),
            Err(OpenError::Client(error)) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes leave of the broker, or ends the connection without it.
    pub(crate) async fn close(&self) {
        if self.connection.status().connected() {
            let close = self.connection.close(200, "OK".into());
            // Whatever comes of it, the socket is shut down.
            timeout(CLOSE_TIMEOUT, close).await.ok();
        }
        self.socket.shutdown();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.socket.shutdown();
    }
}

/// Waits for the broker's answer, within [`ANSWER_TIMEOUT`].
pub(crate) async fn answered<T>(
    answer: impl Future<Output = lapin::Result<T>>,
) -> Result<T, OpenError> {
    let answer = timeout(ANSWER_TIMEOUT, answer).await;
    Ok(answer.map_err(|_| OpenError::Timeout)??)
}

/// Whether the broker said 404: no such exchange or queue.
pub(crate) fn is_missing(error: &lapin::Error) -> bool {
    matches!(soft(error), Some((AMQPSoftError::NOTFOUND, _)))
}

/// Keeps a sink connected.
pub(crate) struct Connector {
    pub(crate) name: String,
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
        while !self.closing.is_cancelled() {
            let began = Instant::now();
            self.connection().await;
            if began.elapsed() > ANSWER_TIMEOUT {
                delay = Delay::default();
            }
            tokio::select! {
                () = tokio::time::sleep(delay.next()) => {}
                () = self.closing.cancelled() => return,
            }
        }
    }

    /// One connection, from the attempt to its end.
    async fn connection(&self) {
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = self.closing.cancelled() => return,
        };
        match opened {
            Ok(session) => {
                let session = Arc::new(session);
                self.watch(&session).await;
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
        let mut session = Session::connect(&self.uri, &self.name).await?;
        self.reached.send_replace(true);
        session.open_channels(self.channels, &self.exchange).await?;
        Ok(session)
    }

    /// Hands the session to the tasks that publish, until it ends.
    async fn watch(&self, session: &Arc<Session>) {
        let mut events = session.connection.events_listener();
        self.up(session);
        // The library tells most ends of a connection, not all.
        let mut poll = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(lapin::Event::ConnectionBlocked(reason)) => self.blocked(session, &reason),
                    Some(lapin::Event::ConnectionUnblocked) => self.up(session),
                    Some(lapin::Event::Error(error)) => return self.lost(&error.to_string()),
                    Some(_) => {}
                    None => return self.lost("the connection ended"),
                },
                _ = poll.tick() => if !session.connection.status().connected() {
                    return self.lost("the connection ended");
                },
                () = session.failed.cancelled() => return self.lost("a channel failed or hung"),
                () = self.closing.cancelled() => return,
            }
        }
    }

    fn up(&self, session: &Arc<Session>) {
        self.link.send_replace(Link::Up(session.clone()));
        let doing = format!(
            "publishing to exchange {:?} on {}",
            self.exchange,
            address(&self.uri)
        );
        if self.health.up(&doing) {
            info!(sink = self.name, "{doing}");
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
            warn!(sink = self.name, "connection to the broker lost: {what}");
        }
    }

    fn unreachable(&self, error: &OpenError) {
        let what = format!("{}: {error}", address(&self.uri));
        let remedy = self.remedy(error);
        let before = self.health.get().problem;
        let news = before.is_none_or(|problem| problem.what != what);
        self.health.down(&what, remedy);
        if news {
            error!(sink = self.name, remedy, "cannot publish: {what}");
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
    fn the_address_has_no_credentials() {
        let uri = parse("amqps://bridge:hunter2@mq.example.com/vod").unwrap();
        assert_eq!(address(&uri), "amqps://mq.example.com:5671 vhost vod");
        assert_eq!(uri.query.heartbeat, Some(4));
        let uri = parse("amqp://127.0.0.1:5673?heartbeat=30").unwrap();
        assert_eq!(address(&uri), "amqp://127.0.0.1:5673 vhost /");
        assert_eq!(uri.query.heartbeat, Some(30));
    }

    #[test]
    fn a_refused_url_is_not_repeated() {
        for (url, expected) in [
            ("hunter2", RabbitMqConfigError::Url),
            ("http://u:hunter2@host", RabbitMqConfigError::Url),
            ("amqp:u:hunter2@host", RabbitMqConfigError::Url),
            ("amqp://u:hunter2%ff@host", RabbitMqConfigError::Url),
            ("amqp://u:hunter2@host:port", RabbitMqConfigError::Url),
            ("amqp://u:hunter2@[::1]:5672", RabbitMqConfigError::Ipv6),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error, expected, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

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
