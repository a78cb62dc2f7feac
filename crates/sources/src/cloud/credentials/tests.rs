use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::cloud::{CvmRoleConfig, ProfileConfig, SecretSource, TkeOidcConfig};

fn none(_: &str) -> Option<String> {
    None
}

/// Answers request after request with these bodies, and keeps what was asked.
async fn serve(answers: Vec<String>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (log, answers) = (log.clone(), answers.clone());
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (log, answers) = (log.clone(), answers.clone());
                async move {
                    let line = format!("{} {:?}", request.uri(), request.headers());
                    let mut body = Limited::new(request.into_body(), 1 << 16);
                    let mut text = Vec::new();
                    while let Some(frame) = body.frame().await {
                        text.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
                    }
                    let body = String::from_utf8_lossy(&text).into_owned();
                    log.lock().unwrap().push(line + &body);
                    let answer = answers.lock().unwrap().pop_front().unwrap();
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(answer))))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, asked)
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

#[tokio::test]
async fn a_role_is_refreshed_ahead_of_its_end_while_it_serves() {
    let answers = vec![
        "vod-reader".to_owned(),
        role_answer("first", 200),
        "vod-reader".to_owned(),
        role_answer("second", 7200),
    ];
    let (endpoint, asked) = serve(answers).await;
    let config = CredentialsConfig {
        cvm_role: Some(CvmRoleConfig {
            role: None,
            endpoint: Some(endpoint),
        }),
        ..CredentialsConfig::default()
    };
    let credentials = Credentials::new(&config, none).unwrap();
    // With less than 300 s left it serves on, and the next is fetched meanwhile.
    assert_eq!(id(&credentials).await, "first");
    assert_eq!(id(&credentials).await, "first");
    while id(&credentials).await != "second" {
        tokio::task::yield_now().await;
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 4);
    assert!(asked[1].starts_with("/latest/meta-data/cam/security-credentials/vod-reader"));
}

#[tokio::test]
async fn tke_trades_the_token_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "jwt-1\n").unwrap();
    let refused =
        r#"{"Response":{"Error":{"Code":"FailedOperation","Message":"no"},"RequestId":"r"}}"#;
    let expires = in_seconds(7200);
    let given = format!(
        r#"{{"Response":{{"Credentials":{{"TmpSecretId":"T","TmpSecretKey":"k","Token":"t"}},"ExpiredTime":{expires},"RequestId":"r"}}}}"#
    );
    let (endpoint, asked) = serve(vec![refused.to_owned(), given]).await;
    let config = CredentialsConfig {
        tke_oidc: Some(TkeOidcConfig {
            endpoint: Some(endpoint),
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
    assert_eq!(id(&credentials).await, "T");
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("jwt-1") && asked[1].contains("jwt-2"));
    assert!(asked[1].contains("SKIP") && asked[1].contains("<TKE_ROLE_ARN>"));
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
}
