//! What a bridge and its commands have said and written, to be searched for secrets.

use std::path::Path;

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vodbridge_tests::bridge::Setup;
use vodbridge_tests::cli::run;
use vodbridge_tests::http::Response;

/// What was said and written, and where.
#[derive(Default)]
pub(super) struct Said(Vec<(String, Vec<u8>)>);

impl Said {
    pub(super) fn add(&mut self, place: impl Into<String>, words: impl Into<Vec<u8>>) {
        self.0.push((place.into(), words.into()));
    }

    pub(super) fn add_answer(&mut self, place: &str, answer: &Response) {
        self.add(place, format!("{:?} {}", answer.headers, answer.text()));
    }

    /// Every file below a directory.
    pub(super) fn add_files(&mut self, directory: &Path) -> Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                self.add_files(&path)?;
            } else {
                self.add(path.display().to_string(), std::fs::read(&path)?);
            }
        }
        Ok(())
    }

    pub(super) async fn run(&mut self, setup: &Setup, arguments: &[&str]) -> Result<String> {
        let ran = run(setup.command(arguments)?).await?;
        let words = format!("{:?} {}{}", ran.code, ran.out, ran.err);
        self.add(format!("{arguments:?}"), words.clone());
        Ok(words)
    }

    /// As it is, as base64 wherever it begins, and as hexadecimal digits.
    pub(super) fn hold_no(&self, what: &str, secret: &str) -> Result<()> {
        let mut forms = vec![secret.to_owned(), hex(secret)];
        forms.extend((0..3).filter_map(|at| in_base64(secret, at)));
        for (place, words) in &self.0 {
            for form in &forms {
                let shown = words.windows(form.len()).any(|it| it == form.as_bytes());
                ensure!(!shown, "{what} is in {place}");
            }
        }
        Ok(())
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What is the same in every base64 text with `secret` at a position that has this rest of three.
fn in_base64(secret: &str, rest: usize) -> Option<String> {
    let whole = &secret.as_bytes()[rest..];
    let whole = &whole[..whole.len() / 3 * 3];
    (whole.len() >= 6).then(|| STANDARD.encode(whole))
}

/// Who finds nothing has to be able to find something.
#[test]
fn a_secret_is_found_however_it_is_written() {
    let secret = "kafka5ecret";
    for begin in ["", "a", "ab"] {
        for words in [secret.to_owned(), hex(secret), STANDARD.encode(secret)] {
            let mut said = Said::default();
            said.add("a log", format!("{begin}{words}."));
            assert!(said.hold_no("it", secret).is_err(), "{words}");
        }
        let mut said = Said::default();
        said.add("a log", STANDARD.encode(format!("{begin}{secret}.")));
        assert!(said.hold_no("it", secret).is_err(), "{begin}");
    }
}
