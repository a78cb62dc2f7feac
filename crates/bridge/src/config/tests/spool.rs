//! The spool of a webhook source.

use super::*;

#[test]
fn defaults() {
    let config =
        load_over("sources: { callback: { webhook: { spool: { directory: /s } } } }").unwrap();
    let spool = webhook(&config).spool.as_ref().unwrap();
    assert_eq!(spool.directory, Path::new("/s"));
    assert_eq!(spool.max_bytes, 10 << 30);
    assert_eq!(spool.max_age, Duration::from_secs(7 * 24 * 60 * 60));
    assert!(spool.keep_order && !spool.ephemeral);
    let none = "sources: { callback: { webhook: { spool: null } } }";
    assert!(webhook(&load_over(none).unwrap()).spool.is_none());
}

#[test]
fn mistakes() {
    one_of_webhook(
        "spool: { max_bytes: 1GiB }",
        "prod.yaml: sources.callback.webhook.spool.directory: is required and missing",
    );
    one_of_webhook(
        "spool: { directory: /s, max_size: 1GiB }",
        "prod.yaml: sources.callback.webhook.spool.max_size: unknown key; did you mean \"max_age\"?",
    );
    one_of_webhook(
        "spool: { directory: /s, max_bytes: 31MiB }",
        "prod.yaml: sources.callback.webhook.spool.max_bytes: is less than 33554432 bytes, two notifications of max_body_bytes; write more, or lower max_body_bytes",
    );
    one_of_webhook(
        "spool: { directory: /s, max_age: 19s }",
        "prod.yaml: sources.callback.webhook.spool.max_age: is too short; write at least the patience, and as long as an outage may last",
    );
    one_of_webhook(
        "answer_within: 4001ms, spool: { directory: /s }",
        "prod.yaml: sources.callback.webhook.answer_within: leaves the spool no time before the cloud gives up; write at most 4s where there is a spool",
    );
}

#[test]
fn a_directory_is_for_one() {
    one(
        "{ state_directory: /s, sources: { callback: { webhook: { spool: { directory: /s/ } } } } }",
        "prod.yaml: sources.callback.webhook.spool.directory: is the same as state_directory (prod.yaml); give each spool a directory of its own",
    );
    one(
        "sources: {
           callback: { webhook: { spool: { directory: /s } } },
           other: { webhook: { listen: '127.0.0.1:8081', sub_app_id: 2, spool: { directory: /s/../s } } } }",
        "prod.yaml: sources.other.webhook.spool.directory: is the same as sources.callback.webhook.spool.directory (prod.yaml); give each spool a directory of its own",
    );
    let below = "{ state_directory: /s, sources: { callback: { webhook: { spool: { directory: /s/spool } } } } }";
    assert!(load_over(below).is_ok());
}
