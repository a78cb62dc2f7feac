//! Webhook sources: their times, permits and paths.

use std::time::Duration;

use vodbridge_sources::spool::SpoolConfig;
use vodbridge_sources::webhook::WebhookConfig;
use vodbridge_store::SMALLEST;

use super::{Check, MOST, MOST_BYTES};
use crate::config::tree::KeyPath;

/// The cloud has given a callback up by now, so it is never closed before.
const GIVEN_UP: Duration = Duration::from_millis(5500);

pub(super) fn check(config: &WebhookConfig, path: &KeyPath, check: &mut Check<'_>) {
    times(config, path, check);
    amounts(config, path, check);
    if let Some(spool) = &config.spool {
        spooling(config, spool, path, check);
    }
    url_path(&config.path, &path.join("path"), check);
    if let Some(health_path) = &config.health_path {
        url_path(health_path, &path.join("health_path"), check);
    }
}

fn times(config: &WebhookConfig, path: &KeyPath, check: &mut Check<'_>) {
    let seconds = Duration::from_secs;
    let in_time = (seconds(2)..seconds(5)).contains(&config.answer_within);
    let problem = "an answer within this time comes too late or leaves none to publish in";
    let remedy = "write at least 2s, and less than 5s, when the cloud gives up";
    check.that(in_time, &path.join("answer_within"), problem, remedy);

    // With both checks passed, the patience is longer than the time to the answer.
    let patience = path.join("patience");
    let long = config.patience >= seconds(6);
    let remedy = "write at least 6s: the cloud waits 5s before it sends a copy";
    check.that(long, &patience, "is too short", remedy);
    check.not_longer_than_a_day(&patience, config.patience);

    let head = path.join("header_read_timeout");
    let long = config.header_read_timeout >= GIVEN_UP;
    let remedy = "write at least 5500ms: the cloud waits 5s for an answer";
    check.that(long, &head, "is too short", remedy);
    check.not_longer_than_a_day(&head, config.header_read_timeout);

    let in_time = (GIVEN_UP..=config.patience).contains(&config.body_timeout);
    let follows = !check.report.trusts(&patience);
    let most = humantime::format_duration(config.patience);
    let problem = format!("must be from 5500ms to {patience} ({most})");
    check.that(in_time || follows, &path.join("body_timeout"), problem, "");
}

/// What the disk takes of the time to the answer, and what a store needs.
fn spooling(config: &WebhookConfig, spool: &SpoolConfig, path: &KeyPath, check: &mut Check<'_>) {
    let answer_within = path.join("answer_within");
    let in_time = config.answer_within <= Duration::from_secs(4);
    let problem = "leaves the spool no time before the cloud gives up";
    let remedy = "write at most 4s where there is a spool";
    check.that(in_time, &answer_within, problem, remedy);

    let path = path.join("spool");
    let max_bytes = path.join("max_bytes");
    let least = SMALLEST.max(2 * config.max_body_bytes);
    let problem = format!("is less than {least} bytes, two notifications of max_body_bytes");
    let remedy = "write more, or lower max_body_bytes";
    check.that(spool.max_bytes >= least, &max_bytes, problem, remedy);
    let max_age = path.join("max_age");
    let long = spool.max_age >= config.patience;
    let remedy = "write at least the patience, and as long as an outage may last";
    check.that(long, &max_age, "is too short", remedy);
}

fn amounts(config: &WebhookConfig, path: &KeyPath, check: &mut Check<'_>) {
    for (key, number) in [
        ("max_in_flight", config.max_in_flight),
        ("max_connections", config.max_connections),
    ] {
        check.within(&path.join(key), number, 1..=MOST);
    }
    for (key, bytes) in [
        ("max_bytes", config.max_bytes),
        ("max_body_bytes", config.max_body_bytes),
    ] {
        check.within(&path.join(key), bytes, 1..=MOST_BYTES);
    }
    let fits = config.max_bytes >= config.max_body_bytes;
    let follows = !check.report.trusts(&path.join("max_body_bytes"));
    let problem = format!(
        "{} bytes cannot hold one body of max_body_bytes, {}",
        config.max_bytes, config.max_body_bytes
    );
    let remedy = "raise it, or lower max_body_bytes";
    check.that(fits || follows, &path.join("max_bytes"), problem, remedy);
}

fn url_path(value: &str, path: &KeyPath, check: &mut Check<'_>) {
    // Nobody can ask for another: <https://www.rfc-editor.org/rfc/rfc3986#section-3.3>
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&b);
    let good = value.starts_with('/') && value.bytes().all(plain);
    let remedy = "start with `/`; letters, digits and /-._~!$&'()*+,;=:@% only";
    check.that(good, path, "is no path", remedy);
}
