//! Sample notifications, compiled in. `samples/README.md` says where each comes from.

use crate::table::SAMPLES;

/// A notification as a callback posts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The file's name without `.json`; the usual form of most types is named after the type.
    pub name: &'static str,
    /// The type that the notification tells, or should have told where it tells none;
    /// `v2.` and the type for a body of the 2.0 callback format.
    pub event_type: &'static str,
    /// Where the form comes from.
    pub origin: Origin,
    /// The body, token for token as in its source.
    pub body: &'static str,
}

/// How much a sample proves about the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Printed by one of the vendor's documents.
    Document,
    /// Written after the description of such a form.
    Description,
    /// Synthetic, from the structures of the vendor's SDK; no real one was seen.
    Schema,
}

impl Sample {
    /// Whether the SDK's catalogue of event types has this one. It has no name of the 2.0
    /// format, and an older document prints a name of 3.0 that it never had.
    pub fn is_catalogued(&self) -> bool {
        !self.event_type.starts_with("v2.") && self.event_type != "RestoreCompleteEvent"
    }
}

/// Every sample, in the order of event types.
pub fn samples() -> &'static [Sample] {
    SAMPLES
}

/// The sample of that name, else the usual form of that event type.
pub fn sample(name_or_type: &str) -> Option<&'static Sample> {
    let named = SAMPLES.iter().find(|sample| sample.name == name_or_type);
    named.or_else(|| {
        SAMPLES
            .iter()
            .find(|sample| sample.event_type == name_or_type)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;
    use vodbridge_vod::catalogue::documented_names;

    use super::*;

    #[test]
    fn every_catalogue_type_has_a_sample() {
        let expected: BTreeSet<_> = documented_names().collect();
        assert_eq!(expected.len(), 37);
        let found: BTreeSet<_> = samples()
            .iter()
            .filter(|sample| sample.is_catalogued())
            .map(|sample| sample.event_type)
            .collect();
        assert_eq!(found, expected);
        for event_type in expected {
            assert_eq!(sample(event_type).unwrap().event_type, event_type);
        }
    }

    #[test]
    fn every_sample_parses_and_tells_its_type() {
        for sample in samples() {
            let body: Value = serde_json::from_str(sample.body).unwrap();
            let told = match (&body["EventType"], &body["eventType"]) {
                (Value::String(told), Value::Null) => told.clone(),
                (Value::Null, Value::String(told)) => format!("v2.{told}"),
                _ => {
                    assert_eq!(sample.name, "ComposeMediaComplete-pull");
                    continue;
                }
            };
            assert_eq!(told, sample.event_type, "{}", sample.name);
            assert_eq!(body.get("EventHandle"), None, "{}", sample.name);
        }
    }

    #[test]
    fn the_table_and_the_readme_list_every_file() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
        let files: BTreeSet<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|file| file.strip_suffix(".json").map(str::to_owned))
            .collect();
        let listed: BTreeSet<_> = samples().iter().map(|s| s.name.to_owned()).collect();
        assert_eq!(files, listed);

        let readme = std::fs::read_to_string(directory.join("README.md")).unwrap();
        for sample in samples() {
            let origin = match sample.origin {
                Origin::Document => "document",
                Origin::Description => "description",
                Origin::Schema => "schema",
            };
            let row = format!(
                "| `{}.json` | `{}` | {origin} |",
                sample.name, sample.event_type
            );
            assert!(readme.contains(&row), "{row}");
        }
    }
}
