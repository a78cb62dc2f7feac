//! What is wrong with a configuration: every finding with its place and its remedy.

use std::fmt;

use serde::Serialize;

use super::tree::{KeyPath, Tree};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Finding {
    /// The file or the variable that says it; several where no single one does.
    pub origin: String,
    /// The key path, for example `sinks.events.kafka.topic`; empty where none can be told.
    pub key: String,
    /// What is wrong. Never holds a secret.
    pub problem: String,
    /// What to write instead, where the problem does not say it already.
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in [&self.origin, &self.key] {
            if !place.is_empty() {
                write!(f, "{place}: ")?;
            }
        }
        f.write_str(&self.problem)?;
        self.remedy
            .iter()
            .try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

/// Everything that is wrong with a configuration, sorted by file and key; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct ConfigErrors(Vec<Finding>);

impl ConfigErrors {
    /// The findings as texts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = impl fmt::Display> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, finding) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The findings so far. One at or below a place that already has one only follows from it, and
/// is left out.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    places: Vec<KeyPath>,
    may_be_missing: Vec<KeyPath>,
    hidden: Vec<KeyPath>,
}

impl Report {
    /// Adds a finding about a key; without a remedy (`""`) where the problem says it already.
    pub(super) fn add(
        &mut self,
        tree: &Tree,
        path: &KeyPath,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.covers(path) {
            return;
        }
        let remedy = Some(remedy.into()).filter(|r| !r.is_empty());
        self.findings.push(Finding {
            origin: tree.origin(path),
            key: path.to_string(),
            problem: problem.into(),
            remedy,
        });
        self.places.push(path.clone());
    }

    /// Adds a finding about a key that must be there and is not.
    pub(super) fn add_missing(&mut self, tree: &Tree, path: &KeyPath) {
        if self
            .may_be_missing
            .iter()
            .any(|place| path.starts_with(place))
        {
            self.places.push(path.clone());
        } else {
            self.add(tree, path, "is required and missing", "");
        }
    }

    /// Adds a finding about a whole file or variable.
    pub(super) fn add_origin(&mut self, origin: &str, problem: impl Into<String>, remedy: &str) {
        let remedy = Some(remedy.to_owned()).filter(|r| !r.is_empty());
        self.findings.push(Finding {
            origin: origin.into(),
            key: String::new(),
            problem: problem.into(),
            remedy,
        });
    }

    /// That this key, or one below it, is missing follows from another finding.
    pub(super) fn excuse_missing(&mut self, path: KeyPath) {
        self.may_be_missing.push(path);
    }

    /// The value of this key comes from a reference, so it may be a secret.
    pub(super) fn hide(&mut self, path: KeyPath) {
        self.hidden.push(path);
    }

    /// A problem that quotes the value of this key, unless the value is hidden.
    pub(super) fn quoting(&self, path: &KeyPath, problem: impl ToString) -> String {
        if self.hidden.iter().any(|hidden| path.starts_with(hidden)) {
            "the text that is referred to does not fit here".to_owned()
        } else {
            problem.to_string()
        }
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether this key, or a map that it is in, has a finding.
    fn covers(&self, path: &KeyPath) -> bool {
        self.places.iter().any(|place| path.starts_with(place))
    }

    /// Whether what is read at this key can be relied on: nothing at it, above or below it is
    /// wrong.
    pub(super) fn trusts(&self, path: &KeyPath) -> bool {
        !self
            .places
            .iter()
            .any(|place| path.starts_with(place) || place.starts_with(path))
    }

    /// What was read, if nothing is wrong with it. None was read: something must be wrong.
    pub(super) fn into_result<T>(self, read: Option<T>) -> Result<T, ConfigErrors> {
        let mut findings = self.findings;
        findings.sort();
        read.filter(|_| findings.is_empty())
            .ok_or(ConfigErrors(findings))
    }
}

/// `did you mean "topic"?` or the known words: the remedy for a word that is none of them.
pub(super) fn instead_of<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match closest(word, &known) {
        Some(near) => format!("did you mean {near:?}?"),
        None if known.is_empty() => String::new(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The known word that is a slip or two away from `word`, or begins with it.
pub(super) fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = word.chars().count();
    let distance = |k: &&str| strsim::osa_distance(word, k);
    let near = known
        .iter()
        .copied()
        .min_by_key(distance)
        .filter(|k| distance(k) <= 1 + length / 4);
    near.or_else(|| {
        known
            .iter()
            .copied()
            .find(|k| length > 2 && k.starts_with(word))
    })
}
