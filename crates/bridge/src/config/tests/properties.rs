//! Whatever is written, the answer is a configuration or findings.

use proptest::prelude::*;

use super::*;

/// A value out of the words that configurations are made of.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "[a-z0-9:/{}*.]{0,12}".prop_map(Into::into),
        Just("127.0.0.1:8080".into()),
        Just("vod.{event_type}".into()),
        Just("7s".into()),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(key(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let words = "admin listen state_directory drain grace timeout log format level event_types sources callback webhook \
path sub_app_id sign_keys answer_within patience max_bytes max_body_bytes sinks events kafka brokers topic mode options \
rabbitmq url exchange routing_key nats servers subject user token file directory env routes match event_type outcome \
source to shadow dead_letter sink queue credentials secret_id secret_key token profile name cvm_role role tke_oidc \
endpoint region pullers lease lease_margin calls_per_second";
    prop::sample::select(
        words
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    )
}

proptest! {
    #[test]
    fn no_tree_panics(base in value(), over in value()) {
        let (base, over) = (base.to_string(), over.to_string());
        if let Err(errors) = load_files(&[("a.yaml", &base), ("b.yaml", &over)], &[]) {
            prop_assert!(!errors.is_empty());
        }
    }

    #[test]
    fn no_change_of_a_good_file_panics(path in prop::collection::vec(key(), 1..5), value in value()) {
        let name = format!("VODBRIDGE_{}", path.join("__").to_uppercase());
        if let Err(errors) = load_files(&[("a.yaml", SMALLEST)], &[(&name, &value.to_string())]) {
            prop_assert!(!errors.is_empty());
        }
    }

    #[test]
    fn no_text_panics(text in "[ -~\n]{0,80}", name in "[A-Z_]{0,20}") {
        let name = format!("VODBRIDGE_SINKS__{name}");
        if let Err(errors) = load_files(&[("a.yaml", SMALLEST), ("b.yaml", &text)], &[(&name, &text)]) {
            prop_assert!(!errors.is_empty());
        }
    }
}
