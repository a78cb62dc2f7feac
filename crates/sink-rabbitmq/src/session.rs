//! One connection with its channels.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::Stream;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::AMQPSoftError;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, TLSConfig};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::LONGEST_NAME;
use crate::error::{Failure, RabbitMqConfigError, soft};
use crate::verdicts::Verdicts;

/// A broker that sent nothing for twice as long is given up.
const HEARTBEAT_SECONDS: u16 = 4;
/// For everything that the broker has to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection with its channels, which live and die together.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    pub(crate) channels: Vec<Arc<Channel>>,
    pub(crate) frame_max: usize,
    failed: CancellationToken,
    failure: OnceLock<SessionFailure>,
    pub(crate) verdicts: Verdicts,
    socket: Socket,
}

/// Why a session is of no more use.
#[derive(Debug, Clone)]
pub(crate) struct SessionFailure {
    pub(crate) reason: String,
    /// The next session may be no better, until it has an ack.
    pub(crate) doubt: bool,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("no answer from the broker in time")]
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
    // The client library panics on a longer one.
    if uri.vhost.len() > LONGEST_NAME {
        return Err(RabbitMqConfigError::Vhost);
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Ok(uri)
}

/// Whether a sink can be made for this URL. Reaches no broker.
///
/// # Errors
///
/// What is wrong with it. Never holds a part of it.
pub fn validate_url(url: &str) -> Result<(), RabbitMqConfigError> {
    parse(url).map(drop)
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
            failure: OnceLock::new(),
            verdicts: Verdicts::default(),
            socket,
        })
    }

    /// A channel with nothing set.
    pub(crate) async fn channel(&self) -> Result<Channel, OpenError> {
        answered(self.connection.create_channel()).await
    }

    /// Opens `count` channels in confirm mode, after a look whether the exchange is there.
    pub(crate) async fn open_channels(
        &mut self,
        count: usize,
        exchange: &str,
    ) -> Result<(), OpenError> {
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

    /// The session is of no more use: it is replaced.
    pub(crate) fn fail(&self, failure: SessionFailure) {
        self.failure.get_or_init(|| failure);
        self.failed.cancel();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_cancelled()
    }

    /// Resolves once the session has failed.
    pub(crate) async fn failure(&self) -> &SessionFailure {
        self.failed.cancelled().await;
        self.failure.get().expect("it is set before")
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.status().connected()
    }

    pub(crate) fn events(&self) -> impl Stream<Item = lapin::Event> + Send + 'static {
        self.connection.events_listener()
    }

    /// Takes leave of the broker, or ends the connection without it.
    pub(crate) async fn close(&self) {
        if self.is_connected() {
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
    fn a_vhost_fits_in_a_short_string() {
        assert_eq!(validate_url(&format!("amqp://host/{:v>255}", "")), Ok(()));
        let longer = validate_url(&format!("amqp://host/{:v>256}", ""));
        assert_eq!(longer, Err(RabbitMqConfigError::Vhost));
    }
}
