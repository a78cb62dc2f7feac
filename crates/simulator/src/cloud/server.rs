//! The cloud as an HTTP server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::api::{Answer, Api};
use super::control::{self, Refused, Told};
use super::ledger::Ledger;
use super::queue::Queue;
use super::reply::{self, ApiError};
use super::{Action, CloudConfig, Fault, Stats, issuing, posting};

/// Largest body of a call: the vendor's 签名方法 v3.
const LARGEST_BODY: usize = 10 * 1024 * 1024;

/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A cloud that listens. It stops when it is dropped, and every connection ends with it.
#[derive(Debug)]
pub struct Cloud {
    address: SocketAddr,
    api: Arc<Api>,
    server: AbortHandle,
}

impl Cloud {
    /// Binds the address, port 0 being any free one, and serves from then on, on the runtime
    /// that it is called on.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn bind(address: SocketAddr, config: CloudConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (scale, place) = (config.time_scale, config.sign_place);
        let api = Arc::new(Api::new(config));
        let mut tasks = JoinSet::new();
        for application in api.applications.values() {
            tasks.spawn(posting::post(application.clone(), scale, place));
        }
        let server = tokio::spawn(serve(listener, api.clone(), tasks)).abort_handle();
        Ok(Self {
            address,
            api,
            server,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client takes for the API's endpoint: `http://HOST:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The events of one application; None of one that no account has.
    pub fn queue(&self, sub_app_id: u64) -> Option<Queue> {
        let application = self.api.applications.get(&sub_app_id)?;
        Some(Queue(application.clone()))
    }

    /// Every queue, by SubAppId.
    pub fn queues(&self) -> impl Iterator<Item = Queue> {
        let applications = self.api.applications.values();
        applications.map(|application| Queue(application.clone()))
    }

    /// Issues events of a queue's stream as time goes by, `rate` a second of the cloud's time:
    /// `events` of them, or without end. It goes on while the future is awaited.
    pub fn issue_at(
        &self,
        queue: &Queue,
        rate: f64,
        events: Option<u64>,
    ) -> impl Future<Output = ()> + Send + use<> {
        issuing::issue(self.api.clone(), queue.clone(), rate, events)
    }

    /// Sets what goes wrong from now on, in place of what did.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.api.set_faults(faults);
    }

    /// All that has happened so far.
    pub fn stats(&self) -> Stats {
        self.api.stats()
    }

    /// How often calls of `action` were answered with the error `code`; `ok`: without one.
    pub fn answered(&self, action: Action, code: &str) -> u64 {
        let answers = self.api.answers();
        answers
            .get(&(action, code.to_owned()))
            .copied()
            .unwrap_or(0)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Accepts until it is aborted; the tasks and the connections go with it.
async fn serve(listener: TcpListener, api: Arc<Api>, mut tasks: JoinSet<()>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    tasks.spawn(connection(stream, api.clone()));
                }
                Err(_out_of_files) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, api: Arc<Api>) {
    // Without it answers are only slower.
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| answer(request, &api));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    // The caller is told all that there is to tell in answers.
    http.serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

type Response = hyper::Response<Either<Full<Bytes>, Ledger>>;

/// The connection is closed without an answer, on purpose.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct Dropped;

async fn answer(request: Request<Incoming>, api: &Api) -> Result<Response, Dropped> {
    let (head, body) = request.into_parts();
    let body = body_of(body).await;
    if head.uri.path().starts_with(control::PREFIX) {
        let body = body.ok().flatten().unwrap_or_default();
        let served = control::serve(api, &head.method, &head.uri, &body);
        return Ok(served.map_or_else(|refused| refusal(&refused), told));
    }
    if head.uri.path() != "/" {
        return Ok(refusal(&Refused::NoSuchPath));
    }
    let answer = match body {
        _ if head.method != Method::POST => Answer::Reply(Err(ApiError::new(
            "UnsupportedProtocol",
            "Only POST with a JSON body is supported.",
        ))),
        Ok(Some(body)) => api.answer(&head.headers, &body).await,
        Ok(None) => Answer::Reply(Err(ApiError::new(
            "RequestSizeLimitExceeded",
            "The request is larger than 10 MB.",
        ))),
        Err(_cut) => Answer::None,
    };
    match answer {
        Answer::Reply(reply) => {
            let body = reply::body(&reply, &reply::request_id());
            Ok(json(StatusCode::OK, body))
        }
        Answer::Status(status) => Ok(json(status, String::new())),
        Answer::None => Err(Dropped),
    }
}

fn told(told: Told) -> Response {
    match told {
        Told::Value(value) => json(StatusCode::OK, value.to_string()),
        Told::Ledger(ledger) => hyper::Response::new(Either::Right(ledger)),
    }
}

fn refusal(refused: &Refused) -> Response {
    let error = serde_json::json!({ "error": refused.to_string() });
    json(refused.status(), error.to_string())
}

fn json(status: StatusCode, body: String) -> Response {
    let mut response = hyper::Response::new(Either::Left(Full::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The whole body; None of one that is too large.
async fn body_of(mut body: Incoming) -> Result<Option<Bytes>, hyper::Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > LARGEST_BODY {
            return Ok(None);
        }
        whole.extend_from_slice(&data);
    }
    Ok(Some(whole.freeze()))
}
