//! The events of one application: an endless stream from samples.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use serde::de::IgnoredAny;
use vodbridge_vod::Notification;

use crate::notifications::Notifications;
use crate::{Sample, sample};

/// Events by number. Any can be made again at any time, so none is kept.
#[derive(Debug)]
pub(super) struct Stream {
    /// As they are pulled, without the brace that opens them.
    pulled: Notifications,
    /// As they are posted.
    posted: Notifications,
}

/// The payload fields that the API page prints with every event, as null where they are not its
/// own: <https://cloud.tencent.com/document/api/266/33433>.
static FIELDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let page = sample("ProcedureStateChanged-api-pull").map_or("{}", |sample| sample.body);
    let mut fields = member_names(page);
    fields.retain(|name| name != "EventType");
    fields
});

impl Stream {
    pub(super) fn new(seed: u64, samples: &[&'static Sample], null_fields: bool) -> Self {
        let samples = || samples.iter().copied();
        let pulled = |sample| {
            let text = compact(sample);
            let nulls = if null_fields {
                nulls_beside(&text)
            } else {
                String::new()
            };
            format!("{}{nulls}}}", &text[1..text.len() - 1])
        };
        Self {
            pulled: Notifications::written(seed, samples(), pulled),
            posted: Notifications::written(seed, samples(), compact),
        }
    }

    /// How many event types it has, each once a round.
    pub(super) fn types(&self) -> usize {
        self.posted.types()
    }

    /// What event `number` is made from; none where there are no samples.
    pub(super) fn sample(&self, number: u32) -> Option<&'static Sample> {
        self.posted.sample_at(number.into())
    }

    /// Appends event `number` as it is pulled, less the brace that opens it.
    pub(super) fn write_pulled(&self, number: u32, out: &mut String) {
        self.pulled.write_at(number.into(), out);
    }

    /// Appends event `number` as it is posted.
    pub(super) fn write_posted(&self, number: u32, out: &mut String) {
        self.posted.write_at(number.into(), out);
    }
}

/// The body without white space between its tokens, as a machine writes it.
fn compact(sample: &'static Sample) -> String {
    let notification = Notification::parse(sample.body.as_bytes());
    let compact = notification.map(|notification| notification.without_edge());
    compact
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| sample.body.trim().to_owned())
}

/// `,"Field":null` for every field that the body has not.
fn nulls_beside(body: &str) -> String {
    let own = member_names(body);
    let others = FIELDS.iter().filter(|field| !own.contains(field));
    others.fold(String::new(), |mut nulls, field| {
        write!(nulls, r#","{field}":null"#).expect("a String takes any text");
        nulls
    })
}

fn member_names(json: &str) -> Vec<String> {
    let members: Option<BTreeMap<String, IgnoredAny>> = serde_json::from_str(json).ok();
    members.unwrap_or_default().into_keys().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use vodbridge_vod::{Catalogue, Normalizer, Via};

    use super::*;
    use crate::samples;

    fn id(body: &str) -> [u8; 32] {
        let normalizer = Normalizer::new(1, "queue", Via::Queue, Arc::new(Catalogue::default()));
        let notification = Notification::parse(body.as_bytes()).unwrap();
        let normalized = normalizer.normalize(&notification, SystemTime::UNIX_EPOCH);
        normalized.unwrap().fingerprint()
    }

    #[test]
    fn pulled_or_posted_an_event_has_the_same_content() {
        let samples: Vec<_> = samples().iter().filter(|s| s.is_catalogued()).collect();
        let stream = Stream::new(7, &samples, true);
        for number in 0..500 {
            let (mut posted, mut pulled) = (String::new(), "{".to_owned());
            stream.write_posted(number, &mut posted);
            stream.write_pulled(number, &mut pulled);
            assert!(!posted.contains('\n'), "{posted}");
            assert!(pulled.matches("Event\":null").count() >= 20, "{pulled}");
            assert_eq!(id(&posted), id(&pulled));
        }
    }
}
