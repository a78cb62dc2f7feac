//! Addresses: sources share a listener where theirs are the same, and nobody else can have it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use vodbridge_sources::webhook::WebhookConfig;

use super::Check;
use crate::config::tree::KeyPath;
use crate::config::{Admin, Source};

pub(super) fn check(sources: &BTreeMap<String, Source>, admin: &Admin, check: &mut Check<'_>) {
    let admin_path = KeyPath::of(["admin", "listen"]);
    let mut before: Vec<(KeyPath, &WebhookConfig)> = Vec::new();
    for (name, source) in sources {
        let Source::Webhook(config) = source else {
            continue;
        };
        let path = KeyPath::of(["sources", name, "webhook"]);
        let listen = path.join("listen");
        if !check.report.trusts(&listen) {
            continue;
        }
        alone(&listen, config.listen, &admin_path, admin.listen, check);
        for (other_path, other) in &before {
            if config.listen == other.listen {
                share(&path, config, other_path, other, check);
            } else {
                let other_listen = other_path.join("listen");
                alone(&listen, config.listen, &other_listen, other.listen, check);
            }
        }
        before.push((path, config));
    }
}

/// Two listeners cannot have the same port of the same address, or of all addresses.
fn alone(
    path: &KeyPath,
    listen: SocketAddr,
    other_path: &KeyPath,
    other: SocketAddr,
    check: &mut Check<'_>,
) {
    let includes = |all: SocketAddr, one: SocketAddr| {
        all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4())
    };
    let overlap = listen.ip() == other.ip() || includes(listen, other) || includes(other, listen);
    let taken = overlap && listen.port() == other.port() && listen.port() != 0;
    let origin = check.tree.origin(other_path);
    let problem = format!("overlaps with {other_path} ({origin})");
    let holds = !taken || !check.report.trusts(other_path);
    check.that(holds, path, problem, "give one of them another port");
}

/// One listener has one cap and one timer for its connections, and one meaning for a path.
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
        let origin = check.tree.origin(&other_key);
        let problem = format!("differs from {other_key} ({origin}), on the same address");
        let remedy = "write the same, or listen on another port";
        check.that(equal || !trusted, &path.join(key), problem, remedy);
    };
    equal(
        "max_connections",
        config.max_connections == other.max_connections,
    );
    equal(
        "header_read_timeout",
        config.header_read_timeout == other.header_read_timeout,
    );

    let mut apart = |key: &str, value: Option<&String>, other_key: &str, other: Option<&String>| {
        let other_key = other_path.join(other_key);
        let same = value.is_some() && value == other && check.report.trusts(&other_key);
        let origin = check.tree.origin(&other_key);
        let problem = format!("is the same as {other_key} ({origin}), on the same address");
        let remedy = "write another path, or listen on another port";
        check.that(!same, &path.join(key), problem, remedy);
    };
    let (callback, health) = (Some(&config.path), config.health_path.as_ref());
    let (other_callback, other_health) = (Some(&other.path), other.health_path.as_ref());
    apart("path", callback, "path", other_callback);
    apart("path", callback, "health_path", other_health);
    apart("health_path", health, "path", other_callback);
}
