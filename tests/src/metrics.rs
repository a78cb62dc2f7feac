//! Metrics as Prometheus scrapes them.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use anyhow::{Context, Result};

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Vec<Sample>);

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads the text form.
    ///
    /// # Errors
    /// Where a line is neither comment nor sample.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).with_context(|| format!("no sample: {line}")));
        samples.collect::<Result<_>>().map(Self)
    }

    /// The sum over the samples of this name that have all these labels; 0 where there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// Whether there is a sample of this name with all these labels.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.matching(name, labels).next().is_some()
    }

    /// The names of all samples, for messages.
    pub fn names(&self) -> std::collections::BTreeSet<&str> {
        self.0.iter().map(|sample| sample.name.as_str()).collect()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        let has = |sample: &Sample, (key, value): &(&str, &str)| {
            sample.labels.iter().any(|(k, v)| k == key && v == value)
        };
        self.0
            .iter()
            .filter(move |s| s.name == name && labels.iter().all(|label| has(s, label)))
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (place, value) = match line.find('}') {
        // A label's value may hold a space, but this project's hold no brace.
        Some(end) => line.split_at(end + 1),
        None => line.split_once(' ')?,
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    let (name, labels) = place.split_once('{').unwrap_or((place, "}"));
    let labels = labels
        .strip_suffix('}')?
        .split("\",")
        .filter(|label| !label.is_empty());
    let label = |text: &str| {
        let (key, value) = text.split_once("=\"")?;
        Some((key.to_owned(), value.trim_end_matches('"').to_owned()))
    };
    Some(Sample {
        name: name.to_owned(),
        labels: labels.map(label).collect::<Option<_>>()?,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_matches() {
        let metrics = Metrics::parse(
            "# HELP a what\n# TYPE a counter\n\
             a_total{sink=\"one\",type=\"x\"} 2\na_total{sink=\"two\",type=\"x, y\"} 3.5\n\
             up 1\nlatency_bucket{le=\"+Inf\"} 7 1700000000\n# EOF\n",
        )
        .unwrap();
        assert_eq!(metrics.sum("a_total", &[]), 5.5);
        assert_eq!(
            metrics.sum("a_total", &[("sink", "two"), ("type", "x, y")]),
            3.5
        );
        assert_eq!(metrics.sum("a_total", &[("sink", "three")]), 0.0);
        assert_eq!(metrics.sum("up", &[]), 1.0);
        assert_eq!(metrics.sum("latency_bucket", &[("le", "+Inf")]), 7.0);
        assert!(!metrics.has("down", &[]));
    }

    #[test]
    fn refuses_what_is_no_sample() {
        assert!(Metrics::parse("a_total").is_err());
        assert!(Metrics::parse("a_total{sink=one} 1").is_err());
    }
}
