//! Subjects, and the patterns that streams take them by.
//!
//! <https://docs.nats.io/nats-concepts/subjects>

use vodbridge_core::Template;

/// Bytes of a subject at most. NATS recommends so, where a server would take about 4,000.
/// <https://docs.nats.io/nats-concepts/subjects>
pub const LONGEST_SUBJECT: usize = 256;

/// Whether a message can be published to it: tokens of printable ASCII between dots, no wildcard.
pub(crate) fn is_literal(subject: &str) -> bool {
    subject.split('.').all(|token| {
        !token.is_empty()
            && token
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'*' && b != b'>')
    })
}

/// Whether a stream with this subject, which may hold wildcards, takes messages to `literal`.
pub(crate) fn covers(pattern: &str, literal: &str) -> bool {
    let mut tokens = literal.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// The subjects of a stream that is to take `topics`: the template's whole first tokens and `>`
/// where it has both those and labels, and what that leaves out.
pub(crate) fn covering(template: &Template, topics: &[String]) -> Vec<String> {
    let text = template.to_string();
    let prefix = text
        .split_once('{')
        .and_then(|(literal, _)| literal.rsplit_once('.'))
        .map(|(prefix, _)| format!("{prefix}.>"));
    let rest = topics
        .iter()
        .filter(|topic| !prefix.as_ref().is_some_and(|prefix| covers(prefix, topic)));
    let mut subjects: Vec<String> = rest.cloned().collect();
    subjects.sort();
    subjects.dedup();
    prefix.into_iter().chain(subjects).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_the_server_says() {
        for (pattern, literal, covered) in [
            ("vod.>", "vod.FileDeleted", true),
            ("vod.>", "vod.v2.FileDeleted", true),
            ("vod.>", "vod", false),
            ("vod.*", "vod.FileDeleted", true),
            ("vod.*", "vod.v2.FileDeleted", false),
            ("vod", "vod", true),
            ("vod", "vod.x", false),
            (">", "vod", true),
            ("*.x", "vod.x", true),
        ] {
            assert_eq!(covers(pattern, literal), covered, "{pattern} {literal}");
        }
    }

    #[test]
    fn wildcards_blanks_and_empty_tokens_are_no_literals() {
        assert!(is_literal("vod.dead_letter"));
        for subject in [
            "", ".", "vod.", ".vod", "a..b", "a b", "a.*", "a.>", "a\n", "é",
        ] {
            assert!(!is_literal(subject), "{subject:?}");
        }
    }

    #[test]
    fn a_stream_covers_the_template_and_what_else_is_published() {
        let topics = [
            "vod.FileDeleted".into(),
            "vod.dead_letter".into(),
            "lost".into(),
        ];
        for (template, subjects) in [
            ("vod.{event_type}", vec!["vod.>", "lost"]),
            (
                "a.b-{event_type}",
                vec!["a.>", "lost", "vod.FileDeleted", "vod.dead_letter"],
            ),
            (
                "vod-{event_type}",
                vec!["lost", "vod.FileDeleted", "vod.dead_letter"],
            ),
            (
                "vod.all",
                vec!["lost", "vod.FileDeleted", "vod.dead_letter"],
            ),
        ] {
            let template = Template::parse(template).unwrap();
            assert_eq!(covering(&template, &topics), subjects, "{template}");
        }
    }
}
