//! Every kind of secret is configured, everything goes wrong, and all that is said and written is
//! searched for them.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Cloud, CloudConfig};
use vodbridge_simulator::sign;
use vodbridge_tests::bridge::{Bridge, Setup, WEBHOOK_PATH};
use vodbridge_tests::brokers::nats::Nats;
use vodbridge_tests::brokers::{Broker, kafka, rabbitmq};
use vodbridge_tests::http::{exchange, get, post};
use vodbridge_tests::ports::free_port;
use vodbridge_tests::process::Process;

use super::said::Said;
use super::{PATIENCE, until};
use crate::own::notification;

/// The applications of the queue sources, the first of which the cloud knows.
const APPLICATIONS: [u64; 5] = [11, 12, 13, 14, 15];

/// Everything that nobody may be told. Of each the letters and digits are searched for.
const SECRETS: [(&str, &str); 22] = [
    ("sign key, literal", "signLiteral5ecret"),
    ("sign key, variable", "signVariable5ecret"),
    ("sign key, file", "signFile5ecret"),
    ("new sign key", "newSignKey5ecret"),
    ("secret id", "AKIDliteral5ecret"),
    ("secret key", "keyLiteral5ecret"),
    ("token", "tokenLiteral5ecret"),
    ("secret id, file", "AKIDfile5ecret"),
    ("secret key, file", "keyFile5ecret"),
    ("secret id, profile", "AKIDprofile5ecret"),
    ("secret key, profile", "keyProfile5ecret"),
    ("secret key of the role", "keyRole5ecret"),
    ("token of the role", "tokenRole5ecret"),
    ("web identity token", "webIdentity5ecret"),
    ("proxy's password", "proxy5ecret"),
    ("kafka's password", "kafka5ecret"),
    ("rabbitmq's password", "rabbit5ecret"),
    ("nats's password", "natsPassword5ecret"),
    ("nats's token", "natsToken5ecret"),
    ("password in a callback url", "url5ecret"),
    ("an authorization header", "header5ecret"),
    ("a cookie", "cookie5ecret"),
];

fn secret(name: &str) -> &'static str {
    let found = SECRETS.iter().find(|(known, _)| *known == name);
    found.map_or_else(|| panic!("no secret {name}"), |(_, secret)| secret)
}

/// A seed as `nk -gen user` makes them: <https://docs.nats.io/using-nats/nats-tools/nk>.
const SEED: &str = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY";

fn variables() -> Vec<(&'static str, String)> {
    let proxy = format!("http://bridge:{}@127.0.0.1:9", secret("proxy's password"));
    vec![
        ("SIGN", secret("sign key, variable").to_owned()),
        ("NEW_SIGN", secret("new sign key").to_owned()),
        ("KAFKA", secret("kafka's password").to_owned()),
        ("HTTPS_PROXY", proxy),
        ("VODBRIDGE_LOG__LEVEL", "trace".to_owned()),
    ]
}

/// Answers everything as the metadata service of a virtual machine.
async fn metadata() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let answer = format!(
        r#"{{"Code":"Success","TmpSecretId":"AKIDrole","TmpSecretKey":"{}","Token":"{}","ExpiredTime":4000000000}}"#,
        secret("secret key of the role"),
        secret("token of the role")
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"}") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            // Whoever asked may be gone.
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            stream.write_all(head.as_bytes()).await.ok();
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    Ok(format!("http://{address}"))
}

/// The brokers and the cloud, none of which knows the secrets of the bridge.
struct World {
    cloud: Cloud,
    nats: Broker<Nats>,
    rabbitmq: String,
    kafka: String,
    metadata: String,
}

impl World {
    async fn new() -> Result<Self> {
        let config = CloudConfig::new("AKIDother", Secret::new("other"), APPLICATIONS);
        let users = "authorization { user: bridge, password: another }";
        let (nats, rabbitmq, kafka) = tokio::try_join!(
            Broker::start(Nats::new()?.configuration(users)),
            rabbitmq::shared(),
            kafka::shared()
        )?;
        Ok(Self {
            cloud: Cloud::bind(([127, 0, 0, 1], 0).into(), config).await?,
            metadata: metadata().await?,
            nats,
            rabbitmq,
            kafka,
        })
    }

    fn configuration(&self) -> Result<String> {
        let [literal, file, profile, role, oidc] = APPLICATIONS;
        let Self {
            cloud,
            nats,
            kafka,
            metadata,
            ..
        } = self;
        let (cloud, nats) = (cloud.endpoint(), nats.address());
        let rabbitmq = self.rabbitmq.replace(
            "guest:guest",
            &format!("guest:%40{}", secret("rabbitmq's password")),
        );
        let nobody = format!("http://127.0.0.1:{}", free_port()?);
        Ok(format!(
            r#"
sources:
  callback:
    webhook:
      sign_keys: ["{sign}", {{ env: SIGN }}, {{ file: "{{directory}}/keys/sign" }}]
      patience: 6s
      spool: {{ directory: "{{directory}}/spool", ephemeral: true }}
  literal: {{ queue: {{ sub_app_id: {literal}, endpoint: "{cloud}", credentials: {{ secret_id: {id}, secret_key: {key}, token: {token} }} }} }}
  file: {{ queue: {{ sub_app_id: {file}, credentials: {{ secret_id: {{ file: "{{directory}}/keys/id" }}, secret_key: {{ file: "{{directory}}/keys/key" }} }} }} }}
  profile: {{ queue: {{ sub_app_id: {profile}, endpoint: "{nobody}", credentials: {{ profile: {{ file: "{{directory}}/keys/profile" }} }} }} }}
  role: {{ queue: {{ sub_app_id: {role}, endpoint: "{cloud}", credentials: {{ cvm_role: {{ role: a, endpoint: "{metadata}" }} }} }} }}
  oidc: {{ queue: {{ sub_app_id: {oidc}, endpoint: "{cloud}", credentials: {{ tke_oidc: {{ region: a, provider_id: b, role_arn: c, web_identity_token_file: "{{directory}}/keys/web", endpoint: "{metadata}" }} }} }} }}
sinks:
  events: {{ file: {{ directory: "{{directory}}/events", ephemeral: true }} }}
  kafka: {{ kafka: {{ brokers: ["{kafka}"], topic: "vod.{{event_type}}", options: {{ security.protocol: sasl_plaintext, sasl.mechanism: PLAIN, sasl.username: bridge, sasl.password: {{ env: KAFKA }} }} }} }}
  rabbitmq: {{ rabbitmq: {{ url: "{rabbitmq}", exchange: vod, routing_key: "vod.{{event_type}}" }} }}
  nats: {{ nats: {{ servers: ["{nats}"], subject: "vod.{{event_type}}", user: bridge, password: "{password}" }} }}
  nats_token: {{ nats: {{ servers: ["{nats}"], subject: "vod.{{event_type}}", token: "{nats_token}" }} }}
  nats_seed: {{ nats: {{ servers: ["{nats}"], subject: "vod.{{event_type}}", nkey_seed: {SEED} }} }}
  nats_file: {{ nats: {{ servers: ["{nats}"], subject: "vod.{{event_type}}", credentials_file: "{{directory}}/keys/creds" }} }}
routes:
  all: {{ to: {{ events: {{}} }} }}
  away: {{ match: {{ event_type: ConcatComplete }}, to: {{ kafka: {{}}, rabbitmq: {{}}, nats: {{}}, nats_token: {{}}, nats_seed: {{}}, nats_file: {{}} }} }}
dead_letter: {{ sink: events }}
"#,
            sign = secret("sign key, literal"),
            id = secret("secret id"),
            key = secret("secret key"),
            token = secret("token"),
            password = secret("nats's password"),
            nats_token = secret("nats's token"),
        ))
    }
}

/// Files with secrets in them.
fn write_keys(directory: &Path) -> Result<()> {
    std::fs::create_dir(directory)?;
    let profile = format!(
        "[default]\nsecret_id = {}\nsecret_key = {}\n",
        secret("secret id, profile"),
        secret("secret key, profile")
    );
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\neyJ0eXAiOiJKV1QifQ.e30.c2ln\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
    );
    for (name, text) in [
        ("sign", secret("sign key, file")),
        ("id", secret("secret id, file")),
        ("key", secret("secret key, file")),
        ("web", secret("web identity token")),
        ("profile", &profile),
        ("creds", &creds),
    ] {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}

/// Posts with right and wrong signatures in either place, and headers that a proxy may add.
async fn callbacks(bridge: &Bridge, said: &mut Said) -> Result<Vec<String>> {
    let t = SystemTime::UNIX_EPOCH.elapsed()?.as_secs() + 3_600;
    let mut signs = Vec::new();
    let headers = format!(
        "\r\nAuthorization: Bearer {}\r\nCookie: session={}\r\nX-Original-Uri: /vod?Sign={{sign}}\r\n",
        secret("an authorization header"),
        secret("a cookie")
    );
    let waits = r#"{"EventType":"ConcatComplete","ConcatCompleteEvent":{"TaskId":"1"}}"#;
    let upload = String::from_utf8(notification(1))?;
    for (key, body, expected) in [
        (secret("sign key, literal"), upload.as_str(), 200),
        (secret("sign key, variable"), "no JSON", 200),
        (secret("sign key, file"), "{}", 200),
        (secret("sign key, file"), waits, 200),
        ("another key", upload.as_str(), 401),
    ] {
        let sign = sign(key, t);
        let request = post(
            &format!("{WEBHOOK_PATH}?Sign={sign}&T={t}"),
            body.as_bytes(),
        );
        let request = String::from_utf8(request)?;
        let headers = headers.replace("{sign}", &sign);
        let request = request.replacen("\r\n", &headers, 1);
        let answer = exchange(bridge.webhook(), request.as_bytes(), PATIENCE).await?;
        ensure!(answer.status == expected, "{} {}", body, answer.text());
        said.add_answer("an answer", &answer);
        signs.push(sign);
    }
    let sign = sign(secret("sign key, file"), t);
    let signed = format!(r#"{{"Sign":"{sign}","T":{t},"strange":1}}"#);
    let answer = bridge.post(signed.as_bytes(), PATIENCE).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    signs.push(sign);
    Ok(signs)
}

/// What is said where the configuration itself is wrong, and by commands that reach for everything.
async fn commands(setup: &Setup, said: &mut Said) -> Result<()> {
    let url = format!(
        "https://user:{}@receiver.example.com/vod",
        secret("password in a callback url")
    );
    let set = ["callback", "set", "--source", "literal", "--yes"];
    let connected = said.run(setup, &["check", "--connect"]).await?;
    for part in ["kafka", "rabbitmq", "nats_seed", "literal", "file", "oidc"] {
        ensure!(connected.contains(part), "{part}: {connected}");
    }
    for arguments in [
        &["check"][..],
        &["check", "--output", "json"],
        &["topics"],
        &["callback", "show", "--source", "literal"],
        &["callback", "show", "--source", "role"],
        &[&set[..], &["--sign-key-env", "NEW_SIGN"]].concat(),
        &[&set[..], &["--url", &url]].concat(),
    ] {
        said.run(setup, arguments).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_secret_never_reaches_a_log_an_error_or_a_metric() -> Result<()> {
    let world = World::new().await?;
    let setup = Setup::new(&world.configuration()?)?.with_variables(variables());
    let keys = setup.directory().join("keys");
    write_keys(&keys)?;
    let mut said = Said::default();
    // It waits for a minute. What it says is in a file beside the bridge's log.
    let log = setup.directory().join("provision.log");
    let provision = Process::start("provision", setup.command(&["provision"])?, &log).await?;
    commands(&setup, &mut said).await?;

    let bridge = setup.start().await?;
    let signs = callbacks(&bridge, &mut said).await?;
    // The cloud has refused every key, and the brokers every password.
    for refused in ["literal", "role", "rabbitmq", "nats", "nats_token"] {
        until(refused, async || {
            let health = bridge.admin("/healthz").await?.json()?;
            let of = |kind: &str| health[kind][refused]["state"].as_str() == Some("down");
            Ok(of("sinks") || of("sources"))
        })
        .await?;
    }
    for path in ["/metrics", "/healthz", "/readyz", "/livez", "/"] {
        let answer = exchange(bridge.admin_address(), &get(path), PATIENCE).await?;
        said.add_answer(path, &answer);
    }
    let setup = bridge.setup();
    for arguments in [&["spool", "list"][..], &["spool", "export"]] {
        let words = said.run(setup, arguments).await?;
        ensure!(words.contains("ConcatComplete"), "{words}");
    }
    let listed = said.run(setup, &["dead-letter", "list"]).await?;
    ensure!(listed.contains("unparsable"), "{listed}");
    until("provision waits", async || {
        Ok(provision.log().contains("ACCESS_REFUSED"))
    })
    .await?;
    bridge.kill()?;
    bridge.wait(PATIENCE).await?;
    let ids = said
        .run(setup, &["dead-letter", "list", "--output", "json"])
        .await?;
    for line in ids.lines() {
        let Some(start) = line.find('{') else {
            continue;
        };
        let record: serde_json::Value = serde_json::from_str(&line[start..])?;
        let id = record["id"].as_str().context("no id")?;
        said.run(setup, &["dead-letter", "show", id]).await?;
    }
    said.run(setup, &["dead-letter", "replay", "--yes"]).await?;
    said.run(setup, &["spool", "retry", "--all"]).await?;
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    said.run(setup, &["verify", "--simulator", &nobody]).await?;

    // All files but those with secrets in them.
    std::fs::remove_dir_all(&keys)?;
    std::fs::remove_file(bridge.directory().join("test.yaml"))?;
    said.add_files(&bridge.directory())?;
    ensure!(bridge.log().contains("TRACE"), "{}", bridge.log_tail());
    for (what, secret) in SECRETS {
        said.hold_no(what, secret)?;
    }
    said.hold_no("nkey seed", SEED)?;
    for sign in signs {
        said.hold_no("a signature", &sign)?;
    }
    Ok(())
}
