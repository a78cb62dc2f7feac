//! What to do about each error code.

use super::Action;

/// What an error of the cloud asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Nothing to pull: no failure.
    Empty,
    /// Too many calls: fewer, and later.
    Throttled,
    /// The cloud's own trouble, or something unknown: again, later.
    BackOff,
    /// The credentials are refused: read them again.
    Reauthenticate,
    /// A handle that cannot be confirmed any more: its event comes again.
    Stale,
    /// Only an operator can mend it.
    Stop,
}

/// A code, or the first part of one; what it asks for; and what an operator does.
type Row = (&'static str, ErrorClass, &'static str);

const WAIT: &str = "nothing; the call is made again";
const LIMIT: &str =
    "lower `calls_per_second` and `pullers`, or the calls of others with this account";
const KEYS: &str = "check secret_id and secret_key of the credentials, and that the key is enabled";
const CLOCK: &str = "set the clock of this machine (NTP): it is more than 5 minutes off";
const TOKEN: &str = "nothing if the token is refreshed; else give a fresh temporary key";
const CAM: &str = "grant this key the action in CAM, for example QcloudVODFullAccess";
const ACCOUNT: &str =
    "look at the account in the console: it may be in arrears, frozen or without VOD";
const PARAMETER: &str = "check `sub_app_id`: it has to be an application of this account";
const CALL: &str = "check `endpoint` and `region`; report it if both are right";
const ADDRESS: &str = "let this machine's address through in the account's IP lists";

/// Every code of the vendor's tables. A longer code counts before its first part.
/// Vendor: <https://tencentcloud.com/document/product/1209/56023> and the page of each call.
pub(super) const TABLE: &[Row] = &[
    ("ResourceNotFound", ErrorClass::Stop, PARAMETER),
    ("FailedOperation", ErrorClass::BackOff, WAIT),
    (
        "FailedOperation.InvalidVodUser",
        ErrorClass::Stop,
        "open VOD for this account in the console",
    ),
    (
        "FailedOperation.UserStatusInavlid",
        ErrorClass::Stop,
        ACCOUNT,
    ),
    ("FailedOperation.InvalidAccount", ErrorClass::Stop, ACCOUNT),
    ("FailedOperation.NoPrivileges", ErrorClass::Stop, CAM),
    ("InternalError", ErrorClass::BackOff, WAIT),
    ("InvalidParameterValue", ErrorClass::Stop, PARAMETER),
    ("InvalidParameter", ErrorClass::Stop, PARAMETER),
    ("UnauthorizedOperation", ErrorClass::Stop, CAM),
    ("RequestLimitExceeded", ErrorClass::Throttled, LIMIT),
    ("ServiceUnavailable", ErrorClass::BackOff, WAIT),
    ("ResourceUnavailable", ErrorClass::BackOff, WAIT),
    ("ResourceInsufficient", ErrorClass::BackOff, WAIT),
    ("AuthFailure", ErrorClass::Reauthenticate, KEYS),
    (
        "AuthFailure.SignatureExpire",
        ErrorClass::Reauthenticate,
        CLOCK,
    ),
    (
        "AuthFailure.TokenFailure",
        ErrorClass::Reauthenticate,
        TOKEN,
    ),
    (
        "AuthFailure.MFAFailure",
        ErrorClass::Reauthenticate,
        "use a key that needs no MFA",
    ),
    (
        "AuthFailure.UnauthorizedOperation",
        ErrorClass::Reauthenticate,
        CAM,
    ),
    ("ActionOffline", ErrorClass::Stop, CALL),
    ("InvalidAction", ErrorClass::Stop, CALL),
    ("MissingParameter", ErrorClass::Stop, PARAMETER),
    ("UnknownParameter", ErrorClass::Stop, CALL),
    ("NoSuchVersion", ErrorClass::Stop, CALL),
    ("NoSuchProduct", ErrorClass::Stop, CALL),
    ("UnsupportedOperation", ErrorClass::Stop, CALL),
    ("UnsupportedProtocol", ErrorClass::Stop, CALL),
    ("UnsupportedRegion", ErrorClass::Stop, CALL),
    ("InvalidRequest", ErrorClass::Stop, CALL),
    ("RequestSizeLimitExceeded", ErrorClass::Stop, CALL),
    ("ResponseSizeLimitExceeded", ErrorClass::Stop, CALL),
    ("LimitExceeded", ErrorClass::Stop, ACCOUNT),
    ("DryRunOperation", ErrorClass::Stop, CALL),
    ("ResourceInUse", ErrorClass::Stop, CALL),
    ("IpInBlacklist", ErrorClass::Stop, ADDRESS),
    ("IpNotInWhitelist", ErrorClass::Stop, ADDRESS),
];

/// The class of a code in the answer to `action`, and the remedy.
pub(super) fn classify(code: &str, action: Action) -> (ErrorClass, &'static str) {
    match (code, action) {
        ("ResourceNotFound", Action::PullEvents) => return (ErrorClass::Empty, WAIT),
        ("InvalidParameterValue", Action::ConfirmEvents) => {
            return (ErrorClass::Stale, "nothing; the event comes again");
        }
        _ => {}
    }
    let first = code.split('.').next().unwrap_or(code);
    let row = |wanted: &str| TABLE.iter().find(|(code, ..)| *code == wanted);
    row(code)
        .or_else(|| row(first))
        .map_or((ErrorClass::BackOff, WAIT), |(_, class, remedy)| {
            (*class, *remedy)
        })
}
