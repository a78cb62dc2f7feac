//! The bodies of the calls.

use serde::Serialize;

use super::EventConfigChange;

/// What every call has, and what some have beside it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    sub_app_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_handles: Option<&'a [&'a str]>,
    #[serde(flatten)]
    change: Option<&'a EventConfigChange>,
}

fn body(
    sub_app_id: u64,
    event_handles: Option<&[&str]>,
    change: Option<&EventConfigChange>,
) -> Vec<u8> {
    let body = Body {
        sub_app_id,
        event_handles,
        change,
    };
    // Texts and a number: there is nothing that JSON could not hold.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The body of `PullEvents`.
pub fn pull_events(sub_app_id: u64) -> Vec<u8> {
    body(sub_app_id, None, None)
}

/// The body of `ConfirmEvents`; the cloud takes [`MAX_HANDLES`](super::MAX_HANDLES) at most.
pub fn confirm_events(sub_app_id: u64, handles: &[&str]) -> Vec<u8> {
    body(sub_app_id, Some(handles), None)
}

/// The body of `DescribeEventsState`.
pub fn describe_events_state(sub_app_id: u64) -> Vec<u8> {
    body(sub_app_id, None, None)
}

/// The body of `DescribeEventConfig`.
pub fn describe_event_config(sub_app_id: u64) -> Vec<u8> {
    body(sub_app_id, None, None)
}

/// The body of `ModifyEventConfig`. It holds the sign key, where one is set.
pub fn modify_event_config(sub_app_id: u64, change: &EventConfigChange) -> Vec<u8> {
    body(sub_app_id, None, Some(change))
}

#[cfg(test)]
mod tests {
    use vodbridge_core::Secret;

    use super::*;
    use crate::api::Mode;

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn say_what_the_vendors_pages_say() {
        for body in [
            pull_events(1_500_000_001),
            describe_events_state(1_500_000_001),
            describe_event_config(1_500_000_001),
        ] {
            assert_eq!(text(body), r#"{"SubAppId":1500000001}"#);
        }
        let handles = ["12ae8d3e", "13\"8d8e"];
        assert_eq!(
            text(confirm_events(7, &handles)),
            r#"{"SubAppId":7,"EventHandles":["12ae8d3e","13\"8d8e"]}"#
        );
    }

    #[test]
    fn a_change_holds_what_is_changed_and_nothing_else() {
        let nothing = EventConfigChange::default();
        assert_eq!(text(modify_event_config(7, &nothing)), r#"{"SubAppId":7}"#);
        let change = EventConfigChange {
            mode: Some(Mode::Pull),
            upload: Some(true),
            delete: Some(false),
            ..nothing.clone()
        };
        assert_eq!(
            text(modify_event_config(7, &change)),
            r#"{"SubAppId":7,"Mode":"PULL","UploadMediaCompleteEventSwitch":"ON","DeleteMediaCompleteEventSwitch":"OFF"}"#
        );
        let change = EventConfigChange {
            mode: Some(Mode::Push),
            notification_url: Some(String::new()),
            sign_key: Some(Secret::new("k3y")),
            persistence: Some(true),
            ..nothing
        };
        assert_eq!(
            text(modify_event_config(7, &change)),
            r#"{"SubAppId":7,"Mode":"PUSH","NotificationUrl":"","SignKey":"k3y","PersistenceCompleteEventSwitch":"ON"}"#
        );
        assert!(!format!("{change:?}").contains("k3y"));
    }
}
