use super::*;
use crate::api::ApiError;

fn error(code: &str) -> ApiError {
    ApiError {
        code: code.to_owned(),
        message: "said the cloud".to_owned(),
        request_id: "r-1".to_owned(),
    }
}

/// Class on PullEvents, on ConfirmEvents, on the others, for every code of the vendor's pages.
#[rustfmt::skip]
const CODES: [(&str, [ErrorClass; 3]); 45] = {
    use ErrorClass::{BackOff, Empty, Reauthenticate, Stale, Stop, Throttled};
    [
    ("ResourceNotFound", [Empty, Stop, Stop]),
    ("FailedOperation", [BackOff; 3]),
    ("FailedOperation.InvalidVodUser", [Stop; 3]),
    ("InternalError", [BackOff; 3]),
    ("InvalidParameterValue", [Stop, Stale, Stop]),
    ("InvalidParameter", [Stop; 3]),
    ("UnauthorizedOperation", [Stop; 3]),
    ("RequestLimitExceeded", [Throttled; 3]),
    ("RequestLimitExceeded.UinLimitExceeded", [Throttled; 3]),
    ("RequestLimitExceeded.GlobalRegionUinLimitExceeded", [Throttled; 3]),
    ("RequestLimitExceeded.IPLimitExceeded", [Throttled; 3]),
    ("ServiceUnavailable", [BackOff; 3]),
    ("ResourceUnavailable", [BackOff; 3]),
    ("ResourceInsufficient", [BackOff; 3]),
    ("AuthFailure.SignatureExpire", [Reauthenticate; 3]),
    ("AuthFailure.TokenFailure", [Reauthenticate; 3]),
    ("AuthFailure.SignatureFailure", [Reauthenticate; 3]),
    ("AuthFailure.SecretIdNotFound", [Reauthenticate; 3]),
    ("AuthFailure.InvalidSecretId", [Reauthenticate; 3]),
    ("AuthFailure.InvalidAuthorization", [Reauthenticate; 3]),
    ("AuthFailure.MFAFailure", [Reauthenticate; 3]),
    ("AuthFailure.UnauthorizedOperation", [Reauthenticate; 3]),
    ("AuthFailure", [Reauthenticate; 3]),
    ("ActionOffline", [Stop; 3]),
    ("InvalidAction", [Stop; 3]),
    ("MissingParameter", [Stop; 3]),
    ("UnknownParameter", [Stop; 3]),
    ("NoSuchVersion", [Stop; 3]),
    ("NoSuchProduct", [Stop; 3]),
    ("UnsupportedOperation", [Stop; 3]),
    ("UnsupportedProtocol", [Stop; 3]),
    ("UnsupportedRegion", [Stop; 3]),
    ("InvalidRequest", [Stop; 3]),
    ("RequestSizeLimitExceeded", [Stop; 3]),
    ("ResponseSizeLimitExceeded", [Stop; 3]),
    ("LimitExceeded", [Stop; 3]),
    ("DryRunOperation", [Stop; 3]),
    ("ResourceInUse", [Stop; 3]),
    ("IpInBlacklist", [Stop; 3]),
    ("IpNotInWhitelist", [Stop; 3]),
    ("FailedOperation.UserStatusInavlid", [Stop; 3]),
    ("FailedOperation.InvalidAccount", [Stop; 3]),
    ("FailedOperation.NoPrivileges", [Stop; 3]),
    // What no page lists.
    ("SomethingNew", [BackOff; 3]),
    ("", [BackOff; 3]),
    ]
};

#[test]
fn every_code_has_its_class_and_a_remedy() {
    for (code, [pull, confirm, others]) in CODES {
        for action in Action::ALL {
            let expected = match action {
                PullEvents => pull,
                ConfirmEvents => confirm,
                _ => others,
            };
            assert_eq!(error(code).class(action), expected, "{code} on {action}");
            assert!(!error(code).remedy(action).is_empty(), "{code}");
        }
    }
}

#[test]
fn every_row_is_tested_and_none_hides_another() {
    let listed = CODES.map(|(code, _)| code);
    for (at, row) in TABLE.iter().enumerate() {
        assert!(listed.contains(&row.code), "{}", row.code);
        let same = |other: &&Row| {
            other.code == row.code && other.only.is_none_or(|_| row.only == other.only)
        };
        assert_eq!(TABLE[..at].iter().filter(same).count(), 0, "{}", row.code);
    }
    let rows = |code: &&str| TABLE.iter().any(|row| row.code == *code);
    assert_eq!(listed.iter().filter(|code| !rows(code)).count(), 2);
}

#[test]
fn a_new_code_is_taken_for_what_stands_before_its_dot() {
    use ErrorClass::*;
    for (code, class) in [
        ("RequestLimitExceeded.Another", Throttled),
        ("AuthFailure.Another", Reauthenticate),
        ("UnauthorizedOperation.Another.Deeper", Stop),
        ("FailedOperation.Another", BackOff),
        ("FailedOperation.InvalidVodUser.Another", Stop),
        ("SomethingNew.Another", BackOff),
        (".", BackOff),
    ] {
        assert_eq!(error(code).class(PullEvents), class, "{code}");
    }
    let stale = error("InvalidParameterValue.EventHandles");
    assert_eq!(stale.class(ConfirmEvents), Stale);
}

#[test]
fn only_its_own_code_says_that_the_queue_is_empty() {
    let missing = error("ResourceNotFound.UserNotExist");
    assert_eq!(missing.class(PullEvents), ErrorClass::Stop);
    assert!(missing.remedy(PullEvents).contains("sub_app_id"));
}

#[test]
fn remedies_name_what_the_operator_does() {
    for (code, word) in [
        ("FailedOperation.InvalidVodUser", "open VOD"),
        ("UnauthorizedOperation", "vod:PullEvents"),
        ("AuthFailure.SignatureExpire", "NTP"),
        ("AuthFailure.SecretIdNotFound", "check secret_id"),
        ("InvalidParameterValue", "check sub_app_id"),
    ] {
        let remedy = error(code).remedy(PullEvents);
        assert!(remedy.contains(word), "{code}: {remedy}");
    }
}
