//! Paths into a payload, as the catalogue writes them: `MediaProcessResultSet[].*.FinishTime`.

use std::borrow::Cow;

use crate::document::Value;

/// Where in a payload a fact stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// The members of an object that have this name, its first letter in either case.
    Member(String),
    /// The elements of an array.
    Elements,
    /// The members of an object that are objects: a field whose name depends on the sub-task.
    Any,
}

impl Path {
    /// Parses the catalogue's notation; the empty path is the payload itself.
    pub(crate) fn parse(text: &str) -> Self {
        let mut steps = Vec::new();
        for segment in text.split('.').filter(|s| !s.is_empty()) {
            let name = segment.strip_suffix("[]");
            match name.unwrap_or(segment) {
                "*" => steps.push(Step::Any),
                member => steps.push(Step::Member(member.into())),
            }
            if name.is_some() {
                steps.push(Step::Elements);
            }
        }
        Self(steps)
    }

    /// The path without its last step.
    pub(crate) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The name that the last member on the path has.
    pub(crate) fn name(&self) -> &str {
        let named = self.0.iter().rev().find_map(|step| match step {
            Step::Member(name) => Some(name.as_str()),
            _ => None,
        });
        named.unwrap_or_default()
    }

    /// Calls `found` with every value at the path, in document order.
    pub(crate) fn visit<'d>(&self, payload: Value<'d>, found: &mut dyn FnMut(Value<'d>)) {
        visit(&self.0, payload, found);
    }

    /// The first fact at the path.
    pub(crate) fn first<'d>(&self, payload: Value<'d>) -> Option<Cow<'d, str>> {
        let mut first = None;
        self.visit(payload, &mut |value| {
            if first.is_none() {
                first = fact(value);
            }
        });
        first
    }
}

fn visit<'d>(steps: &[Step], value: Value<'d>, found: &mut dyn FnMut(Value<'d>)) {
    let Some((step, rest)) = steps.split_first() else {
        return found(value);
    };
    match step {
        Step::Member(name) => value
            .members()
            .filter(|(key, _)| key.reads_like(name))
            .for_each(|(_, value)| visit(rest, value, found)),
        Step::Any => value
            .members()
            .filter(|(_, value)| value.is_object())
            .for_each(|(_, value)| visit(rest, value, found)),
        Step::Elements => value
            .elements()
            .for_each(|element| visit(rest, element, found)),
    }
}

/// Longest text that becomes an attribute. AMQP has 255 bytes for a message's type, which takes
/// a prefix; real ids and names are far shorter.
const MAX_FACT: usize = 200;

/// The text of a string or number, if it can be an attribute: not empty, at most 200 bytes, and
/// without the control characters that CloudEvents forbids. What cannot stays in the data alone.
pub(crate) fn fact(value: Value<'_>) -> Option<Cow<'_, str>> {
    value.text().filter(|text| {
        !text.is_empty() && text.len() <= MAX_FACT && !text.chars().any(char::is_control)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    fn all(path: &str, text: &str) -> Vec<String> {
        let document = Document::parse(text.as_bytes()).unwrap();
        let mut found = Vec::new();
        Path::parse(path).visit(document.root(), &mut |v| found.push(v.raw().to_owned()));
        found
    }

    #[test]
    fn visits_members_elements_and_sub_tasks() {
        let text =
            r#"{"a":{"b":[{"x":{"c":1},"y":{"c":2},"c":3},null,{"z":{"c":4}}]},"a":{"b":7}}"#;
        assert_eq!(all("a.b[].*.c", text), ["1", "2", "4"]);
        assert_eq!(all("a.b[].c", text), ["3"]);
        assert_eq!(all("\u{61}.b", text).len(), 2);
        assert_eq!(all("a.b.c", text), [""; 0]);
        assert_eq!(all("", "{}"), ["{}"]);
    }

    #[test]
    fn facts_are_short_and_printable() {
        let text = format!(
            r#"{{"long":"{}","ctl":"a\nb","none":"","null":null,"obj":{{}},"n":52854854879852714900,"s":"\u0041"}}"#,
            "x".repeat(201)
        );
        let document = Document::parse(text.as_bytes()).unwrap();
        let first = |path| Path::parse(path).first(document.root());
        for nothing in ["long", "ctl", "none", "null", "obj", "absent"] {
            assert_eq!(first(nothing), None, "{nothing}");
        }
        assert_eq!(first("n").unwrap(), "52854854879852714900");
        assert_eq!(first("s").unwrap(), "A");
    }
}
