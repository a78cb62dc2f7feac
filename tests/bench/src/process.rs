//! What the kernel knows of a process, and the processes of a measurement.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_tests::process::bound_to_us;

/// Processor time is counted in ticks: `getconf CLK_TCK`, 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process so far, all its threads together.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything: fields are counted from its end.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(TICK * ticks)
}

/// Forgets the largest size of a process, so that [`peak_rss`] starts anew.
pub(crate) fn reset_peak_rss(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// The largest resident size of a process, in bytes.
pub(crate) fn peak_rss(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().next())
        .context("no VmHWM")?
        .parse()?;
    Ok(kib * 1024)
}

/// This program again, as one of its parts.
pub(crate) fn part(arguments: &[&str]) -> Result<Command> {
    let mut command = bound_to_us(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// Builds the bridge as this program was built, unless the environment names one.
pub(crate) async fn build_bridge() -> Result<()> {
    if std::env::var_os("VODBRIDGE_TEST_BIN").is_some() {
        return Ok(());
    }
    let mut build = tokio::process::Command::new("cargo");
    build.args(["build", "--release", "--package", "vodbridge"]);
    build.current_dir(vodbridge_tests::installed::workspace());
    ensure!(build.status().await?.success(), "the bridge does not build");
    Ok(())
}

/// The machine in a line: processors, memory, kernel.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    format!(
        "{} x {}, {} of memory, Linux {}, load average before the run {}",
        cpus.matches("model name").count(),
        field(&cpus, "model name"),
        field(&memory, "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split(' ').next().unwrap_or_default(),
    )
}
