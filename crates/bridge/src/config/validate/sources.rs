//! Sources: their times, permits and paths.

use std::collections::BTreeMap;
use std::time::Duration;

use vodbridge_sources::webhook::WebhookConfig;

use super::{Check, listeners};
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
    listeners::check(&sources, admin, check);
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
