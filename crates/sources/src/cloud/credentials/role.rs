//! The role of a virtual machine, from its metadata service.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;
use vodbridge_core::Secret;

use super::{CredentialsError, Issued, Key};
use crate::cloud::CvmRoleConfig;
use crate::cloud::http::Http;

const METADATA: &str = "http://metadata.tencentyun.com";
const PATH: &str = "/latest/meta-data/cam/security-credentials/";
/// The next key is asked for when so much of the old one's life is left.
const AHEAD: Duration = Duration::from_secs(300);
/// No temporary key lives as long.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const CALL: Duration = Duration::from_secs(5);
const LARGEST: usize = 64 << 10;
const REMEDY: &str = "give this machine a CAM role, or name other credentials: \
                      secret_id and secret_key, profile or tke_oidc";

/// Asks the metadata service.
pub(super) struct Role {
    endpoint: String,
    role: Option<String>,
    http: Http,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    code: String,
    #[serde(default)]
    tmp_secret_id: String,
    #[serde(default)]
    tmp_secret_key: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    expired_time: u64,
}

impl Role {
    pub(super) fn new(config: &CvmRoleConfig) -> Self {
        let endpoint = config.endpoint.as_deref().unwrap_or(METADATA);
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            role: config.role.clone(),
            http: Http::new(&endpoint.parse().unwrap_or_default()),
        }
    }

    pub(super) fn describe(&self) -> String {
        match &self.role {
            Some(role) => format!("the machine's role {role}"),
            None => "the machine's role".to_owned(),
        }
    }

    pub(super) async fn ask(&self) -> Result<Issued, CredentialsError> {
        let role = match &self.role {
            Some(role) => role.clone(),
            None => {
                let role = self.get("").await?;
                String::from_utf8_lossy(&role).trim().to_owned()
            }
        };
        let answer = self.get(&role).await?;
        let answer: Answer = serde_json::from_slice(&answer)
            .map_err(|_| CredentialsError::new("the metadata service answers no JSON", REMEDY))?;
        if answer.code != "Success" || answer.tmp_secret_key.is_empty() {
            let what = format!("the metadata service gives no key: {}", answer.code);
            return Err(CredentialsError::new(what, REMEDY));
        }
        let key = Key {
            id: answer.tmp_secret_id,
            key: Secret::new(answer.tmp_secret_key),
            token: Some(Secret::new(answer.token)),
        };
        Issued::passing(key, until(answer.expired_time), AHEAD)
    }

    async fn get(&self, role: &str) -> Result<Bytes, CredentialsError> {
        let request = Request::get(format!("{}{PATH}{role}", self.endpoint)).body(Full::default());
        ask(&self.http, request, "the metadata service", REMEDY).await
    }
}

/// The body of a good answer of the service named `service`.
pub(super) async fn ask(
    http: &Http,
    request: hyper::http::Result<Request<Full<Bytes>>>,
    service: &str,
    remedy: &'static str,
) -> Result<Bytes, CredentialsError> {
    let failed = || CredentialsError::new(format!("{service} cannot be asked"), remedy);
    let request = request.map_err(|error| failed().because(error))?;
    let answer = timeout(CALL, http.send(request, LARGEST)).await;
    let (status, body) = answer
        .map_err(|error| failed().because(error))?
        .map_err(|error| failed().because(error))?;
    if status != StatusCode::OK {
        let what = format!("{service} answers with status {status}");
        return Err(CredentialsError::new(what, remedy));
    }
    Ok(body)
}

/// How long until a time in UNIX seconds; a year at most.
pub(super) fn until(unix_seconds: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let left = Duration::from_secs(unix_seconds).saturating_sub(now.unwrap_or_default());
    left.min(LONGEST)
}
