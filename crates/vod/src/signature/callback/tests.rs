use super::*;

const NOW: u64 = 1_700_000_000;
const KEY: &str = "Fr3shKey";

fn keys() -> CallbackKeys {
    let keys = ["0ldKey", KEY].map(Secret::new);
    CallbackKeys::new(keys.into(), Tolerance::default())
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(NOW * 1000 + 999)
}

fn sign(key: &str, t: &str) -> String {
    let digest = Md5::digest(format!("{key}{t}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fields<'a>(sign: &'a str, t: &'a str) -> Option<SignFields<'a>> {
    Some(SignFields {
        sign: Field::Once(sign.into()),
        t: Field::Once(t.into()),
    })
}

#[test]
fn agrees_with_a_known_digest() {
    // printf '%s' Fr3shKey1700000000 | md5sum
    assert_eq!(sign(KEY, "1700000000"), "5c3a01474e40142c952280676e5d18c5");
}

#[test]
fn takes_either_key_in_either_place_and_case() {
    let t = NOW.to_string();
    for key in [KEY, "0ldKey"] {
        let sign = sign(key, &t);
        assert_eq!(keys().verify(fields(&sign, &t), None, now()), Ok(()));
        assert_eq!(
            keys().verify(fields(&sign.to_uppercase(), &t), Some("a=b"), now()),
            Ok(())
        );
        let query = format!("x=1&T={t}&Sign={sign}&");
        assert_eq!(keys().verify(None, Some(&query), now()), Ok(()));
        let empty = Some(SignFields::default());
        assert_eq!(keys().verify(empty, Some(&query), now()), Ok(()));
    }
}

#[test]
fn refuses_with_a_reason() {
    use SignatureError::*;
    let t = NOW.to_string();
    let good = sign(KEY, &t);
    let query = format!("Sign={good}&T={t}");
    let once = |text: &'static str| Field::Once(text.into());
    let only = |sign, t| Some(SignFields { sign, t });
    for (body, query, reason) in [
        (None, None, Missing),
        (None, Some(""), Missing),
        (None, Some("sign=a&t=1"), Missing),
        (only(once("a"), Field::Absent), None, Missing),
        (only(Field::Absent, once("1")), None, Missing),
        (only(Field::Repeated, once("1")), None, Duplicated),
        (fields(&good, &t), Some(query.as_str()), Duplicated),
        (fields(&good, &t), Some("T=1"), Duplicated),
        (None, Some("Sign=a&Sign=a&T=1"), Duplicated),
        (fields("", &t), None, Empty),
        (fields(&good, ""), None, Empty),
        (None, Some("Sign&T=1"), Empty),
        (fields(&good, "x"), None, NotANumber),
        (fields(&good, "-1"), None, NotANumber),
        (fields(&good, "+1"), None, NotANumber),
        (fields(&good, "1.7e9"), None, NotANumber),
        (fields(&good, "99999999999999999999"), None, NotANumber),
        (fields(&sign("Wr0ng", &t), &t), None, Mismatch),
        (fields(&good, "1700000001"), None, Mismatch),
        (fields(&good[..31], &t), None, Mismatch),
        (fields(&format!("{good}0"), &t), None, Mismatch),
        (fields(&"é".repeat(16), &t), None, Mismatch),
    ] {
        let shown = format!("{body:?} {query:?}");
        assert_eq!(keys().verify(body, query, now()), Err(reason), "{shown}");
    }
}

#[test]
fn time_bounds_belong_to_it() {
    use SignatureError::{Expired, TooFarAhead};
    for (t, verdict) in [
        (NOW - 300, Ok(())),
        (NOW - 301, Err(Expired)),
        (NOW - 3600, Err(Expired)),
        (0, Err(Expired)),
        (NOW + 86_400, Ok(())),
        (NOW + 86_401, Err(TooFarAhead)),
        (u64::MAX, Err(TooFarAhead)),
    ] {
        let t = t.to_string();
        let sign = sign(KEY, &t);
        assert_eq!(
            keys().verify(fields(&sign, &t), None, now()),
            verdict,
            "{t}"
        );
    }
}

#[test]
fn denies_without_keys() {
    let t = NOW.to_string();
    for keys in [vec![], vec![Secret::new("")]] {
        let keys = CallbackKeys::new(keys, Tolerance::default());
        let verdict = keys.verify(fields(&sign("", &t), &t), None, now());
        assert_eq!(verdict, Err(SignatureError::Mismatch));
    }
}

#[test]
fn reasons_are_a_closed_set() {
    use SignatureError::*;
    let all = [
        Missing,
        Duplicated,
        Empty,
        NotANumber,
        Mismatch,
        Expired,
        TooFarAhead,
    ];
    assert_eq!(all.map(SignatureError::reason), SignatureError::REASONS);
}
