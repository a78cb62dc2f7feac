//! Sources: their times and permits, and the listeners that they share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use vodbridge_sources::webhook::WebhookConfig;

use super::Check;
use crate::config::tree::KeyPath;
use crate::config::written::SourceEntry;
use crate::config::{Admin, Source};

/// Deliveries under way at once that any machine can hold.
const MOST_IN_FLIGHT: usize = 1_000_000;

pub(super) fn check(
    entries: BTreeMap<String, SourceEntry>,
    admin: &Admin,
    check: &mut Check<'_>,
) -> BTreeMap<String, Source> {
    let all = KeyPath::of(["sources"]);
    let remedy =
        "write at least `sources: {callback: {webhook: {listen: 0.0.0.0:8080, sub_app_id: …}}}`";
    check.that(!entries.is_empty(), &all, "there is no source", remedy);
    let mut sources = BTreeMap::new();
    for (name, entry) in entries {
        let path = all.join(&name);
        check.name(&path, &name);
        let SourceEntry { webhook: kind } = entry;
        if let Some(config) = &kind {
            webhook(config, &path.join("webhook"), check);
        }
        let kinds = kind
            .map(|config| ("webhook", Source::Webhook(config)))
            .into_iter()
            .collect();
        if let Some(source) = check.one_kind(&path, kinds, &["webhook"]) {
            sources.insert(name, source);
        }
    }
    listeners(&sources, admin, check);
    sources
}

fn webhook(config: &WebhookConfig, path: &KeyPath, check: &mut Check<'_>) {
    let seconds = Duration::from_secs;
    let answer_within = (seconds(2)..seconds(5)).contains(&config.answer_within);
    check.that(
        answer_within,
        &path.join("answer_within"),
        "an answer within this time comes too late or leaves none to publish in",
        "write at least 2s, and less than 5s, when the cloud gives up",
    );
    // With both checks passed, the patience is longer than the time to the answer.
    let patience = path.join("patience");
    let remedy = "write at least 6s: the cloud waits 5s before it sends a copy";
    check.that(
        config.patience >= seconds(6),
        &patience,
        "is too short",
        remedy,
    );
    check.not_longer_than_a_day(&patience, config.patience);
    for (key, time) in [
        ("body_timeout", config.body_timeout),
        ("header_read_timeout", config.header_read_timeout),
    ] {
        check.that(
            !time.is_zero(),
            &path.join(key),
            "must be longer than 0s",
            "",
        );
        check.not_longer_than_a_day(&path.join(key), time);
    }
    let permits = path.join("max_in_flight");
    check.that(config.max_in_flight > 0, &permits, "must be at least 1", "");
    check.that(
        config.max_in_flight <= MOST_IN_FLIGHT,
        &permits,
        format!("must be at most {MOST_IN_FLIGHT}"),
        "",
    );
    check.that(
        config.max_connections > 0,
        &path.join("max_connections"),
        "must be at least 1",
        "",
    );
    check.that(
        config.max_body_bytes > 0,
        &path.join("max_body_bytes"),
        "must be at least 1",
        "",
    );
    check.that(
        config.max_bytes >= config.max_body_bytes
            || !check.report.trusts(&path.join("max_body_bytes")),
        &path.join("max_bytes"),
        format!(
            "{} bytes cannot hold one body of max_body_bytes, {}",
            config.max_bytes, config.max_body_bytes
        ),
        "raise it, or lower max_body_bytes",
    );
    let paths = [
        ("path", Some(&config.path)),
        ("health_path", config.health_path.as_ref()),
    ];
    for (key, value) in paths
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
    {
        let good = value.starts_with('/')
            && value
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
        check.that(
            good,
            &path.join(key),
            "is no path",
            "start with `/`; no white space, `?` or `#`",
        );
    }
}

/// Sources with the same address share one listener, so what they say about it must be equal.
fn listeners(sources: &BTreeMap<String, Source>, admin: &Admin, check: &mut Check<'_>) {
    let mut listeners: BTreeMap<SocketAddr, Vec<(KeyPath, &WebhookConfig)>> = BTreeMap::new();
    for (name, Source::Webhook(config)) in sources {
        let path = KeyPath::of(["sources", name, "webhook"]);
        let listen = path.join("listen");
        let taken = config.listen == admin.listen && admin.listen.port() != 0;
        check.that(
            !taken,
            &listen,
            "is the address of admin.listen too",
            "give one of them another port",
        );
        if check.report.trusts(&listen) {
            listeners
                .entry(config.listen)
                .or_default()
                .push((path, config));
        }
    }
    for sharing in listeners.values() {
        for (at, (path, config)) in sharing.iter().enumerate() {
            for (other_path, other) in &sharing[..at] {
                share(path, config, other_path, other, check);
            }
        }
    }
}

fn share(
    path: &KeyPath,
    config: &WebhookConfig,
    other_path: &KeyPath,
    other: &WebhookConfig,
    check: &mut Check<'_>,
) {
    let mut equal = |key: &str, equal: bool| {
        let other_key = other_path.join(key);
        let trusted = check.report.trusts(&other_key);
        let problem = format!(
            "differs from {other_key} ({}), on the same address",
            check.tree.origin(&other_key)
        );
        check.that(
            equal || !trusted,
            &path.join(key),
            problem,
            "write the same, or listen on another port",
        );
    };
    equal(
        "max_connections",
        config.max_connections == other.max_connections,
    );
    equal(
        "header_read_timeout",
        config.header_read_timeout == other.header_read_timeout,
    );

    let mut apart =
        |key: &str, value: Option<&String>, other_key: &str, other_value: Option<&String>| {
            let other_key = other_path.join(other_key);
            let same = value.is_some() && value == other_value && check.report.trusts(&other_key);
            let problem = format!(
                "is the same as {other_key} ({}), on the same address",
                check.tree.origin(&other_key)
            );
            check.that(
                !same,
                &path.join(key),
                problem,
                "write another path, or listen on another port",
            );
        };
    let (callback, health) = (Some(&config.path), config.health_path.as_ref());
    let (other_callback, other_health) = (Some(&other.path), other.health_path.as_ref());
    apart("path", callback, "path", other_callback);
    apart("path", callback, "health_path", other_health);
    apart("health_path", health, "path", other_callback);
}
