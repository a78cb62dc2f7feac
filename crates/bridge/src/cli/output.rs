//! Where commands write. A closed pipe (`| head`) ends the output, not with a panic.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where commands write"
)]

use std::fmt::Display;
use std::io::{self, IsTerminal, Write, stderr, stdin, stdout};

use serde::Serialize;

/// Writes one line for the user.
pub(crate) fn line(text: impl Display) {
    if writeln!(stdout(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Writes one JSON value as a line, for scripts.
pub(crate) fn json(value: &impl Serialize) {
    line(serde_json::to_string(value).expect("an output of texts and numbers always serializes"));
}

/// Writes what went wrong.
pub(crate) fn error(text: impl Display) {
    let prefix = if stderr().is_terminal() {
        "\u{1b}[1;31merror:\u{1b}[0m"
    } else {
        "error:"
    };
    // There is nowhere else to say it.
    writeln!(stderr(), "{prefix} {text}").ok();
}

/// Tells a person, beside the output, what goes on.
pub(crate) fn note(text: impl Display) {
    // There is nowhere else to say it.
    writeln!(stderr(), "{text}").ok();
}

/// Whether there is a person to ask.
pub(crate) fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks that person; anything but `y` and `yes` is no.
pub(crate) fn ask(question: &str) -> io::Result<bool> {
    write!(stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Whether a person is looking.
pub(crate) fn is_terminal() -> bool {
    stdout().is_terminal()
}
