//! The layers of a configuration: files, then variables. All are YAML, read the same way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::errors::{Report, instead_of};

/// The keys at the top of a file.
pub(super) const TOP_LEVEL: [&str; 9] = [
    "admin",
    "dead_letter",
    "drain",
    "event_types",
    "log",
    "routes",
    "sinks",
    "sources",
    "state_directory",
];

/// Where the configuration is looked for when no file is named.
pub(super) const DEFAULT_FILES: [&str; 2] = ["./vodbridge.yaml", "/etc/vodbridge/vodbridge.yaml"];

const PREFIX: &str = "VODBRIDGE_";
const LARGEST_FILE: u64 = 4 << 20;

/// One file or one variable.
struct Layer {
    name: String,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Merges the files in their order, then the variables. A layer that cannot be read is reported
/// and left out.
pub(super) fn layers(
    files: &[PathBuf],
    variables: &BTreeMap<String, String>,
    report: &mut Report,
) -> Figment {
    let files = read_files(files, report);
    let variables = variables
        .iter()
        .filter_map(|(name, text)| read_variable(name, text, report));
    // A merge cannot fail: what the layers hold has been read.
    files
        .into_iter()
        .chain(variables.collect::<Vec<_>>())
        .fold(Figment::new(), Figment::merge)
}

fn read_files(files: &[PathBuf], report: &mut Report) -> Vec<Layer> {
    if !files.is_empty() {
        return files
            .iter()
            .filter_map(|path| read_file(path, report))
            .collect();
    }
    match DEFAULT_FILES
        .iter()
        .map(Path::new)
        .find(|path| path.exists())
    {
        Some(path) => read_file(path, report).into_iter().collect(),
        None => {
            report.add_origin(
                &DEFAULT_FILES.join(" and "),
                "no such file",
                "name one with `--config FILE`",
            );
            Vec::new()
        }
    }
}

fn read_file(path: &Path, report: &mut Report) -> Option<Layer> {
    let name = path.display().to_string();
    let text = match read_text(path, LARGEST_FILE) {
        Ok(text) => text,
        Err(error) => {
            report.add_origin(&name, format!("cannot be read: {error}"), "");
            return None;
        }
    };
    match yaml(&text) {
        Ok(Value::Dict(_, dict)) => Some(Layer { name, dict }),
        Ok(Value::Empty(..)) => Some(Layer {
            name,
            dict: Dict::new(),
        }),
        Ok(_) => {
            report.add_origin(
                &name,
                "is no map of keys",
                "start with keys such as `sources:` and `sinks:`",
            );
            None
        }
        Err(error) => {
            report.add_origin(&name, describe(&error), "");
            None
        }
    }
}

/// A text file of at most so many bytes.
pub(super) fn read_text(path: &Path, largest: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(largest + 1)
        .read_to_string(&mut text)?;
    if read as u64 > largest {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {largest} bytes"),
        ));
    }
    Ok(text)
}

/// The variable as a layer, if it is one of ours. Without `__` only a scalar at the top counts:
/// Kubernetes sets `VODBRIDGE_SERVICE_HOST` and the like next to a Service of that name.
fn read_variable(name: &str, text: &str, report: &mut Report) -> Option<Layer> {
    let words = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let words: Vec<&str> = words.split("__").collect();
    if words.len() == 1 && words[0] != "state_directory" {
        return None;
    }
    if !TOP_LEVEL.contains(&words[0]) {
        report.add_origin(
            name,
            format!("{:?} is no key at the top", words[0]),
            &instead_of(words[0], TOP_LEVEL),
        );
        return None;
    }
    if words.contains(&"") {
        report.add_origin(
            name,
            "has an empty word in its key path",
            "write one `__` between two words",
        );
        return None;
    }
    let Ok(value) = yaml(text) else {
        // Neither the parser's words nor the text: it may be a secret.
        report.add_origin(name, "its value is no YAML", "put it in quotes");
        return None;
    };
    let nest = |value, (depth, word): (usize, &&str)| {
        let option = depth > 2 && words[2..depth].contains(&"options");
        let word = if option {
            word.replace('_', ".")
        } else {
            (*word).to_owned()
        };
        Value::from(Dict::from([(word, value)]))
    };
    let dict = words
        .iter()
        .enumerate()
        .rev()
        .fold(value, nest)
        .into_dict()?;
    Some(Layer {
        name: name.to_owned(),
        dict,
    })
}

fn yaml(text: &str) -> Result<Value, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

fn describe(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::DuplicateMappingKey {
            key: Some(key),
            location,
        } => format!(
            "key {key:?} is there twice in one map, the second time at line {}, column {}",
            location.line(),
            location.column()
        ),
        _ => error.to_string(),
    }
}
