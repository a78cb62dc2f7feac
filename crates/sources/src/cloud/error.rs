//! Why a call failed, and what that asks for.

use thiserror::Error;
use vodbridge_vod::api::{Action, AnswerError, ApiError, ErrorClass};

use super::{CredentialsError, HttpError};

/// A call that brought nothing.
#[derive(Debug, Error)]
pub enum CallError {
    /// The cloud says why.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What came is no answer of the cloud.
    #[error(transparent)]
    Answer(AnswerError),
    /// The answer has another status than 200.
    #[error("HTTP status {0}")]
    Status(u16),
    /// No answer came.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
    /// There are no credentials to sign with.
    #[error("no credentials")]
    Credentials(#[from] CredentialsError),
}

impl From<AnswerError> for CallError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Api(error) => Self::Api(error),
            error @ AnswerError::Malformed { .. } => Self::Answer(error),
        }
    }
}

impl CallError {
    /// What the error asks for.
    pub fn class(&self, action: Action) -> ErrorClass {
        match self {
            Self::Api(error) => error.class(action),
            Self::Credentials(_) => ErrorClass::Reauthenticate,
            Self::Answer(_) | Self::Status(_) | Self::Http(_) | Self::TimedOut => {
                ErrorClass::BackOff
            }
        }
    }

    /// What the operator can do.
    pub fn remedy(&self, action: Action) -> &'static str {
        match self {
            Self::Api(error) => error.remedy(action),
            Self::Credentials(error) => error.remedy(),
            Self::Answer(_) | Self::Status(_) => {
                "check `endpoint`, and what stands between here and the cloud"
            }
            Self::Http(_) | Self::TimedOut => {
                "check `endpoint`, the name resolution, the network, the proxy and the trusted certificates"
            }
        }
    }
}
