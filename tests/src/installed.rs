//! Where `tests/run` puts what the tests need.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The top of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new(".."))
        .to_owned()
}

/// A program of the Python environment: `python`, `nats-server`, `hadolint`, ….
///
/// # Errors
/// Where it is not installed; the message says how to install it.
pub fn tool(name: &str) -> Result<PathBuf> {
    existing(cache().join("venv/bin").join(name))
}

/// The class path of Apache Kafka.
///
/// # Errors
/// Where the jars are not there; the message says how to get them.
pub fn kafka_class_path() -> Result<OsString> {
    Ok(existing(cache().join("kafka"))?.join("*").into_os_string())
}

/// The version of Apache Kafka.
///
/// # Errors
/// Where the jars are not there; the message says how to get them.
pub fn kafka_version() -> Result<String> {
    for jar in std::fs::read_dir(existing(cache().join("kafka"))?)? {
        let jar = jar?.file_name().to_string_lossy().into_owned();
        let version = jar.strip_prefix("kafka-clients-");
        if let Some(version) = version.and_then(|rest| rest.strip_suffix(".jar")) {
            return Ok(version.to_owned());
        }
    }
    bail!("there is no jar of Kafka's clients")
}

/// The `vodbridge` binary under test: `VODBRIDGE_TEST_BIN`, else the one built beside the tests.
///
/// # Errors
/// Where there is none.
pub fn vodbridge() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("VODBRIDGE_TEST_BIN") {
        return existing(path.into());
    }
    // The binary is in <target>/<profile> with other programs; tests are in <target>/<profile>/deps.
    let own = std::env::current_exe()?;
    let mut directories = own.ancestors().skip(1);
    let profile = directories
        .find(|directory| !directory.ends_with("deps"))
        .context("this program has no target directory")?;
    existing(profile.join("vodbridge"))
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache")
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.exists() {
        bail!(
            "{} is missing: run `tests/run`, which installs and builds what the tests need",
            path.display()
        );
    }
    Ok(path)
}
