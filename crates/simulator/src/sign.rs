//! Sign and T, by which a receiver tells the cloud from others.

use std::fmt::Write;

use bytes::Bytes;
use md5::{Digest, Md5};

/// Where Sign and T stand. The vendor says only "in the notification".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignPlace {
    /// As members of the body's outermost object.
    #[default]
    Body,
    /// In the URL's query.
    Query,
}

/// `Sign` for an expiry in Unix seconds: MD5 of the key and the decimal expiry, in hex.
/// <https://cloud.tencent.com/document/api/266/55244>, `SignKey`
pub fn sign(key: &str, expiry: u64) -> String {
    let digest = Md5::digest(format!("{key}{expiry}"));
    digest.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes any text");
        hex
    })
}

/// The body with Sign and T as its first members. A body that is no object stays as it is.
pub(crate) fn add_to_body(body: &[u8], sign: &str, expiry: u64) -> Bytes {
    let open = body.iter().position(|byte| !byte.is_ascii_whitespace());
    let Some(open) = open.filter(|&at| body[at] == b'{') else {
        return Bytes::copy_from_slice(body);
    };
    let rest = &body[open + 1..];
    let empty = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let comma = if empty { "" } else { "," };
    let members = format!(r#"{{"Sign":"{sign}","T":{expiry}{comma}"#);
    [members.as_bytes(), rest].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_md5_of_key_and_expiry() {
        // printf abc1231700000000 | md5sum
        assert_eq!(
            sign("abc123", 1_700_000_000),
            "c7f13d9712607facf2852c93b90a15b5"
        );
    }

    #[test]
    fn members_are_spliced_in() {
        let signed = |body: &str| add_to_body(body.as_bytes(), "ab", 7);
        assert_eq!(signed(" {\"a\":1}"), r#"{"Sign":"ab","T":7,"a":1}"#);
        assert_eq!(signed("{ }"), r#"{"Sign":"ab","T":7 }"#);
        assert_eq!(signed("[1]"), "[1]");
        assert_eq!(signed(""), "");
    }
}
