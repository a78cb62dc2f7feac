//! Reads a body against the byte budget.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a body without Content-Length reserves at a time.
const STEP: u64 = 64 * 1024;

/// Bytes of bodies that a source holds at once.
#[derive(Debug, Clone)]
pub(crate) struct ByteBudget(Arc<Semaphore>);

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
}

impl ByteBudget {
    pub(crate) fn new(bytes: u64) -> Self {
        let permits = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(u32::MAX as usize);
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// Reads a whole body of at most `cap` bytes. Waits while the budget is used up: nothing is
    /// read without a byte permit.
    pub(crate) async fn read(&self, mut body: Incoming, cap: u64) -> Result<HeldBody, BodyError> {
        let exact = body.size_hint().exact();
        if exact.is_some_and(|length| length > cap) {
            return Err(BodyError::TooLarge);
        }
        let mut held = self.reserve(exact.unwrap_or(STEP.min(cap))).await;
        let mut whole = Chunks::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Cut)?.into_data() else {
                continue;
            };
            let length = whole.len() + data.len() as u64;
            if length > cap {
                return Err(BodyError::TooLarge);
            }
            while length > held.num_permits() as u64 {
                let left = cap - held.num_permits() as u64;
                held.merge(self.reserve(STEP.min(left)).await);
            }
            whole.push(data);
        }
        let unused = held.num_permits() as u64 - whole.len();
        drop(held.split(usize::try_from(unused).unwrap_or(0)));
        Ok(HeldBody {
            bytes: whole.into_bytes(),
            _held: held,
        })
    }

    async fn reserve(&self, bytes: u64) -> OwnedSemaphorePermit {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.0
            .clone()
            .acquire_many_owned(permits)
            .await
            .expect("the byte budget is never closed")
    }
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
