//! What others wrote, for a person at a terminal.

use std::fmt::Write;

/// The text without what a terminal would obey: control characters but line break and tab are
/// written as escapes.
pub(super) fn visible(text: &str) -> String {
    let mut seen = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => seen.push(character),
            _ if character.is_control() => seen.extend(character.escape_unicode()),
            _ => seen.push(character),
        }
    }
    seen
}

/// The same on one line.
pub(super) fn on_one_line(text: &str) -> String {
    visible(text).replace(['\n', '\t'], " ")
}

/// JSON with a line for each member and element; every token is as it was, since a number may be
/// larger than any type that could hold it.
pub(super) fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut rest) = (0_usize, json.chars().peekable());
    let mut in_string = false;
    let new_line = |out: &mut String, depth: usize| {
        write!(out, "\n{:width$}", "", width = depth * 2).expect("a String takes any text");
    };
    while let Some(character) = rest.next() {
        match character {
            _ if in_string => {
                out.push(character);
                match character {
                    '\\' => out.extend(rest.next()),
                    '"' => in_string = false,
                    _ => {}
                }
            }
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                out.push(character);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_string = character == '"';
                out.push(character);
            }
        }
    }
    visible(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_as_they_are() {
        let text = r#"{"a":[1e400, {"b\"{,":18446744073709551617}],"c":{ },"d":[],"e":"x: y"}"#;
        let expected = r#"{
  "a": [
    1e400,
    {
      "b\"{,": 18446744073709551617
    }
  ],
  "c": {},
  "d": [],
  "e": "x: y"
}"#;
        assert_eq!(pretty(text), expected);
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(
            visible("a\u{1b}[2J\tb\nc\u{7f}"),
            "a\\u{1b}[2J\tb\nc\\u{7f}"
        );
    }
}
