//! A small disk for the spool.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::scratch;

/// What the spool may take is much less: it is full because of others.
const SIZE: &str = "size=160m";

/// A file system in memory. Dropping it unmounts it.
pub(super) struct Disk(TempDir);

impl Disk {
    /// Mounts it, as root or by sudo.
    pub(super) fn mount() -> Result<Self> {
        let disk = Self(scratch::directory("disk")?);
        let arguments = ["-t", "tmpfs", "-o", SIZE, "vodbridge-tests"];
        as_root("mount", &arguments, disk.path())?;
        if !rustix::process::geteuid().is_root() {
            as_root("chmod", &["1777"], disk.path())?;
        }
        Ok(disk)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    fn filling(&self) -> PathBuf {
        self.path().join("filling")
    }

    /// Takes all space that is left.
    pub(super) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filling())?;
        for piece in [1 << 20, 4096] {
            let zeros = vec![0; piece];
            let full = loop {
                if let Err(error) = file.write_all(&zeros) {
                    break error;
                }
            };
            let is_full = full.kind() == ErrorKind::StorageFull;
            ensure!(is_full, "the disk cannot be filled: {full}");
        }
        Ok(())
    }

    /// Gives it back.
    pub(super) fn clear(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filling())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left mounted goes with the machine.
        as_root("umount", &["--lazy"], self.path()).ok();
    }
}

fn as_root(program: &str, arguments: &[&str], path: &Path) -> Result<()> {
    let mut command = Command::new("sudo");
    if rustix::process::geteuid().is_root() {
        command = Command::new(program);
    } else {
        command.args(["-n", program]);
    }
    let output = command.args(arguments).arg(path).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let what = "the spool's disk has to be mounted, by root or by sudo without a password";
    ensure!(output.status.success(), "{what}: {program}: {errors}");
    Ok(())
}
