//! An error as the cloud tells it.

use thiserror::Error;

use super::Action;
use super::class::{ErrorClass, Row, row};

/// What the cloud says of a call that failed. It comes with HTTP 200.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the cloud refuses with {code}: {message} (request {request_id})")]
pub struct ApiError {
    /// The code, such as `AuthFailure.SignatureFailure`.
    pub code: String,
    /// The cloud's own words.
    pub message: String,
    /// What the vendor's support asks for.
    pub request_id: String,
}

impl ApiError {
    /// What to do about it.
    pub fn class(&self, action: Action) -> ErrorClass {
        self.row(action).class
    }

    /// What the operator does about it.
    pub fn remedy(&self, action: Action) -> &'static str {
        self.row(action).remedy
    }

    fn row(&self, action: Action) -> &'static Row {
        row(&self.code, action)
    }
}
