//! Whether the sink works, as the client's events and the acks tell.

use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{ClientError, Event, ServerError};
use tokio::sync::watch;
use vodbridge_core::{Health, HealthCell, State};

use crate::error::Failure;

pub(crate) struct Status {
    health: HealthCell,
    servers: String,
    connected: watch::Sender<bool>,
    reached: watch::Sender<bool>,
    /// A publish failed while connected, and none was acked since.
    refused: AtomicBool,
    /// The server that this is connected to has begun to stop.
    stopping: AtomicBool,
    closing: AtomicBool,
}

impl Status {
    pub(crate) fn new(servers: String) -> Self {
        Self {
            health: HealthCell::starting(format!("connecting to {servers}")),
            servers,
            connected: watch::Sender::new(false),
            reached: watch::Sender::new(false),
            refused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.get()
    }

    /// Resolves at once while connected, else at the next connection.
    pub(crate) async fn connected(&self) {
        until_true(&self.connected).await;
    }

    /// Resolves once there was a connection.
    pub(crate) async fn reached(&self) {
        until_true(&self.reached).await;
    }

    pub(crate) fn event(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.refused.store(false, Ordering::Relaxed);
                self.stopping.store(false, Ordering::Relaxed);
                self.up();
                self.connected.send_replace(true);
                self.reached.send_replace(true);
            }
            Event::Disconnected => {
                self.connected.send_replace(false);
                if self.closing.load(Ordering::Relaxed) {
                    return;
                }
                let what = format!("disconnected from {}", self.servers);
                self.down(
                    &what,
                    "start the server or mend the network; reconnecting by itself",
                );
            }
            // As `close` asked for.
            Event::Draining | Event::Closed => {
                self.connected.send_replace(false);
            }
            Event::LameDuckMode => {
                self.stopping.store(true, Ordering::Relaxed);
                self.degraded(
                    "the server is about to stop (lame duck mode)",
                    "nothing, if another server takes over; reconnecting by itself",
                );
            }
            Event::ServerError(error) => {
                self.refused.store(true, Ordering::Relaxed);
                self.degraded(&error.to_string(), server_remedy(error));
            }
            // Said of each attempt to connect that failed.
            Event::ClientError(error) => {
                let what = format!("cannot connect to {}: {error}", self.servers);
                self.down(&what, connect_remedy(error, &self.servers));
            }
            Event::SlowConsumer(_) => {}
        }
    }

    /// Whether the server has begun to stop: it stops JetStream first, and then finds no stream.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// From here on a lost connection is as it should be.
    pub(crate) fn closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn acked(&self) {
        if self.refused.load(Ordering::Relaxed) && self.refused.swap(false, Ordering::Relaxed) {
            self.up();
        }
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        if *self.connected.borrow()
            && !matches!(failure, Failure::NotConnected | Failure::Stopping(_))
        {
            let known = self.refused.swap(true, Ordering::Relaxed);
            if known && failure.is_timeout() {
                // What is known says more: a denied publish, for one, is never answered.
                return;
            }
            let cause = std::error::Error::source(failure);
            let what = cause.map_or(failure.to_string(), |cause| format!("{failure}: {cause}"));
            // Not logged: whoever delivers says what became of the event.
            self.health.degraded(what, failure.remedy());
        }
    }

    fn up(&self) {
        let doing = format!("connected to {}", self.servers);
        if self.health.up(doing.clone()) {
            tracing::info!("{doing}");
        }
    }

    fn degraded(&self, what: &str, remedy: &str) {
        if self.health.get().state != State::Down && self.health.degraded(what, remedy) {
            tracing::warn!("{what}; {remedy}");
        }
    }

    fn down(&self, what: &str, remedy: &str) {
        if self.health.down(what, remedy) {
            tracing::warn!("{what}; {remedy}");
        }
    }
}

async fn until_true(flag: &watch::Sender<bool>) {
    flag.subscribe()
        .wait_for(|set| *set)
        .await
        .expect("the sender is borrowed for as long as this waits");
}

fn server_remedy(error: &ServerError) -> &'static str {
    match error {
        ServerError::AuthorizationViolation => AUTHENTICATION,
        ServerError::Other(text) if text.to_lowercase().contains("permissions violation") => {
            "allow the user to publish to the subject and to subscribe to _INBOX.>"
        }
        ServerError::Other(text) if text.to_lowercase().contains("authentication") => {
            AUTHENTICATION
        }
        ServerError::Other(_) | ServerError::SlowConsumer(_) => "look at the server's log",
    }
}

const AUTHENTICATION: &str = "set `user` and `password`, `token`, `nkey_seed` or `credentials_file` to what the server takes";

/// The client tells the kind of an error only; a refused certificate is an "IO error" to it.
fn connect_remedy(error: &ClientError, servers: &str) -> &'static str {
    let text = error.to_string().to_lowercase();
    if text.contains("authorization") || text.contains("nonce") {
        AUTHENTICATION
    } else if text.contains("tls") || servers.contains("tls://") {
        "start the server, or correct `servers`; compare its certificate with the CAs of this system"
    } else if text.contains("dns") {
        "correct the host names under `servers`"
    } else {
        "start the server, or correct `servers`; connecting goes on by itself"
    }
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::context::{PublishError, PublishErrorKind};

    use super::*;
    use crate::error::Refusal;

    fn problem(status: &Status) -> (State, String) {
        let health = status.health();
        (
            health.state,
            health.problem.map(|p| p.remedy).unwrap_or_default(),
        )
    }

    #[tokio::test]
    async fn follows_the_connection() {
        let status = Status::new("nats://a:4222".into());
        assert_eq!(status.health().state, State::Starting);
        let refused = ClientError::Other("authorization violation".into());
        status.event(&Event::ClientError(refused));
        let (state, remedy) = problem(&status);
        assert_eq!(state, State::Down);
        assert!(remedy.contains("credentials_file"));

        status.event(&Event::Connected);
        status.connected().await;
        status.reached().await;
        assert_eq!(problem(&status), (State::Up, String::new()));
        status.event(&Event::LameDuckMode);
        status.acked();
        assert_eq!(problem(&status).0, State::Degraded);
        assert!(status.is_stopping());
        status.event(&Event::Disconnected);
        assert_eq!(problem(&status).0, State::Down);
        status.reached().await;
    }

    #[tokio::test]
    async fn an_ack_ends_what_a_refusal_began() {
        let status = Status::new("nats://a:4222".into());
        let refused = |kind| Failure::NotStored {
            subject: "vod.x".into(),
            source: Refusal(PublishError::new(kind)),
        };
        let failure = refused(PublishErrorKind::StreamNotFound);
        status.failed(&failure);
        assert_eq!(
            problem(&status).0,
            State::Starting,
            "not connected is the cause"
        );
        status.event(&Event::Connected);
        status.failed(&failure);
        let (state, remedy) = problem(&status);
        assert_eq!(state, State::Degraded);
        assert!(remedy.contains("vodbridge provision"));
        status.acked();
        assert_eq!(problem(&status).0, State::Up);

        let denied = "Permissions Violation for Publish to \"vod.x\"".to_owned();
        status.event(&Event::ServerError(ServerError::Other(denied)));
        assert!(problem(&status).1.contains("allow the user to publish"));
        status.failed(&refused(PublishErrorKind::TimedOut));
        assert!(problem(&status).1.contains("allow the user to publish"));
    }
}
