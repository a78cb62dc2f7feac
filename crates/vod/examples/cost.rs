//! What one notification costs: `cargo run --release -p vodbridge-vod --example cost -- FILE…`
#![allow(clippy::print_stdout, reason = "it is a report")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use vodbridge_vod::{Catalogue, Normalizer, Notification, Via};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let normalizer = Normalizer::new(
        1500012345,
        "bench",
        Via::Webhook,
        Arc::new(Catalogue::default()),
    );
    println!(
        "{:>7} {:>9} {:>10} {:>9}  file",
        "bytes", "parse", "normalize", "total"
    );
    for file in std::env::args().skip(1) {
        let body = std::fs::read(&file)?;
        let now = SystemTime::now();
        let parse = time(|| {
            black_box(Notification::parse(black_box(&body)).is_ok());
        });
        let notification = Notification::parse(&body)?;
        let normalize = time(|| {
            black_box(normalizer.normalize(black_box(&notification), now).is_ok());
        });
        let total = time(|| {
            let notification = Notification::parse(black_box(&body)).expect("parsed before");
            let normalized = normalizer
                .normalize(&notification, now)
                .expect("it did before");
            black_box(normalized.into_envelope(Some("1")));
        });
        println!(
            "{:>7} {parse:>9.2?} {normalize:>10.2?} {total:>9.2?}  {file}",
            body.len()
        );
    }
    Ok(())
}

/// The best of 500 averages, so that what else the machine does counts little.
fn time(mut work: impl FnMut()) -> Duration {
    const ROUNDS: u32 = 100;
    let rounds = (0..500).map(|_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| work());
        start.elapsed() / ROUNDS
    });
    rounds.min().unwrap_or_default()
}
