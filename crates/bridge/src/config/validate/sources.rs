//! Sources: their names, and one kind for each.

use std::collections::BTreeMap;

use super::{Check, listeners, queue, webhook};
use crate::config::tree::KeyPath;
use crate::config::written::SourceEntry;
use crate::config::{Admin, Source};

const KINDS: [&str; 2] = ["webhook", "queue"];

pub(super) fn check(
    entries: BTreeMap<String, SourceEntry>,
    admin: &Admin,
    check: &mut Check<'_>,
) -> BTreeMap<String, Source> {
    let all = KeyPath::of(["sources"]);
    let remedy = "write at least `sources: {callback: {webhook: {listen: 0.0.0.0:8080, sub_app_id: …}}}` \
                  or `sources: {reliable: {queue: {sub_app_id: …}}}`";
    check.that(!entries.is_empty(), &all, "there is no source", remedy);
    let mut sources = BTreeMap::new();
    for (name, entry) in entries {
        let path = all.join(&name);
        check.name(&path, &name);
        let SourceEntry {
            webhook: posted,
            queue: pulled,
        } = entry;
        if let Some(config) = &posted {
            webhook::check(config, &path.join("webhook"), check);
        }
        if let Some(config) = &pulled {
            queue::check(config, &path.join("queue"), check);
        }
        let posted = posted.map(|config| ("webhook", Source::Webhook(Box::new(config))));
        let pulled = pulled.map(|config| ("queue", Source::Queue(Box::new(config))));
        let kinds = posted.into_iter().chain(pulled).collect();
        if let Some(source) = check.one_kind(&path, kinds, &KINDS) {
            sources.insert(name, source);
        }
    }
    listeners::check(&sources, admin, check);
    queue::alone(&sources, check);
    sources
}
