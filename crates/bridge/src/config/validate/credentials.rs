//! Credentials of queue sources: one way to get them, and a whole one.

use vodbridge_core::chain;
use vodbridge_sources::cloud::{Credentials, CredentialsConfig, check_endpoint};

use super::Check;
use crate::config::tree::KeyPath;

/// None of the ways is the vendor's default chain.
pub(super) fn check(config: &CredentialsConfig, path: &KeyPath, check: &mut Check<'_>) {
    let key = [
        ("secret_id", config.secret_id.is_some()),
        ("secret_key", config.secret_key.is_some()),
        ("token", config.token.is_some()),
    ];
    let told = key
        .iter()
        .any(|(part, _)| !check.report.trusts(&path.join(*part)));
    let any = key.iter().any(|(_, given)| *given);
    let whole = config.secret_id.is_some() && config.secret_key.is_some();
    let remedy = "write both `secret_id` and `secret_key`";
    check.that(whole || !any || told, path, "is not a whole key", remedy);
    let ways = [
        ("secret_id", any),
        ("profile", config.profile.is_some()),
        ("cvm_role", config.cvm_role.is_some()),
        ("tke_oidc", config.tke_oidc.is_some()),
    ];
    let ways: Vec<_> = ways.iter().filter(|(_, given)| *given).collect();
    let names: Vec<_> = ways.iter().map(|(way, _)| *way).collect();
    let problem = format!("has several ways to get credentials: {}", names.join(", "));
    check.that(ways.len() < 2, path, problem, "keep one");
    details(config, path, check);
    if check.report.trusts(path) {
        usable(config, path, check);
    }
}

fn details(config: &CredentialsConfig, path: &KeyPath, check: &mut Check<'_>) {
    if let Some(profile) = &config.profile {
        let path = path.join("profile");
        if let Some(file) = &profile.file
            && let Err(error) = std::fs::File::open(file)
        {
            let problem = format!("cannot be read: {error}");
            check.that(false, &path.join("file"), problem, "");
        }
        let named = profile.name.as_deref() != Some("");
        check.that(named, &path.join("name"), "is empty", "");
    }
    let role = config.cvm_role.as_ref().and_then(|r| r.endpoint.as_ref());
    let token_service = config.tke_oidc.as_ref().and_then(|t| t.endpoint.as_ref());
    for (way, endpoint) in [("cvm_role", role), ("tke_oidc", token_service)] {
        let at = path.join(way).join("endpoint");
        let remedy = "write https://HOST or http://HOST, without a path";
        if let Some(Err(error)) = endpoint.map(|endpoint| check_endpoint(endpoint)) {
            check.that(false, &at, error.problem, remedy);
        }
    }
}

/// What the way lacks, as `run` would find it; nothing is asked or read for it.
fn usable(config: &CredentialsConfig, path: &KeyPath, check: &mut Check<'_>) {
    let variables = check.variables;
    if let Err(error) = Credentials::new(config, |name| variables.get(name).cloned()) {
        check.that(false, path, chain(&error), error.remedy());
    }
}
