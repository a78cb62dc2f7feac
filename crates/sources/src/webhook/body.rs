//! Reads a body against the byte budget.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a body without Content-Length reserves at a time.
const STEP: u64 = 64 * 1024;
/// The largest head of a request.
pub(super) const MAX_HEAD: u64 = 16 * 1024;

/// What a request costs beside its body and head: its task, its event, its place in maps.
const REQUEST: u64 = 8 * 1024;

/// Bytes of requests that a source holds at once. A quarter is for small ones alone, so that a
/// few large bodies, or claims of them, do not keep every other out.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget {
    any: Arc<Semaphore>,
    small: Arc<Semaphore>,
    cap: u64,
}

/// A body, and the bytes of the budget that it holds until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) bytes: Bytes,
    _held: OwnedSemaphorePermit,
}

/// Why a body was not read.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// It is, or says that it is, over the cap.
    TooLarge,
    /// The connection broke off.
    Cut(hyper::Error),
    /// The caller has gone.
    Gone,
}

impl ByteBudget {
    /// A budget of `bytes` for bodies of at most `cap`.
    pub(crate) fn new(bytes: u64, cap: u64) -> Self {
        let semaphore = |bytes: u64| Arc::new(Semaphore::new(permits(bytes) as usize));
        Self {
            any: semaphore((bytes - bytes / 4).max(cap) + REQUEST + MAX_HEAD),
            small: semaphore((bytes / 4).max(REQUEST + MAX_HEAD + STEP)),
            cap,
        }
    }

    /// Reads a whole body of a request with a head of `head` bytes. Waits while the budget is
    /// used up: nothing is read without a byte permit.
    pub(crate) async fn read(&self, mut body: Incoming, head: u64) -> Result<HeldBody, BodyError> {
        let exact = body.size_hint().exact();
        if exact.is_some_and(|length| length > self.cap) {
            return Err(BodyError::TooLarge);
        }
        let beside = REQUEST + head.min(MAX_HEAD);
        let mut held = match exact {
            Some(length) if length <= STEP => self.reserve_small(beside + length).await,
            Some(length) => reserve(&self.any, beside + length).await,
            None => reserve(&self.any, beside + STEP.min(self.cap)).await,
        };
        let mut whole = Chunks::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Cut)?.into_data() else {
                continue;
            };
            let length = whole.len() + data.len() as u64;
            if length > self.cap {
                return Err(BodyError::TooLarge);
            }
            while beside + length > held.num_permits() as u64 {
                let left = beside + self.cap - held.num_permits() as u64;
                held.merge(reserve(&self.any, STEP.min(left)).await);
            }
            whole.push(data);
        }
        let unused = held.num_permits() as u64 - beside - whole.len();
        drop(held.split(usize::try_from(unused).unwrap_or(0)));
        Ok(HeldBody {
            bytes: whole.into_bytes(),
            _held: held,
        })
    }

    /// From what is for all while there is some, else from what is for small ones alone.
    async fn reserve_small(&self, bytes: u64) -> OwnedSemaphorePermit {
        match Arc::clone(&self.any).try_acquire_many_owned(permits(bytes)) {
            Ok(held) => held,
            Err(_) => reserve(&self.small, bytes).await,
        }
    }
}

async fn reserve(budget: &Arc<Semaphore>, bytes: u64) -> OwnedSemaphorePermit {
    let held = Arc::clone(budget).acquire_many_owned(permits(bytes)).await;
    held.expect("the byte budget is never closed")
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A body as it comes; one that came in one piece is not copied.
#[derive(Default)]
struct Chunks {
    first: Bytes,
    more: BytesMut,
}

impl Chunks {
    fn len(&self) -> u64 {
        (self.first.len().max(self.more.len())) as u64
    }

    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
            return;
        }
        if self.more.is_empty() {
            self.more
                .extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.more.extend_from_slice(&data);
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_keep_every_byte_in_order() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.len(), 0);
        for piece in ["", "a", "", "bc", "def"] {
            chunks.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(chunks.len(), 6);
        assert_eq!(chunks.into_bytes(), "abcdef");
    }
}
