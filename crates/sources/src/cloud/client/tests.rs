use std::time::Duration;

use vodbridge_core::{Secret, chain};
use vodbridge_vod::api::pull_events;
use vodbridge_vod::signature::tc3::Authorization;

use super::*;
use crate::cloud::fake::{Answer, Fake};
use crate::cloud::{CredentialsConfig, SecretSource};

const EMPTY: &str = r#"{"Response":{"EventSet":[],"RequestId":"r"}}"#;

fn error(code: &str) -> Answer {
    Answer::new(format!(
        r#"{{"Response":{{"Error":{{"Code":"{code}","Message":"said"}},"RequestId":"r"}}}}"#
    ))
}

fn config(key: SecretSource, token: Option<&str>) -> CredentialsConfig {
    CredentialsConfig {
        secret_id: Some(SecretSource::Value(Secret::new("AKID"))),
        secret_key: Some(key),
        token: token.map(|token| SecretSource::Value(Secret::new(token))),
        ..CredentialsConfig::default()
    }
}

fn hunter2() -> CredentialsConfig {
    config(SecretSource::Value(Secret::new("hunter2")), None)
}

fn client(endpoint: &str, config: &CredentialsConfig, calls_per_second: u32) -> CloudClient {
    let credentials = Credentials::new(config, |_| None).unwrap();
    let limiter = Arc::new(Limiter::new(calls_per_second));
    CloudClient::new(endpoint, Some("ap-guangzhou"), credentials, limiter).unwrap()
}

async fn pull(client: &CloudClient) -> Result<Called, CallError> {
    let deadline = Instant::now() + Duration::from_secs(10);
    client
        .call(Action::PullEvents, pull_events(7), deadline)
        .await
}

#[tokio::test]
async fn a_call_is_what_the_vendor_says_and_its_signature_holds() {
    let fake = Fake::serve(vec![Answer::new(EMPTY)]).await;
    let config = config(SecretSource::Value(Secret::new("hunter2")), Some("t0ken"));
    let client = client(&fake.endpoint, &config, 100);
    let before = Instant::now();
    let called = pull(&client).await.unwrap();
    assert_eq!(called.body, EMPTY);
    assert!(called.sent >= before && called.sent <= Instant::now());
    let asked = &fake.asked()[0];
    for (name, value) in [
        ("host", fake.endpoint.trim_start_matches("http://")),
        ("content-type", "application/json"),
        ("x-tc-action", "PullEvents"),
        ("x-tc-version", "2018-07-17"),
        ("x-tc-region", "ap-guangzhou"),
        ("x-tc-token", "t0ken"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    assert_eq!((&*asked.path, &*asked.body), ("/", r#"{"SubAppId":7}"#));
    let timestamp = asked.header("x-tc-timestamp").unwrap().parse().unwrap();
    let authorization = Authorization::parse(asked.header("authorization").unwrap()).unwrap();
    assert_eq!(
        (authorization.secret_id(), authorization.service()),
        ("AKID", "vod")
    );
    let key = Secret::new("hunter2");
    let header = |name: &str| asked.header(name);
    assert!(authorization.verify(&key, header, asked.body.as_bytes(), timestamp));
    let shown = format!("{client:?} {called:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("t0ken"),
        "{shown}"
    );
}

#[tokio::test]
async fn calls_share_a_connection() {
    let fake = Fake::serve((0..10).map(|_| Answer::new(EMPTY)).collect()).await;
    let client = client(&fake.endpoint, &hunter2(), 1000);
    for _ in 0..10 {
        pull(&client).await.unwrap();
    }
    assert_eq!((fake.asked().len(), fake.connections()), (10, 1));
}

#[tokio::test]
async fn a_refused_key_is_read_again_for_the_next_call() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "old").unwrap();
    let answers = vec![error("AuthFailure.SignatureFailure"), Answer::new(EMPTY)];
    let fake = Fake::serve(answers).await;
    let config = config(SecretSource::File { file: file.clone() }, None);
    let client = client(&fake.endpoint, &config, 100);
    client.credentials().current().await.unwrap();
    std::fs::write(&file, "new").unwrap();
    let error = pull(&client).await.unwrap_err();
    assert_eq!(error.class(Action::PullEvents), ErrorClass::Reauthenticate);
    assert!(error.remedy(Action::PullEvents).contains("secret_key"));
    pull(&client).await.unwrap();
    let signed_with = |asked: &super::super::fake::Asked, key: &str| {
        let authorization = Authorization::parse(asked.header("authorization").unwrap()).unwrap();
        let timestamp = asked.header("x-tc-timestamp").unwrap().parse().unwrap();
        let header = |name: &str| asked.header(name);
        authorization.verify(&Secret::new(key), header, asked.body.as_bytes(), timestamp)
    };
    let asked = fake.asked();
    assert!(signed_with(&asked[0], "old") && signed_with(&asked[1], "new"));
}

#[tokio::test]
async fn a_throttled_account_slows_down() {
    let fake = Fake::serve(vec![error("RequestLimitExceeded.UinLimitExceeded")]).await;
    let client = client(&fake.endpoint, &hunter2(), 100);
    let error = pull(&client).await.unwrap_err();
    assert_eq!(error.class(Action::PullEvents), ErrorClass::Throttled);
    // Pulls wait, so that confirms go first.
    let soon = Instant::now() + Duration::from_millis(500);
    let waits = client.call(Action::PullEvents, pull_events(7), soon).await;
    assert!(matches!(waits, Err(CallError::TimedOut)), "{waits:?}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn what_is_no_answer_of_the_cloud_is_an_error_and_comes_again() {
    let status = |status: u16, body: &'static str| Answer {
        status: status.try_into().unwrap(),
        ..Answer::new(body)
    };
    for (answer, says) in [
        (status(502, "<html>"), "HTTP status 502"),
        (status(302, ""), "HTTP status 302"),
        (Answer::new("<html>hello</html>"), "not the cloud's"),
        (Answer::new("{}"), "not the cloud's"),
        (Answer::new(vec![b' '; LARGEST_ANSWER + 1]), "larger than"),
    ] {
        let fake = Fake::serve(vec![answer]).await;
        let error = pull(&client(&fake.endpoint, &hunter2(), 100))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.class(Action::PullEvents), ErrorClass::BackOff);
        assert!(!error.remedy(Action::PullEvents).is_empty());
    }
}

#[tokio::test]
async fn who_is_not_there_is_an_error_and_who_is_silent_one_at_the_deadline() {
    let nobody = client("http://127.0.0.1:1", &hunter2(), 100);
    let error = pull(&nobody).await.unwrap_err();
    assert!(matches!(error, CallError::Http(_)));
    let said = format!("{} {error:?}", chain(&error));
    assert!(
        said.contains("refused") && !said.contains("hunter2"),
        "{said}"
    );
    let silent = Answer {
        after: Duration::from_secs(3600),
        ..Answer::new(EMPTY)
    };
    let fake = Fake::serve(vec![silent]).await;
    let client = client(&fake.endpoint, &hunter2(), 100);
    let deadline = Instant::now() + Duration::from_millis(50);
    let result = client
        .call(Action::ConfirmEvents, Vec::new(), deadline)
        .await;
    assert!(matches!(result, Err(CallError::TimedOut)), "{result:?}");
    assert!(Instant::now() >= deadline);
}

#[tokio::test]
async fn a_turn_that_comes_after_the_deadline_is_not_used() {
    let fake = Fake::serve(Vec::new()).await;
    let client = client(&fake.endpoint, &hunter2(), 100);
    let turn = client.turn(Action::ConfirmEvents).await.unwrap();
    let late = client.call_in(turn, Vec::new(), Instant::now()).await;
    assert!(matches!(late, Err(CallError::TimedOut)), "{late:?}");
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn a_key_that_no_header_takes_is_a_matter_of_the_credentials() {
    let fake = Fake::serve(Vec::new()).await;
    let config = config(SecretSource::Value(Secret::new("hunter2")), Some("t0\nken"));
    let error = pull(&client(&fake.endpoint, &config, 100))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Credentials(_)), "{error:?}");
    assert!(!format!("{error:?} {}", chain(&error)).contains("t0"));
    assert_eq!(fake.connections(), 0);
}

#[test]
fn an_endpoint_is_a_scheme_and_a_host() {
    for good in [
        "https://vod.tencentcloudapi.com",
        "http://127.0.0.1:9700",
        "https://h:8443/",
        "http://[::1]",
        "http://[::1]:65535",
    ] {
        check_endpoint(good).unwrap();
    }
    for bad in [
        "",
        "h",
        "h:1",
        "ftp://h",
        "https://",
        "https://h/v2",
        "https://h?a",
        "https://u:p@h",
        "http://h:99999",
        "http://h:0",
        "http://[::1]:65536",
    ] {
        check_endpoint(bad).unwrap_err();
    }
}
