//! The spools of the webhook sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use vodbridge_core::chain;
use vodbridge_sources::spool::{Spool, SpoolConfig, SpoolMetrics};
use vodbridge_store::StoreReader;

use crate::assemble::outlives;
use crate::config::Config;

/// The file of the state directory that names every spool which may hold records.
const KNOWN: &str = "spools.json";

/// Opens the spool of each webhook source that has one.
pub(crate) fn open(
    config: &Config,
    metrics: &SpoolMetrics,
) -> Result<BTreeMap<String, Arc<Spool>>> {
    let opened = configured(config).map(|(name, spool)| {
        let key = || format!("sources.{name}.webhook.spool");
        outlives(&spool.directory, spool.ephemeral).with_context(key)?;
        let opened = Spool::open(name, spool, metrics.source(name));
        Ok((name.to_owned(), opened.with_context(key)?))
    });
    let spools = opened.collect::<Result<BTreeMap<_, _>>>()?;
    note(config);
    Ok(spools)
}

/// The spools of a configuration, by the names of their sources.
pub(crate) fn configured(config: &Config) -> impl Iterator<Item = (&str, &SpoolConfig)> {
    let webhooks = config.webhooks();
    webhooks.filter_map(|(name, webhook)| Some((name, webhook.spool.as_ref()?)))
}

/// Remembers which spools there are, and says which of those that were there before still hold
/// events and are looked after by nobody.
fn note(config: &Config) {
    let file = config.state_directory.join(KNOWN);
    let here: BTreeSet<_> = configured(config)
        .map(|(_, spool)| spool.directory.clone())
        .collect();
    let before = read(&file);
    let abandoned: BTreeSet<_> = before
        .difference(&here)
        .filter(|directory| holds(directory))
        .cloned()
        .collect();
    for directory in &abandoned {
        tracing::warn!(
            directory = %directory.display(),
            "no source has this spool any more, and it holds events that were answered 200; give it back to \
             a source, or look at it with `vodbridge spool list --directory`"
        );
    }
    let known: BTreeSet<_> = here.union(&abandoned).collect();
    if known.iter().copied().eq(&before) {
        return;
    }
    let text = serde_json::to_vec(&known).map_err(anyhow::Error::from);
    if let Err(error) = text.and_then(|text| Ok(write(&file, &text)?)) {
        let (file, error) = (file.display(), chain(&*error));
        tracing::warn!(%file, error, "the spools cannot be noted; one that loses its source would not be noticed");
    }
}

fn read(file: &Path) -> BTreeSet<PathBuf> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return BTreeSet::new(),
        read => read.map_err(anyhow::Error::from),
    };
    let known = text.and_then(|text| Ok(serde_json::from_slice(&text)?));
    known.unwrap_or_else(|error| {
        let (file, error) = (file.display(), chain(&*error));
        tracing::warn!(%file, error, "it is not known which spools there were; one without a source may hold events");
        BTreeSet::new()
    })
}

/// What was there before is there until this is durable: a full disk must not make it forgotten.
fn write(file: &Path, text: &[u8]) -> std::io::Result<()> {
    let fresh = file.with_extension("fresh");
    let mut out = File::create(&fresh)?;
    out.write_all(text)?;
    out.sync_all()?;
    fs::rename(&fresh, file)?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Whether there are records; a store that cannot be read may have some.
fn holds(directory: &Path) -> bool {
    match StoreReader::open(directory) {
        Ok(reader) => !reader.list(None).is_ok_and(|records| records.is_empty()),
        Err(vodbridge_store::StoreError::Missing { .. }) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_replaces_what_was_there_or_leaves_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(KNOWN);
        assert!(read(&file).is_empty());
        let known = BTreeSet::from([PathBuf::from("/a"), PathBuf::from("/b")]);
        write(&file, &serde_json::to_vec(&known).unwrap()).unwrap();
        assert_eq!(read(&file), known);
        // Nothing can be written beside it.
        fs::create_dir(file.with_extension("fresh")).unwrap();
        write(&file, b"[]").unwrap_err();
        assert_eq!(read(&file), known);
        fs::write(&file, "[\"/a").unwrap();
        assert!(read(&file).is_empty());
    }
}
