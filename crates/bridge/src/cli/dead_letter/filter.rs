//! Which dead letters are meant.

use std::time::{Duration, SystemTime};

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};
use vodbridge_core::{Content, DeadLetter, Glob, Reason};
use vodbridge_vod::catalogue::TYPE_PREFIX;

/// The heading of these options.
const WHICH: &str = "Which";

/// What a dead letter must have. Of a filter that is given several times, one has to hold.
#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// Why it became a dead letter.
    #[arg(help_heading = WHICH, long, value_parser = reasons())]
    reason: Vec<String>,
    /// Its event's type, `*` for any characters: TranscodeComplete, com.tencent.cloud.vod.*. A raw
    /// notification has none.
    #[arg(help_heading = WHICH, long = "type", value_name = "GLOB")]
    ty: Vec<String>,
    /// The source that it came from.
    #[arg(help_heading = WHICH, long)]
    source: Vec<String>,
    /// The sink that refused it.
    #[arg(help_heading = WHICH, long)]
    sink: Vec<String>,
    /// Given up at this time or later: 2026-11-24T08:00:00Z, or so long ago: 2h.
    #[arg(help_heading = WHICH, long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,
    /// Given up before this time.
    #[arg(help_heading = WHICH, long, value_name = "TIME", value_parser = moment)]
    until: Option<SystemTime>,
    /// Its id, or how that begins.
    // Every id begins with nothing: an unset variable of a script must not stand for all.
    #[arg(help_heading = WHICH, long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: Vec<String>,
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
}

/// A time, or so long before now.
fn moment(text: &str) -> Result<SystemTime, String> {
    let ago = |before: Duration| SystemTime::now().checked_sub(before);
    let time = match humantime::parse_duration(text) {
        Ok(before) => ago(before),
        Err(_) => humantime::parse_rfc3339_weak(text).ok(),
    };
    time.ok_or_else(|| "neither a time like 2026-11-24T08:00:00Z nor a duration like 2h".to_owned())
}

impl Filter {
    /// Whether the letter is meant.
    pub(super) fn takes(&self, letter: &DeadLetter) -> bool {
        let one = |wanted: &[String], holds: &dyn Fn(&str) -> bool| {
            wanted.is_empty() || wanted.iter().any(|wanted| holds(wanted))
        };
        one(&self.reason, &|reason| reason == letter.reason.as_str())
            && one(&self.ty, &|glob| is_of_type(letter, glob))
            && one(&self.source, &|source| source == &*letter.source)
            && one(&self.sink, &|sink| Some(sink) == letter.sink.as_deref())
            && one(&self.id, &|id| letter.id.starts_with(id))
            && self.since.is_none_or(|since| letter.last >= since)
            && self.until.is_none_or(|until| letter.last < until)
    }
}

/// The type of the event that a letter keeps, as the vendor names it.
pub(super) fn event_type(letter: &DeadLetter) -> Option<&str> {
    match &letter.content {
        Content::Event(event) => Some(event.ty().strip_prefix(TYPE_PREFIX).unwrap_or(event.ty())),
        Content::Raw { .. } => None,
    }
}

fn is_of_type(letter: &DeadLetter, glob: &str) -> bool {
    let Content::Event(event) = &letter.content else {
        return false;
    };
    let glob = Glob::new(glob);
    glob.matches(event.ty()) || event_type(letter).is_some_and(|ty| glob.matches(ty))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vodbridge_core::Envelope;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(arguments: &str) -> Filter {
        let arguments = ["x"].into_iter().chain(arguments.split_whitespace());
        Cli::try_parse_from(arguments).unwrap().filter
    }

    fn letter() -> DeadLetter {
        let event = r#"{"specversion":"1.0","id":"abc1","source":"/","type":"com.tencent.cloud.vod.PullComplete","time":"2026-01-01T00:00:00Z","datacontenttype":"application/json","data":{}}"#;
        let event = Envelope::from_structured(event.into(), Vec::new()).unwrap();
        let at = humantime::parse_rfc3339("2026-01-01T12:00:00Z").unwrap();
        DeadLetter {
            id: "abc1".into(),
            reason: Reason::Refused,
            source: "callback".into(),
            sink: Some("events".into()),
            error: None,
            attempts: 1,
            first: at,
            last: at,
            content: Content::Event(event),
        }
    }

    #[test]
    fn what_holds_takes_it() {
        for arguments in [
            "",
            "--reason refused",
            "--reason panic --reason refused",
            "--type PullComplete",
            "--type *Complete",
            "--type com.tencent.cloud.vod.Pull*",
            "--source callback --sink events --id abc",
            "--id x --id abc1",
            "--since 2026-01-01T12:00:00Z --until 2026-01-01T12:00:01Z",
            "--until 0s",
        ] {
            assert!(filter(arguments).takes(&letter()), "{arguments}");
        }
    }

    #[test]
    fn what_does_not_hold_leaves_it() {
        for arguments in [
            "--reason unrouted",
            "--type Pull",
            "--source reliable",
            "--sink tasks",
            "--id bc",
            "--since 2026-01-01T12:00:01Z",
            "--until 2026-01-01T12:00:00Z",
            "--since 1h",
            "--reason refused --sink tasks",
        ] {
            let mut letter = letter();
            if arguments.contains("1h") {
                letter.last = SystemTime::now() - Duration::from_secs(3601);
            }
            assert!(!filter(arguments).takes(&letter), "{arguments}");
        }
        let raw = DeadLetter {
            content: Content::Raw {
                body: "x".into(),
                headers: Vec::new(),
                occurrence: None,
            },
            sink: None,
            ..letter()
        };
        assert!(!filter("--type *").takes(&raw) && !filter("--sink events").takes(&raw));
        assert!(filter("--reason refused").takes(&raw));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for arguments in [
            "--reason lost",
            "--since yesterday",
            "--until 2026-13-01T00:00:00Z",
            "--id=",
        ] {
            let arguments = ["x"].into_iter().chain(arguments.split_whitespace());
            assert!(Cli::try_parse_from(arguments).is_err());
        }
    }
}
