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
            for feature in ["net", "fs", "process", "io-std", "signal", "full"] {
                let io = dependency.name == "tokio" && dependency.features.contains(feature);
                assert!(!io, "{} asks tokio for {feature}", member.name);
            }
        }
    }
    for directory in ["crates/core/src", "crates/vod/src"] {
        for file in sources(&workspace().join(directory)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for word in ["std::fs", "std::net", "std::process", "std::env::var"] {
                assert!(!text.contains(word), "{} uses {word}", file.display());
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
