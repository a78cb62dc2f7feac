//! Tells the binary its commit.

use std::process::Command;

fn main() {
    // HEAD names a branch; its log grows with each commit.
    println!("cargo:rerun-if-changed=../../.git/logs/HEAD");
    println!("cargo:rerun-if-env-changed=VODBRIDGE_COMMIT");
    let commit = std::env::var("VODBRIDGE_COMMIT")
        .ok()
        .or_else(from_git)
        .unwrap_or_else(|| "unknown".into());
    println!("cargo:rustc-env=VODBRIDGE_COMMIT={commit}");
}

fn from_git() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=9", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
