//! What publishing needs of the brokers: printed by `topics`, missed by `check --connect`, made by
//! `provision`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vodbridge_tests::bridge::Setup;
use vodbridge_tests::brokers::rabbitmq;
use vodbridge_tests::cli::{Ran, run};
use vodbridge_tests::clients;
use vodbridge_tests::ports::free_port;

use crate::destinations::Destinations;

const SINKS: [&str; 3] = ["kafka", "nats", "rabbitmq"];

async fn ran(setup: &Setup, arguments: &[&str]) -> Result<Ran> {
    run(setup.command(arguments)?).await
}

/// What `check --connect` says of each sink.
async fn checked(setup: &Setup, code: i32) -> Result<Vec<Value>> {
    let check = ran(setup, &["check", "--connect", "--output", "json"]).await?;
    ensure!(check.code == Some(code), "{check:?}");
    let said = check.json()?;
    assert_eq!(said[0]["ok"], code == 0, "{check:?}");
    let sinks = said[0]["sinks"].as_array().context("no sinks")?;
    let names: Vec<&str> = sinks
        .iter()
        .filter_map(|sink| sink["sink"].as_str())
        .collect();
    assert_eq!(names, SINKS);
    Ok(sinks.clone())
}

/// What `provision` says it found or made.
async fn provisioned(setup: &Setup) -> Result<Vec<Value>> {
    let provision = ran(setup, &["provision", "--output", "json"]).await?;
    ensure!(provision.code == Some(0), "{provision:?}");
    Ok(provision.json()?[0].as_array().context("no list")?.clone())
}

fn all_are(made: &[Value], created: bool) {
    for sink in SINKS {
        let of_sink: Vec<_> = made.iter().filter(|made| made["sink"] == sink).collect();
        assert!(!of_sink.is_empty(), "nothing on {sink}");
        assert!(
            of_sink.iter().all(|made| made["created"] == created),
            "{of_sink:?}"
        );
    }
}

#[tokio::test]
async fn what_is_missing_is_told_and_made() -> Result<()> {
    let destinations = Destinations::new("topology").await?;
    let setup = Setup::new(&destinations.configuration("structured"))?;

    for sink in checked(&setup, 1).await? {
        assert_eq!(sink["ok"], false, "{sink}");
        let findings = sink["findings"].as_array().context("no findings")?;
        let helps = |finding: &&Value| {
            finding["blocking"] == true
                && finding["remedy"]
                    .as_str()
                    .is_some_and(|r| r.contains("vodbridge provision"))
        };
        ensure!(
            findings.iter().any(|finding| helps(&finding)),
            "no remedy: {sink}"
        );
    }
    let text = ran(&setup, &["check", "--connect"]).await?;
    ensure!(text.code == Some(1), "{text:?}");
    for sink in SINKS {
        ensure!(text.out.contains(&format!("{sink}: not ready")), "{text:?}");
    }

    all_are(&provisioned(&setup).await?, true);
    all_are(&provisioned(&setup).await?, false);
    let text = ran(&setup, &["provision"]).await?;
    ensure!(text.code == Some(0), "{text:?}");
    ensure!(
        text.out.lines().all(|line| line.ends_with(": there")),
        "{text:?}"
    );

    for sink in checked(&setup, 0).await? {
        assert_eq!(sink["ok"], true, "{sink}");
        ensure!(
            sink["ack"].as_str().is_some_and(|ack| !ack.is_empty()),
            "no ack: {sink}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_topics_prints_is_what_is_made() -> Result<()> {
    let destinations = Destinations::new("topics").await?;
    let setup = Setup::new(&destinations.configuration("structured"))?;
    let topics = ran(&setup, &["topics", "--output", "json"]).await?;
    ensure!(topics.code == Some(0), "{topics:?}");
    let printed = topics.json()?[0].clone();
    let of = |sink: &str| -> BTreeSet<String> {
        serde_json::from_value(printed[sink].clone()).unwrap_or_default()
    };
    let prefix = &destinations.prefix;
    for sink in SINKS {
        // Unknown types included, so that no later one finds no topic.
        for known in ["NewFileUpload", "other", "v2.other"] {
            ensure!(
                of(sink).contains(&format!("{prefix}.{known}")),
                "{sink} lacks {known}"
            );
        }
    }
    let dead_letter = format!("{prefix}.dead_letter");
    ensure!(of("kafka").contains(&dead_letter) && !of("nats").contains(&dead_letter));

    let text = ran(&setup, &["topics"]).await?;
    for topic in of("kafka") {
        ensure!(
            text.out.lines().any(|line| line.trim() == topic),
            "{topic} is not printed"
        );
    }

    setup.run(&["provision"]).await?;
    let listed = destinations
        .kafka
        .call("list_topics", json!({ "prefix": prefix }))
        .await?;
    let made: BTreeSet<String> = listed
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    assert_eq!(made, of("kafka"));
    Ok(())
}

/// A sink whose broker is away, at this address.
async fn absence_is_told(sink: impl Fn(&str) -> String) -> Result<()> {
    let sink = sink(&format!("127.0.0.1:{}", free_port()?));
    let setup = Setup::new(&format!("sinks: {{ events: {{ {sink} }} }}"))?;
    let check = ran(&setup, &["check", "--connect", "--output", "json"]).await?;
    ensure!(check.code == Some(1), "{check:?}");
    ensure!(
        !check.out.contains("hidden"),
        "a password is shown: {check:?}"
    );
    let said = check.json()?[0].clone();
    let finding = &said["sinks"][0]["findings"][0];
    assert_eq!(
        (&said["ok"], &finding["blocking"]),
        (&false.into(), &true.into())
    );
    for key in ["what", "remedy"] {
        let told = finding[key].as_str().is_some_and(|text| !text.is_empty());
        ensure!(told, "no {key}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_absent_kafka_is_told() -> Result<()> {
    absence_is_told(|address| {
        format!(r#"kafka: {{ brokers: ["{address}"], topic: "vod.{{event_type}}" }}"#)
    })
    .await
}

#[tokio::test]
async fn an_absent_rabbitmq_is_told() -> Result<()> {
    absence_is_told(|address| {
        let url = format!("amqp://guest:hidden@{address}/%2f");
        format!(r#"rabbitmq: {{ url: "{url}", exchange: vod, routing_key: "vod.{{event_type}}" }}"#)
    })
    .await
}

#[tokio::test]
async fn an_absent_nats_is_told() -> Result<()> {
    absence_is_told(|address| {
        let login = "user: bridge, password: hidden";
        format!(
            r#"nats: {{ servers: ["{address}"], {login}, subject: "vod.{{event_type}}", stream: VOD }}"#
        )
    })
    .await
}

/// On RabbitMQ the dead letters have a queue that no subscriber of the events reads.
#[tokio::test]
async fn dead_letters_have_a_queue_of_their_own() -> Result<()> {
    let address = rabbitmq::shared().await?;
    let exchange = format!("letters-{}", std::process::id());
    let queue = format!("{exchange}.dead_letters");
    let setup = Setup::new(&format!(
        r#"
sinks:
  here: {{ rabbitmq: {{ url: "{address}", exchange: "{exchange}", routing_key: "vod.{{event_type}}" }} }}
  elsewhere: {{ rabbitmq: {{ url: "{address}", exchange: "{exchange}-2", routing_key: "vod.{{event_type}}" }} }}
dead_letter: {{ sink: here, topic: vod.dead }}
"#
    ))?;
    let made = provisioned(&setup).await?;
    let about = |queue: &str| {
        made.iter()
            .filter(|made| {
                made["what"]
                    .as_str()
                    .is_some_and(|what| what.contains(queue))
            })
            .count()
    };
    assert_eq!(
        (about(&queue), about("-2.dead_letters")),
        (2, 0),
        "{made:?}"
    );
    let client = clients::rabbitmq(&*address);
    let letter = json!({ "exchange": exchange, "routing_key": "vod.dead", "bodies": ["{}"] });
    client.call("publish", letter).await?;
    let other = json!({ "exchange": exchange, "routing_key": "vod.other", "bodies": ["{}"] });
    client.call("publish", other).await?;
    let count = async |queue: &str| client.call("count", json!({ "queue": queue })).await;
    assert_eq!(count(&queue).await?, [1]);
    assert_eq!(count(&format!("{exchange}.events")).await?, [2]);

    client
        .call("delete_queue", json!({ "queue": queue }))
        .await?;
    let check = ran(&setup, &["check", "--connect", "--output", "json"]).await?;
    ensure!(check.code == Some(0), "it blocks nothing: {check:?}");
    ensure!(check.out.contains("dead_letters"), "{check:?}");
    let again = provisioned(&setup).await?;
    ensure!(
        again.iter().filter(|made| made["created"] == true).count() == 2,
        "{again:?}"
    );
    Ok(())
}
