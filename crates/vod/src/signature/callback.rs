//! The signature of a callback: `Sign` is MD5 of key and `T`, `T` a time in UNIX seconds.
//!
//! It covers `T` alone, not the body: who sees one valid pair can send anything until `T`. It
//! proves that the sender knows the key, and is worth that over HTTPS only. Vendor: `SignKey` of
//! <https://cloud.tencent.com/document/api/266/55244>.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use md5::{Digest, Md5};
use subtle::{Choice, ConstantTimeEq};
use thiserror::Error;
use vodbridge_core::Secret;

/// How far `T` may be from now. Both bounds belong to it, counted in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    /// How long ago `T` may have passed.
    pub past: Duration,
    /// How far ahead `T` may lie: a pair that was seen once is good until then.
    pub ahead: Duration,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self {
            past: Duration::from_secs(5 * 60),
            ahead: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// `Sign` and `T` as they were found in one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignFields<'a> {
    /// The signature, 32 hex digits.
    pub sign: Field<'a>,
    /// The time that it covers.
    pub t: Field<'a>,
}

/// A field that should come once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<'a> {
    /// It is not there.
    #[default]
    Absent,
    /// It is there, with this text.
    Once(Cow<'a, str>),
    /// It is there more than once.
    Repeated,
}

/// Why a callback is not taken for the cloud's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// `Sign` or `T` is in neither place.
    #[error("Sign or T is missing: set SignKey in the cloud's callback settings")]
    Missing,
    /// `Sign` or `T` is there more than once, in one place or in both.
    #[error("Sign or T comes more than once")]
    Duplicated,
    /// `Sign` or `T` is empty.
    #[error("Sign or T is empty")]
    Empty,
    /// `T` is not a decimal number of seconds.
    #[error("T is not a decimal number of seconds")]
    NotANumber,
    /// No key gives this `Sign` for this `T`.
    #[error("no key gives this Sign: compare the configured keys with the cloud's SignKey")]
    Mismatch,
    /// `T` has passed too long ago.
    #[error("T has passed: a late copy, a replay, or a clock that is fast")]
    Expired,
    /// `T` lies too far ahead.
    #[error("T lies too far ahead: a clock that is slow, or a pair made to last")]
    TooFarAhead,
}

impl SignatureError {
    /// Every reason, for metrics that start at zero.
    pub const REASONS: [&str; 7] = [
        "missing",
        "duplicated",
        "empty",
        "not_a_number",
        "mismatch",
        "expired",
        "too_far_ahead",
    ];

    /// The word for metrics and logs.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Duplicated => "duplicated",
            Self::Empty => "empty",
            Self::NotANumber => "not_a_number",
            Self::Mismatch => "mismatch",
            Self::Expired => "expired",
            Self::TooFarAhead => "too_far_ahead",
        }
    }
}

/// The keys of one application; several while a key is being changed.
#[derive(Debug, Clone)]
pub struct CallbackKeys {
    keys: Vec<Secret>,
    tolerance: Tolerance,
}

impl CallbackKeys {
    /// Any of `keys` will do. Without keys nothing verifies, and an empty key is no key: who
    /// wants callbacks unverified does not ask.
    pub fn new(mut keys: Vec<Secret>, tolerance: Tolerance) -> Self {
        keys.retain(|key| !key.expose().is_empty());
        Self { keys, tolerance }
    }

    /// Looks for one `Sign` and one `T` in the body's top level and in the raw query string, and
    /// verifies them. `body` is `None` where the body could not be parsed.
    ///
    /// `T` passes from `now - past` to `now + ahead`, both included, with `now` cut to seconds.
    pub fn verify(
        &self,
        body: Option<SignFields<'_>>,
        query: Option<&str>,
        now: SystemTime,
    ) -> Result<(), SignatureError> {
        let body = body.unwrap_or_default();
        let query = query.map(in_query).unwrap_or_default();
        let sign = one(body.sign, query.sign)?;
        let t = one(body.t, query.t)?;
        let (sign, t) = (
            sign.ok_or(SignatureError::Missing)?,
            t.ok_or(SignatureError::Missing)?,
        );
        if sign.is_empty() || t.is_empty() {
            return Err(SignatureError::Empty);
        }
        let expiry = seconds(&t).ok_or(SignatureError::NotANumber)?;
        if !self.signed(&sign, &t) {
            return Err(SignatureError::Mismatch);
        }
        self.check_time(expiry, now)
    }

    /// Whether a key gives this signature. Takes the same time whichever key it is, or none.
    fn signed(&self, sign: &str, t: &str) -> bool {
        let Some(given) = digest(sign) else {
            return false;
        };
        let matches = self.keys.iter().fold(Choice::from(0), |matches, key| {
            let mut md5 = Md5::new_with_prefix(key.expose());
            md5.update(t);
            matches | md5.finalize().as_slice().ct_eq(&given)
        });
        matches.into()
    }

    fn check_time(&self, expiry: u64, now: SystemTime) -> Result<(), SignatureError> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        if expiry < now.saturating_sub(self.tolerance.past.as_secs()) {
            Err(SignatureError::Expired)
        } else if expiry > now.saturating_add(self.tolerance.ahead.as_secs()) {
            Err(SignatureError::TooFarAhead)
        } else {
            Ok(())
        }
    }
}

/// `Sign` and `T` of a query string. Neither needs percent-encoding, so none is undone.
fn in_query(query: &str) -> SignFields<'_> {
    let mut fields = SignFields::default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "Sign" => fields.sign.add(|| Cow::Borrowed(value)),
            "T" => fields.t.add(|| Cow::Borrowed(value)),
            _ => {}
        }
    }
    fields
}

impl<'a> Field<'a> {
    pub(crate) fn add(&mut self, value: impl FnOnce() -> Cow<'a, str>) {
        *self = match self {
            Self::Absent => Self::Once(value()),
            _ => Self::Repeated,
        };
    }
}

fn one<'a>(body: Field<'a>, query: Field<'a>) -> Result<Option<Cow<'a, str>>, SignatureError> {
    match (body, query) {
        (Field::Absent, Field::Absent) => Ok(None),
        (Field::Once(text), Field::Absent) | (Field::Absent, Field::Once(text)) => Ok(Some(text)),
        _ => Err(SignatureError::Duplicated),
    }
}

fn seconds(t: &str) -> Option<u64> {
    let decimal = t.bytes().all(|b| b.is_ascii_digit());
    t.parse().ok().filter(|_| decimal)
}

/// The 16 bytes that 32 hex digits of either case stand for.
fn digest(sign: &str) -> Option<[u8; 16]> {
    let digits = sign.as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
