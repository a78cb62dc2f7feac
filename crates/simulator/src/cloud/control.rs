//! The way to steer a cloud while it runs: JSON under `/_control/`, for tests and scripts.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::api::Api;
use super::ledger::Ledger;
use super::queue::Queue;
use super::recorded::Recorded;
use super::settings::Change;
use super::{Fault, QueueStats};

/// What is under it is no part of the vendor's API.
pub(super) const PREFIX: &str = "/_control/";

/// An answer: a value, or the ledger, which is made while it is sent.
pub(super) enum Told {
    Value(Value),
    Ledger(Ledger),
}

/// A request that cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("there is stats, ledger, faults, issue and settings")]
    NoSuchPath,
    #[error("only {0} is served here")]
    Method(&'static str),
    #[error("{0}")]
    Request(String),
}

impl Refused {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Request(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// What a cloud has done so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Of each application.
    pub applications: BTreeMap<u64, QueueStats>,
    /// Whether events are still being issued as time goes by.
    pub issuing: bool,
    /// How often each call was answered how: `ok`, or the error's code.
    pub calls: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// What goes wrong at the moment.
    pub faults: Vec<String>,
    /// How many calls something has befallen.
    pub faults_happened: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Faults {
    faults: Vec<String>,
}

/// What to issue: so many events of the stream, or this notification.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Issue<'b> {
    sub_app_id: Option<u64>,
    #[serde(default)]
    events: u32,
    #[serde(borrow)]
    notification: Option<&'b RawValue>,
}

/// Serves a request.
pub(super) fn serve(api: &Api, method: &Method, uri: &Uri, body: &Bytes) -> Result<Told, Refused> {
    let get = || only(method, Method::GET, "GET");
    let post = || only(method, Method::POST, "POST");
    match uri.path().strip_prefix(PREFIX).unwrap_or_default() {
        "stats" => {
            get()?;
            let stats = serde_json::to_value(api.stats());
            Ok(Told::Value(stats.unwrap_or_default()))
        }
        "ledger" => {
            get()?;
            let sub_app_id = asked_for(uri)?;
            let chosen = api.queues(sub_app_id).map_err(Refused::Request)?;
            Ok(Told::Ledger(Ledger::of(chosen)))
        }
        "faults" => {
            if method != Method::GET {
                post()?;
                let Faults { faults } = read(body)?;
                let faults = faults.iter().map(|text| text.parse());
                let faults = faults.collect::<Result<Vec<Fault>, _>>();
                api.set_faults(faults.map_err(invalid)?);
            }
            Ok(Told::Value(json!({ "faults": api.stats().faults })))
        }
        "issue" => {
            post()?;
            issue(api, body)
        }
        "settings" => {
            post()?;
            change(api, body)
        }
        _ => Err(Refused::NoSuchPath),
    }
}

fn issue(api: &Api, body: &Bytes) -> Result<Told, Refused> {
    let issue: Issue<'_> = read(body)?;
    let queue = queue(api, issue.sub_app_id)?;
    queue.issue(issue.events);
    if let Some(notification) = issue.notification {
        let recorded = Recorded::read(notification.get().as_bytes());
        queue.issue_recorded(recorded.map_err(invalid)?);
    }
    let issued = queue.stats().counts.issued;
    Ok(Told::Value(json!({ "issued": issued })))
}

fn change(api: &Api, body: &Bytes) -> Result<Told, Refused> {
    let mut members: Map<String, Value> = read(body)?;
    let sub_app_id = members.remove("sub_app_id");
    let sub_app_id = Option::deserialize(sub_app_id.unwrap_or_default());
    let queue = queue(api, sub_app_id.map_err(invalid)?)?;
    let change = Change::deserialize(Value::Object(members)).map_err(invalid)?;
    queue.change(change).map_err(invalid)?;
    Ok(Told::Value(json!({})))
}

fn invalid(error: impl std::error::Error + 'static) -> Refused {
    Refused::Request(vodbridge_core::chain(&error))
}

fn only(method: &Method, wanted: Method, name: &'static str) -> Result<(), Refused> {
    if *method == wanted {
        Ok(())
    } else {
        Err(Refused::Method(name))
    }
}

fn read<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(invalid)
}

/// The application that a query names.
fn asked_for(uri: &Uri) -> Result<Option<u64>, Refused> {
    let Some(query) = uri.query() else {
        return Ok(None);
    };
    let id = query
        .strip_prefix("sub_app_id=")
        .and_then(|id| id.parse().ok());
    id.map(Some)
        .ok_or_else(|| Refused::Request("the query is sub_app_id=NUMBER".to_owned()))
}

/// One application, which need not be named where there is but one.
fn queue(api: &Api, sub_app_id: Option<u64>) -> Result<Queue, Refused> {
    let mut queues = api.queues(sub_app_id).map_err(Refused::Request)?;
    match (queues.pop(), queues.is_empty()) {
        (Some(queue), true) => Ok(queue),
        _ => Err(Refused::Request(
            "there are several applications: sub_app_id names one".to_owned(),
        )),
    }
}
