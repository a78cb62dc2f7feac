//! Queue sources: the cloud's lease, the permits of a pull, and which queue it is.

use std::collections::BTreeMap;
use std::time::Duration;

use vodbridge_sources::cloud::check_endpoint;
use vodbridge_sources::queue::QueueConfig;
use vodbridge_vod::api::MAX_EVENTS;

use super::{Check, MOST, MOST_BYTES, credentials};
use crate::config::Source;
use crate::config::tree::KeyPath;

/// A confirm may take 2 s, and travels.
const LEAST_MARGIN: Duration = Duration::from_secs(3);
/// A long poll may take 5 s of it, 2 s are kept back for a dead letter, and the rest is for
/// publishing: with less, an event that comes late in a poll is never published.
const LEAST_PATIENCE: Duration = Duration::from_secs(10);
/// An answer has at least so much room.
const LEAST_BYTES: u64 = 1 << 20;
/// The vendor's hosts, those of its regions and of its international site among them.
const VENDOR: &str = "tencentcloudapi.com";
/// What the vendor gives: <https://cloud.tencent.com/document/api/266/33433>.
const VENDOR_LEASE: Duration = Duration::from_secs(30);

pub(super) fn check(config: &QueueConfig, path: &KeyPath, check: &mut Check<'_>) {
    let application = path.join("sub_app_id");
    let remedy = "write the application's id, as the console shows it";
    check.that(
        config.sub_app_id > 0,
        &application,
        "is no application",
        remedy,
    );
    let endpoint = path.join("endpoint");
    let remedy = "write https://HOST, without a path; http://HOST:PORT is for a simulator";
    if let Err(error) = check_endpoint(&config.endpoint) {
        check.that(false, &endpoint, error.problem, remedy);
    }
    let plain = |name: &String| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    check.that(
        config.region.as_ref().is_none_or(plain),
        &path.join("region"),
        "is no region",
        "write one such as ap-guangzhou, or nothing: the calls do not need it",
    );
    times(config, path, check);
    amounts(config, path, check);
    credentials::check(&config.credentials, &path.join("credentials"), check);
}

fn times(config: &QueueConfig, path: &KeyPath, check: &mut Check<'_>) {
    let (lease, margin) = (path.join("lease"), path.join("lease_margin"));
    check.not_longer_than_a_day(&lease, config.lease);
    let vendors = !is_vendors(&config.endpoint) || config.lease <= VENDOR_LEASE;
    let problem = "is longer than the cloud's";
    let remedy = "write at most 30s: then an event that is not confirmed comes again";
    check.that(vendors, &lease, problem, remedy);
    let long = config.lease_margin >= LEAST_MARGIN;
    let remedy = "write at least 3s: a confirm may take 2s";
    check.that(long, &margin, "is too short", remedy);
    let follows = !check.report.trusts(&lease) || !check.report.trusts(&margin);
    let problem = format!(
        "leaves {} of the lease ({}) to deliver in",
        humantime::format_duration(config.patience()),
        humantime::format_duration(config.lease)
    );
    let enough = config.patience() >= LEAST_PATIENCE;
    check.that(enough || follows, &margin, problem, "leave at least 10s");

    let interval = path.join("backlog_interval");
    check.not_longer_than_a_day(&interval, config.backlog_interval);
    let slow = config.backlog_interval.is_zero() || config.backlog_interval.as_secs() > 0;
    let remedy = "write at least 1s: the cloud's number is minutes old; 0s: it is never asked for";
    check.that(slow, &interval, "is too short", remedy);
}

fn amounts(config: &QueueConfig, path: &KeyPath, check: &mut Check<'_>) {
    let (pullers, most) = (path.join("pullers"), path.join("max_in_flight"));
    check.within(&pullers, config.pullers, 1..=1000);
    let calls = path.join("calls_per_second");
    check.within(&calls, config.calls_per_second, 1..=100_000);
    let bytes = path.join("max_bytes");
    check.within(&bytes, config.max_bytes, LEAST_BYTES..=MOST_BYTES);
    check.within(&most, config.max_in_flight, 1..=MOST);
    let least = MAX_EVENTS.saturating_mul(config.pullers);
    let follows = !check.report.trusts(&pullers) || !check.report.trusts(&most);
    let enough = config.max_in_flight >= least;
    let problem = format!(
        "{} is not enough for {} pullers: each takes {MAX_EVENTS} permits before it pulls",
        config.max_in_flight, config.pullers
    );
    let remedy = format!("write at least {least}, or fewer pullers");
    check.that(enough || follows, &most, problem, remedy);
}

/// Two sources that pull the same queue would take each other's events.
pub(super) fn alone(sources: &BTreeMap<String, Source>, check: &mut Check<'_>) {
    let mut before: Vec<(&String, &QueueConfig)> = Vec::new();
    for (name, source) in sources {
        let Source::Queue(config) = source else {
            continue;
        };
        let path = KeyPath::of(["sources", name, "queue", "sub_app_id"]);
        for (other, of) in &before {
            let vendors = is_vendors(&of.endpoint) && is_vendors(&config.endpoint);
            let there = vendors || of.endpoint == config.endpoint;
            let same = there && of.sub_app_id == config.sub_app_id;
            let other = KeyPath::of(["sources", other, "queue", "sub_app_id"]);
            let problem = format!("is pulled by {other} ({}) too", check.tree.origin(&other));
            let remedy = "keep one of them; `pullers` says how many pulls are open at once";
            check.that(!same || !check.report.trusts(&path), &path, problem, remedy);
        }
        before.push((name, config));
    }
}

fn is_vendors(endpoint: &str) -> bool {
    let host = endpoint.trim_end_matches('/');
    host.strip_suffix(VENDOR)
        .is_some_and(|before| before.ends_with(['.', '/']))
}
