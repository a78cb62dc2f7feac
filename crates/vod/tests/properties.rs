//! What holds for every notification, not only for those that somebody thought of.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use vodbridge_core::Envelope;
use vodbridge_vod::{Normalizer, Notification, Unparsable, Via};

mod json;

use json::{Json, Style, depth, tokens};

fn normalizer() -> Normalizer {
    Normalizer::new(1, "s", Via::Webhook, Arc::default())
}

fn received() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045)
}

fn fingerprint(body: &str) -> [u8; 32] {
    let notification = Notification::parse(body.as_bytes()).unwrap();
    let normalized = normalizer().normalize(&notification, received());
    normalized.unwrap().fingerprint()
}

fn envelope(body: &str) -> Envelope {
    let notification = Notification::parse(body.as_bytes()).unwrap();
    let normalized = normalizer().normalize(&notification, received());
    normalized.unwrap().into_envelope(None)
}

/// Whatever parses becomes an event or is refused as unrecognised; nothing panics.
fn run(body: &[u8]) {
    let Ok(notification) = Notification::parse(body) else {
        return;
    };
    notification.sign_fields();
    notification.handle();
    if let Ok(normalized) = normalizer().normalize(&notification, received()) {
        let envelope = normalized.into_envelope(Some("o"));
        let structured = envelope.structured();
        assert!(serde_json::from_slice::<&RawValue>(&structured).is_ok());
    }
}

/// Text that is JSON nearly always: pieces of it in any order.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop_oneof!["\\{", "\\}", "\\[", "\\]", ":", ",", "\"", "\\\\", " ", "\n"],
        2 => prop_oneof!["true", "nul", "null", "false", "-", "0", "1", "\\.", "e", "E\\+"],
        2 => prop_oneof!["\"a\"", "\"\\\\u00", "4e2d", "\\\\n", "\u{1}", "é", "\"EventType\":"],
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..64)) {
        run(&bytes);
    }

    #[test]
    fn no_text_makes_it_panic(text in nearly_json()) {
        run(text.as_bytes());
    }

    #[test]
    fn no_damage_makes_it_panic(
        members in json::members(),
        style in any::<Style>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = Json::Object(members).write(style).into_bytes();
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] = byte;
        }
        run(&bytes);
    }

    /// serde_json's raw value knows the grammar; depth is ours.
    #[test]
    fn takes_what_serde_json_takes(text in nearly_json()) {
        let object = format!("{{{text}");
        for text in [&text, &object] {
            let valid = serde_json::from_str::<&RawValue>(text).is_ok();
            let object = text.trim_start_matches([' ', '\n', '\t', '\r']).starts_with('{');
            let taken = Notification::parse(text.as_bytes()).is_ok();
            prop_assert_eq!(taken, valid && object, "{:?}", text);
        }
    }

    #[test]
    fn takes_all_json(members in json::members(), style in any::<Style>()) {
        let text = Json::Object(members).write(style);
        prop_assert!(serde_json::from_str::<&RawValue>(&text).is_ok());
        prop_assert!(Notification::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn takes_128_levels(levels in 1_usize..300, array in any::<bool>()) {
        let (open, close) = if array { ("[", "]") } else { ("{\"a\":", "}") };
        let text = format!("{{\"a\":{}1{}}}", open.repeat(levels - 1), close.repeat(levels - 1));
        prop_assert_eq!(depth(&text), levels);
        let parsed = Notification::parse(text.as_bytes());
        prop_assert_eq!(parsed.is_ok(), levels <= 128);
        if levels > 128 {
            let too_deep = matches!(parsed, Err(Unparsable::TooDeep { .. }));
            prop_assert!(too_deep);
        }
    }

    /// The data is the payload token for token, whatever stands around it.
    #[test]
    fn payload_arrives_token_for_token(members in json::members(), style in any::<Style>()) {
        let payload = Json::Object(members);
        let text = payload.write(style);
        for body in [
            format!("{{\"EventType\":\"PullComplete\", \"PullCompleteEvent\" :{text}}}"),
            format!("\n{{\"Extra\":[1, 2],\"FileUploadEvent\":null, \"Unknown\":{text}}}"),
        ] {
            let envelope = envelope(&body);
            let data = envelope.data();
            prop_assert_eq!(tokens(std::str::from_utf8(&data).unwrap()), tokens(&text));
            prop_assert!(!envelope.structured().contains(&b'\n'));
        }
    }

    /// So is a notification that has no single payload, less what stays at the edge.
    #[test]
    fn whole_notification_arrives_token_for_token(members in json::members(), style in any::<Style>()) {
        let text = Json::Object(members).write(style);
        let rest = format!("\"EventType\":\"X\",\"A\": {text},\"B\" :{text},\"C\":null");
        let body = format!("{{\"Sign\":\"s\",{rest},\"T\":{text},\"EventHandle\":\"h\" }}");
        let expected = format!("{{{rest}}}");
        let envelope = envelope(&body);
        let data = envelope.data();
        prop_assert_eq!(envelope.extension("vodformat"), Some("notification"));
        prop_assert_eq!(tokens(std::str::from_utf8(&data).unwrap()), tokens(&expected));
    }

    /// White space, key order, escapes, null members, and what stays at the edge are not content.
    #[test]
    fn same_content_has_one_fingerprint(
        members in json::members(),
        styles in any::<(Style, Style)>(),
    ) {
        let notification = Json::Object(vec![
            ("EventType".into(), Json::String("FileDeleted".into())),
            ("FileDeleteEvent".into(), Json::Object(members)),
            ("Extra".into(), Json::Number("1.0".into())),
        ]);
        let plain = notification.write(Style::default());
        let mut edged = notification.write(styles.1);
        let open = edged.find('{').unwrap() + 1;
        edged.insert_str(open, "\"EventHandle\":\"1\",\"Sign\":\"2\",\"T\":3,");
        let fingerprints = [plain, notification.write(styles.0), edged].map(|b| fingerprint(&b));
        prop_assert_eq!(fingerprints[0], fingerprints[1]);
        prop_assert_eq!(fingerprints[0], fingerprints[2]);
    }

    #[test]
    fn other_content_has_another_fingerprint(
        members in json::members(),
        at in any::<prop::sample::Index>(),
        value in json::value(),
    ) {
        let body = |payload: &Json| {
            let payload = payload.write(Style::default());
            format!("{{\"EventType\":\"FileDeleted\",\"FileDeleteEvent\":{payload}}}")
        };
        let before = Json::Object(members);
        let mut after = before.clone();
        after.replace(at, value);
        let same = before.without_nulls() == after.without_nulls();
        prop_assert_eq!(fingerprint(&body(&before)) == fingerprint(&body(&after)), same);
    }

    #[test]
    fn an_events_id_is_a_function_of_its_content_the_sub_app_id_and_for_repeatable_types_the_occurrence(
        members in json::members(),
        other in json::members(),
        style in any::<Style>(),
        sub_app_ids in any::<(u64, u64)>(),
        (event_type, is_repeatable) in prop_oneof![
            Just(("NewFileUpload", false)),
            Just(("ProcedureStateChanged", false)),
            Just(("FileDeleted", true)),
            Just(("PersistenceComplete", true)),
            Just(("BrandNewThing", true)),
        ],
        occurrences in "[a-z]{1,8}".prop_flat_map(|text| (Just(text), "[a-z]{1,8}")),
        later in 0..100_000_u64,
    ) {
        let body = |members: &[(String, Json)], style| {
            let payload = Json::Object(members.to_vec());
            Json::Object(vec![
                ("EventType".into(), Json::String(event_type.into())),
                ("Payload".into(), payload),
            ]).write(style)
        };
        let id = |members: &[_], style, sub_app_id, via, later, occurrence: &str| {
            let body = body(members, style);
            let notification = Notification::parse(body.as_bytes()).unwrap();
            let normalizer = Normalizer::new(sub_app_id, "s", via, Arc::default());
            let received = received() + Duration::from_secs(later);
            let normalized = normalizer.normalize(&notification, received).unwrap();
            normalized.into_envelope(Some(occurrence)).id().to_owned()
        };
        let (first, second) = &occurrences;
        let (mine, others) = sub_app_ids;
        let known = id(&members, Style::default(), mine, Via::Webhook, 0, first);
        // However it is written, whenever and by whichever way it comes.
        prop_assert_eq!(&known, &id(&members, style, mine, Via::Queue, later, first));
        // And of nothing else.
        let without_nulls = |members: &[_]| Json::Object(members.to_vec()).without_nulls();
        let same = without_nulls(&members) == without_nulls(&other);
        let theirs = id(&other, style, mine, Via::Webhook, later, first);
        prop_assert_eq!(known == theirs, same);
        let elsewhere = id(&members, style, others, Via::Webhook, later, first);
        prop_assert_eq!(known == elsewhere, mine == others);
        let again = id(&members, style, mine, Via::Queue, later, second);
        let is_copy = first == second || !is_repeatable;
        prop_assert_eq!(known == again, is_copy);
    }
}
