//! How an application is told of events.

use serde::{Deserialize, Serialize, Serializer};
use vodbridge_core::Secret;

use super::answer::{AnswerError, response};

/// How the cloud hands events out; an application has one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Normal callback (普通回调): by POST to a URL.
    Push,
    /// Reliable callback (可靠回调): by a queue, the URL has no effect.
    Pull,
}

/// What `DescribeEventConfig` answers. It never says the sign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventConfig {
    /// How events are handed out; None: a word that is not known.
    pub mode: Option<Mode>,
    /// Where callbacks go; empty: nowhere.
    pub notification_url: String,
    /// Whether finished uploads are told (`NewFileUpload`).
    pub upload: bool,
    /// Whether deletions are told (`FileDeleted`).
    pub delete: bool,
    /// Whether finished persistence is told (`PersistenceComplete`).
    pub persistence: bool,
}

/// What `ModifyEventConfig` sets; None leaves what is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventConfigChange {
    /// How events are handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Where callbacks go (format 3.0); empty: nowhere any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notification_url: Option<String>,
    /// What callbacks are signed with: letters and digits, at most 32.
    #[serde(serialize_with = "exposed", skip_serializing_if = "Option::is_none")]
    pub sign_key: Option<Secret>,
    /// Whether finished uploads are told (`NewFileUpload`).
    #[serde(rename = "UploadMediaCompleteEventSwitch")]
    #[serde(serialize_with = "switch", skip_serializing_if = "Option::is_none")]
    pub upload: Option<bool>,
    /// Whether deletions are told (`FileDeleted`).
    #[serde(rename = "DeleteMediaCompleteEventSwitch")]
    #[serde(serialize_with = "switch", skip_serializing_if = "Option::is_none")]
    pub delete: Option<bool>,
    /// Whether finished persistence is told (`PersistenceComplete`).
    #[serde(rename = "PersistenceCompleteEventSwitch")]
    #[serde(serialize_with = "switch", skip_serializing_if = "Option::is_none")]
    pub persistence: Option<bool>,
}

fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    let secret = secret.as_ref().map(Secret::expose);
    secret.serialize(serializer)
}

fn switch<S: Serializer>(on: &Option<bool>, serializer: S) -> Result<S::Ok, S::Error> {
    on.map(|on| if on { "ON" } else { "OFF" })
        .serialize(serializer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    mode: Option<String>,
    notification_url: Option<String>,
    upload_media_complete_event_switch: Option<String>,
    delete_media_complete_event_switch: Option<String>,
    persistence_complete_event_switch: Option<String>,
}

/// Reads the answer to `DescribeEventConfig`. A switch that is not there is off, as by default.
pub fn event_config(answer: &[u8]) -> Result<EventConfig, AnswerError> {
    let answer: Answer = response(answer)?;
    let is = |text: &Option<String>, word| {
        text.as_deref()
            .is_some_and(|text| text.eq_ignore_ascii_case(word))
    };
    let mode = [(Mode::Push, "PUSH"), (Mode::Pull, "PULL")];
    Ok(EventConfig {
        mode: mode
            .into_iter()
            .find_map(|(mode, word)| is(&answer.mode, word).then_some(mode)),
        upload: is(&answer.upload_media_complete_event_switch, "ON"),
        delete: is(&answer.delete_media_complete_event_switch, "ON"),
        persistence: is(&answer.persistence_complete_event_switch, "ON"),
        notification_url: answer.notification_url.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_vendors_answer() {
        let answer = br#"{"Response":{"Mode":"PUSH","NotificationUrl":"http://mydemo.com/receiveevent","UploadMediaCompleteEventSwitch":"ON","DeleteMediaCompleteEventSwitch":"OFF","PersistenceCompleteEventSwitch":"OFF","RequestId":"27217d38-95c0-4335-8532-e5154ffb03aa"}}"#;
        let expected = EventConfig {
            mode: Some(Mode::Push),
            notification_url: "http://mydemo.com/receiveevent".to_owned(),
            upload: true,
            delete: false,
            persistence: false,
        };
        assert_eq!(event_config(answer).unwrap(), expected);
    }

    #[test]
    fn what_is_not_there_is_off_and_a_new_mode_is_no_error() {
        let answer = br#"{"Response":{"Mode":"BOTH","NotificationUrl":null}}"#;
        let expected = EventConfig {
            mode: None,
            notification_url: String::new(),
            upload: false,
            delete: false,
            persistence: false,
        };
        assert_eq!(event_config(answer).unwrap(), expected);
    }
}
