use super::*;

const URL: &str = "https://receiver.example.com/vod";

fn current() -> EventConfig {
    EventConfig {
        mode: Some(Mode::Push),
        notification_url: URL.to_owned(),
        upload: true,
        delete: false,
        persistence: false,
    }
}

fn webhook(keys: &[&str]) -> WebhookConfig {
    let settings =
        serde_json::json!({ "listen": "127.0.0.1:1", "sub_app_id": 7, "sign_keys": keys });
    serde_json::from_value(settings).unwrap()
}

/// The differences as `setting: from -> to`, and the warnings.
fn plan(wanted: EventConfigChange, webhooks: &[(&str, &WebhookConfig)]) -> (Vec<String>, String) {
    let plan = Plan::new(&current(), wanted, webhooks);
    let told = |d: &Difference| format!("{}: {} -> {}", d.setting, d.from, d.to);
    let differences = plan.differences.iter().map(told).collect();
    (differences, plan.warnings.join("\n"))
}

#[test]
fn what_is_so_already_is_not_sent() {
    let same = EventConfigChange {
        mode: Some(Mode::Push),
        notification_url: Some(URL.to_owned()),
        upload: Some(true),
        delete: Some(false),
        ..EventConfigChange::default()
    };
    let plan = Plan::new(&current(), same, &[]);
    assert!(plan.is_empty() && plan.warnings.is_empty(), "{plan:?}");
    assert_eq!(plan.change, EventConfigChange::default());
}

#[test]
fn only_what_differs_is_changed() {
    let wanted = EventConfigChange {
        upload: Some(true),
        delete: Some(true),
        persistence: Some(true),
        ..EventConfigChange::default()
    };
    let plan = Plan::new(&current(), wanted, &[]);
    let expected = EventConfigChange {
        delete: Some(true),
        persistence: Some(true),
        ..EventConfigChange::default()
    };
    assert_eq!(plan.change, expected);
    assert!(plan.warnings.is_empty(), "{plan:?}");
}

#[test]
fn pulling_ends_the_callbacks() {
    let webhook = webhook(&[]);
    let wanted = EventConfigChange {
        mode: Some(Mode::Pull),
        ..EventConfigChange::default()
    };
    let (differences, warnings) = plan(wanted, &[("callback", &webhook)]);
    assert_eq!(differences, ["mode: push -> pull"]);
    assert!(
        warnings.contains(&format!("callbacks to {URL} end")),
        "{warnings}"
    );
    assert!(
        warnings.contains("sources.callback.webhook gets nothing"),
        "{warnings}"
    );
}

#[test]
fn another_url_ends_the_callbacks_to_the_old_one() {
    for url in ["", "https://other.example.com/"] {
        let wanted = EventConfigChange {
            notification_url: Some(url.to_owned()),
            ..EventConfigChange::default()
        };
        let (differences, warnings) = plan(wanted, &[]);
        assert_eq!(differences, [format!("url: {URL} -> {url}")]);
        assert!(
            warnings.contains(&format!("callbacks to {URL} end")),
            "{warnings}"
        );
        let nobody = warnings.contains("no event reaches anyone");
        assert_eq!(nobody, url.is_empty(), "{warnings}");
    }
}

#[test]
fn pushing_leaves_the_queue() {
    let pull = EventConfig {
        mode: Some(Mode::Pull),
        notification_url: String::new(),
        ..current()
    };
    let wanted = EventConfigChange {
        mode: Some(Mode::Push),
        upload: Some(false),
        ..EventConfigChange::default()
    };
    let warnings = Plan::new(&pull, wanted, &[]).warnings.join("\n");
    for told in [
        "gets nothing new",
        "no event reaches anyone in push mode",
        "no NewFileUpload happens",
    ] {
        assert!(warnings.contains(told), "{warnings}");
    }
}

#[test]
fn a_sign_key_is_told_to_nobody_and_missed_where_it_is_unknown() {
    let (knows, lacks, takes_all) = (webhook(&["n3wK3y"]), webhook(&["old"]), webhook(&[]));
    let wanted = EventConfigChange {
        sign_key: Some(Secret::new("n3wK3y")),
        ..EventConfigChange::default()
    };
    let webhooks = [
        ("knows", &knows),
        ("lacks", &lacks),
        ("takes_all", &takes_all),
    ];
    let (differences, warnings) = plan(wanted, &webhooks);
    assert_eq!(
        differences,
        ["sign_key: not told by the cloud -> the given one"]
    );
    let missing = |name: &str| warnings.contains(&format!("sources.{name}.webhook.sign_keys"));
    assert!(missing("lacks") && !missing("knows") && !missing("takes_all"));
    assert!(!format!("{warnings}{differences:?}").contains("n3wK3y"));
}
