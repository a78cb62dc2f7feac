//! Directories: one process at a time, and one part of it, writes to one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter::once;
use std::path::{Component, Path, PathBuf};

use super::Check;
use crate::config::tree::KeyPath;
use crate::config::{Sink, Source};

pub(super) fn check(
    state_directory: &Path,
    sources: &BTreeMap<String, Source>,
    sinks: &BTreeMap<String, Sink>,
    check: &mut Check<'_>,
) {
    let state = (KeyPath::of(["state_directory"]), state_directory, "bridge");
    let files = sinks.iter().filter_map(|(name, sink)| match sink {
        Sink::File(config) => {
            let path = KeyPath::of(["sinks", name, "file", "directory"]);
            Some((path, config.directory.as_path(), "file sink"))
        }
        _ => None,
    });
    let spools = sources.iter().filter_map(|(name, source)| match source {
        Source::Webhook(config) => {
            let path = KeyPath::of(["sources", name, "webhook", "spool", "directory"]);
            Some((path, config.spool.as_ref()?.directory.as_path(), "spool"))
        }
        Source::Queue(_) => None,
    });
    let mut seen: BTreeMap<PathBuf, KeyPath> = BTreeMap::new();
    for (path, directory, whose) in once(state).chain(files).chain(spools) {
        let can_be =
            !directory.as_os_str().is_empty() && (directory.is_dir() || !directory.exists());
        let remedy = "name one, or a path where one can be made";
        check.that(can_be, &path, "is no directory", remedy);
        if !check.report.trusts(&path) {
            continue;
        }
        match seen.entry(real(directory)) {
            Entry::Vacant(free) => drop(free.insert(path)),
            Entry::Occupied(taken) => {
                let other = taken.get();
                let problem = format!("is the same as {other} ({})", check.tree.origin(other));
                let remedy = format!("give each {whose} a directory of its own");
                check.that(false, &path, problem, remedy);
            }
        }
    }
}

/// The path without `.`, `..` and symbolic links, as it will be once what is missing of it is made.
fn real(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .components()
        .fold(PathBuf::new(), |mut real, part| {
            if part == Component::ParentDir {
                real.pop();
                return real;
            }
            real.push(part);
            real.canonicalize().unwrap_or(real)
        })
}
