//! What routes match on and topics are named after.

use std::borrow::Cow;

use vodbridge_core::{Envelope, Label};

use crate::catalogue::{Catalogue, EventType, OTHER, TYPE_PREFIX};
use crate::shape::Format;
use crate::v2;

/// The labels of an event that was made of a notification of the source `source`, read from its
/// attributes: an encoded event does not keep them. None: it was made of no notification.
pub fn labels(event: &Envelope, source: &str, catalogue: &Catalogue) -> Option<Vec<Label>> {
    let name = event.ty().strip_prefix(TYPE_PREFIX)?;
    let extension = |name| event.extension(name);
    let v2 = extension("vodformat")? == Format::V2.name();
    let outcome = extension("vodoutcome")?.to_owned();
    let sub_app_id = extension("vodsubappid")?.to_owned();
    Some(vec![
        event_type(name, v2, catalogue),
        Label::new("outcome", outcome),
        Label::new("sub_app_id", sub_app_id),
        Label::new("source", source.to_owned()),
    ])
}

/// The label `event_type` of this true name, which starts with `v2.` for a 2.0 body.
pub(crate) fn event_type(name: &str, v2: bool, catalogue: &Catalogue) -> Label {
    let closed = match v2 {
        true => v2::NAMES.into_iter().find(|known| *known == name),
        false => EventType::named(name).map(|row| row.name),
    };
    if let Some(closed) = closed {
        return Label::new("event_type", closed);
    }
    let mut label = Label::new("event_type", name.to_owned());
    if v2 || !catalogue.has_added(name) {
        label.topic = Some(Cow::Borrowed(if v2 { v2::OTHER } else { OTHER }));
    }
    label
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::{Normalizer, Notification, Via};

    #[test]
    fn they_come_back_from_the_encoded_event() {
        let catalogue = Arc::new(Catalogue::new(["Added".to_owned()]).unwrap());
        let normalizer = Normalizer::new(7, "callback", Via::Webhook, catalogue.clone());
        for body in [
            r#"{"EventType":"FileDeleted","FileDeleteEvent":{"FileIdSet":["1"]}}"#,
            r#"{"EventType":"PullComplete","PullCompleteEvent":{"TaskId":"t","ErrCode":1}}"#,
            r#"{"EventType":"Added","AddedEvent":{"TaskId":"t"}}"#,
            r#"{"EventType":"Unknown","UnknownEvent":{"TaskId":"t"}}"#,
            r#"{"EventType":"v2.NewFileUpload","XEvent":{"TaskId":"t"}}"#,
            r#"{"version":"4.0","eventType":"NewFileUpload","data":{"fileId":"7"}}"#,
            r#"{"version":"4.0","eventType":"Strange","data":{"fileId":"7"}}"#,
        ] {
            let notification = Notification::parse(body.as_bytes()).unwrap();
            let normalized = normalizer.normalize(&notification, SystemTime::UNIX_EPOCH);
            let event = normalized.unwrap().into_envelope(None);
            let kept = Envelope::from_structured(event.structured(), Vec::new()).unwrap();
            let labels = labels(&kept, "callback", &catalogue);
            assert_eq!(labels.as_deref(), Some(event.labels()), "{body}");
        }
    }

    #[test]
    fn another_event_has_none() {
        let other = r#"{"specversion":"1.0","id":"1","source":"/","type":"com.example.Other","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","data":{}}"#;
        let other = Envelope::from_structured(other.into(), Vec::new()).unwrap();
        assert_eq!(labels(&other, "callback", &Catalogue::default()), None);
    }
}
