use super::*;

const TIMESTAMP: u64 = 1_551_113_065;
const DATE: &str = "2019-02-25";
const BODY: &str =
    r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
/// The vendor's own placeholders.
const KEY_A: &str = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";
const KEY_B: &str = "********************************";

const A: Request<'_> = Request {
    service: "cvm",
    host: "cvm.tencentcloudapi.com",
    content_type: "application/json; charset=utf-8",
    body: BODY.as_bytes(),
    timestamp: TIMESTAMP,
};

fn headers(name: &str) -> Option<&'static str> {
    match name {
        "content-type" => Some(A.content_type),
        "host" => Some(A.host),
        "x-tc-action" => Some("DescribeInstances"),
        _ => None,
    }
}

fn hex_keys(key: &str) -> [String; 3] {
    keys(&Secret::new(key), DATE, "cvm").map(|key| hex(&key))
}

fn signed<'a>(signed_headers: &'a str) -> Signed<'a, Vec<(&'a str, &'a str)>> {
    let names = signed_headers.split(';');
    Signed {
        headers: names.map(|name| (name, headers(name).unwrap())).collect(),
        signed_headers,
        body: A.body,
        timestamp: TIMESTAMP,
        date: DATE,
        service: A.service,
    }
}

#[test]
fn agrees_with_the_vendors_older_example() {
    assert_eq!(
        sha256(A.body),
        "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064"
    );
    assert_eq!(
        sha256(signed(SIGNED_HEADERS).canonical_request().as_bytes()),
        "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
    );
    assert_eq!(
        hex_keys(KEY_A),
        [
            "d1308c81fe71cfd4e06437bbc067b2b8a3d2d8c0e375d547f15c41d5214b395a",
            "3c7cb7c7795393edc14fd2e0e6434a518564b4504b88e94f5d11bf59ba3e7050",
            "ac658d5dde49e9bfdd14e04e062f66b05d9f637d44b8a8d845327d4a77f666b1",
        ]
    );
    assert_eq!(
        A.authorization("ID", &Secret::new(KEY_A)),
        "TC3-HMAC-SHA256 Credential=ID/2019-02-25/cvm/tc3_request, \
         SignedHeaders=content-type;host, \
         Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
    );
}

#[test]
fn agrees_with_the_vendors_current_example() {
    let request = signed("content-type;host;x-tc-action");
    assert_eq!(
        sha256(request.canonical_request().as_bytes()),
        "7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84"
    );
    assert_eq!(
        hex_keys(KEY_B),
        [
            "da98fb70dcf6b112dc21038d1eeeb3a95c74b4dcb12c1131f864f6066bd02be0",
            "8d70cbefb03939f929db64d32dc2ba89b1095620119fe3e050e2b18c5bd2752f",
            "b596b923aad85185e2d1f6659d2a062e0a86731226e021e61bfe06f7ed05f5af",
        ]
    );
    let header = "TC3-HMAC-SHA256 Credential=ID/2019-02-25/cvm/tc3_request, \
                  SignedHeaders=content-type;host;x-tc-action, \
                  Signature=10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f";
    let authorization = Authorization::parse(header).unwrap();
    assert!(authorization.verify(&Secret::new(KEY_B), headers, A.body, TIMESTAMP));
}

#[test]
fn agrees_with_an_independent_computation_for_vod() {
    let request = Request {
        service: "vod",
        host: "vod.tencentcloudapi.com",
        content_type: A.content_type,
        body: b"{}",
        timestamp: TIMESTAMP,
    };
    let signed = Signed {
        headers: [
            ("content-type", request.content_type),
            ("host", request.host),
        ],
        signed_headers: SIGNED_HEADERS,
        body: request.body,
        timestamp: TIMESTAMP,
        date: DATE,
        service: "vod",
    };
    assert_eq!(
        sha256(signed.canonical_request().as_bytes()),
        "7aac441261bf5d7cc57a034d23fa2915c11afd2ea4c7caf841555b613712e810"
    );
    assert!(
        request
            .authorization("ID", &Secret::new(KEY_A))
            .ends_with("1380c31fb07a8e99580795600a0e306091c40e01facf95b9641bf1852cd7b285")
    );
}

#[test]
fn verifies_what_it_signs_and_nothing_else() {
    let key = Secret::new(KEY_A);
    let header = A.authorization("ID", &key);
    let authorization = Authorization::parse(&header).unwrap();
    assert_eq!(
        (
            authorization.secret_id(),
            authorization.date(),
            authorization.service()
        ),
        ("ID", DATE, "cvm")
    );
    assert!(authorization.verify(&key, headers, A.body, TIMESTAMP));
    let another_host = |name: &str| match name {
        "host" => Some("vod.tencentcloudapi.com"),
        _ => headers(name),
    };
    let another_key = Secret::new("another");
    assert!(!authorization.verify(&another_key, headers, A.body, TIMESTAMP));
    assert!(!authorization.verify(&key, another_host, A.body, TIMESTAMP));
    assert!(!authorization.verify(&key, |_| None, A.body, TIMESTAMP));
    assert!(!authorization.verify(&key, headers, b"{}", TIMESTAMP));
    assert!(!authorization.verify(&key, headers, A.body, TIMESTAMP + 1));
    let other_service = header.replace("/cvm/", "/vod/");
    let other_service = Authorization::parse(&other_service).unwrap();
    assert!(!other_service.verify(&key, headers, A.body, TIMESTAMP));
    let other_date = header.replace(DATE, "2019-02-26");
    let other_date = Authorization::parse(&other_date).unwrap();
    assert!(!other_date.verify(&key, headers, A.body, TIMESTAMP));
}

#[test]
fn the_date_is_utc_and_any_timestamp_has_one() {
    assert_eq!(date(0), "1970-01-01");
    assert_eq!(date(1_551_139_199), "2019-02-25");
    assert_eq!(date(1_551_139_200), "2019-02-26");
    assert_eq!(date(u64::MAX), "9999-12-31");
}

#[test]
fn refuses_a_header_with_a_reason() {
    use AuthorizationError::*;
    let good = A.authorization("ID", &Secret::new(KEY_A));
    for (from, to, reason) in [
        ("TC3-", "TC4-", Method),
        (good.as_str(), "", Method),
        ("Credential", "Credentials", Part("Credential")),
        (
            " SignedHeaders=content-type;host,",
            "",
            Part("SignedHeaders"),
        ),
        (
            "SignedHeaders=content-type;host",
            "Signature=0",
            Part("SignedHeaders"),
        ),
        ("Signature=", "signature=", Part("Signature")),
        ("Signature=", "Signature=0, Signature=", Part("Signature")),
        ("/cvm", "", Credential),
        ("tc3_request", "tc4_request", Credential),
        ("ID/", "ID/ID/", Credential),
        ("content-type;", "", SignedHeaders),
        (";host", ";hosts", SignedHeaders),
        ("=72e4", "=72e", Signature),
        ("=72e4", "=72g4", Signature),
        ("=72e4", "=é2e4", Signature),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_eq!(Authorization::parse(&bad), Err(reason), "{bad}");
    }
}

#[test]
fn takes_the_spacing_of_other_clients() {
    let good = A.authorization("ID", &Secret::new(KEY_A));
    let tight = good.replace(", ", ",");
    assert_eq!(Authorization::parse(&tight), Authorization::parse(&good));
}
