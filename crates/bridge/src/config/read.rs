//! From the merged tree to types, with everything that is wrong at once.
//!
//! Deserialization stops at the first error. So what failed is reported and taken out, and the
//! whole is tried again, until it passes. A key that cannot be missing gets a stand-in, so that
//! the rest of its map is still looked at.

use std::collections::BTreeMap;

use figment::error::{Actual, Kind};
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::errors::{Report, closest, instead_of};
use super::tree::{KeyPath, Tree};

/// Rounds at most; a file with so many mistakes is no configuration.
const ROUNDS: usize = 500;
const ADDRESS: &str = "IP:PORT, for example 127.0.0.1:9600";

/// Reads the tree; what is taken from it has a finding. None: nothing of it could be read.
pub(super) fn read<T: DeserializeOwned>(tree: &mut Tree, report: &mut Report) -> Option<T> {
    let mut tries = BTreeMap::new();
    for _ in 0..ROUNDS {
        let error = match tree.root.deserialize() {
            Ok(read) => return Some(read),
            Err(error) => error,
        };
        let path = KeyPath::of(error.path);
        match error.kind {
            Kind::UnknownField(key, known) => {
                if let (Some(meant), Some((map, _))) = (closest(&key, known), path.parent()) {
                    report.excuse_missing(map.join(meant));
                }
                report.add(
                    tree,
                    &path,
                    "unknown key",
                    instead_of(&key, known.iter().copied()),
                );
                tree.take(&path)?;
            }
            Kind::MissingField(key) => {
                let path = path.join(key);
                report.add_missing(tree, &path);
                repair(tree, &mut tries, path)?;
            }
            kind => {
                let quotes = !matches!(kind, Kind::InvalidType(..));
                let (mut problem, remedy) = describe(kind);
                if quotes {
                    problem = report.quoting(&path, problem);
                }
                report.add(tree, &path, problem, remedy);
                repair(tree, &mut tries, path)?;
            }
        }
    }
    None
}

/// Makes the place of an error harmless: first without a value, so that a default may come in,
/// then with one value of each type, at last without the map that it is in.
fn repair(tree: &mut Tree, tries: &mut BTreeMap<KeyPath, usize>, path: KeyPath) -> Option<()> {
    let tried = tries.entry(path.clone()).or_default();
    *tried += 1;
    match *tried {
        1 => drop(tree.take(&path)),
        2 => tree.put(&path, Value::from("x")),
        3 => tree.put(&path, Value::from("127.0.0.1:1")),
        4 => tree.put(&path, Value::from(1_u64)),
        5 => tree.put(&path, Value::from(Vec::<Value>::new())),
        6 => tree.put(&path, Value::from(Dict::new())),
        _ => {
            let (parent, _) = path.parent()?;
            tree.take(&path);
            return repair(tree, tries, parent);
        }
    }
    Some(())
}

/// The problem and the remedy in the operator's words. A text of the wrong type is not quoted: it
/// may be a secret in the wrong place.
fn describe(kind: Kind) -> (String, String) {
    let none = String::new;
    match kind {
        Kind::InvalidType(actual, expected) => (
            format!("expected {}, found {}", plain(&expected), type_of(&actual)),
            none(),
        ),
        Kind::InvalidValue(actual, expected) => (
            format!("expected {}, found {}", plain(&expected), value_of(&actual)),
            none(),
        ),
        Kind::UnknownVariant(word, known) => (
            format!("unknown value {word:?}"),
            instead_of(&word, known.iter().copied()),
        ),
        Kind::Message(text) if text == "invalid socket address syntax" => {
            (format!("expected {ADDRESS}"), none())
        }
        kind => (kind.to_string(), none()),
    }
}

fn plain(expected: &str) -> String {
    match expected {
        "a sequence" => "a list".into(),
        "a string" | "path string" => "a text".into(),
        "socket address" => ADDRESS.into(),
        "a boolean" => "true or false".into(),
        "u16" | "u32" | "u64" | "usize" => "a whole number".into(),
        _ if expected.starts_with("struct ") || expected == "a map" => "a map of keys".into(),
        _ => expected.to_owned(),
    }
}

fn type_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "a text",
        Actual::Seq => "a list",
        Actual::Map => "a map of keys",
        Actual::Unit | Actual::Option => "null",
        _ => "something else",
    }
}

fn value_of(actual: &Actual) -> String {
    match actual {
        Actual::Str(text) => format!("{text:?}"),
        Actual::Unsigned(number) => number.to_string(),
        Actual::Signed(number) => number.to_string(),
        Actual::Float(number) => number.to_string(),
        other => type_of(other).to_owned(),
    }
}
