use super::*;

const DOCUMENTED: &str = r#"{"Response":{"EventSet":[{"EventHandle":"EventHandle1","EventType":"FileDeleted"}, {"EventHandle":"2","FileUploadEvent":null}],"RequestId":"5ca61a3a"}}"#;

fn split(answer: &[u8]) -> Vec<&[u8]> {
    split_events(answer).unwrap().events
}

#[test]
fn hands_out_each_event_as_it_came() {
    let pulled = split_events(DOCUMENTED.as_bytes()).unwrap();
    let expected: [&[u8]; 2] = [
        br#"{"EventHandle":"EventHandle1","EventType":"FileDeleted"}"#,
        br#"{"EventHandle":"2","FileUploadEvent":null}"#,
    ];
    assert_eq!(pulled.events, expected);
    assert_eq!(pulled.request_id, "5ca61a3a");
}

#[test]
fn a_whole_answer_of_the_vendor_holds_the_notification_that_was_printed() {
    let printed =
        include_bytes!("../../../tests/notifications/ProcedureStateChanged-api-pull.json");
    let answer = [
        br#"{"Response":{"RequestId":"r","EventSet":["#,
        &printed[..],
        b"]}}",
    ]
    .concat();
    assert_eq!(split(&answer), [printed.trim_ascii()]);
}

#[test]
fn no_event_has_three_forms_and_more_spellings() {
    for answer in [
        r#"{"Response":{"EventSet":null,"RequestId":"r"}}"#,
        r#"{"Response":{"RequestId":"r"}}"#,
        r#"{"Response":{"EventSet":[],"RequestId":"r"}}"#,
        r#"{"Response":{"EventSet":[ ],"RequestId":"r","Error":null}}"#,
        r#"{"Response":{"EventSet":[null, null],"RequestId":"r"}}"#,
        "{ \"Response\" : { } }\r\n",
        r#"{"Other":[1],"Response":{"RequestId":7}}"#,
    ] {
        assert_eq!(split(answer.as_bytes()), [] as [&[u8]; 0], "{answer}");
    }
}

#[test]
fn an_unreadable_event_spoils_no_other() {
    let deep = [&b"["[..]; 100_000].concat();
    let deep = [&deep[..], &deep.iter().map(|_| b']').collect::<Vec<_>>()].concat();
    for unreadable in [
        &b"{\"EventHandle\":\"2\",\"a\":\"\xff\xfe\"}"[..],
        b"{\"a\":\"line\nbreak \\\" \\q \\\\\"}",
        b"{\"a\":}",
        b"{\"a\" 1 ,,}",
        b"{\"a\":[1}]",
        b"{\"a\":01.e}",
        b"nul",
        b"-",
        b"\"text\"",
        b"7",
        &deep,
    ] {
        let answer = [
            br#"{"Response":{"EventSet":[{"n":1},"#,
            unreadable,
            br#", {"n":3}],"RequestId":"r"}}"#,
        ]
        .concat();
        let expected: [&[u8]; 3] = [br#"{"n":1}"#, unreadable, br#"{"n":3}"#];
        assert_eq!(split(&answer), expected);
        assert_eq!(split_events(&answer).unwrap().request_id, "r");
        assert_eq!(api_error(&answer), Ok(None));
    }
}

#[test]
fn an_error_is_an_error_whatever_comes_with_it() {
    let expected = ApiError {
        code: "AuthFailure.SignatureFailure".to_owned(),
        message: "签名错误 \"x\"".to_owned(),
        request_id: "r-2".to_owned(),
    };
    for answer in [
        r#"{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"签名错误 \"x\""},"RequestId":"r-2"}}"#,
        r#"{"Response":{"RequestId":"r-2","EventSet":[{}],"Error":{"More":[],"Message":"签名错误 \u0022x\u0022","Code":"AuthFailure.SignatureFailure"}}}"#,
    ] {
        let error = AnswerError::Api(expected.clone());
        assert_eq!(split_events(answer.as_bytes()), Err(error.clone()));
        assert_eq!(count_of_events(answer.as_bytes()), Err(error));
        assert_eq!(api_error(answer.as_bytes()), Ok(Some(expected.clone())));
    }
    let error = api_error(b"{\"Response\":{\"Error\":{\"Code\":\"A\",\"Message\":\"\xff\"}}}");
    assert_eq!(error.unwrap().unwrap().message, "\u{fffd}");
    let error = api_error(br#"{"Response":{"Error":"no"}}"#);
    assert_eq!(error.unwrap().unwrap().message, "no");
}

#[test]
fn what_is_no_answer_is_malformed() {
    for answer in [
        "",
        "null",
        "[]",
        "<html>502 Bad Gateway</html>",
        "{}",
        r#"{"Response":null}"#,
        r#"{"Response":[]}"#,
        r#"{"Response":{}} trailing"#,
        r#"{"Response":{"EventSet":{}}}"#,
        r#"{"Response":{"EventSet":"none"}}"#,
        r#"{"Response":{"EventSet":[{},]}}"#,
        r#"{"Response":{"EventSet":[{}{}]}}"#,
        r#"{"Response":{"EventSet":[{}"#,
        r#"{"Response":{"EventSet":["a"#,
        r#"{"Response":{"EventSet":["a\"#,
        r#"{"Response":{"RequestId""r"}}"#,
        r#"{Response:{}}"#,
    ] {
        let result = split_events(answer.as_bytes());
        assert!(
            matches!(result, Err(AnswerError::Malformed { .. })),
            "{answer}: {result:?}"
        );
    }
}

#[test]
fn every_cut_of_an_answer_is_malformed_and_says_where() {
    for end in 0..DOCUMENTED.len() {
        let result = split_events(&DOCUMENTED.as_bytes()[..end]);
        let Err(AnswerError::Malformed { at }) = result else {
            panic!("{end}: {result:?}");
        };
        assert!(at <= end, "{at} of {end}");
    }
    let result = split_events(br#"{"Response":{"EventSet":[{}{}]}}"#);
    assert_eq!(result, Err(AnswerError::Malformed { at: 27 }));
}

#[test]
fn memory_is_bounded_whatever_comes() {
    let many = "0,".repeat(MOST_EVENTS);
    let answer = format!(r#"{{"Response":{{"EventSet":[{many}0]}}}}"#);
    assert!(split_events(answer.as_bytes()).is_err());
    let answer = answer.replacen("0,", "", 1);
    assert_eq!(split(answer.as_bytes()).len(), MOST_EVENTS);
}

#[test]
fn the_handle_is_found_in_what_cannot_be_read() {
    for (event, handle) in [
        (
            &b"{\"EventHandle\":\"8078\",\"a\":\"\xff\"}"[..],
            Some("8078"),
        ),
        (
            b"{\"a\":\"\xff\",\"EventHandle\":\"80\\u0037\"}",
            Some("807"),
        ),
        (b"{\"EventHandle\":\"1\",broken", Some("1")),
        (b"{\"EventHandle\":null,\"EventHandle\":\"1\"}", Some("1")),
        (b"{\"EventHandle\":\"1\",\"EventHandle\":\"2\"}", Some("1")),
        (b"{\"a\":{\"EventHandle\":\"1\"}}", None),
        (b"{\"EventHandle\":\"\"}", None),
        (b"{\"EventHandle\":\"\xff\"}", None),
        (b"{\"EventHandle\":7}", None),
        (b"[]", None),
        (b"", None),
    ] {
        assert_eq!(event_handle(event).as_deref(), handle);
    }
}

#[test]
fn counts_the_backlog() {
    let answer = br#"{"Response":{"CountOfEventsToPull":42,"RequestId":"r"}}"#;
    assert_eq!(count_of_events(answer), Ok(42));
    for answer in [
        &br#"{"Response":{"RequestId":"r"}}"#[..],
        br#"{"Response":{"CountOfEventsToPull":"many"}}"#,
    ] {
        assert_eq!(
            count_of_events(answer),
            Err(AnswerError::Malformed { at: 12 })
        );
    }
}
