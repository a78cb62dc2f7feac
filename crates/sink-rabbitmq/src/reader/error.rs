//! Why a queue cannot be read.

use thiserror::Error;

use crate::session::OpenError;

/// Why a queue cannot be read.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error("{address}")]
    Client { address: String, source: OpenError },
    #[error(
        "there is no queue {0:?}: `vodbridge provision` makes the default one, or name another"
    )]
    NoQueue(String),
    #[error(
        "queue {0:?} has {1} consumers, which would not get what is read: stop them, name another queue, or read one of our own"
    )]
    InUse(String, u32),
    #[error(
        "queue {0:?} is not as `vodbridge provision` makes it, or this user may not declare it: reading counts, and a queue with a delivery limit drops what was read too often; name it with --queue and say its --delivery-limit"
    )]
    NotOurs(String),
    #[error("somebody else takes messages from queue {0:?}: {1} that were there did not come")]
    Taken(String, u32),
    #[error(
        "queue {queue:?} has handed out {position} {count} times, and one with a delivery limit of {limit} drops a message: read another queue, or say the limit"
    )]
    Limit {
        queue: String,
        position: String,
        count: i64,
        limit: i64,
    },
}
