//! Queue sources: the cloud's lease, the permits of a pull, and who asks.

use std::collections::BTreeMap;
use std::time::Duration;

use vodbridge_sources::cloud::{CredentialsConfig, is_endpoint};
use vodbridge_sources::queue::QueueConfig;
use vodbridge_vod::api::MAX_EVENTS;

use super::Check;
use super::sources::{MOST, MOST_BYTES};
use crate::config::Source;
use crate::config::tree::KeyPath;

/// A confirm may take 2 s, and travels.
const LEAST_MARGIN: Duration = Duration::from_secs(3);
/// A dead letter has 2 s of it, an attempt at a publish most of the rest.
const LEAST_PATIENCE: Duration = Duration::from_secs(6);
/// An answer has at least so much room.
const LEAST_BYTES: u64 = 1 << 20;

pub(super) fn check(config: &QueueConfig, path: &KeyPath, check: &mut Check<'_>) {
    let endpoint = path.join("endpoint");
    let remedy = "write https://HOST, without a path; http://HOST:PORT is for a simulator";
    let good = is_endpoint(&config.endpoint);
    check.that(good, &endpoint, "is no endpoint of the cloud's API", remedy);
    times(config, path, check);
    check.within(&path.join("pullers"), config.pullers, 1..=1000);
    check.within(
        &path.join("calls_per_second"),
        config.calls_per_second,
        1..=100_000,
    );
    check.within(
        &path.join("max_bytes"),
        config.max_bytes,
        LEAST_BYTES..=MOST_BYTES,
    );
    let most = path.join("max_in_flight");
    check.within(&most, config.max_in_flight, 1..=MOST);
    let least = MAX_EVENTS.saturating_mul(config.pullers);
    let follows = !check.report.trusts(&path.join("pullers")) || !check.report.trusts(&most);
    let problem = format!(
        "{} is not enough for {} pullers: each takes {MAX_EVENTS} permits before it pulls",
        config.max_in_flight, config.pullers
    );
    let remedy = format!("write at least {least}, or fewer pullers");
    check.that(
        config.max_in_flight >= least || follows,
        &most,
        problem,
        remedy,
    );
    credentials(&config.credentials, &path.join("credentials"), check);
}

fn times(config: &QueueConfig, path: &KeyPath, check: &mut Check<'_>) {
    let (lease, margin) = (path.join("lease"), path.join("lease_margin"));
    check.not_longer_than_a_day(&lease, config.lease);
    check.not_longer_than_a_day(&path.join("backlog_interval"), config.backlog_interval);
    let long = config.lease_margin >= LEAST_MARGIN;
    let remedy = "write at least 3s: a confirm may take 2s";
    check.that(long, &margin, "is too short", remedy);
    let follows = !check.report.trusts(&lease) || !check.report.trusts(&margin);
    let problem = format!(
        "leaves {} of the lease to deliver in",
        humantime::format_duration(config.patience())
    );
    let remedy = "leave at least 6s: a shorter margin, or the lease that the cloud gives, 30s";
    check.that(
        config.patience() >= LEAST_PATIENCE || follows,
        &margin,
        problem,
        remedy,
    );
}

/// One way to get credentials, and a whole one; none is the vendor's default chain.
fn credentials(config: &CredentialsConfig, path: &KeyPath, check: &mut Check<'_>) {
    let parts = [
        ("secret_id", config.secret_id.is_some()),
        ("secret_key", config.secret_key.is_some()),
        ("token", config.token.is_some()),
    ];
    let given = |key: &str| parts.iter().any(|(part, given)| *part == key && *given);
    let any = parts.iter().any(|(_, given)| *given);
    let whole = given("secret_id") && given("secret_key");
    let told = parts
        .iter()
        .any(|(key, _)| !check.report.trusts(&path.join(*key)));
    let remedy = "write both of `secret_id` and `secret_key`";
    check.that(whole || !any || told, path, "is not a whole key", remedy);
    let ways = [
        ("secret_id", any),
        ("profile", config.profile.is_some()),
        ("cvm_role", config.cvm_role.is_some()),
        ("tke_oidc", config.tke_oidc.is_some()),
    ];
    let ways: Vec<_> = ways
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(way, _)| way)
        .collect();
    let problem = format!("has several ways to get credentials: {}", ways.join(", "));
    check.that(ways.len() < 2, path, problem, "keep one");
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
            let same = of.sub_app_id == config.sub_app_id && of.endpoint == config.endpoint;
            let problem = format!("is pulled by sources.{other}.queue too");
            let remedy = "keep one of them; `pullers` says how many pulls are open at once";
            check.that(!same || !check.report.trusts(&path), &path, problem, remedy);
        }
        before.push((name, config));
    }
}
