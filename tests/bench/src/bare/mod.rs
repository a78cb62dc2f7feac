//! The bare loop: reads the body, hands it to the broker's client, awaits the ack, answers.

mod kafka;
mod nats;
pub(crate) mod pull;
mod rabbitmq;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serve as the bare loop.
#[derive(Args)]
pub(crate) struct Bare {
    #[arg(value_enum)]
    broker: Broker,
    /// What the client connects to.
    address: String,
    /// Port to listen on.
    #[arg(long)]
    port: u16,
    /// Taken in turn.
    #[arg(long, value_delimiter = ',')]
    topics: Vec<String>,
    /// Kafka's `linger.ms`.
    #[arg(long, default_value = "0")]
    linger: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Broker {
    Kafka,
    #[value(name = "rabbitmq")]
    RabbitMq,
    Nats,
}

enum Client {
    Kafka(kafka::Publisher),
    RabbitMq(rabbitmq::Publisher),
    Nats(nats::Publisher),
}

struct Server {
    client: Client,
    topics: Vec<String>,
    next: AtomicUsize,
}

impl Bare {
    pub(crate) fn run(self) -> Result<()> {
        crate::runtime()?.block_on(self.serve())
    }

    async fn serve(self) -> Result<()> {
        let address = &self.address;
        let client = match self.broker {
            Broker::Kafka => Client::Kafka(kafka::Publisher::new(address, &self.linger).await?),
            Broker::RabbitMq => Client::RabbitMq(rabbitmq::Publisher::new(address).await?),
            Broker::Nats => Client::Nats(nats::Publisher::new(address).await?),
        };
        let server = Arc::new(Server {
            client,
            topics: self.topics,
            next: AtomicUsize::new(0),
        });
        let socket = TcpListener::bind(("127.0.0.1", self.port)).await?;
        loop {
            let (stream, _) = socket.accept().await?;
            stream.set_nodelay(true)?;
            let server = server.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| server.answer(request));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // The load hangs up when it is done.
                connection.await.ok();
            });
        }
    }
}

impl Server {
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let stored = match read(request.into_body()).await {
            Ok(body) => self.publish(body).await,
            Err(error) => Err(error.into()),
        };
        let mut answer = Response::new(Full::from("ok"));
        if let Err(error) = stored {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            *answer.body_mut() = format!("{error:#}").into();
        }
        Ok(answer)
    }

    async fn publish(&self, body: Bytes) -> Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let topic = &self.topics[number % self.topics.len()];
        match &self.client {
            Client::Kafka(client) => client.publish(topic, number, &body).await,
            Client::RabbitMq(client) => client.publish(topic, number, body).await,
            Client::Nats(client) => client.publish(topic, body).await,
        }
    }
}

/// The load is our own, so that its bodies need no cap.
async fn read(mut body: Incoming) -> Result<Bytes, hyper::Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if whole.is_empty() && hyper::body::Body::is_end_stream(&body) {
            return Ok(data);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
