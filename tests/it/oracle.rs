//! Nothing that the cloud counts as received is missing, whatever fails.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_tests::installed::workspace;
use vodbridge_tests::oracle::{self, Kind, Plan, Report, numbered, schedule};

#[allow(clippy::print_stdout, reason = "the table is what it is for")]
async fn run(plan: Plan) -> Result<Report> {
    let report = oracle::run(&plan, &|line| println!("{line}")).await?;
    println!("{report}");
    Ok(report)
}

/// Every fault once, under events of every type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_whatever_fails() -> Result<()> {
    let report = run(Plan {
        binary: None,
        samples: numbered(usize::MAX),
        events: 10_000,
        rate: 800,
        faults: schedule(1, Kind::all().len(), &Kind::all()),
        at_most: Duration::from_secs(600),
        seed: 1,
    });
    let report = report.await?;
    report.holds(2.0)?;
    let befallen = report.total().faults as usize;
    ensure!(befallen == Kind::all().len(), "only {befallen} faults");
    Ok(())
}

/// An oracle that finds nothing is worth nothing, unless it would have found it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_confirms_before_the_ack_is_found_out() -> Result<()> {
    let build = Command::new(workspace().join("tests/confirm-before-ack")).output()?;
    let errors = String::from_utf8_lossy(&build.stderr);
    ensure!(build.status.success(), "{errors}");
    let binary = String::from_utf8(build.stdout)?.trim_end().into();
    let kinds = [Kind::BridgeKilled, Kind::Killed(1), Kind::Frozen(0)];
    let report = run(Plan {
        binary: Some(binary),
        samples: numbered(1_000),
        events: 5_000,
        rate: 800,
        faults: schedule(1, kinds.len(), &kinds),
        at_most: Duration::from_secs(60),
        seed: 1,
    });
    let report = report.await?;
    let found_out = report.holds(2.0).err().context("nothing was found")?;
    ensure!(report.total().missing > 0, "{found_out:#}");
    ensure!(!report.missing.is_empty() && report.unknown.is_empty());
    Ok(())
}
