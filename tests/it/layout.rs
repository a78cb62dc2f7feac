//! Who may know whom, kept over what Cargo itself says of the workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use vodbridge_tests::installed::workspace;

/// Which crates of the workspace each crate may build on. A new crate says here where it belongs.
const MAY_KNOW: [(&str, &[&str]); 10] = [
    ("vodbridge-core", &[]),
    ("vodbridge-vod", &["vodbridge-core"]),
    ("vodbridge-store", &["vodbridge-core"]),
    (
        "vodbridge-sources",
        &["vodbridge-core", "vodbridge-vod", "vodbridge-store"],
    ),
    ("vodbridge-simulator", &["vodbridge-core", "vodbridge-vod"]),
    ("vodbridge-sink-file", &["vodbridge-core"]),
    ("vodbridge-sink-kafka", &["vodbridge-core"]),
    ("vodbridge-sink-nats", &["vodbridge-core"]),
    ("vodbridge-sink-rabbitmq", &["vodbridge-core"]),
    (
        "vodbridge",
        &[
            "vodbridge-core",
            "vodbridge-vod",
            "vodbridge-sources",
            "vodbridge-store",
            "vodbridge-simulator",
            "vodbridge-sink-file",
            "vodbridge-sink-kafka",
            "vodbridge-sink-nats",
            "vodbridge-sink-rabbitmq",
        ],
    ),
];

/// What only one crate of the product may depend on.
const ONLY: [(&str, &str); 6] = [
    ("figment", "vodbridge"),
    ("clap", "vodbridge"),
    ("rusqlite", "vodbridge-store"),
    ("rdkafka", "vodbridge-sink-kafka"),
    ("lapin", "vodbridge-sink-rabbitmq"),
    ("async-nats", "vodbridge-sink-nats"),
];

/// Free of both: the tests, and the benchmark, which measures the client libraries themselves.
const OUTSIDE: [&str; 2] = ["vodbridge-tests", "vodbridge-bench"];

/// What the crates without I/O may depend on: nothing that can reach a socket or a file. Of Tokio
/// that depends on the features.
const WITHOUT_IO: [&str; 20] = [
    "base64",
    "bytes",
    "fastrand",
    "futures-util",
    "hmac",
    "humantime",
    "md-5",
    "memchr",
    "percent-encoding",
    "prometheus-client",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "tokio",
    "tokio-util",
    "tracing",
    "vodbridge-core",
    "vodbridge-vod",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    features: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
    features: BTreeSet<String>,
}

static METADATA: LazyLock<Metadata> = LazyLock::new(|| Metadata::read().expect("cargo metadata"));

impl Metadata {
    /// What Cargo resolves for this machine's platform.
    fn read() -> Result<Self> {
        let rustc = Command::new("rustc").arg("-vV").output()?;
        let version = String::from_utf8(rustc.stdout)?;
        let host = version.lines().find_map(|line| line.strip_prefix("host: "));
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--filter-platform"])
            .arg(host.context("rustc names no host")?)
            .current_dir(workspace())
            .output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages
            .iter()
            .filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The names of the packages that are compiled, each with those that depend on it.
    fn dependents(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let names: BTreeMap<&str, &str> = self
            .packages
            .iter()
            .map(|p| (p.id.as_str(), p.name.as_str()))
            .collect();
        let mut dependents = BTreeMap::<&str, BTreeSet<&str>>::new();
        for node in &self.resolve.nodes {
            for dependency in &node.dependencies {
                let entry = dependents.entry(names[dependency.as_str()]).or_default();
                entry.insert(names[node.id.as_str()]);
            }
        }
        dependents
    }
}

#[test]
fn crates_depend_only_in_the_direction_of_the_core() {
    let metadata = &*METADATA;
    let may_know = BTreeMap::from(MAY_KNOW);
    let crates: BTreeSet<&str> = metadata
        .members()
        .map(|member| member.name.as_str())
        .collect();
    for member in metadata
        .members()
        .filter(|member| !OUTSIDE.contains(&member.name.as_str()))
    {
        let allowed = may_know.get(member.name.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("MAY_KNOW lacks {}", member.name));
        for dependency in &member.dependencies {
            let name = dependency.name.as_str();
            let free = dependency.kind.as_deref() == Some("dev") || !crates.contains(name);
            assert!(
                free || allowed.contains(&name),
                "{} must not know {name}",
                member.name
            );
        }
    }
}

#[test]
fn each_foreign_library_has_one_owner() {
    let metadata = &*METADATA;
    for member in metadata
        .members()
        .filter(|member| !OUTSIDE.contains(&member.name.as_str()))
    {
        for dependency in member.dependencies.iter().filter(|d| d.kind.is_none()) {
            for (library, owner) in ONLY {
                let fine = dependency.name != library || member.name == owner;
                assert!(fine, "{} must leave {library} to {owner}", member.name);
            }
        }
    }
}

/// Two providers in one process make rustls panic where nobody has chosen one.
#[test]
fn there_is_one_tls_provider() {
    let metadata = &*METADATA;
    let dependents = metadata.dependents();
    for other in ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "boring"] {
        assert!(
            !dependents.contains_key(other),
            "{other} is used by {:?}",
            dependents[other]
        );
    }
    // librdkafka brings its own TLS, inside C.
    let openssl = dependents.get("openssl-sys").cloned().unwrap_or_default();
    assert!(
        openssl.iter().all(|user| *user == "rdkafka-sys"),
        "openssl-sys: {openssl:?}"
    );
    let id = metadata
        .packages
        .iter()
        .find(|p| p.name == "rustls")
        .map(|p| &p.id);
    let rustls = metadata
        .resolve
        .nodes
        .iter()
        .find(|node| Some(&node.id) == id);
    let features = &rustls.expect("rustls is in the tree").features;
    assert!(
        features.contains("ring") && !features.contains("aws_lc_rs"),
        "{features:?}"
    );
}

/// A bridge that confirms before the ack is built for one test, which asks for it by name.
#[test]
fn nothing_enables_what_breaks_the_guarantee() {
    let metadata = &*METADATA;
    let broken = |features: &BTreeSet<String>| features.contains("confirm-before-ack");
    assert!(!(metadata.resolve.nodes.iter()).any(|node| broken(&node.features)));
    let mut dependencies = metadata.members().flat_map(|it| &it.dependencies);
    assert!(!dependencies.any(|dependency| broken(&dependency.features)));
}

#[test]
fn no_abandoned_yaml_parser_is_used() {
    let metadata = &*METADATA;
    assert!(!metadata.dependents().contains_key("serde_yaml"));
}

#[test]
fn core_does_no_io() {
    let metadata = &*METADATA;
    let pure = ["vodbridge-core", "vodbridge-vod"];
    for member in metadata
        .members()
        .filter(|member| pure.contains(&member.name.as_str()))
    {
        for dependency in member.dependencies.iter().filter(|d| d.kind.is_none()) {
            let (name, known) = (dependency.name.as_str(), WITHOUT_IO);
            assert!(known.contains(&name), "{} uses {name}", member.name);
            for feature in [
                "net", "fs", "process", "io-std", "io-util", "signal", "full",
            ] {
                let io = name.starts_with("tokio") && dependency.features.contains(feature);
                assert!(!io, "{} asks {name} for {feature}", member.name);
            }
        }
    }
    for directory in ["crates/core/src", "crates/vod/src"] {
        for file in sources(&workspace().join(directory)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for module in [
                "fs", "io", "net", "process", "env", "os", "thread", "signal",
            ] {
                for library in ["std", "tokio"] {
                    // Alone, or between the braces of a `use`.
                    let path = format!("{library}::{module}");
                    assert!(!text.contains(&path), "{} uses {path}", file.display());
                    let opening = format!("{library}::{{");
                    let groups = text.split(&opening).skip(1);
                    let mut used = groups.filter_map(|rest| rest.split("};").next());
                    let grouped = used.any(|group| {
                        let mut names = group.split(|c: char| !c.is_alphanumeric() && c != '_');
                        names.any(|name| name == module)
                    });
                    assert!(!grouped, "{} uses {path}", file.display());
                }
            }
        }
    }
}

#[test]
fn no_source_file_is_longer_than_400_lines() {
    let top = workspace();
    let files: Vec<PathBuf> = ["crates", "tests"]
        .iter()
        .flat_map(|d| sources(&top.join(d)))
        .collect();
    assert!(files.len() > 20, "the sources were not found: {files:?}");
    for file in files {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(
            lines <= 400,
            "{} has {lines} lines: it is two files",
            file.display()
        );
    }
}

/// The words of a document that are names of tests: four words or more, in code type.
fn named_tests(text: &str) -> BTreeSet<&str> {
    let code = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.chars().all(plain) && word.matches('_').count() >= 3
    };
    code.filter(is_name).collect()
}

/// The functions of all tests.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in ["crates", "tests"]
        .map(|it| sources(&workspace().join(it)))
        .concat()
    {
        let text = std::fs::read_to_string(&file).expect("a source is text");
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            let of = line.strip_prefix("async fn ").or(line.strip_prefix("fn "));
            match of.and_then(|of| of.split(['(', '<']).next()) {
                Some(name) if std::mem::take(&mut is_test) => drop(found.insert(name.to_owned())),
                Some(_) => {}
                None => is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test"),
            }
        }
    }
    found
}

/// A promise is worth the test that shows it.
#[test]
fn every_promise_names_a_test_that_is_there() {
    let read = |name| std::fs::read_to_string(workspace().join(name)).unwrap();
    let tests = tests();
    let architecture = read("ARCHITECTURE.md");
    let (_, invariants) = architecture.split_once("## Invariants").unwrap();
    let (invariants, _) = invariants.split_once("\n## ").unwrap();
    for invariant in invariants.split("\n**").skip(1) {
        let named = named_tests(invariant);
        assert!(!named.is_empty(), "no test: {invariant}");
        for name in named {
            assert!(tests.contains(name), "ARCHITECTURE.md: no test {name}");
        }
    }
    let guarantees = read("docs/guarantees.md");
    let lines: Vec<&str> = guarantees.lines().collect();
    let mut rows = 0;
    for (line, next) in lines.iter().zip(&lines[1..]) {
        let is_row = line.starts_with('|') && !line.starts_with("| ---");
        if !is_row || next.starts_with("| ---") {
            continue;
        }
        let shown_by = line
            .trim_end_matches([' ', '|'])
            .rsplit('|')
            .next()
            .unwrap();
        let named = named_tests(shown_by);
        // What is not ours is said by its maker.
        let linked = shown_by.contains("](https://");
        assert!(linked || !named.is_empty(), "neither test nor page: {line}");
        for name in named {
            assert!(tests.contains(name), "docs/guarantees.md: no test {name}");
        }
        rows += 1;
    }
    assert!(rows > 20, "{rows} rows were found");
}

/// Every Rust and Python file below a directory, what is installed or built left out.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != ".cache" && name != "target" {
            found.extend(sources(&path));
        } else if path
            .extension()
            .is_some_and(|ending| ending == "rs" || ending == "py")
        {
            found.push(path);
        }
    }
    found
}
