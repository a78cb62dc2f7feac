//! The event queue's API on a real socket, whose calls wait until the schedule answers them.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::model::{Model, Pulled};

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The events that a pull brings; none: the queue is empty.
    Events(Vec<Pulled>),
    /// A confirm is done.
    Done,
    /// An error of the cloud.
    Error(&'static str),
    /// The connection ends without an answer.
    Nothing,
}

/// What a call is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    Pull,
    Confirm(Vec<String>),
}

struct Waiting {
    number: u64,
    ask: Ask,
    sent: Instant,
    reply: oneshot::Sender<Reply>,
}

/// A connection of its own over the same loopback. What was sent before its byte is there when the
/// byte is: on a busy machine that can take a while, in which a paused clock would not stand still.
pub(crate) struct Plumb(TcpStream, TcpStream);

impl Plumb {
    pub(crate) async fn new() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let there = TcpStream::connect(listener.local_addr()?).await?;
        there.set_nodelay(true)?;
        Ok(Self(there, listener.accept().await?.0))
    }

    /// Resolves when all that was sent so far is there.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        self.0.try_write(&[0])?;
        loop {
            // Without waiting for the socket, since the clock would go on meanwhile.
            yield_now().await;
            match self.1.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

/// The cloud.
pub(crate) struct Cloud {
    model: Arc<Mutex<Model>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Body {
    event_handles: Option<Vec<String>>,
}

impl Cloud {
    /// Serves on a free port of the loopback until its runtime ends; gives the endpoint.
    pub(crate) async fn serve(model: Arc<Mutex<Model>>) -> (Arc<Self>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let cloud = Arc::new(Self {
            model,
            state: Mutex::default(),
        });
        let serving = cloud.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let cloud = serving.clone();
                let service = service_fn(move |request| cloud.clone().answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (cloud, endpoint)
    }

    /// Answers one of the calls that wait, if it is one that the reply is for.
    pub(crate) fn reply(&self, pick: usize, to_pull: bool, reply: Reply) -> bool {
        let mut state = self.state();
        let is_fit = |waiting: &&Waiting| (waiting.ask == Ask::Pull) == to_pull;
        let fit: Vec<u64> = state
            .waiting
            .iter()
            .filter(is_fit)
            .map(|w| w.number)
            .collect();
        let Some(number) = fit.get(pick % fit.len().max(1)) else {
            return false;
        };
        let at = state.waiting.iter().position(|w| w.number == *number);
        let waiting = state.waiting.remove(at.expect("it was found"));
        drop(state);
        let mut model = self.model();
        match (&waiting.ask, &reply) {
            (Ask::Pull, Reply::Events(events)) => model.brought(events, waiting.sent),
            (Ask::Confirm(handles), Reply::Done) => model.confirmed(handles),
            _ => {}
        }
        drop(model);
        waiting.reply.send(reply).is_ok()
    }

    /// How many calls wait: pulls, confirms.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.state();
        let pulls = state.waiting.iter().filter(|w| w.ask == Ask::Pull).count();
        (pulls, state.waiting.len() - pulls)
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, &'static str> {
        let action = request.headers().get("X-TC-Action").cloned();
        let body = Limited::new(request.into_body(), 1 << 20);
        let body = read(body).await.ok_or("half a request")?;
        let Ok(body) = serde_json::from_slice::<Body>(&body) else {
            return Err("no request");
        };
        let ask = match body.event_handles {
            Some(handles) => Ask::Confirm(handles),
            None => Ask::Pull,
        };
        let is_pull = action.is_some_and(|action| action == "PullEvents");
        self.model()
            .must(is_pull == (ask == Ask::Pull), || "an odd call".to_owned());
        let (reply, replied) = oneshot::channel();
        let sent = Instant::now();
        let number = {
            let mut state = self.state();
            state.count += 1;
            let number = state.count;
            state.waiting.push(Waiting {
                number,
                ask: ask.clone(),
                sent,
                reply,
            });
            number
        };
        let (pulls, _) = self.waiting();
        match &ask {
            Ask::Pull => self.model().pulls(pulls, sent),
            Ask::Confirm(handles) => self.model().confirms(handles, sent),
        }
        let _gone = Gone(&self, number);
        match replied.await {
            Ok(Reply::Nothing) | Err(_) => Err("as scheduled"),
            Ok(reply) => Ok(Response::new(Full::new(text(&reply).into()))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever asked has given up, or has its answer.
struct Gone<'a>(&'a Cloud, u64);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        let number = self.1;
        self.0
            .state()
            .waiting
            .retain(|waiting| waiting.number != number);
    }
}

async fn read(mut body: Limited<Incoming>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame.ok()?.into_data().ok()?);
    }
    Some(bytes)
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Events(events) => {
            let events: Vec<_> = events.iter().map(Pulled::text).collect();
            format!(
                r#"{{"Response":{{"EventSet":[{}],"RequestId":"r"}}}}"#,
                events.join(",")
            )
        }
        Reply::Done => r#"{"Response":{"RequestId":"r"}}"#.to_owned(),
        Reply::Error(code) => format!(
            r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"as scheduled"}},"RequestId":"r"}}}}"#
        ),
        Reply::Nothing => unreachable!("it has no text"),
    }
}
