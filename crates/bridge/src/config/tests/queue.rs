//! Queue sources: what can be read and cannot work, and credentials.

use vodbridge_sources::cloud::{DEFAULT_ENDPOINT, SecretSource};
use vodbridge_sources::queue::QueueConfig;

use super::*;

const KEY: &str = "secret_id: AKID, secret_key: hunter2";

/// The smallest file with a queue source beside the webhook, of these keys and these credentials.
fn with_credentials(keys: &str, credentials: &str) -> String {
    format!(
        "sources: {{ reliable: {{ queue: {{ sub_app_id: 7, {keys} credentials: {{ {credentials} }} }} }} }}"
    )
}

fn queue(config: &Config) -> &QueueConfig {
    let (name, queue) = config.queues().next().unwrap();
    assert_eq!(name, "reliable");
    queue
}

/// The one error of a queue source with these keys.
fn one_of_queue(keys: &str, key: &str, problem: &str) {
    one(
        &with_credentials(&format!("{keys},"), KEY),
        &format!("prod.yaml: sources.reliable.queue.{key}: {problem}"),
    );
}

#[test]
fn the_smallest_queue_source_gets_defaults() {
    let text = "sources: { callback: null, reliable: { queue: { sub_app_id: 7 } } }";
    let variables = [
        ("TENCENTCLOUD_SECRET_ID", "AKID"),
        ("TENCENTCLOUD_SECRET_KEY", "key"),
    ];
    let config = load_files(&[("a.yaml", SMALLEST), ("b.yaml", text)], &variables).unwrap();
    let queue = queue(&config);
    assert_eq!(queue.endpoint, DEFAULT_ENDPOINT);
    assert_eq!((queue.pullers, queue.max_in_flight), (2, 1024));
    assert_eq!(queue.patience(), Duration::from_secs(25));
    assert_eq!(queue.credentials, Default::default());
    assert_eq!(config.webhooks().count(), 0);
    assert_eq!(config.topics()["events"], {
        let webhook = load_files(&[("a.yaml", SMALLEST)], &[]).unwrap();
        webhook.topics()["events"].clone()
    });
}

#[test]
fn a_topic_can_name_the_application_and_the_source() {
    let text = with_credentials("", KEY)
        + "\nsinks: { events: { kafka: { topic: 'vod.{source}.{sub_app_id}' } } }
routes: { pulled: { match: { source: reliable }, to: { events: {} } } }";
    let topics = load_over(&text).unwrap().topics()["events"].clone();
    assert_eq!(
        topics.iter().collect::<Vec<_>>(),
        ["vod.dead_letter", "vod.reliable.7"]
    );
}

#[test]
fn endpoints() {
    let problem =
        "is no endpoint; write https://HOST, without a path; http://HOST:PORT is for a simulator";
    for endpoint in [
        "vod.tencentcloudapi.com",
        "ftp://a",
        "https://a/b",
        "https://a?b",
        "https://me:hunter2@a",
        "''",
    ] {
        one_of_queue(&format!("endpoint: {endpoint}"), "endpoint", problem);
    }
    for endpoint in ["http://a:99999", "https://a:0", "'https://a:'"] {
        let problem = problem.replace("is no endpoint", "has a port that is not from 1 to 65535");
        one_of_queue(&format!("endpoint: {endpoint}"), "endpoint", &problem);
    }
    for endpoint in [
        "http://simulator:9700",
        "https://vod.ap-guangzhou.tencentcloudapi.com/",
    ] {
        let text = with_credentials(&format!("endpoint: '{endpoint}',"), KEY);
        assert_eq!(queue(&load_over(&text).unwrap()).endpoint, endpoint);
    }
    one_of_queue(
        "region: 'ap guangzhou'",
        "region",
        "is no region; write one such as ap-guangzhou, or nothing: the calls do not need it",
    );
}

#[test]
fn impossible_times() {
    one_of_queue(
        "lease_margin: 2s",
        "lease_margin",
        "is too short; write at least 3s: a confirm may take 2s",
    );
    one_of_queue(
        "lease: 14s",
        "lease_margin",
        "leaves 9s of the lease (14s) to deliver in; leave at least 10s",
    );
    one_of_queue(
        "lease_margin: 1h",
        "lease_margin",
        "leaves 0s of the lease (30s) to deliver in; leave at least 10s",
    );
    one_of_queue(
        "lease: 31s",
        "lease",
        "is longer than the cloud's; write at most 30s: then an event that is not confirmed comes again",
    );
    one_of_queue(
        "backlog_interval: 999ms",
        "backlog_interval",
        "is too short; write at least 1s: the cloud's number is minutes old; 0s: it is never asked for",
    );
    // The vendor's lease is not a simulator's.
    let simulator =
        "endpoint: 'http://simulator:9700', lease: 13s, lease_margin: 3s, backlog_interval: 0s,";
    assert_eq!(
        queue(&load_over(&with_credentials(simulator, KEY)).unwrap()).patience(),
        Duration::from_secs(10)
    );
}

#[test]
fn impossible_numbers() {
    for number in ["0", "1001", "18446744073709551615"] {
        one_of_queue(
            &format!("pullers: {number}"),
            "pullers",
            "must be from 1 to 1000",
        );
    }
    for number in ["0", "100001"] {
        one_of_queue(
            &format!("calls_per_second: {number}"),
            "calls_per_second",
            "must be from 1 to 100000",
        );
    }
    one_of_queue(
        "max_in_flight: 1000001",
        "max_in_flight",
        "must be from 1 to 1000000",
    );
    one_of_queue(
        "pullers: 65",
        "max_in_flight",
        "1024 is not enough for 65 pullers: each takes 16 permits before it pulls; write at least 1040, or fewer pullers",
    );
    assert!(load_over(&with_credentials("pullers: 64,", KEY)).is_ok());
    let none = "sources: { reliable: { queue: { sub_app_id: 0 } } }";
    assert!(errors_over(none)[0].contains("sub_app_id: is no application"));
}

#[test]
fn a_drain_outlives_the_lease() {
    let text = with_credentials("", KEY).replace("sources: {", "sources: { callback: null,");
    let text = text + "\ndrain: { timeout: 29s }";
    one(
        &text,
        "prod.yaml: drain.timeout: 29s is too short for sources.reliable.queue.lease less lease_margin (25s) and 5s; write at least 30s",
    );
    assert!(load_over(&text.replace("29s", "30s")).is_ok());
}

#[test]
fn two_sources_do_not_pull_one_queue() {
    let two = |second: &str| {
        let queue = |keys: &str| format!("{{ queue: {{ {keys}, credentials: {{ {KEY} }} }} }}");
        format!(
            "sources: {{ first: {}, second: {} }}",
            queue("sub_app_id: 7"),
            queue(second)
        )
    };
    let problem = "prod.yaml: sources.second.queue.sub_app_id: is pulled by sources.first.queue.sub_app_id (prod.yaml) too; keep one of them; `pullers` says how many pulls are open at once";
    one(&two("sub_app_id: 7"), problem);
    // A region's host has the same queue.
    one(
        &two("sub_app_id: 7, endpoint: 'https://vod.ap-hongkong.tencentcloudapi.com'"),
        problem,
    );
    assert!(load_over(&two("sub_app_id: 8")).is_ok());
    assert!(
        load_over(&two(
            "sub_app_id: 7, endpoint: 'https://nottencentcloudapi.com'"
        ))
        .is_ok()
    );
}

#[test]
fn credentials_are_one_whole_way() {
    let at = "prod.yaml: sources.reliable.queue.credentials";
    for (written, problem) in [
        (
            "secret_id: a",
            "is not a whole key; write both `secret_id` and `secret_key`",
        ),
        (
            "secret_key: a, token: b",
            "is not a whole key; write both `secret_id` and `secret_key`",
        ),
        (
            "secret_id: a, secret_key: b, cvm_role: {}, tke_oidc: {}",
            "has several ways to get credentials: secret_id, cvm_role, tke_oidc; keep one",
        ),
        (
            "tke_oidc: {}",
            "tke_oidc has no region, and TKE_REGION is not set; write it, or let TKE set the variable",
        ),
    ] {
        one(&with_credentials("", written), &format!("{at}: {problem}"));
    }
    one(
        &with_credentials("", "profile: { file: /nonexistent }"),
        &format!("{at}.profile.file: cannot be read: No such file or directory (os error 2)"),
    );
    one(
        &with_credentials("", "cvm_role: { endpoint: metadata }"),
        &format!(
            "{at}.cvm_role.endpoint: is no endpoint; write https://HOST or http://HOST, without a path"
        ),
    );
    let given = "tke_oidc: { region: r, provider_id: p, role_arn: a, web_identity_token_file: /t }";
    for written in [
        "",
        "cvm_role: {}",
        "secret_id: a, secret_key: b, token: c",
        given,
    ] {
        assert!(
            load_over(&with_credentials("", written)).is_ok(),
            "{written}"
        );
    }
}

#[test]
fn a_secret_in_a_file_stays_one_and_a_profile_is_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "hunter2\n").unwrap();
    let path = file.display();
    let text = with_credentials(
        "",
        &format!("secret_id: {{ env: ID }}, secret_key: {{ file: {path} }}"),
    );
    let files = [("a.yaml", SMALLEST), ("b.yaml", text.as_str())];
    let config = load_files(&files, &[("ID", "0012")]).unwrap();
    let credentials = &queue(&config).credentials;
    let expected = SecretSource::File { file: file.clone() };
    assert_eq!(credentials.secret_key, Some(expected.clone()));
    let id = vodbridge_core::Secret::new("0012");
    assert_eq!(credentials.secret_id, Some(SecretSource::Value(id)));

    // A file in place of a variable, in a later layer.
    let variable = with_credentials("", "secret_id: a, secret_key: { env: KEY }");
    let later = with_credentials("", &format!("secret_key: {{ file: {path} }}"));
    let files = [
        ("a.yaml", SMALLEST),
        ("b.yaml", &variable),
        ("c.yaml", &later),
    ];
    let config = load_files(&files, &[("KEY", "key")]).unwrap();
    assert_eq!(queue(&config).credentials.secret_key, Some(expected));

    let text = with_credentials("", &format!("profile: {{ file: {path} }}"));
    let config = load_over(&text).unwrap();
    let profile = queue(&config).credentials.profile.clone().unwrap();
    assert_eq!(profile.file.as_deref(), Some(&*file));

    let at = "prod.yaml: sources.reliable.queue.credentials.secret_key";
    let secret_key = |key: &str| with_credentials("", &format!("secret_id: a, secret_key: {key}"));
    one(
        &secret_key("{ file: /nonexistent }"),
        &format!(
            "{at}: the file /nonexistent cannot be read: No such file or directory (os error 2)"
        ),
    );
    one(
        &secret_key("4711"),
        &format!("{at}: put the secret in quotes: as it stands YAML takes it for a number"),
    );
    std::fs::write(&file, "\n").unwrap();
    assert!(errors_over(&secret_key(&format!("{{ file: {path} }}")))[0].contains("is empty"));
}

#[test]
fn no_error_shows_a_secret_of_the_cloud() {
    let text = "sources: { reliable: { queue: { sub_app_id: { env: SECRET }, endpoint: { env: SECRET }, \
        lease: { env: SECRET }, region: { env: SECRET }, pullers: [hunter2], \
        credentials: { secret_id: [hunter2], secret_key: { text: hunter2 }, token: { env: SECRET, file: hunter2 }, profile: hunter2 } } } }";
    let files = [("a.yaml", SMALLEST), ("b.yaml", text)];
    let errors = lines(load_files(&files, &[("SECRET", "*hunter2*")]));
    assert!(errors.len() >= 7, "{errors:#?}");
    assert!(!errors.concat().contains("hunter2"), "{errors:#?}");
}
