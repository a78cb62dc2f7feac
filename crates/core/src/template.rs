//! Topic templates: a literal prefix, then labels in braces.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use thiserror::Error;

use crate::Envelope;

/// A topic name with labels in it, for example `vod.{event_type}`. It starts with a literal, so
/// that no event can choose an arbitrary topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Label(String),
}

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// It is empty or starts with a label.
    #[error("topic template {0:?} must start with a literal, for example `vod.{{event_type}}`")]
    NoPrefix(String),
    /// A brace has no partner, or encloses no name.
    #[error("topic template {0:?} has a brace without its partner or without a name")]
    Brace(String),
    /// A literal has a character that some broker takes for a wildcard or refuses.
    #[error(
        "topic template {text:?} has {character:?}, which a topic name cannot hold; use letters, digits, `.`, `_` and `-`"
    )]
    Character {
        /// The template.
        text: String,
        /// The first character that is refused.
        character: char,
    },
}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('{') {
                let (name, tail) = after
                    .split_once('}')
                    .ok_or_else(|| TemplateError::Brace(text.into()))?;
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                    return Err(TemplateError::Brace(text.into()));
                }
                parts.push(Part::Label(name.into()));
                rest = tail;
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                let (literal, tail) = rest.split_at(end);
                if literal.contains('}') {
                    return Err(TemplateError::Brace(text.into()));
                }
                if let Some(character) = literal.chars().find(|c| !is_safe(*c)) {
                    return Err(TemplateError::Character {
                        text: text.into(),
                        character,
                    });
                }
                parts.push(Part::Literal(literal.into()));
                rest = tail;
            }
        }
        match parts.first() {
            Some(Part::Literal(_)) => Ok(Self {
                text: text.into(),
                parts,
            }),
            _ => Err(TemplateError::NoPrefix(text.into())),
        }
    }

    /// The names of the labels in the template.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Label(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The topic of an envelope: its own override, else the template filled from its labels.
    pub fn topic<'a>(&'a self, envelope: &'a Envelope) -> Cow<'a, str> {
        if let Some(topic) = envelope.topic() {
            return Cow::Borrowed(topic);
        }
        self.fill(|name| envelope.topic_label(name).unwrap_or_default())
            .into()
    }

    /// The template filled with the value of each label.
    pub fn fill<'v>(&self, value: impl Fn(&str) -> &'v str) -> String {
        let mut topic = String::with_capacity(self.text.len() + 32);
        for part in &self.parts {
            match part {
                Part::Literal(text) => topic.push_str(text),
                Part::Label(name) => push_escaped(&mut topic, value(name)),
            }
        }
        topic
    }
}

/// Appends a label's value; what is not safe in a topic name becomes `_` and two hex digits.
fn push_escaped(topic: &mut String, value: &str) {
    if value.is_empty() {
        topic.push('_');
    }
    let (mut after_dot, last) = (true, value.len().saturating_sub(1));
    for (at, byte) in value.bytes().enumerate() {
        let dot = byte == b'.';
        if is_safe(byte as char) && !(dot && (after_dot || at == last)) {
            topic.push(byte as char);
        } else {
            topic.push_str(&format!("_{byte:02x}"));
        }
        after_dot = dot;
    }
}

fn is_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_labels() {
        let template = Template::parse("vod.{sub_app_id}.{event_type}").unwrap();
        assert_eq!(
            template.labels().collect::<Vec<_>>(),
            ["sub_app_id", "event_type"]
        );
        let topic = template.fill(|name| {
            if name == "sub_app_id" {
                "1500012345"
            } else {
                "v2.FileDeleted"
            }
        });
        assert_eq!(topic, "vod.1500012345.v2.FileDeleted");
    }

    #[test]
    fn escapes_what_a_topic_cannot_hold() {
        let template = Template::parse("vod.{event_type}").unwrap();
        for (value, topic) in [
            ("a b", "vod.a_20b"),
            ("a.>", "vod.a._3e"),
            ("*", "vod._2a"),
            ("", "vod._"),
            (".a..b.", "vod._2ea._2eb_2e"),
            ("é", "vod._c3_a9"),
        ] {
            assert_eq!(template.fill(|_| value), topic);
        }
    }

    #[test]
    fn refuses_templates_that_could_name_any_topic() {
        assert!(matches!(
            Template::parse(""),
            Err(TemplateError::NoPrefix(_))
        ));
        assert!(matches!(
            Template::parse("{event_type}"),
            Err(TemplateError::NoPrefix(_))
        ));
        assert!(matches!(
            Template::parse("vod.{event_type"),
            Err(TemplateError::Brace(_))
        ));
        assert!(matches!(
            Template::parse("vod.}"),
            Err(TemplateError::Brace(_))
        ));
        assert!(matches!(
            Template::parse("vod.{}"),
            Err(TemplateError::Brace(_))
        ));
        assert!(matches!(
            Template::parse("vod.*"),
            Err(TemplateError::Character { character: '*', .. })
        ));
    }
}
