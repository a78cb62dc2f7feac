use super::*;
use crate::document::Document;

/// Format, name, the payload as it stands, and the keys beside it.
fn recognised(text: &str) -> Option<(Format, String, String, String)> {
    let document = Document::parse(text.as_bytes()).unwrap();
    let shape = recognise(document.root()).ok()?;
    let payload = shape.payload.map_or("", Value::raw).to_owned();
    let extra: Vec<_> = shape.extra.iter().map(|(key, _)| key.raw()).collect();
    Some((shape.format, shape.name.into(), payload, extra.join(" ")))
}

fn is(text: &str, format: Format, name: &str, payload: &str, extra: &str) {
    let expected = (format, name.into(), payload.into(), extra.into());
    assert_eq!(recognised(text), Some(expected), "{text}");
}

#[test]
fn payload_is_the_type_s_own_field() {
    let v3 = Format::V3;
    is(
        r#"{"EventType":"NewFileUpload","FileUploadEvent":{"a":1}}"#,
        v3,
        "NewFileUpload",
        r#"{"a":1}"#,
        "",
    );
    is(
        r#"{"EventType":"EditMediaComplete","EditMediaComplete":{}}"#,
        v3,
        "EditMediaComplete",
        "{}",
        "",
    );
    // The shape does not depend on what else is there, known or not.
    is(
        r#"{"A":{},"EventType":"NewFileUpload","PullCompleteEvent":{},"FileUploadEvent":{"a":1},"B":0,"C":null}"#,
        v3,
        "NewFileUpload",
        r#"{"a":1}"#,
        r#""A" "PullCompleteEvent" "B""#,
    );
    is(
        r#"{"EventType":"Unheard","X":{},"UnheardEvent":{"a":1}}"#,
        v3,
        "Unheard",
        r#"{"a":1}"#,
        "\"X\"",
    );
    // Keys may be escaped.
    is(
        r#"{"Event\u0054ype":"FileDeleted","\u0046ileDeleteEvent":{}}"#,
        v3,
        "FileDeleted",
        "{}",
        "",
    );
}

#[test]
fn else_it_is_the_only_object() {
    let v3 = Format::V3;
    is(
        r#"{"EventType":"NewFileUpload","PullCompleteEvent":{},"X":{}}"#,
        v3,
        "NewFileUpload",
        "{}",
        "\"X\"",
    );
    is(
        r#"{"EventType":"Unheard","X":{},"Y":[]}"#,
        v3,
        "Unheard",
        "{}",
        "\"Y\"",
    );
}

#[test]
fn type_is_derived_from_the_field() {
    let v3 = Format::V3;
    is(r#"{"FileUploadEvent":{}}"#, v3, "NewFileUpload", "{}", "");
    is(
        r#"{"EventType":null,"WechatPublishComplete":{},"X":{}}"#,
        v3,
        "WechatPublishComplete",
        "{}",
        "\"X\"",
    );
    is(r#"{"EventType":"","X":{}}"#, v3, "X", "{}", "");
}

#[test]
fn whole_notification_where_no_payload_says_it_all() {
    let whole = Format::Notification;
    is(
        r#"{"EventType":"Unheard","X":{},"Y":{}}"#,
        whole,
        "Unheard",
        "",
        "",
    );
    is(r#"{"EventType":"Unheard"}"#, whole, "Unheard", "", "");
    is(
        r#"{"EventType":"NewFileUpload","FileUploadEvent":[1]}"#,
        whole,
        "NewFileUpload",
        "",
        "",
    );
    is(
        r#"{"FileUploadEvent":{},"PullCompleteEvent":{}}"#,
        whole,
        "other",
        "",
        "",
    );
    is(r#"{"EventType":"a\nb","X":{}}"#, whole, "X", "{}", "");
    is(
        r#"{"EventType":3,"FileDeleteEvent":{}}"#,
        whole,
        "FileDeleted",
        "{}",
        "",
    );
    for twice in [
        r#"{"EventType":"FileDeleted","EventType":"FileDeleted","FileDeleteEvent":{}}"#,
        r#"{"EventType":"FileDeleted","FileDeleteEvent":{},"FileDeleteEvent":{}}"#,
        r#"{"EventType":"FileDeleted","FileDeleteEvent":{},"T":1,"T":2}"#,
        r#"{"EventHandle":"1","EventType":"FileDeleted","FileDeleteEvent":{},"EventHandle":"1"}"#,
    ] {
        is(twice, whole, "FileDeleted", "{}", "");
    }
    // A null is as good as nothing, and unknown keys may repeat.
    is(
        r#"{"FileDeleteEvent":null,"EventType":"FileDeleted","FileDeleteEvent":{},"X":1,"X":1}"#,
        Format::V3,
        "FileDeleted",
        "{}",
        r#""X" "X""#,
    );
}

#[test]
fn extra_is_16_kib_at_most() {
    for (fill, format) in [
        (16 * 1024 - 8, Format::V3),
        (16 * 1024 - 7, Format::Notification),
    ] {
        let fill = "x".repeat(fill);
        let text = format!(r#"{{"FileDeleteEvent":{{}}, "X" : "{fill}"}}"#);
        assert_eq!(recognised(&text).unwrap().0, format);
    }
}

#[test]
fn second_format_is_passed_on() {
    let v2 = Format::V2;
    is(
        r#"{"version":"4.0","eventType":"FileDeleted","data":{"a":1}}"#,
        v2,
        "v2.FileDeleted",
        r#"{"a":1}"#,
        "",
    );
    is(r#"{"version":4,"eventType":"X"}"#, v2, "v2.X", "", "");
    is(
        r#"{"eventType":null,"data":{}}"#,
        Format::V3,
        "data",
        "{}",
        "",
    );
    is(
        r#"{"version":"4.0","eventType":7,"data":{}}"#,
        v2,
        "v2.other",
        "{}",
        "",
    );
    is(
        r#"{"version":"4.0","eventType":"A","EventType":"FileDeleted","FileDeleteEvent":{}}"#,
        Format::V3,
        "FileDeleted",
        "{}",
        r#""version" "eventType""#,
    );
}

#[test]
fn nothing_to_go_by() {
    for text in [
        "{}",
        r#"{"EventHandle":"1","Sign":"a","T":1}"#,
        r#"{"EventType":null,"FileUploadEvent":null}"#,
        r#"{"EventType":7,"X":"y"}"#,
        r#"{"EventType":"","X":[{}]}"#,
    ] {
        assert_eq!(recognised(text), None, "{text}");
    }
}
