//! What each kind of sink needs: what its constructor, or its broker, would refuse.

use vodbridge_core::Template;
use vodbridge_sink_file::FileConfig;
use vodbridge_sink_kafka::KafkaConfig;
use vodbridge_sink_nats::NatsConfig;
use vodbridge_sink_rabbitmq::{RabbitMqConfig, RabbitMqConfigError};

use super::Check;
use crate::config::Sink;
use crate::config::errors::instead_of;
use crate::config::topics::LABELS;
use crate::config::tree::KeyPath;

/// Smaller files are so many that finding the next number for one takes longer than writing it.
const LEAST_ROTATE_BYTES: u64 = 1 << 20;
/// `provision` names a queue `EXCHANGE.events`, and names have 255 bytes.
const LONGEST_EXCHANGE: usize = vodbridge_sink_rabbitmq::LONGEST_NAME - ".events".len();

pub(super) fn check(sink: &Sink, path: &KeyPath, check: &mut Check<'_>) {
    let [_, key] = sink.template_key();
    template(sink.template(), &path.join(key), check);
    match sink {
        Sink::Kafka(config) => kafka(config, path, check),
        Sink::RabbitMq(config) => rabbitmq(config, path, check),
        Sink::Nats(config) => nats(config, path, check),
        Sink::File(config) => file(config, path, check),
    }
}

fn kafka(config: &KafkaConfig, path: &KeyPath, check: &mut Check<'_>) {
    let brokers = path.join("brokers");
    let remedy = "write at least one HOST:PORT";
    check.that(!config.brokers.is_empty(), &brokers, "is empty", remedy);
    for (at, broker) in config.brokers.iter().enumerate() {
        let good = vodbridge_sink_kafka::is_broker(broker);
        let remedy = "write HOST:PORT; TLS is `security.protocol: ssl` under options";
        let problem = "is no address of a broker";
        check.that(good, &brokers.join(at.to_string()), problem, remedy);
    }
    let options = path.join("options");
    if check.report.trusts(&options) {
        for error in vodbridge_sink_kafka::validate_options(config) {
            let path = error.key.map_or(options.clone(), |key| options.join(key));
            check.that(false, &path, error.reason, "");
        }
    }
}

fn rabbitmq(config: &RabbitMqConfig, path: &KeyPath, check: &mut Check<'_>) {
    if let Err(error) = vodbridge_sink_rabbitmq::validate_url(config.url.expose()) {
        let (problem, remedy) = match error {
            RabbitMqConfigError::Ipv6 => (
                "has an IPv6 address as its host, which is not supported",
                "write a host name",
            ),
            RabbitMqConfigError::Vhost => ("has a vhost of more than 255 bytes", ""),
            _ => (
                "is no AMQP URL",
                "write amqp://USER:PASSWORD@HOST:PORT/VHOST or amqps://…, and percent-encode what is no letter or digit in user, password and vhost",
            ),
        };
        check.that(false, &path.join("url"), problem, remedy);
    }
    let exchange = (1..=LONGEST_EXCHANGE).contains(&config.exchange.len());
    let problem = format!("must have 1 to {LONGEST_EXCHANGE} bytes");
    let remedy = "name a topic exchange; the default exchange routes to queues by name only";
    check.that(exchange, &path.join("exchange"), problem, remedy);
    check.within(&path.join("channels"), config.channels, 1..=2047);
}

fn nats(config: &NatsConfig, path: &KeyPath, check: &mut Check<'_>) {
    let servers = path.join("servers");
    let remedy = "write at least one nats://HOST:PORT";
    check.that(!config.servers.is_empty(), &servers, "is empty", remedy);
    for (at, server) in config.servers.iter().enumerate() {
        let at = servers.join(at.to_string());
        let problem = "holds credentials, which would reach logs";
        let remedy = "write them under `user` and `password`, or as `token`";
        check.that(!server.contains('@'), &at, problem, remedy);
        let good = vodbridge_sink_nats::is_server(server);
        let remedy = "write nats://HOST:PORT or tls://HOST:PORT";
        check.that(good, &at, "is no URL of a NATS server", remedy);
    }
    let stream = config.stream.as_deref();
    check.that(
        stream.is_none_or(vodbridge_sink_nats::is_stream_name),
        &path.join("stream"),
        "is no name of a stream",
        "write at most 255 letters, digits, `_` and `-`",
    );
    login(config, path, check);
}

/// At most one way to log in, and a whole one.
fn login(config: &NatsConfig, path: &KeyPath, check: &mut Check<'_>) {
    let pair = config.user.is_some() == config.password.is_some();
    let told = ["user", "password"]
        .iter()
        .any(|key| !check.report.trusts(&path.join(*key)));
    let problem = "has one of `user` and `password`";
    check.that(pair || told, path, problem, "write both or none");
    let ways = [
        ("user", config.user.is_some()),
        ("token", config.token.is_some()),
        ("nkey_seed", config.nkey_seed.is_some()),
        ("credentials_file", config.credentials_file.is_some()),
    ];
    let ways: Vec<&str> = ways
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    check.that(
        ways.len() < 2,
        path,
        format!("has several ways to log in: {}", ways.join(", ")),
        "keep one",
    );
    if let Some(file) = &config.credentials_file
        && let Err(error) = vodbridge_sink_nats::validate_credentials(file)
    {
        let problem = format!("cannot be used: {error}");
        let remedy = "name a .creds file that this user may read";
        check.that(false, &path.join("credentials_file"), problem, remedy);
    }
}

fn file(config: &FileConfig, path: &KeyPath, check: &mut Check<'_>) {
    let enough = config.rotate_bytes >= LEAST_ROTATE_BYTES;
    check.that(
        enough,
        &path.join("rotate_bytes"),
        "must be at least 1MiB",
        "",
    );
}

fn template(template: &Template, path: &KeyPath, check: &mut Check<'_>) {
    for label in template.labels().filter(|label| !LABELS.contains(label)) {
        let problem = check
            .report
            .quoting(path, format!("unknown label {{{label}}}"));
        check.that(false, path, problem, instead_of(label, LABELS));
    }
    check.parts(path, &template.fill(|_| "label"));
}
