//! Every error code in its class. Vendor: <https://tencentcloud.com/document/product/1209/56023> and
//! the page of each call.

use super::Action::{self, ConfirmEvents, PullEvents};

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Not an error: there is nothing to pull. Pull again.
    Empty,
    /// The account calls too often: slow down, then again.
    Throttled,
    /// The cloud, or the way to it, has a problem: again later, each time later.
    BackOff,
    /// The credentials or the clock are not right: read the credentials again, then again later.
    Reauthenticate,
    /// The handles are confirmed, late or unknown: drop them, their events may come again.
    Stale,
    /// The same call will fail until somebody changes a setting: say so, and look again rarely.
    Stop,
}

/// A code, or with `only` a code of one call, and what it means.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) code: &'static str,
    only: Option<Action>,
    pub(super) class: ErrorClass,
    pub(super) remedy: &'static str,
}

const fn all(code: &'static str, class: ErrorClass, remedy: &'static str) -> Row {
    Row {
        code,
        only: None,
        class,
        remedy,
    }
}

const fn on(only: Action, code: &'static str, class: ErrorClass, remedy: &'static str) -> Row {
    Row {
        code,
        only: Some(only),
        class,
        remedy,
    }
}

/// The row of a code: its own, else that of what stands before its last dot, and so on. That the
/// queue is empty is said by its own code only: `ResourceNotFound.X` says that X is not there.
pub(super) fn row(code: &str, action: Action) -> &'static Row {
    let mut prefix = code;
    loop {
        let exact = prefix.len() == code.len();
        let fits = |row: &&Row| {
            row.code == prefix
                && row.only.is_none_or(|only| only == action)
                && (exact || row.class != ErrorClass::Empty)
        };
        if let Some(row) = TABLE.iter().find(fits) {
            return row;
        }
        match prefix.rfind('.') {
            Some(dot) => prefix = &prefix[..dot],
            None => return &UNKNOWN,
        }
    }
}

const WAIT: &str = "nothing, unless it lasts: then look at the cloud's status page or ask the vendor's support with the request id";
const SLOWER: &str = "lower calls_per_second or pullers if other programs share the account, or have the vendor raise the account's limit";
const OUR_CALL: &str =
    "check endpoint and region; if they are right, report the request id as a defect of vodbridge";
const SIGN: &str =
    "check that secret_id and secret_key belong together and came over without spaces or line ends";
const ACCOUNT: &str = "see in the VOD console whether the account is active and paid for";
const GRANT: &str = "grant the key's user or role in CAM the action that is called, such as vod:PullEvents, for this application";
const ADDRESS: &str =
    "let this machine's public address through in the key's or the account's address list";

const UNKNOWN: Row = all("", ErrorClass::BackOff, WAIT);

/// Rows of one call come before the row of the same code for all.
#[rustfmt::skip]
static TABLE: &[Row] = {
    use ErrorClass::{BackOff, Empty, Reauthenticate, Stale, Stop, Throttled};
    &[
    on(PullEvents, "ResourceNotFound", Empty, "nothing: no event waits"),
    all("ResourceNotFound", Stop, "check sub_app_id, and that it is an application of this account"),
    on(ConfirmEvents, "InvalidParameterValue", Stale, "nothing for single ones; if they are many, deliveries take longer than the lease: look at the brokers"),
    all("InvalidParameterValue", Stop, "check sub_app_id, and that it is an application of this account"),
    all("InvalidParameter", Stop, "check sub_app_id, and the values that are to be set"),

    all("RequestLimitExceeded", Throttled, SLOWER),
    all("RequestLimitExceeded.UinLimitExceeded", Throttled, SLOWER),
    all("RequestLimitExceeded.GlobalRegionUinLimitExceeded", Throttled, SLOWER),
    all("RequestLimitExceeded.IPLimitExceeded", Throttled, SLOWER),

    all("FailedOperation", BackOff, WAIT),
    all("InternalError", BackOff, WAIT),
    all("ServiceUnavailable", BackOff, WAIT),
    all("ResourceUnavailable", BackOff, WAIT),
    all("ResourceInsufficient", BackOff, WAIT),

    all("FailedOperation.InvalidVodUser", Stop, "open VOD for this account in the console (云点播 → 立即开通), or use a key of the account that has it"),
    all("FailedOperation.UserStatusInavlid", Stop, ACCOUNT),
    all("FailedOperation.InvalidAccount", Stop, ACCOUNT),
    all("FailedOperation.NoPrivileges", Stop, GRANT),
    all("UnauthorizedOperation", Stop, GRANT),
    all("IpInBlacklist", Stop, ADDRESS),
    all("IpNotInWhitelist", Stop, ADDRESS),

    all("AuthFailure", Reauthenticate, SIGN),
    all("AuthFailure.SignatureExpire", Reauthenticate, "set this machine's clock, for instance by NTP: it is more than 5 minutes off"),
    all("AuthFailure.SignatureFailure", Reauthenticate, SIGN),
    all("AuthFailure.InvalidAuthorization", Reauthenticate, "check endpoint, secret_id and any proxy between here and the cloud: the Authorization header did not come through as it was sent"),
    all("AuthFailure.SecretIdNotFound", Reauthenticate, "check secret_id in the CAM console: it was deleted or disabled, or is of the other site (China or international)"),
    all("AuthFailure.InvalidSecretId", Reauthenticate, "check secret_id: it is none of the API's keys"),
    all("AuthFailure.TokenFailure", Reauthenticate, "check that the token belongs to the temporary key; one that was given as a value can't be renewed: use a role, or a file that somebody renews"),
    all("AuthFailure.MFAFailure", Reauthenticate, "use a key that CAM asks for no second factor"),
    all("AuthFailure.UnauthorizedOperation", Reauthenticate, GRANT),

    all("ActionOffline", Stop, OUR_CALL),
    all("InvalidAction", Stop, OUR_CALL),
    all("NoSuchVersion", Stop, OUR_CALL),
    all("NoSuchProduct", Stop, OUR_CALL),
    all("InvalidRequest", Stop, OUR_CALL),
    all("MissingParameter", Stop, "check sub_app_id; if it is right, report the request id as a defect of vodbridge"),
    all("UnknownParameter", Stop, OUR_CALL),
    all("UnsupportedOperation", Stop, OUR_CALL),
    all("UnsupportedProtocol", Stop, "use an https endpoint of the cloud"),
    all("UnsupportedRegion", Stop, "check region, or leave it out: these calls need none"),
    all("RequestSizeLimitExceeded", Stop, OUR_CALL),
    all("ResponseSizeLimitExceeded", Stop, "ask the vendor's support with the request id: one answer is too large for the cloud itself"),
    all("LimitExceeded", Stop, "see in the VOD console which quota of the account is used up"),
    all("ResourceInUse", Stop, "see in the VOD console who else changes this application's settings, then try again"),
    all("DryRunOperation", Stop, OUR_CALL),
    ]
};

#[cfg(test)]
mod tests;
