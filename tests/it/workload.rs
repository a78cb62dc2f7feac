//! A container that runs the binary, as the deployment files describe it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vodbridge_tests::installed::{tool, vodbridge};

/// How a deployment runs the binary.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Where on this machine each directory of the container comes from.
    pub(crate) mounts: BTreeMap<String, PathBuf>,
}

impl Workload {
    /// Runs `vodbridge check` on the configuration that the workload uses, and returns how many
    /// files that were.
    pub(crate) fn check(&self) -> Result<usize> {
        let mut command = Command::new(vodbridge()?);
        command.arg("check").env_clear().envs(&self.environment);
        let configurations = self.configurations()?;
        for path in &configurations {
            command.arg("--config").arg(path);
        }
        run(&mut command).with_context(|| format!("the configuration of {}", self.name))?;
        Ok(configurations.len())
    }

    /// How long the bridge may take to drain, by the last of its files that says so.
    pub(crate) fn drain_timeout(&self) -> Result<u64> {
        let mut timeout = None;
        for path in self.configurations()? {
            let file = objects(&std::fs::read_to_string(path)?)?;
            let written = file
                .first()
                .and_then(|file| file["drain"]["timeout"].as_str());
            timeout = written.map(seconds).or(timeout);
        }
        timeout.with_context(|| format!("no drain.timeout for {}", self.name))?
    }

    /// The arguments of `--config`, as paths of this machine.
    fn configurations(&self) -> Result<Vec<PathBuf>> {
        let mut arguments = self.arguments.iter();
        let mut paths = Vec::new();
        while let Some(argument) = arguments.next() {
            let path = match argument.strip_prefix("--config") {
                Some("") => arguments.next().context("--config without a path")?,
                Some(rest) => rest.trim_start_matches('='),
                None => continue,
            };
            let path = Path::new(path);
            let inside = path.parent().and_then(Path::to_str).unwrap_or_default();
            let file = path.file_name().unwrap_or_default();
            let mount = self.mounts.get(inside);
            paths.push(
                mount
                    .with_context(|| format!("nothing is mounted for {path:?}"))?
                    .join(file),
            );
        }
        Ok(paths)
    }
}

/// A value for a secret: a URL where the variable is to hold one.
pub(crate) fn secret(variable: &str) -> String {
    if variable.ends_with("_URL") {
        "amqp://user:password@localhost:5672/%2f".to_owned()
    } else {
        "secret".to_owned()
    }
}

/// A time of whole seconds, `45s`.
pub(crate) fn seconds(text: &str) -> Result<u64> {
    let number = text
        .strip_suffix('s')
        .with_context(|| format!("{text:?} is no time in seconds"))?;
    Ok(number.parse()?)
}

/// The output of a command.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{out}{err}",
        output.status
    );
    Ok(out)
}

/// The objects of a YAML stream.
pub(crate) fn objects(yaml: &str) -> Result<Vec<Value>> {
    let program = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))";
    let mut python = Command::new(tool("python")?)
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    python
        .stdin
        .take()
        .context("no pipe")?
        .write_all(yaml.as_bytes())?;
    let output = python.wait_with_output()?;
    ensure!(output.status.success(), "no YAML: {yaml}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The elements of a list; of anything else none.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A string; of anything else an empty one.
pub(crate) fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
