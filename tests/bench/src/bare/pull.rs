//! The bare loop of the queue: pulls, appends what came to a file, fsyncs it, and confirms.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use vodbridge_core::Secret;
use vodbridge_vod::api::{
    Action, SERVICE, VERSION, api_error, confirm_events, event_handle, pull_events, split_events,
};
use vodbridge_vod::signature::tc3;

use super::read;
use crate::cloud::{SECRET_ID, SECRET_KEY};

const JSON: &str = "application/json";
/// A file as long as this is begun again.
const LONGEST: u64 = 64 << 20;

/// Pull as the bare loop.
#[derive(Args)]
pub(crate) struct Pull {
    /// host:port of the cloud.
    address: String,
    sub_app_id: u64,
    /// How many pull, each with a connection of its own, one call at a time.
    pullers: usize,
    /// Where the file is.
    directory: PathBuf,
}

/// The events of an answer, and who waits for them to be durable.
struct Append {
    events: Vec<Bytes>,
    answer: oneshot::Sender<()>,
}

impl Pull {
    pub(crate) fn run(self) -> Result<()> {
        crate::runtime()?.block_on(self.pull_all())
    }

    async fn pull_all(self) -> Result<()> {
        let file = File::create(self.directory.join("events.ndjson"))?;
        let (appends, waiting) = mpsc::channel(1024);
        std::thread::spawn(move || write(file, waiting));
        let start = |_| tokio::spawn(pull(self.address.clone(), self.sub_app_id, appends.clone()));
        let pullers: Vec<_> = (0..self.pullers).map(start).collect();
        for puller in pullers {
            puller.await??;
        }
        Ok(())
    }
}

/// Takes what waits and makes it durable with one fsync.
fn write(mut file: File, mut waiting: mpsc::Receiver<Append>) -> Result<()> {
    let mut group = Vec::new();
    let mut text = Vec::new();
    while waiting.blocking_recv_many(&mut group, 1024) > 0 {
        for event in group.iter().flat_map(|append: &Append| &append.events) {
            text.extend_from_slice(event);
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_data()?;
        text.clear();
        for append in group.drain(..) {
            append.answer.send(()).ok();
        }
        if file.metadata()?.len() > LONGEST {
            file.set_len(0)?;
            std::io::Seek::rewind(&mut file)?;
        }
    }
    Ok(())
}

async fn pull(address: String, sub_app_id: u64, appends: mpsc::Sender<Append>) -> Result<()> {
    let mut cloud = Cloud::open(address).await?;
    loop {
        let answer = cloud
            .call(Action::PullEvents, pull_events(sub_app_id))
            .await?;
        let pulled = split_events(&answer)?.events;
        let handles: Vec<_> = pulled.iter().filter_map(|raw| event_handle(raw)).collect();
        if handles.is_empty() {
            continue;
        }
        let events = pulled.iter().map(|event| answer.slice_ref(event)).collect();
        let (done, stored) = oneshot::channel();
        let append = Append {
            events,
            answer: done,
        };
        appends
            .send(append)
            .await
            .ok()
            .context("there is no writer")?;
        stored.await?;
        let handles: Vec<_> = handles.iter().map(|handle| &**handle).collect();
        let confirm = confirm_events(sub_app_id, &handles);
        let answer = cloud.call(Action::ConfirmEvents, confirm).await?;
        ensure!(api_error(&answer)?.is_none(), "a confirm was refused");
    }
}

/// One connection to the cloud.
struct Cloud {
    host: String,
    key: Secret,
    connection: SendRequest<Full<Bytes>>,
}

impl Cloud {
    async fn open(host: String) -> Result<Self> {
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(Self {
            host,
            key: Secret::new(SECRET_KEY),
            connection,
        })
    }

    async fn call(&mut self, action: Action, body: Vec<u8>) -> Result<Bytes> {
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let signed = tc3::Request {
            service: SERVICE,
            host: &self.host,
            content_type: JSON,
            body: &body,
            timestamp,
        };
        let request = Request::post("/")
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, JSON)
            .header(AUTHORIZATION, signed.authorization(SECRET_ID, &self.key))
            .header("X-TC-Action", action.name())
            .header("X-TC-Version", VERSION)
            .header("X-TC-Timestamp", timestamp)
            .body(Full::from(body))?;
        self.connection.ready().await?;
        let answer = self.connection.send_request(request).await?;
        ensure!(answer.status() == StatusCode::OK, "{}", answer.status());
        Ok(read(answer.into_body()).await?)
    }
}
