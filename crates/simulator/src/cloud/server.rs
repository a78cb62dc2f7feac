//! The cloud as an HTTP server.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::api::Api;
use super::queue::Queue;
use super::reply::{self, ApiError};
use super::{Action, CloudConfig};

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
        let api = Arc::new(Api::new(config));
        let server = tokio::spawn(serve(listener, api.clone())).abort_handle();
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

    /// How often calls of `action` were answered with the error `code`; an empty one: without an
    /// error.
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

/// Accepts until it is aborted; the connections go with it.
async fn serve(listener: TcpListener, api: Arc<Api>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, api.clone()));
                }
                Err(_out_of_files) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
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

async fn answer(
    request: Request<Incoming>,
    api: &Api,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if head.uri.path() != "/" {
        return Ok(plain(StatusCode::NOT_FOUND, "no such path"));
    }
    let reply = match body_of(body).await {
        _ if head.method != Method::POST => Err(ApiError::new(
            "UnsupportedProtocol",
            "Only POST with a JSON body is supported.",
        )),
        Ok(Some(body)) => api.answer(&head.headers, &body).await,
        Ok(None) => Err(ApiError::new(
            "RequestSizeLimitExceeded",
            "The request is larger than 10 MB.",
        )),
        Err(_cut) => Err(ApiError::new("InvalidRequest", "The request broke off.")),
    };
    let body = reply::body(&reply, &reply::request_id());
    let mut response = Response::new(Full::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
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

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
