//! What each kind of sink needs.

use super::*;

fn sink(text: &str) -> String {
    format!("{{ sinks: {{ other: {{ {text} }} }}, dead_letter: {{ sink: events }} }}")
}

/// The one error of one more sink.
fn one_of_sink(text: &str, expected: &str) {
    one(&sink(text), &format!("prod.yaml: sinks.other.{expected}"));
}

#[test]
fn kafka() {
    let brokers = |brokers: &str| format!("kafka: {{ topic: vod, brokers: {brokers} }}");
    one_of_sink(
        &brokers("[]"),
        "kafka.brokers: is empty; write at least one HOST:PORT",
    );
    for broker in ["''", "kafka", "':9092'", "'ssl://kafka:9093'", "'kafka:0'"] {
        one_of_sink(
            &brokers(&format!("['good:9092', {broker}]")),
            "kafka.brokers.1: is no address of a broker; write HOST:PORT; TLS is `security.protocol: ssl` under options",
        );
    }
}

#[test]
fn rabbitmq() {
    let url = |url: &str| format!("rabbitmq: {{ exchange: vod, routing_key: vod, url: '{url}' }}");
    for wrong in [
        "http://x",
        "amqp:x",
        "amqp://u:p@host:port",
        "amqp://u:%ff@host",
    ] {
        one_of_sink(
            &url(wrong),
            "rabbitmq.url: is no AMQP URL; write amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, and percent-encode what is no letter or digit in user, password and vhost",
        );
    }
    one_of_sink(
        &url("amqp://u:p@[::1]:5672"),
        "rabbitmq.url: has an IPv6 address as its host, which is not supported; write a host name",
    );
    one_of_sink(
        &url(&format!("amqp://host/{:v>256}", "")),
        "rabbitmq.url: has a vhost of more than 255 bytes",
    );
    let with = |keys: &str| format!("rabbitmq: {{ url: 'amqp://x', routing_key: vod, {keys} }}");
    for channels in [0, 2048] {
        one_of_sink(
            &with(&format!("exchange: vod, channels: {channels}")),
            "rabbitmq.channels: must be from 1 to 2047",
        );
    }
    for exchange in ["''", &"e".repeat(249)] {
        one_of_sink(
            &with(&format!("exchange: {exchange}")),
            "rabbitmq.exchange: must have 1 to 248 bytes; name a topic exchange; the default exchange routes to queues by name only",
        );
    }
}

#[test]
fn nats() {
    let nats = |more: &str| format!("nats: {{ subject: vod, {more} }}");
    one_of_sink(
        &nats("servers: []"),
        "nats.servers: is empty; write at least one nats://HOST:PORT",
    );
    for server in ["http://x", "ws://x", "'nats://'", "''"] {
        one_of_sink(
            &nats(&format!("servers: [a, {server}]")),
            "nats.servers.1: is no URL of a NATS server; write nats://HOST:PORT or tls://HOST:PORT",
        );
    }
    one_of_sink(
        &nats("servers: ['nats://me:hunter2@a']"),
        "nats.servers.0: holds credentials, which would reach logs; write them under `user` and `password`, or as `token`",
    );
    for stream in ["a b", "''", "a.b", "'>'", &"s".repeat(256)] {
        one_of_sink(
            &nats(&format!("servers: [a], stream: {stream}")),
            "nats.stream: is no name of a stream; write at most 255 letters, digits, `_` and `-`",
        );
    }
    one_of_sink(
        &nats("servers: [a], user: me"),
        "nats: has one of `user` and `password`; write both or none",
    );
    one_of_sink(
        &nats("servers: [a], token: a, nkey_seed: b"),
        "nats: has several ways to log in: token, nkey_seed; keep one",
    );
}

#[test]
fn a_credentials_file_is_read() {
    let with =
        |file: &str| format!("nats: {{ subject: vod, servers: [a], credentials_file: {file} }}");
    one_of_sink(
        &with("/nonexistent"),
        "nats.credentials_file: cannot be used: No such file or directory (os error 2); name a .creds file that this user may read",
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2").unwrap();
    one_of_sink(
        &with(&file.path().display().to_string()),
        "nats.credentials_file: cannot be used: cannot parse user JWT from the credentials file; name a .creds file that this user may read",
    );
}

#[test]
fn file() {
    for bytes in ["0", "1023KiB"] {
        one_of_sink(
            &format!("file: {{ directory: /a, rotate_bytes: {bytes} }}"),
            "file.rotate_bytes: must be at least 1MiB",
        );
    }
    for directory in ["''", "/dev/null"] {
        one_of_sink(
            &format!("file: {{ directory: {directory} }}"),
            "file.directory: is no directory; name one, or a path where one can be made",
        );
    }
}

#[test]
fn two_sinks_in_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
    let base = directory.path().display();
    for same in ["real//x/.", "real/x/../y/../x", "link/x", "link/../real/x"] {
        one(
            &format!(
                "{{ sinks: {{ a: {{ file: {{ directory: {base}/real/x }} }}, b: {{ file: {{ directory: {base}/{same} }} }} }}, dead_letter: {{ sink: a }} }}"
            ),
            "prod.yaml: sinks.b.file.directory: is the same as sinks.a.file.directory (prod.yaml); give each file sink a directory of its own",
        );
    }
}

#[test]
fn the_state_directory_belongs_to_the_bridge() {
    for state in ["/data/", "/data/x/.."] {
        one(
            &format!(
                "{{ sinks: {{ events: {{ kafka: ~, file: {{ directory: /data }} }} }}, state_directory: {state} }}"
            ),
            "prod.yaml: sinks.events.file.directory: is the same as state_directory (prod.yaml); give each file sink a directory of its own",
        );
    }
    one(
        "state_directory: /dev/null",
        "prod.yaml: state_directory: is no directory; name one, or a path where one can be made",
    );
}
