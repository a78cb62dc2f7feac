use super::*;
use crate::catalogue::{EventType, UNKNOWN};
use crate::document::Document;

fn received() -> SystemTime {
    humantime::parse_rfc3339("2026-01-02T03:04:05Z").unwrap()
}

fn check(event_type: &str, payload: &str, assert: impl Fn(Facts<'_>)) {
    let document = Document::parse(payload.as_bytes()).unwrap();
    assert(match EventType::named(event_type) {
        Some(row) => Facts::of(document.root(), &row.facts, row.reports_fact, received()),
        None => Facts::of(document.root(), &UNKNOWN, false, received()),
    });
}

#[test]
fn outcome_looks_through_finish() {
    for (event_type, payload, outcome, error) in [
        (
            "PullComplete",
            r#"{"Status":"FINISH","ErrCode":0}"#,
            Outcome::Succeeded,
            None,
        ),
        (
            "PullComplete",
            r#"{"Status":"FINISH","ErrCode":40000}"#,
            Outcome::Failed,
            Some("40000"),
        ),
        (
            "PullComplete",
            r#"{"Status":"FINISH","ErrCode":null}"#,
            Outcome::Succeeded,
            None,
        ),
        (
            "PullComplete",
            r#"{"Status":"FINISH","ErrCode":"0"}"#,
            Outcome::Succeeded,
            None,
        ),
        (
            "PullComplete",
            r#"{"Status":"FINISH","ErrCode":-0.0}"#,
            Outcome::Succeeded,
            None,
        ),
        (
            "PullComplete",
            r#"{"Status":"PROCESSING","ErrCode":0}"#,
            Outcome::Progress,
            None,
        ),
        (
            "PullComplete",
            r#"{"Status":"ABORTED"}"#,
            Outcome::Failed,
            None,
        ),
        ("PullComplete", r#"{"ErrCode":0}"#, Outcome::Unknown, None),
        (
            "PullComplete",
            r#"{"Status":"Later"}"#,
            Outcome::Unknown,
            None,
        ),
        (
            "WechatPublishComplete",
            r#"{"Status":"WAITING"}"#,
            Outcome::Progress,
            None,
        ),
        // The finer code is named where there are both; a success beside a failure is none.
        (
            "EditMediaComplete",
            r#"{"Status":"FINISH","ErrCode":70000,"ErrCodeExt":"InternalError"}"#,
            Outcome::Failed,
            Some("InternalError"),
        ),
        (
            "EditMediaComplete",
            r#"{"Status":"FINISH","ErrCode":70000,"ErrCodeExt":""}"#,
            Outcome::Failed,
            Some("70000"),
        ),
        (
            "DescribeFileAttributesComplete",
            r#"{"Status":"SUCCESS"}"#,
            Outcome::Succeeded,
            None,
        ),
        (
            "DescribeFileAttributesComplete",
            r#"{"Status":"FAIL"}"#,
            Outcome::Failed,
            None,
        ),
        // Types that only report a fact, and those of 2017 that have codes but no status.
        ("FileDeleted", "{}", Outcome::Succeeded, None),
        ("NewFileUpload", "{}", Outcome::Succeeded, None),
        (
            "TranscodeComplete",
            r#"{"ErrCode":0}"#,
            Outcome::Succeeded,
            None,
        ),
        (
            "TranscodeComplete",
            r#"{"ErrCode":-1}"#,
            Outcome::Failed,
            Some("-1"),
        ),
        (
            "ClipComplete",
            r#"{"FileInfo":{"ErrCode":4}}"#,
            Outcome::Failed,
            Some("4"),
        ),
        // The vendor has declared this number obsolete: 0 agrees with its message, others say
        // nothing.
        (
            "RestoreMediaComplete",
            r#"{"Status":0}"#,
            Outcome::Succeeded,
            None,
        ),
        (
            "RestoreMediaComplete",
            r#"{"Status":2}"#,
            Outcome::Unknown,
            None,
        ),
        ("RestoreMediaComplete", "{}", Outcome::Succeeded, None),
        (
            "MediaCastStatusChanged",
            r#"{"Status":"Idle"}"#,
            Outcome::Unknown,
            None,
        ),
        (
            "Unheard",
            r#"{"Status":"FINISH","ErrCodeExt":"X"}"#,
            Outcome::Failed,
            Some("X"),
        ),
        ("Unheard", r#"{"Status":0}"#, Outcome::Unknown, None),
        ("Unheard", "{}", Outcome::Unknown, None),
    ] {
        check(event_type, payload, |facts| {
            assert_eq!(facts.outcome, outcome, "{event_type} {payload}");
            assert_eq!(facts.error.as_deref(), error, "{event_type} {payload}");
        });
    }
}

#[test]
fn one_failed_sub_task_is_enough() {
    for set in [
        "MediaProcessResultSet",
        "AiContentReviewResultSet",
        "AiAnalysisResultSet",
        "AiRecognitionResultSet",
    ] {
        for (sub_task, error) in [
            (r#"{"Status":"FAIL","ErrCodeExt":"","ErrCode":0}"#, None),
            (r#"{"Status":"SUCCESS","ErrCode":60000}"#, Some("60000")),
            (r#"{"ErrCodeExt":"InvalidX","ErrCode":1}"#, Some("InvalidX")),
        ] {
            let payload = format!(
                r#"{{"Status":"FINISH","{set}":[{{"Type":"A","ATask":{{"Status":"SUCCESS"}}}},{{"Type":"B","BTask":{sub_task},"CTask":null}}]}}"#
            );
            check("ProcedureStateChanged", &payload, |facts| {
                assert_eq!(facts.outcome, Outcome::Failed, "{payload}");
                assert_eq!(facts.error.as_deref(), error, "{payload}");
            });
        }
    }
    let going_on = r#"{"Status":"PROCESSING","MediaProcessResultSet":[{"A":{"Status":"FAIL"}}]}"#;
    check("ProcedureStateChanged", going_on, |facts| {
        assert_eq!(facts.outcome, Outcome::Failed);
    });
}

#[test]
fn subject_is_the_first_that_says_something() {
    for (event_type, payload, subject) in [
        (
            "EditMediaComplete",
            r#"{"Output":{"FileId":"1"},"TaskId":"t"}"#,
            Some("1"),
        ),
        (
            "EditMediaComplete",
            r#"{"Output":{"FileId":""},"Input":{"FileInfoSet":[{"FileId":null},{"FileId":"2"}]}}"#,
            Some("2"),
        ),
        (
            "EditMediaComplete",
            r#"{"Output":null,"TaskId":"t"}"#,
            Some("t"),
        ),
        (
            "ComposeMediaComplete",
            r#"{"Output":{"FileId":5285485487985271490}}"#,
            Some("5285485487985271490"),
        ),
        (
            "AigcHunyuan3DTaskComplete",
            r#"{"Output":{"FileInfos":[{"FileUrl":"http://a/b"}]},"TaskId":"t"}"#,
            Some("t"),
        ),
        (
            "ExtractTraceWatermarkComplete",
            r#"{"Input":{"Url":"http://a/b"}}"#,
            None,
        ),
        ("Unheard", r#"{"FileId":"1","TaskId":"t"}"#, Some("t")),
    ] {
        check(event_type, payload, |facts| {
            assert_eq!(facts.subject.as_deref(), subject, "{event_type} {payload}");
        });
    }
}

#[test]
fn names_each_file_once_and_64_at_most() {
    let ids: Vec<_> = (0..100).map(|at| format!("\"{}\"", at / 2)).collect();
    let payload = format!(r#"{{"FileIdSet":[{}]}}"#, ids.join(","));
    check("FileDeleted", &payload, |facts| {
        assert_eq!(facts.files.split(',').count(), 50);
    });
    let ids: Vec<_> = (0..100).map(|at| at.to_string()).collect();
    let payload = format!(r#"{{"FileIdSet":[{}]}}"#, ids.join(","));
    check("FileDeleted", &payload, |facts| {
        assert_eq!(facts.files.split(',').count(), 64);
        assert!(facts.files.ends_with(",63"));
    });
}

#[test]
fn time_is_the_latest_that_can_be_true() {
    for (create, update, time) in [
        (
            "2019-01-09T16:36:22Z",
            "2019-01-09T16:36:24.5Z",
            Some("2019-01-09T16:36:24.500Z"),
        ),
        (
            "2019-01-09T16:36:22Z",
            "2018-01-09T16:36:24Z",
            Some("2019-01-09T16:36:22.000Z"),
        ),
        (
            "2019-01-09T16:36:22Z",
            "9999-12-31T23:59:59Z",
            Some("2019-01-09T16:36:22.000Z"),
        ),
        ("0001-01-01T00:00:00Z", "2009-12-31T23:59:59Z", None),
        (
            "2010-01-01T00:00:00Z",
            "yesterday",
            Some("2010-01-01T00:00:00.000Z"),
        ),
        (
            "2026-01-03T03:04:05Z",
            "2026-01-03T03:04:06Z",
            Some("2026-01-03T03:04:05.000Z"),
        ),
        ("", "", None),
    ] {
        let payload =
            format!(r#"{{"MediaBasicInfo":{{"CreateTime":"{create}","UpdateTime":"{update}"}}}}"#);
        check("NewFileUpload", &payload, |facts| {
            let found = facts
                .time
                .map(|t| humantime::format_rfc3339_millis(t).to_string());
            assert_eq!(found.as_deref(), time, "{payload}");
        });
    }
}
