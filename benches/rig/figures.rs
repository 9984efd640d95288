//! What a bench prints: lines for people, and one JSON object as the last line.

use std::time::Duration;

use serde_json::{Value, json};

/// One line for people.
#[expect(clippy::print_stdout, reason = "a bench prints its figures")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The last line: the figures for machines, `name` first.
pub(crate) fn last_line(name: &str, figures: &Value) {
    say(&object(name, figures));
}

/// One JSON object with its name in front.
pub(crate) fn object(name: &str, figures: &Value) -> String {
    let rest = figures.to_string();
    let rest = rest.trim_start_matches('{');
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!("{{\"name\":{}{comma}{rest}", json!(name))
}

/// A number with as many digits as mean something.
pub(crate) fn round(number: f64) -> f64 {
    let scale = if number.abs() >= 100.0 { 10.0 } else { 1000.0 };
    (number * scale).round() / scale
}

/// How many per second.
pub(crate) fn rate(count: usize, time: Duration) -> f64 {
    round(count as f64 / time.as_secs_f64().max(f64::EPSILON))
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    round(time.as_secs_f64() * 1000.0)
}

/// Samples, to be asked for percentiles.
#[derive(Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The sample that a share of all do not pass; 0 without samples.
    pub(crate) fn percentile(&mut self, share: f64) -> f64 {
        self.0.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length is an index"
        )]
        let at = ((self.0.len() as f64 * share).ceil() as usize).saturating_sub(1);
        self.0.get(at).copied().map_or(0.0, round)
    }
}

/// The slope of a line through points, by least squares.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (mx, my) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let below: f64 = points.iter().map(|(x, _)| (x - mx).powi(2)).sum();
    above / below
}
