//! Topics: those that events can make fit their broker, and dead letters have one to themselves.

use vodbridge_sources::webhook::UNDELIVERED;

use super::Check;
use crate::config::Config;
use crate::config::tree::KeyPath;

pub(super) fn check(config: &Config, check: &mut Check<'_>) {
    for (name, sink) in &config.sinks {
        let [kind, key] = sink.template_key();
        let path = KeyPath::of(["sinks", name, kind, key]);
        let topics = config.event_topics(name);
        let longest = topics.iter().map(String::len).max().unwrap_or(0);
        let most = sink.longest_topic();
        check.that(
            longest <= most || !check.report.trusts(&path),
            &path,
            format!("makes a name of {longest} bytes, and {most} is the most"),
            "shorten it, or the longest name under event_types",
        );
    }
    dead_letter(config, check);
}

/// What the sink of dead letters refuses is kept in the state directory, so their topic has to be
/// good for a file too.
fn dead_letter(config: &Config, check: &mut Check<'_>) {
    let (sink, topic) = (&config.dead_letter.sink, &config.dead_letter.topic);
    let path = KeyPath::of(["dead_letter", "topic"]);
    let most = vodbridge_sink_file::LONGEST_TOPIC;
    let problem = format!("has {} bytes, and {most} is the most", topic.len());
    check.that(topic.len() <= most, &path, problem, "shorten it");
    let remedy = "write another name";
    let problem = "is the name of the file of undelivered events in the state directory";
    check.that(topic != UNDELIVERED, &path, problem, remedy);
    let own = !config.event_topics(sink).contains(topic);
    let problem = format!("is a topic of events too, on sink {sink}");
    check.that(own, &path, problem, remedy);
}
