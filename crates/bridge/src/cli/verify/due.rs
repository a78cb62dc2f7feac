//! Where an event of the ledger is due, by the configuration's routes.

use std::collections::{BTreeSet, HashMap};

use vodbridge_core::{Event, Label, Router, SinkSet, Targets};
use vodbridge_simulator::cloud::LedgerEntry;

use crate::assemble;
use crate::config::Config;

/// Answers for each type and outcome of an application once.
pub(super) struct Due<'c> {
    config: &'c Config,
    router: Router,
    known: HashMap<(u64, Option<String>, Option<String>), Targets>,
    /// Applications that are no source's.
    pub(super) strangers: BTreeSet<u64>,
}

impl<'c> Due<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Self {
            config,
            router: assemble::router(config),
            known: HashMap::new(),
            strangers: BTreeSet::new(),
        }
    }

    /// Where the event is due; None: no source receives what its application has to tell.
    ///
    /// Where several sources are the application's, it is not known which of them an event came
    /// by: it is due where each of them would send it.
    pub(super) fn targets(&mut self, entry: &LedgerEntry) -> Option<Targets> {
        let key = (entry.sub_app_id, entry.ty.clone(), entry.outcome.clone());
        if let Some(targets) = self.known.get(&key) {
            return Some(*targets);
        }
        let sources = self.config.sources.iter();
        let sources = sources.filter(|(_, source)| source.sub_app_id() == entry.sub_app_id);
        let all: Vec<_> = sources
            .map(|(name, _)| self.router.targets(&labelled(entry, name)))
            .collect();
        let Some(first) = all.first() else {
            self.strangers.insert(entry.sub_app_id);
            return None;
        };
        let required = first.required.iter();
        let required =
            SinkSet::of(required.filter(|sink| all.iter().all(|t| t.required.contains(*sink))));
        let others = all
            .iter()
            .flat_map(|t| t.required.iter().chain(t.shadow.iter()));
        let shadow = SinkSet::of(others.filter(|sink| !required.contains(*sink)));
        let targets = Targets { required, shadow };
        self.known.insert(key, targets);
        Some(targets)
    }
}

/// An event with nothing but what routes look at.
fn labelled(entry: &LedgerEntry, source: &str) -> vodbridge_core::Envelope {
    let ty = entry.ty.clone().unwrap_or_default();
    let event_type = ty.strip_prefix(TYPE_PREFIX).unwrap_or(&ty).to_owned();
    let event = Event {
        id: String::new(),
        source: "".into(),
        ty: ty.into(),
        subject: None,
        time: String::new(),
        partition_key: None,
        extensions: Vec::new(),
        labels: vec![
            Label::new("event_type", event_type),
            Label::new("outcome", entry.outcome.clone().unwrap_or_default()),
            Label::new("sub_app_id", entry.sub_app_id.to_string()),
            Label::new("source", source.to_owned()),
        ],
    };
    event.encode(|data| data.extend_from_slice(b"null"))
}

/// What stands before the name of an event type.
const TYPE_PREFIX: &str = "com.tencent.cloud.vod.";
