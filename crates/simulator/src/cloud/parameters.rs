//! The parameters of a call: a JSON object, every member of which has to be known.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Action;
use super::reply::ApiError;

/// What is left of a call's parameters.
pub(super) struct Parameters<'b> {
    action: Action,
    members: BTreeMap<String, &'b RawValue>,
}

impl<'b> Parameters<'b> {
    pub(super) fn read(action: Action, body: &'b [u8]) -> Result<Self, ApiError> {
        let members = serde_json::from_slice(body);
        let members = members
            .map_err(|_| ApiError::new("InvalidRequest", "The body is not a JSON object."))?;
        Ok(Self { action, members })
    }

    /// Takes a parameter; null is as good as none.
    pub(super) fn take<T: Deserialize<'b>>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        let Some(raw) = self.members.remove(name) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map_err(|_| {
            let message = format!("The value of the parameter `{name}` is not valid.");
            ApiError::new(invalid_parameter(self.action), message)
        })
    }

    /// Takes a parameter that has to be there.
    pub(super) fn need<T: Deserialize<'b>>(&mut self, name: &str) -> Result<T, ApiError> {
        self.take(name)?.ok_or_else(|| missing(name))
    }

    /// No parameter may be left.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        match self.members.keys().next() {
            Some(name) => Err(ApiError::new(
                "UnknownParameter",
                format!("The parameter `{name}` is not recognized."),
            )),
            None => Ok(()),
        }
    }
}

/// A parameter or header is missing.
pub(super) fn missing(name: &str) -> ApiError {
    let message = format!("The request is missing a required parameter `{name}`.");
    ApiError::new("MissingParameter", message)
}

/// The error code for a value that will not do: the vendor's client library lists another one for
/// the calls about the configuration than for those about events.
pub(super) fn invalid_parameter(action: Action) -> &'static str {
    match action {
        Action::PullEvents | Action::ConfirmEvents | Action::DescribeEventsState => {
            "InvalidParameterValue"
        }
        Action::DescribeEventConfig | Action::ModifyEventConfig => "InvalidParameter",
    }
}
