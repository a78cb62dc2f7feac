//! `{env: NAME}` and `{file: PATH}` in place of a value.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use figment::value::{Dict, Value};

use super::errors::Report;
use super::provider::read_text;
use super::tree::{KeyPath, Tree};

const LARGEST_SECRET: u64 = 1 << 20;

/// What stands for a value.
enum Reference {
    Variable(String),
    File(String),
}

/// What a file holds, without the line end at its end.
pub(crate) fn read_secret(path: &Path) -> io::Result<String> {
    let mut text = read_text(path, LARGEST_SECRET)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// Replaces every reference by the value that it names.
pub(super) fn resolve(tree: &mut Tree, variables: &BTreeMap<String, String>, report: &mut Report) {
    let mut references = Vec::new();
    find(&tree.root, &KeyPath::default(), &mut references);
    for (path, reference) in references {
        let value = reference
            .value(variables)
            .unwrap_or_else(|(problem, remedy)| {
                report.add(tree, &path, problem, remedy);
                "unknown".to_owned()
            });
        match reference {
            // It is read again whenever it changes; now it could be read once.
            Reference::File(file) if path.is_reread() => tree.replace_file(&path, file),
            _ => tree.replace_text(&path, value),
        }
        report.hide(path);
    }
}

fn find(value: &Value, path: &KeyPath, found: &mut Vec<(KeyPath, Reference)>) {
    match value {
        Value::Dict(_, dict) => match reference(dict).filter(|_| !path.holds_names()) {
            Some(reference) => found.push((path.clone(), reference)),
            None => dict
                .iter()
                .for_each(|(key, value)| find(value, &path.join(key), found)),
        },
        Value::Array(_, list) => {
            list.iter()
                .enumerate()
                .for_each(|(at, value)| find(value, &path.join(at.to_string()), found));
        }
        _ => {}
    }
}

/// A map of `env` or `file` alone. Where one layer wrote one of them and a later layer the other,
/// the later one counts.
fn reference(dict: &Dict) -> Option<Reference> {
    let text = |key| dict.get(key).and_then(Value::as_str).map(str::to_owned);
    match (text("env"), text("file"), dict.len()) {
        (Some(name), None, 1) => Some(Reference::Variable(name)),
        (None, Some(path), 1) => Some(Reference::File(path)),
        (Some(name), Some(path), 2) => match dict["env"].tag().cmp(&dict["file"].tag()) {
            std::cmp::Ordering::Greater => Some(Reference::Variable(name)),
            std::cmp::Ordering::Less => Some(Reference::File(path)),
            std::cmp::Ordering::Equal => None,
        },
        _ => None,
    }
}

impl Reference {
    /// The value, or the problem and its remedy.
    fn value(
        &self,
        variables: &BTreeMap<String, String>,
    ) -> Result<String, (String, &'static str)> {
        match self {
            Self::Variable(name) => match variables.get(name) {
                None => Err((
                    format!("the variable {name} is not set"),
                    "set it, or name another",
                )),
                Some(value) if value.is_empty() => {
                    Err((format!("the variable {name} is empty"), "set it"))
                }
                Some(value) => Ok(value.clone()),
            },
            Self::File(path) => {
                let value = read_secret(Path::new(path))
                    .map_err(|error| (format!("the file {path} cannot be read: {error}"), ""))?;
                if value.is_empty() {
                    Err((format!("the file {path} is empty"), ""))
                } else {
                    Ok(value)
                }
            }
        }
    }
}
