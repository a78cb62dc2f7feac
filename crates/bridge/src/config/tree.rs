//! The merged tree of everything that was written, and where each part of it came from.

use std::fmt;

use figment::Figment;
use figment::value::{Dict, Tag, Value};

/// The way to a key: `sinks`, `events`, `kafka`, `options`, `compression.type`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct KeyPath(Vec<String>);

impl KeyPath {
    pub(super) fn of<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }

    pub(super) fn join(&self, word: impl Into<String>) -> Self {
        let mut path = self.clone();
        path.0.push(word.into());
        path
    }

    pub(super) fn parent(&self) -> Option<(Self, &str)> {
        let (last, rest) = self.0.split_last()?;
        Some((Self(rest.to_vec()), last))
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Whether the keys there are names and kinds, so that `file` or `env` may be one of them.
    pub(super) fn holds_names(&self) -> bool {
        match self.0.first().map(String::as_str) {
            None | Some("routes") => true,
            Some("sources") if self.credentials() == Some(&["profile".to_owned()]) => true,
            Some("sources" | "sinks") => self.0.len() < 3,
            Some(_) => false,
        }
    }

    /// Whether a file that is named there is read again whenever it changes.
    pub(super) fn is_reread(&self) -> bool {
        let keys = ["secret_id", "secret_key", "token"];
        matches!(self.credentials(), Some([key]) if keys.contains(&key.as_str()))
    }

    /// What follows the credentials of a queue source.
    fn credentials(&self) -> Option<&[String]> {
        match self.0.as_slice() {
            [sources, _, queue, credentials, rest @ ..]
                if [sources, queue, credentials] == ["sources", "queue", "credentials"] =>
            {
                Some(rest)
            }
            _ => None,
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// All layers merged.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Value,
    figment: Figment,
    layers: String,
}

impl Tree {
    /// The layers of a figment, merged; what they set to null is gone.
    pub(super) fn new(figment: Figment) -> Self {
        let mut root = figment
            .find_value("")
            .unwrap_or_else(|_| Dict::new().into());
        prune(&mut root);
        let layers = figment
            .metadata()
            .map(|m| m.name.as_ref())
            .collect::<Vec<_>>()
            .join(", ");
        Self {
            root,
            figment,
            layers,
        }
    }

    pub(super) fn get(&self, path: &KeyPath) -> Option<&Value> {
        path.0
            .iter()
            .try_fold(&self.root, |value, word| child(value, word))
    }

    /// The file or variable that a key comes from, or else the map that it is missing from.
    pub(super) fn origin(&self, path: &KeyPath) -> String {
        let mut value = &self.root;
        let mut origin = None;
        for word in &path.0 {
            let Some(next) = child(value, word) else {
                break;
            };
            value = next;
            origin = self.name(value.tag()).or(origin);
        }
        origin.unwrap_or(&self.layers).to_owned()
    }

    /// The file or variable that a value comes from.
    fn name(&self, tag: Tag) -> Option<&str> {
        self.figment.get_metadata(tag).map(|m| m.name.as_ref())
    }

    /// Takes a key out of its map. An element of a list stays, since the others would move.
    pub(super) fn take(&mut self, path: &KeyPath) -> Option<Value> {
        let (parent, last) = path.parent()?;
        match self.get_mut(&parent)? {
            Value::Dict(_, dict) => dict.remove(last),
            _ => None,
        }
    }

    /// Puts a text in the place of another value, with the same origin.
    pub(super) fn replace_text(&mut self, path: &KeyPath, text: String) {
        let tag = self.get(path).map_or(Tag::Default, Value::tag);
        self.put(path, Value::String(tag, text));
    }

    /// Puts a reference to a file, and nothing else, in the place of another value, with the same
    /// origin.
    pub(super) fn replace_file(&mut self, path: &KeyPath, file: String) {
        let tag = self.get(path).map_or(Tag::Default, Value::tag);
        let file = Value::String(tag, file);
        let reference = Dict::from([("file".to_owned(), file)]);
        self.put(path, Value::Dict(tag, reference));
    }

    /// Puts a value in the place of a key of a map or of an element of a list.
    pub(super) fn put(&mut self, path: &KeyPath, value: Value) {
        let Some((parent, last)) = path.parent() else {
            return;
        };
        match self.get_mut(&parent) {
            Some(Value::Dict(_, dict)) => drop(dict.insert(last.to_owned(), value)),
            Some(Value::Array(_, list)) => {
                if let Some(place) = last.parse().ok().and_then(|at: usize| list.get_mut(at)) {
                    *place = value;
                }
            }
            _ => {}
        }
    }

    fn get_mut(&mut self, path: &KeyPath) -> Option<&mut Value> {
        path.0
            .iter()
            .try_fold(&mut self.root, |value, word| match value {
                Value::Dict(_, dict) => dict.get_mut(word),
                Value::Array(_, list) => list.get_mut(word.parse::<usize>().ok()?),
                _ => None,
            })
    }
}

fn child<'v>(value: &'v Value, word: &str) -> Option<&'v Value> {
    match value {
        Value::Dict(_, dict) => dict.get(word),
        Value::Array(_, list) => list.get(word.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Removes every key that is null.
fn prune(value: &mut Value) {
    match value {
        Value::Dict(_, dict) => {
            dict.retain(|_, v| !matches!(v, Value::Empty(..)));
            dict.values_mut().for_each(prune);
        }
        Value::Array(_, list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}
