use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{advance, pause, resume};

use super::*;
use crate::cloud::fake::{Answer, Fake};
use crate::cloud::{CvmRoleConfig, ProfileConfig, SecretSource, TkeOidcConfig};

fn none(_: &str) -> Option<String> {
    None
}

fn in_seconds(n: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() + n
}

fn role_answer(id: &str, life: u64) -> String {
    let expires = in_seconds(life);
    format!(
        r#"{{"Code":"Success","TmpSecretId":"{id}","TmpSecretKey":"hunter2","Token":"t0ken","ExpiredTime":{expires}}}"#
    )
}

async fn id(credentials: &Arc<Credentials>) -> String {
    credentials.current().await.unwrap().id.clone()
}

#[tokio::test]
async fn a_file_is_read_again_when_it_was_refused_and_after_a_second() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "first\n").unwrap();
    let config = CredentialsConfig {
        secret_id: Some(SecretSource::Value(Secret::new("ID"))),
        secret_key: Some(SecretSource::File { file: file.clone() }),
        ..CredentialsConfig::default()
    };
    let credentials = Credentials::new(&config, none).unwrap();
    let first = credentials.current().await.unwrap();
    assert_eq!((&*first.id, first.key.expose()), ("ID", "first"));
    std::fs::write(&file, "second\n").unwrap();
    assert_eq!(credentials.current().await.unwrap(), first);
    credentials.invalidate(&first);
    let second = credentials.current().await.unwrap();
    assert_eq!(second.key.expose(), "second");
    assert!(!format!("{credentials:?} {second:?}").contains("second"));
    // An answer to the old key does not throw the new one away.
    std::fs::remove_file(&file).unwrap();
    credentials.invalidate(&first);
    assert_eq!(credentials.current().await.unwrap(), second);
    credentials.invalidate(&second);
    let error = credentials.current().await.unwrap_err();
    assert!(error.to_string().contains("cannot be read") && !error.remedy().is_empty());
}

#[tokio::test]
async fn a_profile_has_sections() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("credentials");
    let text = "# keys\n[default]\nsecret_id = A\nsecret_key=a\n\n[live]\nsecret_id=B\n";
    std::fs::write(&file, text).unwrap();
    let of = |name: Option<&str>| CredentialsConfig {
        profile: Some(ProfileConfig {
            file: Some(file.clone()),
            name: name.map(str::to_owned),
        }),
        ..CredentialsConfig::default()
    };
    let credentials = Credentials::new(&of(None), none).unwrap();
    assert_eq!(id(&credentials).await, "A");
    let credentials = Credentials::new(&of(Some("live")), none).unwrap();
    let error = credentials.current().await.unwrap_err().to_string();
    assert!(
        error.contains("secret_key") && error.contains("[live]"),
        "{error}"
    );
}

/// Makes time pass at once, without the clock of the connections.
async fn pass(seconds: u64) {
    pause();
    advance(Duration::from_secs(seconds)).await;
    resume();
}

async fn until_it_is(credentials: &Arc<Credentials>, expected: &str) {
    while id(credentials).await != expected {
        tokio::task::yield_now().await;
    }
}

fn role(endpoint: &str, role: Option<&str>) -> CredentialsConfig {
    CredentialsConfig {
        cvm_role: Some(CvmRoleConfig {
            role: role.map(str::to_owned),
            endpoint: Some(endpoint.to_owned()),
        }),
        ..CredentialsConfig::default()
    }
}

#[tokio::test]
async fn a_file_that_changed_is_noticed_and_one_that_is_gone_serves_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("id");
    std::fs::write(&file, "first").unwrap();
    let config = CredentialsConfig {
        secret_id: Some(SecretSource::File { file: file.clone() }),
        secret_key: Some(SecretSource::Value(Secret::new("hunter2"))),
        ..CredentialsConfig::default()
    };
    let credentials = Credentials::new(&config, none).unwrap();
    assert_eq!(id(&credentials).await, "first");
    std::fs::write(&file, "second").unwrap();
    pass(2).await;
    until_it_is(&credentials, "second").await;
    std::fs::remove_file(&file).unwrap();
    for _ in 0..3 {
        pass(20).await;
        assert_eq!(id(&credentials).await, "second");
        tokio::task::yield_now().await;
    }
    std::fs::write(&file, "third").unwrap();
    pass(20).await;
    until_it_is(&credentials, "third").await;
}

#[tokio::test]
async fn a_role_is_refreshed_ahead_of_its_end_while_the_old_key_serves() {
    let answers = [
        "vod-reader".to_owned(),
        role_answer("first", 7200),
        "vod-reader".to_owned(),
        r#"{"Code":"Busy"}"#.to_owned(),
        "vod-reader".to_owned(),
        role_answer("second", 7200),
    ];
    let fake = Fake::serve(answers.map(Answer::new).into()).await;
    let credentials = Credentials::new(&role(&fake.endpoint, None), none).unwrap();
    assert_eq!(id(&credentials).await, "first");
    pass(6890).await;
    assert_eq!(id(&credentials).await, "first");
    assert_eq!(fake.asked().len(), 2);
    // 300 s are left. The first try fails, which hurts nobody, and the next comes later.
    pass(11).await;
    assert_eq!(id(&credentials).await, "first");
    let mut asked = 0;
    while asked < 2 {
        tokio::task::yield_now().await;
        asked += fake.asked().len();
    }
    while credentials.refreshing.try_lock().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(id(&credentials).await, "first");
    assert_eq!(fake.asked().len(), 0);
    pass(11).await;
    until_it_is(&credentials, "second").await;
    let asked = fake.asked();
    let paths: Vec<_> = asked.iter().map(|asked| &*asked.path).collect();
    let list = "/latest/meta-data/cam/security-credentials/";
    assert_eq!(paths, [list, &format!("{list}vod-reader")]);
}

#[tokio::test]
async fn many_callers_ask_once_and_again_only_after_the_end() {
    let answers = [role_answer("first", 7200), role_answer("second", 7200)];
    let fake = Fake::serve(answers.map(Answer::new).into()).await;
    let credentials = Credentials::new(&role(&fake.endpoint, Some("r")), none).unwrap();
    let callers = (0..32).map(|_| id(&credentials));
    let ids = futures_util::future::join_all(callers).await;
    assert!(ids.iter().all(|id| id == "first"));
    pass(7201).await;
    let callers = (0..32).map(|_| id(&credentials));
    let ids = futures_util::future::join_all(callers).await;
    assert!(ids.iter().all(|id| id == "second"));
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_key_that_ends_soon_is_not_asked_for_with_every_call() {
    let answers = [role_answer("first", 200), role_answer("second", 200)];
    let fake = Fake::serve(answers.map(Answer::new).into()).await;
    let credentials = Credentials::new(&role(&fake.endpoint, Some("r")), none).unwrap();
    for _ in 0..100 {
        assert_eq!(id(&credentials).await, "first");
        tokio::task::yield_now().await;
    }
    assert_eq!(fake.asked().len(), 1);
    pass(11).await;
    until_it_is(&credentials, "second").await;
}

#[tokio::test]
async fn what_a_metadata_service_cannot_give_is_said() {
    let expired = r#"{"Code":"Success","TmpSecretId":"i","TmpSecretKey":"hunter2","Token":"t","ExpiredTime":1}"#;
    for (status, body, says) in [
        (404, "", "status 404"),
        (200, "<html>", "no JSON"),
        (200, r#"{"Code":"NoRole"}"#, "NoRole"),
        (200, expired, "expired"),
    ] {
        let answer = Answer {
            status: status.try_into().unwrap(),
            ..Answer::new(body)
        };
        let fake = Fake::serve(vec![answer]).await;
        let credentials = Credentials::new(&role(&fake.endpoint, Some("r")), none).unwrap();
        let error = credentials.current().await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!format!("{error:?}").contains("hunter2") && !error.remedy().is_empty());
    }
}

#[tokio::test]
async fn tke_trades_the_token_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "jwt-1\n").unwrap();
    let refused =
        r#"{"Response":{"Error":{"Code":"FailedOperation","Message":"no"},"RequestId":"r"}}"#;
    let given = |id: &str| {
        let expires = in_seconds(7200);
        format!(
            r#"{{"Response":{{"Credentials":{{"TmpSecretId":"{id}","TmpSecretKey":"k","Token":"t"}},"ExpiredTime":{expires},"RequestId":"r"}}}}"#
        )
    };
    let answers = [refused.to_owned(), given("first"), given("second")];
    let fake = Fake::serve(answers.map(Answer::new).into()).await;
    let config = CredentialsConfig {
        tke_oidc: Some(TkeOidcConfig {
            endpoint: Some(fake.endpoint.clone()),
            web_identity_token_file: Some(file.clone()),
            ..TkeOidcConfig::default()
        }),
        ..CredentialsConfig::default()
    };
    let error = Credentials::new(&config, none).unwrap_err();
    assert!(error.to_string().contains("TKE_REGION"), "{error}");
    let variables = |name: &str| Some(format!("<{name}>"));
    let credentials = Credentials::new(&config, variables).unwrap();
    assert!(credentials.current().await.is_err());
    std::fs::write(&file, "jwt-2\n").unwrap();
    let key = credentials.current().await.unwrap();
    assert_eq!(
        (&*key.id, key.token.as_ref().unwrap().expose()),
        ("first", "t")
    );
    // A tenth of its life is left.
    std::fs::write(&file, "jwt-3\n").unwrap();
    pass(6481).await;
    until_it_is(&credentials, "second").await;
    let asked = fake.asked();
    for (asked, token) in asked.iter().zip(["jwt-1", "jwt-2", "jwt-3"]) {
        assert_eq!(asked.header("authorization"), Some("SKIP"));
        assert_eq!(
            asked.header("x-tc-action"),
            Some("AssumeRoleWithWebIdentity")
        );
        assert_eq!(asked.header("x-tc-version"), Some("2018-08-13"));
        assert_eq!(asked.header("x-tc-region"), Some("<TKE_REGION>"));
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body["WebIdentityToken"], token);
        assert_eq!(body["RoleArn"], "<TKE_ROLE_ARN>");
        assert_eq!(body["ProviderId"], "<TKE_PROVIDER_ID>");
    }
    assert_eq!(asked.len(), 3);
}

#[test]
fn half_a_key_is_not_the_default_chain() {
    let config = CredentialsConfig {
        secret_id: Some(SecretSource::Value(Secret::new("ID"))),
        ..CredentialsConfig::default()
    };
    assert!(Credentials::new(&config, none).is_err());
}

#[tokio::test]
async fn without_a_way_the_vendors_chain_is_followed() {
    let variables = |name: &str| match name {
        "TENCENTCLOUD_SECRET_ID" => Some("E".to_owned()),
        "TENCENTCLOUD_SECRET_KEY" => Some("hunter2".to_owned()),
        _ => None,
    };
    let credentials = Credentials::new(&CredentialsConfig::default(), variables).unwrap();
    assert_eq!(id(&credentials).await, "E");
    assert!(credentials.describe().contains("TENCENTCLOUD_SECRET_ID"));
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".tencentcloud")).unwrap();
    let file = home.path().join(".tencentcloud/credentials");
    std::fs::write(&file, "[default]\nsecret_id=P\nsecret_key=p\n").unwrap();
    let variables =
        |name: &str| (name == "HOME").then(|| home.path().to_string_lossy().into_owned());
    let credentials = Credentials::new(&CredentialsConfig::default(), variables).unwrap();
    assert_eq!(id(&credentials).await, "P");
    let variables = |name: &str| name.starts_with("TKE_").then(|| "x".to_owned());
    let credentials = Credentials::new(&CredentialsConfig::default(), variables).unwrap();
    assert_eq!(credentials.describe(), "the role x by TKE");
    let credentials = Credentials::new(&CredentialsConfig::default(), none).unwrap();
    assert_eq!(credentials.describe(), "the machine's role");
}
