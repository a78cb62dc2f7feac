//! Who calls the API, signed as a client signs.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Cloud, CloudConfig, Queue};
use vodbridge_vod::signature::tc3;

pub(crate) const APPLICATION: u64 = 1_500_012_345;
const JSON: &str = "application/json";

/// A cloud with one account that calls need not spare.
pub(crate) async fn cloud(adjust: impl FnOnce(&mut CloudConfig)) -> (Cloud, Queue, Caller) {
    let mut config = CloudConfig::new("AKIDexample", Secret::new("key"), [APPLICATION]);
    adjust(&mut config);
    let cloud = Cloud::bind(([127, 0, 0, 1], 0).into(), config)
        .await
        .unwrap();
    let queue = cloud.queue(APPLICATION).unwrap();
    let caller = Caller::new(&cloud);
    (cloud, queue, caller)
}

/// A client with a key. What stands in its fields goes into every call.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    host: String,
    pub(crate) secret_id: &'static str,
    pub(crate) secret_key: &'static str,
    /// How far its clock is ahead, in seconds.
    pub(crate) ahead: i64,
    pub(crate) service: &'static str,
    pub(crate) version: &'static str,
    pub(crate) token: Option<&'static str>,
    /// A header that it leaves out.
    pub(crate) without: &'static str,
}

impl Caller {
    pub(crate) fn new(cloud: &Cloud) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            host: cloud.address().to_string(),
            secret_id: "AKIDexample",
            secret_key: "key",
            ahead: 0,
            service: "vod",
            version: "2018-07-17",
            token: None,
            without: "",
        }
    }

    /// The status and the body; None where the connection was closed.
    pub(crate) async fn send(&self, action: &str, body: &str) -> Option<(u16, String)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let timestamp = now.as_secs().checked_add_signed(self.ahead).unwrap();
        let signed = tc3::Request {
            service: self.service,
            host: &self.host,
            content_type: JSON,
            body: body.as_bytes(),
            timestamp,
        };
        let authorization = signed.authorization(self.secret_id, &Secret::new(self.secret_key));
        let timestamp = timestamp.to_string();
        let headers = [
            ("content-type", JSON),
            ("x-tc-action", action),
            ("x-tc-version", self.version),
            ("x-tc-timestamp", &timestamp),
            ("authorization", &authorization),
            ("x-tc-token", self.token.unwrap_or_default()),
        ];
        let mut request = Request::post(format!("http://{}/", self.host));
        for (name, value) in headers {
            if name != self.without && !value.is_empty() {
                request = request.header(name, value);
            }
        }
        self.exchange(request.body(body.to_owned().into()).unwrap())
            .await
    }

    /// What `Response` has.
    pub(crate) async fn call(&self, action: &str, parameters: Value) -> Value {
        let (status, body) = self.send(action, &parameters.to_string()).await.unwrap();
        assert_eq!(status, 200, "{body}");
        let mut body: Value = serde_json::from_str(&body).unwrap();
        let response = body["Response"].take();
        assert_eq!(response["RequestId"].as_str().unwrap().len(), 36);
        response
    }

    /// The code of the error that a call ends with; empty without one.
    pub(crate) async fn code(&self, action: &str, parameters: Value) -> String {
        let response = self.call(action, parameters).await;
        let code = response["Error"]["Code"].as_str().unwrap_or_default();
        let message = response["Error"]["Message"].as_str().unwrap_or_default();
        assert_eq!(code.is_empty(), message.is_empty(), "{response}");
        code.to_owned()
    }

    /// One pull of [`APPLICATION`].
    pub(crate) async fn pull(&self) -> Vec<Value> {
        let response = self
            .call("PullEvents", json!({ "SubAppId": APPLICATION }))
            .await;
        response["EventSet"].as_array().cloned().unwrap_or_default()
    }

    /// Confirms events; the code of the error, if any.
    pub(crate) async fn confirm(&self, events: &[Value]) -> String {
        let handles: Vec<_> = events.iter().map(|event| &event["EventHandle"]).collect();
        let parameters = json!({ "SubAppId": APPLICATION, "EventHandles": handles });
        self.code("ConfirmEvents", parameters).await
    }

    /// A request to the control API.
    pub(crate) async fn control(&self, method: Method, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}/_control/{path}", self.host))
            .body(Full::from(body.to_owned()))
            .unwrap();
        self.exchange(request).await.unwrap()
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Option<(u16, String)> {
        let mut response = self.client.request(request).await.ok()?;
        let mut body = BytesMut::new();
        while let Some(frame) = response.frame().await {
            body.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        let body = String::from_utf8(body.to_vec()).unwrap();
        Some((response.status().as_u16(), body))
    }
}
