//! From a notification to the event that consumers see.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use vodbridge_core::{Envelope, Event, Label};

use crate::catalogue::{Catalogue, EventType, OTHER, TYPE_PREFIX, UNKNOWN};
use crate::document::Value;
use crate::facts::Facts;
use crate::identity::Identity;
use crate::shape::{self, Format, Shape, Unrecognised};
use crate::trace::TraceContext;
use crate::{Notification, canonical, v2};

/// How notifications come: the extension `vodsource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// 普通回调: the cloud posts each.
    Webhook,
    /// 可靠回调: they are pulled and confirmed.
    Queue,
}

impl Via {
    /// The word for it in events, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Queue => "queue",
        }
    }
}

/// Makes events of the notifications of one source. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Normalizer(Arc<Origin>);

/// What every event of a source has in common.
#[derive(Debug)]
struct Origin {
    sub_app_id: String,
    /// The CloudEvents source.
    uri: Arc<str>,
    source: String,
    via: Via,
    catalogue: Arc<Catalogue>,
}

impl Normalizer {
    /// For the source that the operator named `source`, which receives the notifications of the
    /// application `sub_app_id`: a notification does not say whose it is.
    pub fn new(sub_app_id: u64, source: &str, via: Via, catalogue: Arc<Catalogue>) -> Self {
        Self(Arc::new(Origin {
            sub_app_id: sub_app_id.to_string(),
            uri: format!("https://vod.tencentcloudapi.com/{sub_app_id}").into(),
            source: source.to_owned(),
            via,
            catalogue,
        }))
    }

    /// Recognises a notification. `received` is the event's time where the payload has none.
    pub fn normalize<'n>(
        &self,
        notification: &'n Notification<'_>,
        received: SystemTime,
    ) -> Result<Normalized<'n>, Unrecognised> {
        let origin = self.0.clone();
        let root = notification.root();
        let shape = shape::recognise(root)?;
        let data = match (shape.format, shape.payload) {
            (Format::V3, Some(payload)) => Data::Payload(payload),
            _ => Data::Whole(root),
        };
        let (paths, reports_fact) = match (shape.format, shape.row) {
            (Format::V2, _) => (&*v2::FACTS, v2::NAMES.contains(&&*shape.name)),
            (_, Some(row)) => (&row.facts, row.reports_fact),
            (_, None) => (&*UNKNOWN, false),
        };
        let facts = match shape.payload {
            Some(payload) => Facts::of(payload, paths, reports_fact, received),
            None => Facts::NONE,
        };
        let identity = Identity::new(
            &origin.sub_app_id,
            &shape.name,
            |out| data.write_canonical(out),
            &shape.extra,
        );
        Ok(Normalized {
            origin,
            shape,
            data,
            facts,
            identity,
            received,
            trace: None,
        })
    }
}

/// A notification that has been recognised; [`into_envelope`](Self::into_envelope) makes the
/// event.
#[derive(Debug)]
pub struct Normalized<'n> {
    origin: Arc<Origin>,
    shape: Shape<'n>,
    data: Data<'n>,
    facts: Facts<'n>,
    identity: Identity,
    received: SystemTime,
    trace: Option<TraceContext>,
}

/// What becomes the data of the event.
#[derive(Debug, Clone, Copy)]
enum Data<'n> {
    Payload(Value<'n>),
    /// A whole notification, less what stays at the edge.
    Whole(Value<'n>),
}

impl Data<'_> {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Payload(payload) => payload.write_compact(out),
            Self::Whole(root) => shape::write_object(shape::without_edge(root), out),
        }
    }

    fn write_canonical(self, out: &mut Vec<u8>) {
        match self {
            Self::Payload(payload) => canonical::write(payload, out),
            Self::Whole(root) => canonical::write_object(shape::without_edge(root), out),
        }
    }
}

impl Normalized<'_> {
    /// The true name of the event type, after `v2.` for a 2.0 body.
    pub fn event_type(&self) -> &str {
        &self.shape.name
    }

    /// Whether two genuine notifications can have the same content, so that only the occurrence
    /// tells them apart: a file deleted twice, a cast that starts again, anything unknown that
    /// names no task.
    pub fn is_repeatable(&self) -> bool {
        let once = match self.shape.format {
            Format::V2 => self.shape.name == v2::UPLOADED,
            _ => self.shape.row.is_some_and(|row| row.once),
        };
        !once && self.facts.task.is_none()
    }

    /// Puts the trace of the request that brought it into the event.
    pub fn with_trace(self, trace: Option<TraceContext>) -> Self {
        Self { trace, ..self }
    }

    /// SHA-256 of the content without the occurrence: the same for every copy of a notification,
    /// by webhook or by queue, however it is written.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.identity.fingerprint()
    }

    /// Makes the event. `occurrence` tells repeatable notifications of the same content apart
    /// and is not looked at for others; without one, the id is the fingerprint.
    pub fn into_envelope(self, occurrence: Option<&str>) -> Envelope {
        let occurrence = occurrence.filter(|_| self.is_repeatable());
        let time = self.facts.time.unwrap_or(self.received);
        let subject = self.facts.subject.as_deref().map(str::to_owned);
        let event = Event {
            source: self.origin.uri.clone(),
            ty: self.ty(),
            partition_key: subject.clone(),
            subject,
            time: humantime::format_rfc3339_millis(time).to_string(),
            labels: self.labels(),
            extensions: self.extensions(),
            id: self.identity.id(occurrence),
        };
        event.encode(|out| self.data.write(out))
    }

    fn ty(&self) -> Cow<'static, str> {
        match self.documented() {
            Some(row) => Cow::Borrowed(&row.ty),
            None => Cow::Owned(format!("{TYPE_PREFIX}{}", self.shape.name)),
        }
    }

    /// The row of the event's own type, which need not be that of its payload.
    fn documented(&self) -> Option<&'static EventType> {
        let row = self.shape.row.filter(|row| row.name == self.shape.name);
        row.or_else(|| EventType::named(&self.shape.name))
    }

    fn labels(&self) -> Vec<Label> {
        vec![
            self.event_type_label(),
            Label::new("outcome", self.facts.outcome.name()),
            Label::new("sub_app_id", self.origin.sub_app_id.clone()),
            Label::new("source", self.origin.source.clone()),
        ]
    }

    fn event_type_label(&self) -> Label {
        let name = self.shape.name.as_ref();
        let documented = self.documented().map(|row| row.name);
        event_type_label(name, self.shape.format, documented, &self.origin.catalogue)
    }

    fn extensions(&self) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        let facts = &self.facts;
        let owned = |fact: &Option<Cow<'_, str>>| fact.as_deref().unwrap_or_default().to_owned();
        let facts: [(&'static str, Cow<'static, str>); 9] = [
            ("vodformat", self.shape.format.name().into()),
            ("vodsubappid", self.origin.sub_app_id.clone().into()),
            ("vodsource", self.origin.via.name().into()),
            ("vodoutcome", facts.outcome.name().into()),
            ("vodstatus", owned(&facts.status).into()),
            ("voderrcode", owned(&facts.error).into()),
            ("vodtaskid", owned(&facts.task).into()),
            ("vodfileid", facts.files.clone().into()),
            ("vodextra", self.extra().into()),
        ];
        let traceparent = self.trace.iter().map(|trace| trace.parent.clone());
        let tracestate = self.trace.iter().filter_map(|trace| trace.state.clone());
        facts
            .into_iter()
            .chain(traceparent.map(|parent| ("traceparent", parent.into())))
            .chain(tracestate.map(|state| ("tracestate", state.into())))
            // CloudEvents has no empty attributes.
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.into(), value))
            .collect()
    }

    fn extra(&self) -> String {
        if self.shape.extra.is_empty() {
            return String::new();
        }
        let mut text = Vec::new();
        shape::write_object(self.shape.extra.iter().copied(), &mut text);
        String::from_utf8(text).expect("pieces of a text that is UTF-8, cut between its tokens")
    }
}

/// The label of an event type: by its name, and where that is in no closed set, with another for
/// topics.
fn event_type_label(
    name: &str,
    format: Format,
    documented: Option<&'static str>,
    catalogue: &Catalogue,
) -> Label {
    let v2 = format == Format::V2;
    let closed = match v2 {
        true => v2::NAMES.into_iter().find(|known| *known == name),
        false => documented,
    };
    if let Some(closed) = closed {
        return Label::new("event_type", closed);
    }
    let mut label = Label::new("event_type", name.to_owned());
    if v2 || !catalogue.has_added(name) {
        label.topic = Some(if v2 { v2::OTHER } else { OTHER }.into());
    }
    label
}

/// The labels of an event that was kept in its structured form alone: they follow from its
/// attributes. `source` is the operator's name of where it came from. Of a dead letter none.
pub fn labels_of(event: &Envelope, catalogue: &Catalogue, source: &str) -> Vec<Label> {
    let Some(name) = event.ty().strip_prefix(TYPE_PREFIX) else {
        return Vec::new();
    };
    let fact = |name: &str| event.extension(name).unwrap_or_default().to_owned();
    let format = match event.extension("vodformat") {
        Some(format) if format == Format::V2.name() => Format::V2,
        _ => Format::V3,
    };
    let documented = EventType::named(name).map(|row| row.name);
    vec![
        event_type_label(name, format, documented, catalogue),
        Label::new("outcome", fact("vodoutcome")),
        Label::new("sub_app_id", fact("vodsubappid")),
        Label::new("source", source.to_owned()),
    ]
}
