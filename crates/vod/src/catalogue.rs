//! The event types that the cloud documents, and those that the operator adds.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use thiserror::Error;

use crate::paths::Path;
use crate::v2;

/// The CloudEvents type of every event starts with it.
pub const TYPE_PREFIX: &str = "com.tencent.cloud.vod.";

/// What `{event_type}` is where the type is in no catalogue.
pub(crate) const OTHER: &str = "other";

/// Every name that may stand in a topic. Nobody who can post a notification adds to it.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    added: Vec<String>,
}

/// An operator's event type that cannot stand in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("event type {0:?} must be letters, digits and `_` only")]
pub struct BadName(pub String);

impl Catalogue {
    /// The documented event types, and `added` to them: names that the cloud has begun to send
    /// since. Each is letters, digits and `_`.
    pub fn new(added: impl IntoIterator<Item = String>) -> Result<Self, BadName> {
        let mut names = Vec::new();
        for name in added {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if name.is_empty() || !plain {
                return Err(BadName(name));
            }
            if EventType::named(&name).is_none() && name != OTHER && !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self { added: names })
    }

    /// Every value that the label `event_type` takes in a topic, each once: the catalogue's
    /// names, the known names of 2.0 bodies after `v2.`, the added ones, `other` and `v2.other`.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        TABLE
            .rows
            .iter()
            .map(|row| row.name)
            .chain(v2::NAMES)
            .chain(self.added.iter().map(String::as_str))
            .chain([OTHER, v2::OTHER])
    }

    /// Whether the operator added the name.
    pub(crate) fn has_added(&self, name: &str) -> bool {
        self.added.iter().any(|added| added == name)
    }
}

/// The names of the documented event types, in the order of the vendor's `EventContent`
/// (<https://cloud.tencent.com/document/api/266/31773#EventContent>).
pub fn documented_names() -> impl Iterator<Item = &'static str> {
    TABLE.rows.iter().map(|row| row.name)
}

/// One row of the catalogue: where the payload of an event type is, and where its facts are.
#[derive(Debug)]
pub(crate) struct EventType {
    pub(crate) name: &'static str,
    /// The CloudEvents type.
    pub(crate) ty: String,
    /// The member that holds the payload, its older names after it.
    pub(crate) fields: Vec<&'static str>,
    pub(crate) facts: FactPaths,
    /// Two genuine notifications of the type never have the same content.
    pub(crate) once: bool,
    /// Without a status, the event says that something has happened, not how it went.
    pub(crate) reports_fact: bool,
}

/// Where the facts of an event stand in its payload.
#[derive(Debug, Default)]
pub(crate) struct FactPaths {
    /// What the event is about, best first; no URLs.
    pub(crate) subject: Vec<Path>,
    pub(crate) files: Vec<Path>,
    pub(crate) task: Vec<Path>,
    pub(crate) status: Vec<Path>,
    /// The objects that carry an error code or the status of a part of the work.
    pub(crate) results: Vec<Path>,
    pub(crate) times: Vec<Path>,
}

impl EventType {
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        TABLE.by_name.get(name).map(|at| &TABLE.rows[*at])
    }

    /// The type whose payload is in the member `field`.
    pub(crate) fn with_field(field: &str) -> Option<&'static Self> {
        TABLE.by_field.get(field).map(|at| &TABLE.rows[*at])
    }
}

/// What is looked for in a payload that the catalogue does not know.
pub(crate) static UNKNOWN: LazyLock<FactPaths> = LazyLock::new(|| FactPaths {
    files: paths(["FileId", "FileIdSet[]"]),
    task: paths(["TaskId"]),
    status: paths(["Status"]),
    results: paths([""]),
    ..FactPaths::default()
});

/// Parses several paths.
pub(crate) fn paths<'p>(texts: impl IntoIterator<Item = &'p str>) -> Vec<Path> {
    texts.into_iter().map(Path::parse).collect()
}

struct Table {
    rows: Vec<EventType>,
    by_name: HashMap<&'static str, usize>,
    by_field: HashMap<&'static str, usize>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let documented: Vec<Documented> = serde_json::from_str(include_str!("event-types.json"))
        .expect("the catalogue is part of the program and parsed by its tests");
    let rows: Vec<EventType> = documented.into_iter().map(EventType::from).collect();
    let by_name = rows.iter().enumerate().map(|(at, row)| (row.name, at));
    let by_field = rows
        .iter()
        .enumerate()
        .flat_map(|(at, row)| row.fields.iter().map(move |field| (*field, at)));
    Table {
        by_name: by_name.collect(),
        by_field: by_field.collect(),
        rows,
    }
});

/// A row of `event-types.json`: each payload field of `EventContent` in the vendor's API of
/// 2018-07-17, with where its facts are. Paths start with the name of the payload field; `[]` is
/// an array, `*` a field whose name depends on the sub-task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Documented {
    event_type: &'static str,
    payload_field: &'static str,
    payload_field_aliases: Vec<&'static str>,
    subject_path: Option<&'static str>,
    input_subject_path: Option<&'static str>,
    task_id_path: Option<&'static str>,
    status_path: Option<&'static str>,
    err_code_path: Option<&'static str>,
    more_err_code_paths: Vec<&'static str>,
    time_paths: Vec<&'static str>,
}

impl From<Documented> for EventType {
    fn from(row: Documented) -> Self {
        let parse = |path: &&'static str| {
            let below = path.strip_prefix(row.payload_field);
            Path::parse(below.unwrap_or(path))
        };
        let subject: Vec<Path> = [&row.subject_path, &row.input_subject_path]
            .into_iter()
            .flatten()
            .map(parse)
            .filter(|path| !path.name().ends_with("Url"))
            .collect();
        let is_file = |path: &&Path| path.name().contains("FileId");
        let codes = row.err_code_path.iter().chain(&row.more_err_code_paths);
        let mut results: Vec<Path> = codes.map(|path| parse(path).parent()).collect();
        let itself = Path::parse("");
        if !results.contains(&itself) {
            results.push(itself);
        }
        let default = |path: Option<&'static str>, name| {
            vec![path.as_ref().map_or_else(|| Path::parse(name), parse)]
        };
        Self {
            name: row.event_type,
            ty: format!("{TYPE_PREFIX}{}", row.event_type),
            once: row.task_id_path.is_some() || row.event_type == "NewFileUpload",
            facts: FactPaths {
                files: subject.iter().filter(is_file).cloned().collect(),
                subject,
                task: default(row.task_id_path, "TaskId"),
                status: default(row.status_path, "Status"),
                results,
                times: row.time_paths.iter().map(parse).collect(),
            },
            // RestoreMediaComplete has a status, but the vendor has declared it obsolete.
            reports_fact: row.status_path.is_none() || row.event_type == "RestoreMediaComplete",
            fields: [row.payload_field]
                .into_iter()
                .chain(row.payload_field_aliases)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_every_documented_type() {
        assert_eq!(documented_names().count(), 37);
        for row in &TABLE.rows {
            assert_eq!(EventType::named(row.name).unwrap().name, row.name);
            for field in &row.fields {
                assert_eq!(EventType::with_field(field).unwrap().name, row.name);
            }
        }
    }

    #[test]
    fn knows_which_types_can_happen_twice() {
        let repeatable: Vec<_> = TABLE.rows.iter().filter(|row| !row.once).collect();
        assert_eq!(
            repeatable.iter().map(|row| row.name).collect::<Vec<_>>(),
            [
                "FileDeleted",
                "RestoreMediaComplete",
                "PersistenceComplete",
                "MediaCastStatusChanged",
                "ProcessImageAsyncCompleteEvent"
            ]
        );
    }

    #[test]
    fn looks_for_errors_at_every_sub_task() {
        let procedure = EventType::named("ProcedureStateChanged").unwrap();
        let sets = [
            "MediaProcessResultSet[].*",
            "AiContentReviewResultSet[].*",
            "AiAnalysisResultSet[].*",
            "AiRecognitionResultSet[].*",
            "",
        ];
        assert_eq!(procedure.facts.results, paths(sets));
    }

    #[test]
    fn topics_come_from_a_closed_set() {
        let catalogue = Catalogue::new(["Added_1".into(), "NewFileUpload".into()]).unwrap();
        let names: Vec<_> = catalogue.topic_names().collect();
        assert_eq!(names.len(), 37 + 9 + 1 + 2);
        for name in [
            "NewFileUpload",
            "v2.FileDeleted",
            "Added_1",
            "other",
            "v2.other",
        ] {
            assert_eq!(names.iter().filter(|n| **n == name).count(), 1, "{name}");
        }
        for bad in ["", "a.b", "a b", "é", "*"] {
            assert_eq!(
                Catalogue::new([bad.to_owned()]).unwrap_err(),
                BadName(bad.into())
            );
        }
    }
}
