//! What the cloud answers.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::bytes::{Broken, Cursor};
use super::error::ApiError;

/// Most events that are taken from one answer, many times what the cloud says it gives: an answer
/// with more is not the cloud's.
const MOST_EVENTS: usize = 1024;

/// An answer that brings nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// The call failed, and the cloud says why.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// These bytes are no answer of the cloud.
    #[error(
        "the answer is not the cloud's, at byte {at}: something between here and the cloud may \
         have answered in its place"
    )]
    Malformed {
        /// Where it stops to be one.
        at: usize,
    },
}

impl From<Broken> for AnswerError {
    fn from(Broken(at): Broken) -> Self {
        Self::Malformed { at }
    }
}

/// The answer to `PullEvents`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled<'a> {
    /// The bytes of each event as they came, valid or not.
    pub events: Vec<&'a [u8]>,
    /// What the vendor's support asks for.
    pub request_id: String,
}

/// The members of `Response` that matter, as they came.
#[derive(Default)]
struct Response<'a> {
    whole: &'a [u8],
    error: Option<&'a [u8]>,
    event_set: Vec<&'a [u8]>,
    request_id: Option<&'a [u8]>,
}

impl<'a> Response<'a> {
    /// In one pass: the answer to a pull is large.
    fn find(answer: &'a [u8]) -> Result<Self, Broken> {
        let mut found = None;
        let mut cursor = Cursor::new(answer);
        cursor.members(|key, value| {
            if key == b"Response" {
                found = Some(Self::read(value)?);
            } else {
                value.value()?;
            }
            Ok(())
        })?;
        cursor.end()?;
        found.ok_or(Broken(answer.len()))
    }

    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Broken> {
        let mut found = Self::default();
        found.whole = cursor.members(|key, value| {
            let member = match key {
                b"EventSet" => {
                    found.event_set = value.elements(MOST_EVENTS)?;
                    return Ok(());
                }
                b"Error" => &mut found.error,
                b"RequestId" => &mut found.request_id,
                _ => return value.value().map(drop),
            };
            *member = Some(value.value()?).filter(|value| *value != b"null");
            Ok(())
        })?;
        Ok(found)
    }

    fn request_id(&self) -> String {
        self.request_id.map(text).unwrap_or_default()
    }

    fn api_error(&self) -> Option<ApiError> {
        let mut error = ApiError {
            code: String::new(),
            message: String::new(),
            request_id: self.request_id(),
        };
        // What stands there and is no object is an error without a code.
        let members = Cursor::new(self.error?).members(|key, value| {
            let value = value.value()?;
            match key {
                b"Code" => error.code = text(value),
                b"Message" => error.message = text(value),
                _ => {}
            }
            Ok(())
        });
        if members.is_err() && error.message.is_empty() {
            error.message = text(self.error?);
        }
        Some(error)
    }
}

/// The text of a string, whatever its bytes; the bytes themselves where it is none.
fn text(value: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(value);
    serde_json::from_str(&lossy).unwrap_or_else(|_| lossy.into_owned())
}

/// Splits the answer to `PullEvents` into the bytes of each event, however many there are: none
/// where `EventSet` is null, absent or empty. A null in it is none.
///
/// Only the frame has to be JSON. An event that is no UTF-8, nested too deep or otherwise
/// unreadable spoils no other, as long as its quotes and brackets are balanced.
pub fn split_events(answer: &[u8]) -> Result<Pulled<'_>, AnswerError> {
    let mut response = Response::find(answer)?;
    if let Some(error) = response.api_error() {
        return Err(error.into());
    }
    response.event_set.retain(|event| *event != b"null");
    Ok(Pulled {
        request_id: response.request_id(),
        events: response.event_set,
    })
}

/// The error that an answer holds, of whichever call. Reads no more than it must.
pub fn api_error(answer: &[u8]) -> Result<Option<ApiError>, AnswerError> {
    Ok(Response::find(answer)?.api_error())
}

/// The receipt of an event that could not be read: its `EventHandle`, where that can be found.
pub fn event_handle(event: &[u8]) -> Option<Cow<'_, str>> {
    let mut handle = None;
    let whole = Cursor::new(event).members(|key, value| {
        let value = value.value()?;
        if key == b"EventHandle" {
            handle = serde_json::from_slice::<Cow<'_, str>>(value).ok();
        }
        // What comes after it is not looked at, and may be broken.
        handle.as_ref().map_or(Ok(()), |_| Err(Broken(0)))
    });
    whole.ok();
    handle.filter(|handle| !handle.is_empty())
}

/// Reads `Response` of an answer that is small and wholly JSON.
pub(super) fn response<T: DeserializeOwned>(answer: &[u8]) -> Result<T, AnswerError> {
    let found = Response::find(answer)?;
    if let Some(error) = found.api_error() {
        return Err(error.into());
    }
    let broken = Broken::at(found.whole, answer);
    serde_json::from_slice(found.whole).map_err(|_| broken.into())
}

/// Reads the answer to `DescribeEventsState`: about how many events wait. The cloud's number is
/// minutes behind and not meant to be decided by.
pub fn count_of_events(answer: &[u8]) -> Result<u64, AnswerError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct State {
        count_of_events_to_pull: u64,
    }
    response(answer).map(|state: State| state.count_of_events_to_pull)
}

#[cfg(test)]
mod tests;
