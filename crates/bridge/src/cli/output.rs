//! Where commands write. A closed pipe (`| head`) ends the output, not with a panic.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where commands write"
)]

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};

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

/// Whether a person is looking.
pub(crate) fn is_terminal() -> bool {
    stdout().is_terminal()
}
