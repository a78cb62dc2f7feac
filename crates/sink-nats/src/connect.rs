//! From the operator's settings to a client that connects by itself.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, ServerAddr};
use futures_util::FutureExt;

use crate::config::NatsConfig;
use crate::error::NatsConfigError;
use crate::status::Status;
use crate::subject::is_literal;

/// A server that answers none of two pings is left: 6 s where a connection hangs.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// The server refuses longer ones (`JSMaxNameLen`).
const LONGEST_STREAM_NAME: usize = 255;

/// Starts a client that goes on trying to connect for as long as it lives. `waiting` publishes
/// may wait for its socket.
pub(crate) fn connect(
    name: &str,
    config: &NatsConfig,
    waiting: usize,
    status: Arc<Status>,
) -> Result<Client, NatsConfigError> {
    if !is_literal(&config.subject.fill(|_| "label")) {
        return Err(NatsConfigError::Subject(config.subject.to_string()));
    }
    if let Some(stream) = config.stream.as_ref().filter(|name| !is_stream_name(name)) {
        return Err(NatsConfigError::Stream(stream.clone()));
    }
    let servers = servers(&config.servers)?;
    authenticated(config)?
        .name(format!("vodbridge {name}"))
        .retry_on_initial_connect()
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .reconnect_delay_callback(delay)
        .client_capacity(waiting)
        .skip_subject_validation(true)
        .event_callback(move |event| {
            status.event(&event);
            std::future::ready(())
        })
        .connect(servers)
        // With `retry_on_initial_connect` there is nothing to wait for: a task connects.
        .now_or_never()
        .unwrap_or_else(|| Err(io::Error::from(io::ErrorKind::WouldBlock).into()))
        .map_err(|error| NatsConfigError::Client(io::Error::other(error)))
}

/// Whether a stream can have this name.
/// <https://docs.nats.io/running-a-nats-service/nats_admin/jetstream_admin/naming>
pub fn is_stream_name(name: &str) -> bool {
    is_literal(name) && name.len() <= LONGEST_STREAM_NAME && !name.contains(['.', '/', '\\'])
}

/// 0, 2, 4, … ms after the first, second, … attempt, up to a second.
fn delay(attempts: usize) -> Duration {
    match attempts {
        0 | 1 => Duration::ZERO,
        2..=10 => Duration::from_millis(1 << (attempts - 1)),
        _ => LONGEST_DELAY,
    }
}

fn servers(servers: &[String]) -> Result<Vec<ServerAddr>, NatsConfigError> {
    if servers.is_empty() {
        return Err(NatsConfigError::NoServer);
    }
    let parse = |(at, server): (usize, &String)| {
        // Before anything is parsed: an error must not repeat what may be a secret.
        if server.contains('@') {
            return Err(NatsConfigError::SecretInServer { number: at + 1 });
        }
        address(server).ok_or_else(|| NatsConfigError::Server {
            server: server.clone(),
        })
    };
    servers.iter().enumerate().map(parse).collect()
}

/// Whether it is a server's URL that the sink can use, or a host with or without a port.
pub fn is_server(text: &str) -> bool {
    address(text).is_some()
}

fn address(server: &str) -> Option<ServerAddr> {
    let address: ServerAddr = server.parse().ok()?;
    let good = matches!(address.scheme(), "nats" | "tls") && !address.host().is_empty();
    good.then_some(address)
}

/// Whether a `.creds` file is there and holds a JWT and a seed.
///
/// # Errors
///
/// What is wrong with it. Never holds a part of it.
pub fn validate_credentials(file: &Path) -> io::Result<()> {
    credentials(file).map(drop)
}

fn credentials(file: &Path) -> io::Result<ConnectOptions> {
    ConnectOptions::new().credentials(&fs::read_to_string(file)?)
}

fn authenticated(config: &NatsConfig) -> Result<ConnectOptions, NatsConfigError> {
    let options = ConnectOptions::new();
    let NatsConfig {
        user,
        password,
        token,
        nkey_seed,
        credentials_file,
        ..
    } = config;
    match (user, password, token, nkey_seed, credentials_file) {
        (None, None, None, None, None) => Ok(options),
        (Some(user), Some(password), None, None, None) => {
            Ok(options.user_and_password(user.clone(), password.expose().into()))
        }
        (None, None, Some(token), None, None) => Ok(options.token(token.expose().into())),
        (None, None, None, Some(seed), None) => Ok(options.nkey(seed.expose().into())),
        (None, None, None, None, Some(file)) => {
            credentials(file).map_err(|source| NatsConfigError::Credentials {
                file: file.clone(),
                source,
            })
        }
        _ => Err(NatsConfigError::Authentication),
    }
}

#[cfg(test)]
mod tests {
    use vodbridge_core::Secret;

    use super::*;

    fn config(servers: &[&str]) -> NatsConfig {
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        serde_json::from_value(
            serde_json::json!({ "servers": servers, "subject": "vod.{event_type}" }),
        )
        .unwrap()
    }

    fn refused(config: &NatsConfig) -> String {
        let status = Arc::new(Status::new("x".into()));
        connect("live", config, 64, status).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn starts_although_no_server_answers() {
        let status = Arc::new(Status::new("x".into()));
        connect("live", &config(&["127.0.0.1:1"]), 64, status).unwrap();
    }

    #[tokio::test]
    async fn a_secret_in_a_server_is_refused_and_not_repeated() {
        for server in [
            "nats://user:hunter2@host",
            "hunter2@host",
            "nats://[hunter2@",
        ] {
            let message = refused(&config(&["nats://first:4222", server]));
            assert!(
                message.contains("server 2") && !message.contains("hunter2"),
                "{message}"
            );
        }
    }

    #[tokio::test]
    async fn says_what_is_wrong() {
        assert!(refused(&config(&[])).contains("empty"));
        for server in ["http://host", "ws://host", "nats://"] {
            assert!(refused(&config(&[server])).contains(server));
        }
        let mut half = config(&["nats://host"]);
        half.user = Some("user".into());
        assert!(refused(&half).contains("`password`"));
        half.password = Some(Secret::new("hunter2"));
        half.token = Some(Secret::new("hunter2"));
        assert!(!refused(&half).contains("hunter2"));
        let mut missing = config(&["nats://host"]);
        missing.credentials_file = Some("/none/such.creds".into());
        assert!(refused(&missing).contains("/none/such.creds"));
        for stream in ["", "a b", "a.b", "a/b", ">"] {
            let mut odd = config(&["nats://host"]);
            odd.stream = Some(stream.into());
            assert!(refused(&odd).contains("no stream name"));
        }
        let mut dots = config(&["nats://host"]);
        dots.subject = vodbridge_core::Template::parse("vod..{event_type}").unwrap();
        assert!(refused(&dots).contains("empty token"));
    }

    #[test]
    fn the_delay_grows_to_a_second() {
        let delays: Vec<u128> = [1, 2, 3, 10, 11, 1000].map(|n| delay(n).as_millis()).into();
        assert_eq!(delays, [0, 2, 4, 512, 1000, 1000]);
    }
}
