//! A server that answers what a test says, one request after the other.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What the server says to one request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    pub(super) after: Duration,
}

impl Answer {
    pub(super) fn new(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            body: body.into(),
            after: Duration::ZERO,
        }
    }
}

/// A request that came.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A server on a free port of the loopback; it ends with the test's runtime.
pub(super) struct Fake {
    pub(super) endpoint: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<Mutex<usize>>,
}

impl Fake {
    /// Gives these answers, then breaks connections.
    pub(super) async fn serve(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            endpoint: format!("http://{}", listener.local_addr().unwrap()),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, connections) = (fake.asked.clone(), fake.connections.clone());
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *connections.lock().unwrap() += 1;
                let (asked, answers) = (asked.clone(), answers.clone());
                let service = hyper::service::service_fn(move |request| {
                    answer(request, asked.clone(), answers.clone())
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        fake
    }

    /// What was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// How many connections came so far.
    pub(super) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        text.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
    asked.lock().unwrap().push(Asked {
        path: head.uri.to_string(),
        headers: head.headers,
        body: String::from_utf8(text).unwrap(),
    });
    let next = answers.lock().unwrap().pop_front();
    let answer = next.expect("the test gives an answer to each request");
    tokio::time::sleep(answer.after).await;
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    Ok(response)
}
