//! The role of a Kubernetes service account on TKE: its identity token is traded for a key.

use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use vodbridge_core::Secret;
use vodbridge_vod::api::api_error;

use super::role::{ask, until};
use super::{CredentialsError, Issued, Key};
use crate::cloud::TkeOidcConfig;
use crate::cloud::http::Http;

const STS: &str = "https://sts.tencentcloudapi.com";
const VERSION: &str = "2018-08-13";
/// How long a key is asked for, in seconds; the vendor's default.
const LIFE: u64 = 7200;
const REMEDY: &str = "check the role, the identity provider and the service account's token";

/// Asks the token service.
pub(super) struct Oidc {
    endpoint: String,
    region: String,
    provider_id: String,
    role_arn: String,
    token_file: PathBuf,
    http: Http,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    response: Response,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    credentials: Temporary,
    expired_time: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Temporary {
    tmp_secret_id: String,
    tmp_secret_key: String,
    token: String,
}

impl Oidc {
    pub(super) fn new(
        config: &TkeOidcConfig,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CredentialsError> {
        let part = |given: Option<String>, key: &str, name: &str| {
            given
                .or_else(|| variable(name).filter(|value| !value.is_empty()))
                .ok_or_else(|| {
                    let what = format!("tke_oidc has no {key}, and {name} is not set");
                    CredentialsError::new(what, "write it, or let TKE set the variable")
                })
        };
        let file = config.web_identity_token_file.as_ref();
        let file = file.map(|file| file.to_string_lossy().into_owned());
        let endpoint = config.endpoint.as_deref().unwrap_or(STS);
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            region: part(config.region.clone(), "region", "TKE_REGION")?,
            provider_id: part(config.provider_id.clone(), "provider_id", "TKE_PROVIDER_ID")?,
            role_arn: part(config.role_arn.clone(), "role_arn", "TKE_ROLE_ARN")?,
            token_file: part(
                file,
                "web_identity_token_file",
                "TKE_WEB_IDENTITY_TOKEN_FILE",
            )?
            .into(),
            http: Http::new(&endpoint.parse().unwrap_or_default()),
        })
    }

    pub(super) fn describe(&self) -> String {
        format!("the role {} by TKE", self.role_arn)
    }

    /// The token file is read each time: Kubernetes changes it.
    pub(super) async fn ask(&self) -> Result<Issued, CredentialsError> {
        let token = tokio::fs::read_to_string(&self.token_file).await;
        let token = token.map_err(|error| {
            let what = format!("the file {} cannot be read", self.token_file.display());
            CredentialsError::new(what, REMEDY).because(error)
        })?;
        let body = serde_json::json!({
            "ProviderId": self.provider_id,
            "WebIdentityToken": token.trim(),
            "RoleArn": self.role_arn,
            "RoleSessionName": "vodbridge",
            "DurationSeconds": LIFE,
        });
        let failed = || CredentialsError::new("the token service cannot be asked", REMEDY);
        let request = Request::post(&self.endpoint)
            .header(AUTHORIZATION, "SKIP")
            .header(CONTENT_TYPE, "application/json")
            .header("X-TC-Action", "AssumeRoleWithWebIdentity")
            .header("X-TC-Version", VERSION)
            .header("X-TC-Region", &self.region)
            .header("X-TC-Timestamp", now())
            .body(Full::new(Bytes::from(body.to_string())));
        let body = ask(&self.http, request, "the token service", REMEDY).await?;
        match api_error(&body) {
            Ok(None) => {}
            Ok(Some(error)) => return Err(failed().because(error)),
            Err(error) => return Err(failed().because(error)),
        }
        let Answer { response } = serde_json::from_slice(&body)
            .map_err(|_| CredentialsError::new("the token service gives no key", REMEDY))?;
        let key = Key {
            id: response.credentials.tmp_secret_id,
            key: Secret::new(response.credentials.tmp_secret_key),
            token: Some(Secret::new(response.credentials.token)),
        };
        let left = until(response.expired_time);
        Issued::passing(key, left, left / 10)
    }
}

fn now() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
