//! TC3-HMAC-SHA256, the signature of a call to the cloud's API: both the caller's side and the
//! server's.
//!
//! Always `POST /` without a query. Vendor: 签名方法 v3,
//! <https://cloud.tencent.com/document/api/362/4208>.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use vodbridge_core::Secret;

use crate::identity::hex;

/// The method's name: scheme of the `Authorization` header and first line of what is signed.
pub const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// How far the cloud lets `X-TC-Timestamp` be from its own clock, either way.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The last part of every scope.
const TERMINATOR: &str = "tc3_request";

/// The headers that this crate signs, in the order that they are signed in.
const SIGNED_HEADERS: &str = "content-type;host";

/// 9999-12-31T23:59:59Z: the last second whose year has four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// What of a call is signed. Header values go out exactly as they stand here.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The product, such as `vod`.
    pub service: &'a str,
    /// The `Host` header, with the port where it has one.
    pub host: &'a str,
    /// The `Content-Type` header.
    pub content_type: &'a str,
    /// The whole body.
    pub body: &'a [u8],
    /// The `X-TC-Timestamp` header, in UNIX seconds.
    pub timestamp: u64,
}

impl Request<'_> {
    /// The value of the `Authorization` header. It signs `content-type` and `host`.
    pub fn authorization(&self, secret_id: &str, secret_key: &Secret) -> String {
        let date = date(self.timestamp);
        let signature = Signed {
            headers: [("content-type", self.content_type), ("host", self.host)],
            signed_headers: SIGNED_HEADERS,
            body: self.body,
            timestamp: self.timestamp,
            date: &date,
            service: self.service,
        }
        .signature(secret_key);
        let (service, signature) = (self.service, hex(&signature));
        format!(
            "{ALGORITHM} Credential={secret_id}/{date}/{service}/{TERMINATOR}, \
             SignedHeaders={SIGNED_HEADERS}, Signature={signature}"
        )
    }
}

/// An `Authorization` header, as the server reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization<'a> {
    secret_id: &'a str,
    date: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: [u8; 32],
}

/// Why a header is not one of this method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AuthorizationError {
    /// It names another method.
    #[error("the Authorization header is not of the method {ALGORITHM}")]
    Method,
    /// One of its three parts is not there, or there twice.
    #[error("the Authorization header needs {0} once")]
    Part(&'static str),
    /// The credential is not id, date, service and `tc3_request`.
    #[error("the credential is not SECRET_ID/DATE/SERVICE/{TERMINATOR}")]
    Credential,
    /// `content-type` or `host` is not signed.
    #[error("content-type and host must be signed")]
    SignedHeaders,
    /// The signature is not 64 hex digits.
    #[error("the signature is not 64 hex digits")]
    Signature,
}

impl<'a> Authorization<'a> {
    /// Reads the value of an `Authorization` header.
    pub fn parse(header: &'a str) -> Result<Self, AuthorizationError> {
        let (method, parts) = header.split_once(' ').unwrap_or((header, ""));
        if method != ALGORITHM {
            return Err(AuthorizationError::Method);
        }
        let part = |name: &'static str| {
            let values = parts.split(',').map(str::trim);
            let mut values = values.filter_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value),
                _ => Err(AuthorizationError::Part(name)),
            }
        };
        let scope: Vec<&str> = part("Credential")?.split('/').collect();
        let [secret_id, date, service, TERMINATOR] = scope[..] else {
            return Err(AuthorizationError::Credential);
        };
        let signed_headers = part("SignedHeaders")?;
        let signs = |name| signed_headers.split(';').any(|signed| signed == name);
        if !signs("content-type") || !signs("host") {
            return Err(AuthorizationError::SignedHeaders);
        }
        let signature = bytes(part("Signature")?).ok_or(AuthorizationError::Signature)?;
        Ok(Self {
            secret_id,
            date,
            service,
            signed_headers,
            signature,
        })
    }

    /// Who says to have signed.
    pub fn secret_id(&self) -> &'a str {
        self.secret_id
    }

    /// The UTC date of the scope, `YYYY-MM-DD`.
    pub fn date(&self) -> &'a str {
        self.date
    }

    /// The product of the scope.
    pub fn service(&self) -> &'a str {
        self.service
    }

    /// Whether `secret_key` gives this signature for a request with these headers and this body.
    /// `header` finds a header by its lower-case name; `timestamp` is the one that the request
    /// came with, and whether it is near enough to now is the caller's to judge.
    ///
    /// How long it takes says nothing of the right signature.
    pub fn verify<'h>(
        &self,
        secret_key: &Secret,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        timestamp: u64,
    ) -> bool {
        let names = self.signed_headers.split(';');
        let headers: Option<Vec<_>> = names.map(|name| Some((name, header(name)?))).collect();
        let Some(headers) = headers.filter(|_| self.date == date(timestamp)) else {
            return false;
        };
        let signed = Signed {
            headers,
            signed_headers: self.signed_headers,
            body,
            timestamp,
            date: self.date,
            service: self.service,
        };
        signed.signature(secret_key).ct_eq(&self.signature).into()
    }
}

/// What either side puts together before it signs.
struct Signed<'a, H> {
    headers: H,
    signed_headers: &'a str,
    body: &'a [u8],
    timestamp: u64,
    date: &'a str,
    service: &'a str,
}

impl<'a, H: AsRef<[(&'a str, &'a str)]>> Signed<'a, H> {
    fn canonical_request(&self) -> String {
        let mut text = "POST\n/\n\n".to_owned();
        for (name, value) in self.headers.as_ref() {
            text.extend([name, ":", &value.trim().to_lowercase(), "\n"]);
        }
        text.extend(["\n", self.signed_headers, "\n", &sha256(self.body)]);
        text
    }

    fn signature(&self, secret_key: &Secret) -> [u8; 32] {
        let (timestamp, date, service) = (self.timestamp, self.date, self.service);
        let request = sha256(self.canonical_request().as_bytes());
        let text = format!("{ALGORITHM}\n{timestamp}\n{date}/{service}/{TERMINATOR}\n{request}");
        let [.., signing] = keys(secret_key, date, service);
        hmac(&signing, &text)
    }
}

/// SecretDate, SecretService and SecretSigning, each made from the one before.
fn keys(secret_key: &Secret, date: &str, service: &str) -> [[u8; 32]; 3] {
    let secret_date = hmac(format!("TC3{}", secret_key.expose()).as_bytes(), date);
    let secret_service = hmac(&secret_date, service);
    let secret_signing = hmac(&secret_service, TERMINATOR);
    [secret_date, secret_service, secret_signing]
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    // A key of any length will do: a longer one is hashed, a shorter one filled up.
    let block = Hmac::<Sha256>::new_from_slice(key);
    block.map_or([0; 32], |mac| {
        mac.chain_update(text).finalize().into_bytes().into()
    })
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The UTC date of a time in UNIX seconds, `YYYY-MM-DD`.
fn date(timestamp: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp.min(LAST_SECOND));
    let mut text = humantime::format_rfc3339_seconds(time).to_string();
    text.truncate("YYYY-MM-DD".len());
    text
}

/// The 32 bytes that 64 hex digits stand for.
fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits: [u32; 64] = digits?.try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (pair[0] << 4 | pair[1]) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
