use super::*;

fn split(answer: &[u8]) -> Result<Vec<&[u8]>, AnswerError> {
    split_events(answer).map(|pulled| pulled.events)
}

#[test]
fn the_three_empty_answers_have_no_events() {
    for answer in [
        r#"{"Response":{"EventSet":null,"RequestId":"r"}}"#,
        r#"{"Response":{"EventSet":[],"RequestId":"r"}}"#,
        r#"{"Response":{"RequestId":"r"}}"#,
    ] {
        let pulled = split_events(answer.as_bytes()).unwrap();
        assert!(pulled.events.is_empty() && pulled.request_id == "r");
    }
    let not_found =
        br#"{"Response":{"Error":{"Code":"ResourceNotFound","Message":"none"},"RequestId":"r"}}"#;
    let Err(AnswerError::Api(error)) = split_events(not_found) else {
        panic!("an error");
    };
    assert_eq!(
        (&*error.code, &*error.request_id),
        ("ResourceNotFound", "r")
    );
    assert_eq!(api_error(not_found).unwrap(), Some(error));
}

#[test]
fn one_unreadable_event_spoils_no_other() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let mut answer =
        br#"{"Response":{"RequestId":"r","EventSet":[{"EventHandle":"1","a":"]}\""},"#.to_vec();
    answer.extend_from_slice(b"{\"EventHandle\":\"2\",\"b\":\"\xff\xfe\"},");
    answer.extend_from_slice(format!(r#"{{"EventHandle":"3","c":{deep}}},"#).as_bytes());
    answer.extend_from_slice(b"{\"EventHandle\":\"4\",\"d\":nonsense} ,7]}}");
    let events = split(&answer).unwrap();
    assert_eq!(events.len(), 5);
    let handles: Vec<_> = events.iter().map(|event| event_handle(event)).collect();
    let expected = ["1", "2", "3", "4"].map(|handle| Some(handle.into()));
    assert_eq!(handles[..4], expected);
    assert_eq!(handles[4], None);
}

#[test]
fn what_is_no_answer_says_where() {
    for answer in [
        "",
        "<html>",
        "[]",
        r#"{"Response":{"EventSet":[{"a":1}"#,
        "{}",
    ] {
        assert!(
            matches!(split(answer.as_bytes()), Err(AnswerError::Malformed { .. })),
            "{answer}"
        );
    }
}

#[test]
fn the_count_is_read() {
    let answer = br#"{"Response":{"CountOfEventsToPull":17,"RequestId":"r"}}"#;
    assert_eq!(count_of_events(answer).unwrap(), 17);
}
