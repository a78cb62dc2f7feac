//! The socket that applications' callbacks come to.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{self, Answer, GIVEN_UP, Unanswered};
use super::body::MAX_HEAD;
use super::connections::{Connections, Slot};
use super::endpoint::Endpoint;
use super::socket::Socket;

/// How long the last connections are taken before the socket closes.
const LAST_ACCEPTS: Duration = Duration::from_millis(50);
/// A connection that is to close waits so long for a request that is on its way.
const LINGER: Duration = Duration::from_secs(1);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a listener ends.
#[derive(Debug, Clone)]
pub struct Drain {
    /// The drain begins when it is cancelled.
    pub begin: CancellationToken,
    /// The socket closes once no request has come for this long.
    pub grace: Duration,
    /// The socket closes at the latest this long after the drain began.
    pub latest: Duration,
}

/// One bound address and the endpoints on it.
pub struct Listener {
    socket: TcpListener,
    server: Arc<Server>,
    drain: Drain,
}

struct Server {
    endpoints: HashMap<String, Arc<Endpoint>>,
    health_paths: Vec<String>,
    header_read_timeout: Duration,
    connections: Arc<Connections>,
    tasks: TaskTracker,
    draining: CancellationToken,
    last_request: Mutex<Instant>,
}

impl Listener {
    /// Binds the address. The endpoints' listener settings are equal and their paths differ:
    /// the configuration has seen to it.
    pub async fn bind(
        address: SocketAddr,
        endpoints: Vec<Endpoint>,
        drain: Drain,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let settings = endpoints.first().map(|e| &e.config);
        let server = Server {
            health_paths: endpoints
                .iter()
                .filter_map(|e| e.config.health_path.clone())
                .collect(),
            header_read_timeout: settings
                .map_or(Duration::from_secs(75), |c| c.header_read_timeout),
            connections: Arc::new(Connections::new(settings.map_or(1, |c| c.max_connections))),
            endpoints: endpoints
                .into_iter()
                .map(|e| (e.config.path.clone(), Arc::new(e)))
                .collect(),
            tasks: TaskTracker::new(),
            draining: drain.begin.clone(),
            last_request: Mutex::new(Instant::now()),
        };
        Ok(Self {
            socket,
            server: Arc::new(server),
            drain,
        })
    }

    /// The address that it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until the drain has waited out its grace, then finishes what it has received.
    pub async fn run(self) {
        let Self {
            socket,
            server,
            drain,
        } = self;
        tokio::select! {
            () = server.accept_forever(&socket) => {}
            () = drain.begin.cancelled() => {}
        }
        tokio::select! {
            () = server.accept_forever(&socket) => {}
            () = server.quiet_for(drain.grace, Instant::now() + drain.latest) => {}
        }
        // Whoever has connected by now is served: closing the socket would reset them.
        timeout(LAST_ACCEPTS, server.accept_forever(&socket))
            .await
            .ok();
        drop(socket);
        server.connections.close_all();
        server.tasks.close();
        server.tasks.wait().await;
        join_all(
            server
                .endpoints
                .values()
                .map(|endpoint| endpoint.finished()),
        )
        .await;
    }
}

impl Server {
    async fn accept_forever(self: &Arc<Self>, socket: &TcpListener) {
        loop {
            let slot = self.connections.admit().await;
            match socket.accept().await {
                Ok((stream, _)) => self.serve(stream, slot),
                Err(error) => {
                    tracing::error!(%error, "accepting a connection failed; raise the limit on open files");
                    self.connections.close_longest_idle();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Resolves once no request has come for `grace`, counted from now, or at `latest`.
    async fn quiet_for(&self, grace: Duration, latest: Instant) {
        self.touch();
        loop {
            let quiet = self.last_request() + grace;
            if Instant::now() >= quiet.min(latest) {
                return;
            }
            sleep_until(quiet.min(latest)).await;
        }
    }

    fn serve(self: &Arc<Self>, stream: TcpStream, slot: Slot) {
        let server = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY was refused");
            }
            let socket = Socket::new(stream);
            let service = service_fn(|request| server.answer(request, &slot, &socket));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(server.header_read_timeout);
            http.half_close(true).max_buf_size(MAX_HEAD as usize);
            let connection = http.serve_connection(TokioIo::new(socket.clone()), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = slot.asked_to_close(LINGER) => {
                    connection.as_mut().graceful_shutdown();
                    // Half a head would keep it open for as long as its sender likes.
                    loop {
                        let patience = GIVEN_UP.saturating_sub(slot.idle_for());
                        match timeout(patience, connection.as_mut()).await {
                            Ok(ended) => break ended,
                            Err(_) if slot.is_busy() => {}
                            Err(_) => return,
                        }
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(error = vodbridge_core::chain(&error), "a connection ended");
            }
        });
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        slot: &Slot,
        socket: &Socket,
    ) -> Result<Answer, Unanswered> {
        let since = Instant::now();
        self.touch();
        let _busy = slot.busy();
        let mut answer = match self.endpoints.get(request.uri().path()) {
            Some(endpoint) => {
                let answer = answer::callback(endpoint, request, since, socket).await?;
                endpoint
                    .intake
                    .metrics()
                    .answered(answer.status().as_u16(), since.elapsed());
                answer
            }
            None if self.is_probe(&request) => answer::healthy(),
            None => answer::unknown_path(),
        };
        if self.draining.is_cancelled() {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }

    fn is_probe(&self, request: &Request<Incoming>) -> bool {
        request.method() == hyper::Method::GET
            && self
                .health_paths
                .iter()
                .any(|path| path == request.uri().path())
    }

    fn touch(&self) {
        *self
            .last_request
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_request(&self) -> Instant {
        *self
            .last_request
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
