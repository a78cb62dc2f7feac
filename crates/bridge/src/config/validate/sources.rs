//! Sources: their times, permits and paths.

use std::collections::BTreeMap;
use std::time::Duration;

use vodbridge_sources::webhook::WebhookConfig;

use super::{Check, listeners};
use crate::config::tree::KeyPath;
use crate::config::written::SourceEntry;
use crate::config::{Admin, Source};

/// Deliveries, or connections, that any machine can hold at once.
const MOST: usize = 1_000_000;
/// A reservation of bytes is counted in 32 bits.
const MOST_BYTES: u64 = u32::MAX as u64;
/// The cloud has given a callback up by now, so it is never closed before.
const GIVEN_UP: Duration = Duration::from_millis(5500);

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
    let head = path.join("header_read_timeout");
    let remedy = "write at least 5500ms: the cloud waits 5s for an answer";
    check.that(
        config.header_read_timeout >= GIVEN_UP,
        &head,
        "is too short",
        remedy,
    );
    check.not_longer_than_a_day(&head, config.header_read_timeout);
    let problem = format!(
        "must be from 5500ms to {patience} ({})",
        humantime::format_duration(config.patience)
    );
    let sensible = (GIVEN_UP..=config.patience).contains(&config.body_timeout);
    let follows = !check.report.trusts(&patience);
    check.that(sensible || follows, &path.join("body_timeout"), problem, "");

    check.within(&path.join("max_in_flight"), config.max_in_flight, 1..=MOST);
    check.within(
        &path.join("max_connections"),
        config.max_connections,
        1..=MOST,
    );
    check.within(
        &path.join("max_body_bytes"),
        config.max_body_bytes,
        1..=MOST_BYTES,
    );
    check.within(&path.join("max_bytes"), config.max_bytes, 1..=MOST_BYTES);
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
