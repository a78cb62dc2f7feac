//! Sources that stand in for those of a configuration, whose sinks, routes and dead letter stay.

use figment::value::{Dict, Value};
use serde::Serialize;

use super::tree::{KeyPath, Tree};

/// A source as it is written, nothing of it checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenSource {
    /// Its name, which routes may ask for.
    pub name: String,
    /// Whether it pulls; else it is called.
    pub pulls: bool,
    /// Its application, where that can be told.
    pub sub_app_id: Option<u64>,
}

/// The sources that are written.
pub(super) fn written(tree: &Tree) -> Vec<WrittenSource> {
    let sources = tree.get(&KeyPath::of(["sources"])).and_then(Value::as_dict);
    let source = |(name, entry): (&String, &Value)| {
        let kind = |kind| Some(entry.as_dict()?.get(kind)?.as_dict()?.clone());
        let webhook = kind("webhook");
        let pulls = webhook.is_none() && kind("queue").is_some();
        let settings = webhook.or_else(|| kind("queue"));
        let id = settings.and_then(|settings: Dict| settings.get("sub_app_id")?.to_u128());
        WrittenSource {
            name: name.clone(),
            pulls,
            sub_app_id: id.and_then(|id| u64::try_from(id).ok()),
        }
    };
    sources.into_iter().flatten().map(source).collect()
}

/// Puts a value in the place of a key at the top.
pub(super) fn put(tree: &mut Tree, key: &str, value: &impl Serialize) {
    let value = Value::serialize(value).expect("texts, numbers and maps are values");
    tree.put(&KeyPath::of([key]), value);
}
