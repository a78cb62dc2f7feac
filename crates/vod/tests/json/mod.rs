//! JSON values and the many ways to write them, independent of the code under test.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// A JSON value with numbers as spelled and members as a list, so that keys can repeat.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Picks one of the ways to write a value: 0 is the plain one, any other a seed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style(u64);

impl Arbitrary for Style {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        (1..u64::MAX).prop_map(Self).boxed()
    }
}

impl Style {
    /// One of `count` ways; the plain style always takes the first.
    fn pick(&mut self, count: u64) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[A-Za-z]{0,10}",
        1 => "(FileId|TaskId|Status|ErrCode|a|b)",
        1 => any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        "(0|-?[1-9][0-9]{0,25})",
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?"
    ]
}

pub(crate) fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        number().prop_map(Json::Number),
        text().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Json::Array),
            vec((text(), inner), 0..5).prop_map(Json::Object),
        ]
    })
}

pub(crate) fn members() -> impl Strategy<Value = Vec<(String, Json)>> {
    vec((text(), value()), 0..6)
}

impl Json {
    pub(crate) fn write(&self, mut style: Style) -> String {
        let mut out = String::new();
        self.append(&mut out, &mut style);
        out
    }

    fn append(&self, out: &mut String, style: &mut Style) {
        space(out, style);
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(spelling) => out.push_str(spelling),
            Self::String(text) => write_string(text, out, style),
            Self::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    element.append(out, style);
                }
                out.push(']');
            }
            Self::Object(members) => write_object(members, out, style),
        }
        space(out, style);
    }

    /// What is left when null members count as absent.
    pub(crate) fn without_nulls(&self) -> Self {
        match self {
            Self::Array(elements) => {
                Self::Array(elements.iter().map(Self::without_nulls).collect())
            }
            Self::Object(members) => {
                let present = members.iter().filter(|(_, value)| *value != Self::Null);
                let mut members: Vec<_> = present
                    .map(|(key, value)| (key.clone(), value.without_nulls()))
                    .collect();
                members.sort_by(|a, b| a.0.cmp(&b.0));
                Self::Object(members)
            }
            other => other.clone(),
        }
    }

    /// Puts `value` in the place of some value below this object, or adds a member to it.
    pub(crate) fn replace(&mut self, at: Index, value: Json) {
        match self {
            Self::Object(members) if !members.is_empty() => {
                let index = at.index(members.len());
                members[index].1.replace(at, value);
            }
            Self::Array(elements) if !elements.is_empty() => {
                let index = at.index(elements.len());
                elements[index].replace(at, value);
            }
            Self::Object(members) => members.push(("added".into(), value)),
            other => *other = value,
        }
    }
}

fn space(out: &mut String, style: &mut Style) {
    out.push_str(["", "", "", " ", "\n\t", "\r\n  "][style.pick(6) as usize]);
}

/// In any order that keeps members of the same key in theirs, with null members put between.
fn write_object(members: &[(String, Json)], out: &mut String, style: &mut Style) {
    let mut members: Vec<_> = members.iter().collect();
    for at in (1..members.len()).rev() {
        let other = style.pick(at as u64 + 1) as usize;
        let alone = |m: &(String, Json)| members.iter().filter(|n| n.0 == m.0).count() == 1;
        if style.0 != 0 && alone(members[at]) && alone(members[other]) {
            members.swap(at, other);
        }
    }
    out.push('{');
    let mut first = true;
    for (key, value) in members {
        if style.pick(5) == 1 {
            out.push_str(if first {
                "\"Nil\":null"
            } else {
                ",\"Nil\": null"
            });
            first = false;
        }
        out.push_str(if first { "" } else { "," });
        first = false;
        space(out, style);
        write_string(key, out, style);
        space(out, style);
        out.push(':');
        value.append(out, style);
    }
    out.push('}');
}

fn write_string(text: &str, out: &mut String, style: &mut Style) {
    out.push('"');
    for c in text.chars() {
        match (style.pick(8), c) {
            (0, '"' | '\\') => out.extend(['\\', c]),
            (0, '\u{20}'..) => out.push(c),
            (1, '/') => out.push_str("\\/"),
            (2, '\n') => out.push_str("\\n"),
            (1, _) | (_, '\0'..'\u{20}' | '"' | '\\') => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// The tokens of a JSON text, each as it is spelled.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\n', '\r', '\t']);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => rest
                .find(|c: char| "{}[],: \n\r\t\"".contains(c))
                .unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start_matches([' ', '\n', '\r', '\t']);
    }
    tokens
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// How deep the brackets of a text are nested.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for token in tokens(text) {
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
