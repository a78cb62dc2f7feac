//! An error as the cloud tells it.

use thiserror::Error;

use super::Action;
use super::class::{ErrorClass, classify};

/// `Response.Error` of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the cloud refuses with {code}: {message} (request {request_id})")]
pub struct ApiError {
    /// The vendor's code, for example `AuthFailure.SignatureFailure`.
    pub code: String,
    /// The vendor's words.
    pub message: String,
    /// What the vendor's support asks for.
    pub request_id: String,
}

impl ApiError {
    /// What the error asks for, in the answer to `action`.
    pub fn class(&self, action: Action) -> ErrorClass {
        classify(&self.code, action).0
    }

    /// What the operator can do.
    pub fn remedy(&self, action: Action) -> &'static str {
        classify(&self.code, action).1
    }
}

#[cfg(test)]
mod tests {
    use super::super::class::TABLE;
    use super::*;

    fn class(code: &str, action: Action) -> ErrorClass {
        let error = ApiError {
            code: code.to_owned(),
            message: String::new(),
            request_id: String::new(),
        };
        assert!(!error.remedy(action).is_empty());
        error.class(action)
    }

    #[test]
    fn each_code_of_the_vendors_table_has_its_class() {
        use ErrorClass::*;
        let everywhere = [
            (
                BackOff,
                "FailedOperation InternalError InternalError.DBError ServiceUnavailable ResourceUnavailable ResourceInsufficient SomethingNew",
            ),
            (
                Throttled,
                "RequestLimitExceeded RequestLimitExceeded.UinLimitExceeded RequestLimitExceeded.GlobalRegionUinLimitExceeded RequestLimitExceeded.IPLimitExceeded",
            ),
            (
                Reauthenticate,
                "AuthFailure AuthFailure.SignatureExpire AuthFailure.TokenFailure AuthFailure.SignatureFailure AuthFailure.SecretIdNotFound AuthFailure.InvalidSecretId AuthFailure.InvalidAuthorization AuthFailure.MFAFailure AuthFailure.UnauthorizedOperation",
            ),
            (
                Stop,
                "FailedOperation.InvalidVodUser InvalidParameter UnauthorizedOperation FailedOperation.UserStatusInavlid FailedOperation.InvalidAccount FailedOperation.NoPrivileges ActionOffline InvalidAction MissingParameter UnknownParameter NoSuchVersion NoSuchProduct UnsupportedOperation UnsupportedProtocol UnsupportedRegion InvalidRequest RequestSizeLimitExceeded ResponseSizeLimitExceeded LimitExceeded DryRunOperation ResourceInUse IpInBlacklist IpNotInWhitelist",
            ),
        ];
        for action in Action::ALL {
            for (expected, codes) in everywhere {
                for code in codes.split(' ') {
                    assert_eq!(class(code, action), expected, "{code}");
                }
            }
        }
        assert_eq!(class("ResourceNotFound", Action::PullEvents), Empty);
        assert_eq!(class("ResourceNotFound", Action::ConfirmEvents), Stop);
        assert_eq!(class("InvalidParameterValue", Action::ConfirmEvents), Stale);
        assert_eq!(class("InvalidParameterValue", Action::PullEvents), Stop);
    }

    #[test]
    fn no_code_has_two_rows() {
        for (at, (code, ..)) in TABLE.iter().enumerate() {
            assert!(TABLE.iter().skip(at + 1).all(|(other, ..)| other != code));
        }
    }
}
