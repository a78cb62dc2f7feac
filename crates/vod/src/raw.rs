//! An id for what never became an event.

use sha2::{Digest, Sha256};

/// 64 hex digits of SHA-256 over the bytes: the same for every copy of a body that cannot be
/// read.
pub fn raw_id(body: &[u8]) -> String {
    Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
