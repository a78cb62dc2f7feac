//! How the API answers.

use std::borrow::Cow;
use std::fmt::Write;

/// The members of `Response` beside `RequestId`, each with a comma behind it; or the error in
/// their place.
pub(super) type Reply = Result<String, ApiError>;

/// An error as the API tells it.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    pub(super) code: Cow<'static, str>,
    message: String,
}

impl ApiError {
    pub(super) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// The whole body: 200, whatever it says.
pub(super) fn body(reply: &Reply, request_id: &str) -> String {
    let mut body = String::with_capacity(128 + reply.as_ref().map_or(0, String::len));
    body.push_str(r#"{"Response":{"#);
    match reply {
        Ok(members) => body.push_str(members),
        Err(ApiError { code, message }) => {
            let error = serde_json::json!({ "Code": code, "Message": message });
            write!(body, r#""Error":{error},"#).expect("a String takes any text");
        }
    }
    write!(body, r#""RequestId":"{request_id}"}}}}"#).expect("a String takes any text");
    body
}

/// An id in the form of the vendor's.
pub(super) fn request_id() -> String {
    let number = fastrand::u128(..);
    let (a, b) = ((number >> 96) as u32, (number >> 80) as u16);
    let (c, d) = ((number >> 64) as u16, (number >> 48) as u16);
    let e = number as u64 & 0xffff_ffff_ffff;
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}
