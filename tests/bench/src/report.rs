//! Tables and JSON.

use anyhow::Result;
use clap::ValueEnum;
use serde_json::json;

use crate::measure::{Cell, Latency, Run};
use crate::stage::Scenario;

/// The best setting of the bare loop and its runs.
type Best<'a> = Option<(&'a str, &'a [Run])>;

pub(crate) fn title(scenario: Scenario) -> String {
    let name = scenario.to_possible_value();
    let name = name.map(|name| name.get_name().to_owned());
    let (size, latencies, other) = match scenario.pulled_to() {
        Some(_) => ("pullers", &[][..], "cloud"),
        None => (
            "connections",
            &["p50 ms", "p99 ms", "p99.9 ms"][..],
            "broker",
        ),
    };
    let mut columns = vec![size, "events/s", "bare loop", "bridge/bare (by round)"];
    columns.extend(latencies.iter().flat_map(|latency| [*latency, "bare"]));
    let other = format!("{other} CPU µs");
    columns.extend([
        "CPU µs",
        "bare",
        &other,
        "bare",
        "peak MiB",
        "bare's setting",
    ]);
    format!(
        "{}\n\n| {} |\n|{}---|",
        name.unwrap_or_default(),
        columns.join(" | "),
        "--:|".repeat(columns.len() - 1)
    )
}

/// The medians of a cell; of the ratio also the least and the most.
pub(crate) fn row(size: usize, cell: &Cell) -> String {
    let best = best(cell);
    let both = |value: &dyn Fn(&Run) -> f64, digits: usize| {
        let bare = best.map(|(_, runs)| format!("{:.digits$}", median(runs, value)));
        format!(
            "{:.digits$} | {}",
            median(&cell.bridge, value),
            bare.unwrap_or_else(|| "–".into())
        )
    };
    let mut ratios = ratios(cell, best);
    ratios.sort_unstable_by(f64::total_cmp);
    let ratio = match ratios.as_slice() {
        [] => "–".to_owned(),
        all => {
            let middle = middle(all) * 100.0;
            let (least, most) = (all[0] * 100.0, all[all.len() - 1] * 100.0);
            format!("**{middle:.0} %** ({least:.0}–{most:.0})")
        }
    };
    let mut columns = vec![size.to_string(), both(&|run| run.per_second, 0), ratio];
    if cell.bridge.iter().all(|run| run.latency.is_some()) {
        let latency = |value: fn(&Latency) -> f64| {
            move |run: &Run| run.latency.as_ref().map_or(f64::NAN, value)
        };
        columns.push(both(&latency(|latency| latency.p50_ms), 2));
        columns.push(both(&latency(|latency| latency.p99_ms), 1));
        columns.push(both(&latency(|latency| latency.p999_ms), 1));
    }
    let peak = median(&cell.bridge, |run| run.peak_rss_bytes as f64) / 1024.0 / 1024.0;
    columns.extend([
        both(&|run| run.cpu_us, 1),
        both(&|run| run.broker_cpu_us.unwrap_or_default(), 1),
        format!("{peak:.0}"),
        best.map_or("–", |(name, _)| name).to_owned(),
    ]);
    format!("| {} |", columns.join(" | "))
}

pub(crate) fn json(scenario: Scenario, size: usize, cell: &Cell) -> Result<String> {
    let best = best(cell);
    let line = json!({
        "sink": scenario,
        "size": size,
        "best_bare": best.map(|(name, _)| name),
        "ratios": ratios(cell, best),
        "bridge": cell.bridge,
        "bare": cell.bare.iter().map(|(name, runs)| json!({ "setting": name, "runs": runs })).collect::<Vec<_>>(),
    });
    Ok(serde_json::to_string(&line)?)
}

fn best(cell: &Cell) -> Best<'_> {
    let rate = |runs: &[Run]| median(runs, |run| run.per_second);
    cell.bare
        .iter()
        .map(|(name, runs)| (name.as_str(), runs.as_slice()))
        .max_by(|(_, one), (_, other)| rate(one).total_cmp(&rate(other)))
}

/// The bridge's rate as a share of the bare loop's, in each round.
fn ratios(cell: &Cell, best: Best<'_>) -> Vec<f64> {
    let pairs = best
        .map_or(&[][..], |(_, runs)| runs)
        .iter()
        .zip(&cell.bridge);
    pairs
        .map(|(bare, bridge)| bridge.per_second / bare.per_second)
        .collect()
}

fn median(runs: &[Run], value: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    middle(&values)
}

/// The middle of sorted values; of an even number the mean of the two in the middle.
fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 0 => f64::midpoint(sorted[half - 1], sorted[half]),
        _ => sorted[half],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(middle(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(middle(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert!(middle(&[]).is_nan());
    }
}
