//! Which of its shapes a notification has: what its type is, which member is the payload, and
//! what stands beside it.

use std::borrow::Cow;

use thiserror::Error;

use crate::catalogue::{EventType, OTHER};
use crate::document::Value;
use crate::notification::EDGE;
use crate::paths::fact;
use crate::v2;

/// Largest `vodextra`; it has to fit into the header frame of an AMQP message.
const MAX_EXTRA: usize = 16 * 1024;

/// A JSON object that has neither an event type nor anything that could be a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the object has neither an event type nor a payload")]
pub struct Unrecognised;

/// How an event's data relates to its notification: the extension `vodformat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The data is the payload.
    V3,
    /// The data is a whole 2.0 body.
    V2,
    /// The data is the whole notification, since no single payload says it all.
    Notification,
}

impl Format {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V3 => "3.0",
            Self::V2 => "2.0",
            Self::Notification => "notification",
        }
    }
}

/// A notification taken apart.
#[derive(Debug)]
pub(crate) struct Shape<'n> {
    pub(crate) format: Format,
    /// The event type, with `v2.` before it for a 2.0 body.
    pub(crate) name: Cow<'n, str>,
    /// The catalogue's row for the payload, or else for the type.
    pub(crate) row: Option<&'static EventType>,
    /// What facts are taken from.
    pub(crate) payload: Option<Value<'n>>,
    /// What is not null and neither payload nor type, where the data is the payload alone.
    pub(crate) extra: Vec<(Value<'n>, Value<'n>)>,
}

/// A member that is neither null, nor the event type, nor one that stays at the edge.
struct Beside<'n> {
    key: Value<'n>,
    name: Cow<'n, str>,
    value: Value<'n>,
    /// The catalogue's row whose payload field it is.
    row: Option<&'static EventType>,
}

/// The top-level members, sorted by what they are. A null member is as good as none.
#[derive(Default)]
struct Members<'n> {
    event_types: Vec<Value<'n>>,
    beside: Vec<Beside<'n>>,
    /// A key that the vendor defines comes twice.
    repeated: bool,
}

impl<'n> Members<'n> {
    fn of(root: Value<'n>) -> Self {
        let mut members = Self::default();
        let mut edge = [false; EDGE.len()];
        for (key, value) in root.members().filter(|(_, value)| !value.is_null()) {
            if key.reads("EventType") {
                members.repeated |= !members.event_types.is_empty();
                members.event_types.push(value);
            } else if let Some(at) = EDGE.iter().position(|name| key.reads(name)) {
                members.repeated |= std::mem::replace(&mut edge[at], true);
            } else {
                members.add(key, value);
            }
        }
        members
    }

    fn add(&mut self, key: Value<'n>, value: Value<'n>) {
        // A key is a string, so it has a text.
        let name = key.text().unwrap_or_default();
        let row = EventType::with_field(&name);
        // Looked for until found once: a hostile body cannot make this quadratic.
        if row.is_some() && !self.repeated {
            self.repeated = self.beside.iter().any(|b| b.name == name);
        }
        self.beside.push(Beside {
            key,
            name,
            value,
            row,
        });
    }

    /// The value of a member of a 2.0 body.
    fn named(&self, name: &str) -> Option<Value<'n>> {
        let found = self.beside.iter().find(|b| b.name == name);
        found.map(|b| b.value)
    }
}

/// Takes a notification apart.
pub(crate) fn recognise(root: Value<'_>) -> Result<Shape<'_>, Unrecognised> {
    let members = Members::of(root);
    match second_format(&members) {
        Some(shape) => Ok(shape),
        None => third_format(members),
    }
}

/// A 2.0 body: it has `eventType`, and `version` or `data` beside it.
fn second_format<'n>(members: &Members<'n>) -> Option<Shape<'n>> {
    let event_type = members.named("eventType")?;
    let data = members.named("data");
    if !members.event_types.is_empty() || (data.is_none() && members.named("version").is_none()) {
        return None;
    }
    let name = fact(event_type).filter(|_| event_type.is_string());
    Some(Shape {
        format: Format::V2,
        name: match name {
            Some(name) => Cow::Owned(format!("{}{name}", v2::PREFIX)),
            None => Cow::Borrowed(v2::OTHER),
        },
        row: None,
        payload: data.filter(|data| data.is_object()),
        extra: Vec::new(),
    })
}

/// The text as the name of a 3.0 event type; none may pass for one of the 2.0 format.
fn name(value: Value<'_>) -> Option<Cow<'_, str>> {
    fact(value).filter(|name| !name.starts_with(v2::PREFIX))
}

fn third_format(members: Members<'_>) -> Result<Shape<'_>, Unrecognised> {
    let given = members.event_types.first().copied();
    let event_type = given.filter(|v| v.is_string()).and_then(name);
    let chosen = payload(event_type.as_deref(), &members.beside);
    let has_object = members.beside.iter().any(|b| b.value.is_object());
    if event_type.is_none() && !has_object {
        return Err(Unrecognised);
    }

    // A type that cannot be one (no string, endless, with control characters, of 2.0) must
    // not be lost; an empty one says nothing.
    let odd = event_type.is_none() && given.is_some_and(|v| !v.reads(""));
    let derived = || match chosen.map(|at| &members.beside[at]) {
        Some(Beside { row: Some(row), .. }) => Cow::Borrowed(row.name),
        Some(unknown) => name(unknown.key).unwrap_or(Cow::Borrowed(OTHER)),
        None => Cow::Borrowed(OTHER),
    };
    let event_type = event_type.unwrap_or_else(derived);
    let row = chosen.and_then(|at| members.beside[at].row);
    let row = row.or_else(|| EventType::named(&event_type));
    let mut payload = None;
    let mut extra = Vec::new();
    for (at, beside) in members.beside.iter().enumerate() {
        if Some(at) == chosen {
            payload = Some(beside.value);
        } else {
            extra.push((beside.key, beside.value));
        }
    }
    let whole = payload.is_none() || members.repeated || odd || too_large(&extra);
    if whole {
        extra.clear();
    }
    Ok(Shape {
        format: if whole {
            Format::Notification
        } else {
            Format::V3
        },
        name: event_type,
        row,
        payload,
        extra,
    })
}

/// The member that is the payload, if one can be told: the type's own field, else the only
/// object under a known field, else the only object.
fn payload(event_type: Option<&str>, beside: &[Beside<'_>]) -> Option<usize> {
    if let Some(event_type) = event_type {
        let fields: Vec<Cow<'_, str>> = match EventType::named(event_type) {
            Some(row) => row.fields.iter().map(|f| Cow::Borrowed(*f)).collect(),
            None => vec![format!("{event_type}Event").into(), event_type.into()],
        };
        let mut own = fields
            .iter()
            .filter_map(|field| beside.iter().position(|b| b.name == *field))
            .peekable();
        if own.peek().is_some() {
            return own.find(|at| beside[*at].value.is_object());
        }
    }
    let objects = || {
        let all = beside.iter().enumerate();
        all.filter(|(_, b)| b.value.is_object())
    };
    let known = || objects().filter(|(_, b)| b.row.is_some());
    if known().next().is_some() {
        only(known())
    } else {
        only(objects())
    }
}

fn only<'b, 'n: 'b>(mut objects: impl Iterator<Item = (usize, &'b Beside<'n>)>) -> Option<usize> {
    let (at, _) = objects.next()?;
    objects.next().is_none().then_some(at)
}

fn too_large(extra: &[(Value<'_>, Value<'_>)]) -> bool {
    if extra.is_empty() {
        return false;
    }
    let mut text = Vec::new();
    write_object(extra.iter().copied(), &mut text);
    text.len() > MAX_EXTRA
}

/// Appends an object of these members, token for token, without white space.
pub(crate) fn write_object<'n>(
    members: impl Iterator<Item = (Value<'n>, Value<'n>)>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (at, (key, value)) in members.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        key.write_compact(out);
        out.push(b':');
        value.write_compact(out);
    }
    out.push(b'}');
}

/// The members of a notification but for those that stay at the edge.
pub(crate) fn without_edge<'n>(root: Value<'n>) -> impl Iterator<Item = (Value<'n>, Value<'n>)> {
    root.members()
        .filter(|(key, _)| !EDGE.iter().any(|name| key.reads(name)))
}

#[cfg(test)]
mod tests;
