//! The readers themselves: events written by hand, as the protocol bindings lay them out, are read
//! as the same event from each broker in each mode; and what the tests ask of a broker works.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vodbridge_tests::brokers::{kafka, nats, rabbitmq};
use vodbridge_tests::clients::{self, Client, Event};

const DATA: &str = r#"{"FileId": 12345678901234567890, "Name": "动物"}"#;

fn structured() -> String {
    format!(
        r#"{{"specversion":"1.0","id":"i-1","source":"https://example.com/1","type":"a.b","subject":"s 1","time":"2026-01-02T03:04:05Z","datacontenttype":"application/json","partitionkey":"s 1","vodoutcome":"succeeded","data":{DATA}}}"#
    )
}

/// The attributes as headers with this prefix.
fn headers(prefix: &str, subject: &str) -> Value {
    json!({
        format!("{prefix}specversion"): "1.0",
        format!("{prefix}id"): "i-1",
        format!("{prefix}source"): "https://example.com/1",
        format!("{prefix}type"): "a.b",
        format!("{prefix}subject"): subject,
        format!("{prefix}time"): "2026-01-02T03:04:05Z",
        format!("{prefix}partitionkey"): subject,
        format!("{prefix}vodoutcome"): "succeeded",
    })
}

fn with_content_type(mut headers: Value) -> Value {
    headers["content-type"] = "application/json".into();
    headers
}

fn expected() -> Event {
    let text = |text: &str| Some(text.to_owned());
    Event {
        specversion: "1.0".to_owned(),
        id: "i-1".to_owned(),
        ty: "a.b".to_owned(),
        source: "https://example.com/1".to_owned(),
        subject: text("s 1"),
        time: text("2026-01-02T03:04:05+00:00"),
        datacontenttype: text("application/json"),
        dataschema: None,
        extensions: [("partitionkey", "s 1"), ("vodoutcome", "succeeded")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    }
}

/// Publishes the event in both modes, and something that is no event, and reads all three.
async fn reads_both_modes(
    client: &Client,
    structured: Value,
    binary: Value,
    neither: Value,
    place: &str,
) -> Result<()> {
    for arguments in [structured, binary, neither] {
        client.call("publish", arguments).await?;
    }
    let messages = client.read(place).await?;
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0].event()?, &expected());
    assert_eq!(messages[1].event()?, &expected());
    assert_eq!(messages[1].body, DATA.as_bytes());
    assert!(messages[2].event().is_err(), "{:?}", messages[2]);
    Ok(())
}

#[tokio::test]
async fn kafka_client_reads_both_modes() -> Result<()> {
    let client = clients::kafka(kafka::shared().await?);
    let topic = format!("read-{}", std::process::id());
    client
        .call("create_topics", json!({ "topics": [topic] }))
        .await?;
    let message = |body: &str, headers: Value| json!({ "topic": topic, "bodies": [body], "key": "s 1", "headers": headers });
    let content_type = json!({ "content-type": "application/cloudevents+json; charset=UTF-8" });
    reads_both_modes(
        &client,
        message(&structured(), content_type),
        message(DATA, with_content_type(headers("ce_", "s 1"))),
        message("{}", json!({})),
        &topic,
    )
    .await?;
    assert_eq!(
        client
            .call("list_topics", json!({ "prefix": topic }))
            .await?,
        [topic.as_str()]
    );

    let limit = json!({ "topic": topic, "config": { "max.message.bytes": "100" } });
    client.call("alter_topic", limit).await?;
    let refused = client
        .call("publish", message(&"x".repeat(200), json!({})))
        .await;
    assert!(refused.is_err_and(|error| error.to_string().contains("MSG_SIZE_TOO_LARGE")));
    client
        .call("delete_topics", json!({ "topics": [topic] }))
        .await?;
    Ok(())
}

#[tokio::test]
async fn rabbitmq_client_reads_both_modes() -> Result<()> {
    let client = clients::rabbitmq(rabbitmq::shared().await?);
    let name = format!("read-{}", std::process::id());
    client
        .call("declare_exchange", json!({ "exchange": name }))
        .await?;
    client
        .call("declare_queue", json!({ "queue": name, "exchange": name }))
        .await?;
    let message = |body: &str, content_type: &str, headers: Value| json!({ "exchange": name, "routing_key": "a.b", "bodies": [body], "content_type": content_type, "headers": headers });
    reads_both_modes(
        &client,
        message(
            &structured(),
            "application/cloudevents+json; charset=UTF-8",
            json!({}),
        ),
        message(DATA, "application/json", headers("cloudEvents:", "s 1")),
        message("{}", "application/json", json!({})),
        &name,
    )
    .await?;
    assert_eq!(
        client.call("count", json!({ "queue": name })).await?,
        [0],
        "reading empties it"
    );

    client
        .call("unbind_queue", json!({ "queue": name, "exchange": name }))
        .await?;
    let refused = client
        .call("publish", message("{}", "application/json", json!({})))
        .await;
    assert!(refused.is_err_and(|error| error.to_string().contains("UnroutableError")));
    let binding = json!({ "queue": name, "exchange": name, "routing_key": "a.*" });
    client.call("bind_queue", binding).await?;
    client
        .call("publish", message("{}", "application/json", json!({})))
        .await?;
    client.call("purge_queue", json!({ "queue": name })).await?;
    client
        .call("delete_queue", json!({ "queue": name }))
        .await?;
    client
        .call("delete_exchange", json!({ "exchange": name }))
        .await?;
    Ok(())
}

#[tokio::test]
async fn nats_client_reads_both_modes() -> Result<()> {
    let client = clients::nats(nats::shared().await?);
    let name = format!("read-{}", std::process::id());
    let subject = format!("{name}.a");
    client
        .call(
            "create_stream",
            json!({ "name": name, "subjects": [format!("{name}.>")] }),
        )
        .await?;
    let message = |body: &str, headers: Value| json!({ "subject": subject, "bodies": [body], "headers": headers });
    let content_type = json!({ "content-type": "application/cloudevents+json; charset=UTF-8" });
    reads_both_modes(
        &client,
        message(&structured(), content_type),
        message(DATA, with_content_type(headers("ce-", "s%201"))),
        message("{}", json!({ "a": "b" })),
        &name,
    )
    .await?;
    let other = json!({ "name": name, "subjects": [format!("{name}.b")] });
    client.call("update_stream", other).await?;
    let refused = client
        .call("publish", message("{}", json!({ "a": "b" })))
        .await;
    assert!(refused.is_err_and(|error| error.to_string().contains("NoStreamResponse")));
    let state = client.call("stream_info", json!({ "name": name })).await?;
    assert_eq!(state[0]["state"]["messages"], 3);
    client.call("purge_stream", json!({ "name": name })).await?;
    ensure!(client.read(&name).await?.is_empty());
    client
        .call("delete_stream", json!({ "name": name }))
        .await?;
    Ok(())
}
