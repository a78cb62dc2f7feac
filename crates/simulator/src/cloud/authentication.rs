//! Whose call it is: TC3-HMAC-SHA256, <https://cloud.tencent.com/document/api/362/4208>.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use vodbridge_core::Secret;
use vodbridge_vod::signature::tc3::{Authorization, CLOCK_TOLERANCE};

use super::TimeScale;
use super::config::{Account, Key};
use super::parameters::missing;
use super::reply::ApiError;

/// X-TC-Timestamp counts seconds, so less than this would refuse a clock that is right.
const SMALLEST_TOLERANCE: Duration = Duration::from_secs(2);

/// How far the caller's clock may be off.
pub(super) fn tolerance(scale: TimeScale) -> Duration {
    scale.real(CLOCK_TOLERANCE).max(SMALLEST_TOLERANCE)
}

/// The place of the account whose key signed the call.
pub(super) fn account(
    accounts: &[Account],
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
    tolerance: Duration,
) -> Result<usize, ApiError> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let timestamp = header("x-tc-timestamp").ok_or_else(|| missing("Timestamp"))?;
    let timestamp: u64 = timestamp
        .parse()
        .map_err(|_| ApiError::new("InvalidParameter", "The timestamp is not a number."))?;
    let authorization = header(AUTHORIZATION.as_str()).unwrap_or_default();
    let authorization = Authorization::parse(authorization).map_err(|error| {
        let message = format!("The request's `Authorization` is invalid: {error}.");
        ApiError::new("AuthFailure.InvalidAuthorization", message)
    })?;
    if !near(timestamp, now, tolerance) {
        return Err(ApiError::new(
            "AuthFailure.SignatureExpire",
            "The provided signature has expired: the timestamp is too far from the server's time.",
        ));
    }
    let (place, key) = find(accounts, authorization.secret_id()).ok_or_else(|| {
        ApiError::new(
            "AuthFailure.SecretIdNotFound",
            "The SecretId is not found, please ensure that your SecretId is correct.",
        )
    })?;
    let genuine = authorization.service() == "vod"
        && authorization.verify(&key.secret_key, header, body, timestamp);
    if !genuine {
        return Err(ApiError::new(
            "AuthFailure.SignatureFailure",
            "The provided credentials could not be validated. Please check your signature is correct.",
        ));
    }
    let token = header("x-tc-token").unwrap_or_default();
    if token != key.token.as_ref().map_or("", Secret::expose) {
        return Err(ApiError::new(
            "AuthFailure.TokenFailure",
            "The token is invalid or has expired.",
        ));
    }
    Ok(place)
}

fn find<'a>(accounts: &'a [Account], secret_id: &str) -> Option<(usize, &'a Key)> {
    accounts.iter().enumerate().find_map(|(place, account)| {
        let mut keys = account.keys.iter();
        Some((place, keys.find(|key| key.secret_id == secret_id)?))
    })
}

fn near(timestamp: u64, now: SystemTime, tolerance: Duration) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let timestamp = Duration::from_secs(timestamp);
    now.abs_diff(timestamp) <= tolerance + Duration::from_secs(1)
}
