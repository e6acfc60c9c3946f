//! What `headroom benchmark show` prints: each result beside its baseline, as a table or as JSON.

use crate::benchmark::Benchmark;
use crate::benchmark::standing::{Origin, Standing};
use serde::Serialize;

/// All that is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether any result regressed.
    pub(super) regressed: bool,
    benchmarks: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Shown {
    benchmark: String,
    /// How many are kept.
    runs: usize,
    last_run_timestamp_seconds: f64,
    tolerance_ratio: f64,
    measures: Vec<Standing>,
    /// How many more runs each measure without a baseline wants; not in the JSON, where the baseline is null.
    #[serde(skip)]
    wanted: Vec<usize>,
}

/// The benchmarks with their names, held against `tolerance`, or against their own.
pub(super) fn report(chosen: &[(&str, &Benchmark)], tolerance: Option<f64>) -> Report {
    let benchmarks: Vec<Shown> = chosen.iter().map(|(name, one)| shown(name, one, tolerance)).collect();
    let regressed = benchmarks.iter().flat_map(|shown| &shown.measures).any(|measure| measure.regressed);
    Report { regressed, benchmarks }
}

fn shown(name: &str, benchmark: &Benchmark, tolerance: Option<f64>) -> Shown {
    let tolerance_ratio = benchmark.tolerance(tolerance);
    let measures = benchmark.standings(tolerance_ratio);
    Shown {
        benchmark: name.to_owned(),
        runs: benchmark.runs.len(),
        last_run_timestamp_seconds: benchmark.runs.last().map_or(0.0, |run| run.at_millis as f64 / 1000.0),
        tolerance_ratio,
        wanted: measures.iter().map(|standing| benchmark.wanted(&standing.measure)).collect(),
        measures,
    }
}

impl Report {
    /// As a table.
    pub(super) fn text(&self) -> String {
        let head = ["BENCHMARK", "MEASURE", "BETTER", "LAST", "BASELINE", "CHANGE", ""].map(String::from);
        let rows: Vec<[String; 7]> =
            [head].into_iter().chain(self.benchmarks.iter().flat_map(Shown::rows)).collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let line = |row: &[String; 7]| {
            let cells = row.iter().enumerate();
            let cells = cells.map(|(i, cell)| format!("{cell:w$}", w = width(i).unwrap_or_default()));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        rows.iter().map(line).collect()
    }
}

impl Shown {
    fn rows(&self) -> impl Iterator<Item = [String; 7]> {
        self.measures.iter().zip(&self.wanted).map(|(standing, wanted)| self.row(standing, *wanted))
    }

    fn row(&self, standing: &Standing, wanted: usize) -> [String; 7] {
        let baseline = match standing.baseline {
            Some(baseline) if baseline.from == Origin::Accepted => {
                format!("{} (accepted)", short(baseline.value))
            }
            Some(baseline) => format!("{} (median)", short(baseline.value)),
            None => format!("after {wanted} more"),
        };
        let marked = if standing.regressed {
            format!("REGRESSION: worse by more than {}", percent(self.tolerance_ratio))
        } else {
            String::new()
        };
        let last = short(standing.last);
        let (name, measure) = (self.benchmark.clone(), standing.measure.clone());
        [name, measure, standing.better.as_str().to_owned(), last, baseline, change(standing), marked]
    }
}

/// By how much the result differs from the baseline, upwards or downwards.
fn change(standing: &Standing) -> String {
    let Some(baseline) = standing.baseline else { return "-".into() };
    if baseline.value > 0.0 {
        format!("{:+.1}%", (standing.last / baseline.value - 1.0) * 100.0)
    } else {
        format!("+{}", short(standing.last))
    }
}

fn percent(ratio: f64) -> String {
    short(ratio * 100.0) + "%"
}

/// A number with four digits or so, without zeros at its end.
fn short(value: f64) -> String {
    let text = match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.3}"),
        v if v >= 0.001 => format!("{v:.5}"),
        0.0 => "0".into(),
        v => format!("{v:.3e}"),
    };
    if text.contains('.') && !text.contains('e') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::better::Better;
    use crate::benchmark::{Measure, Run};

    #[test]
    fn numbers_are_short() {
        for (value, want) in [
            (0.0, "0"),
            (20.0, "20"),
            (0.25, "0.25"),
            (0.012_345_6, "0.01235"),
            (1.5e-7, "1.500e-7"),
            (1_234_567.8, "1234568"),
            (1000.0, "1000"),
        ] {
            assert_eq!(short(value), want);
        }
    }

    #[test]
    fn a_regression_is_marked_and_what_has_no_baseline_says_so() {
        let run = |at_millis, list: &[(&str, f64, Better)]| Run {
            at_millis,
            measures: list
                .iter()
                .map(|(n, v, b)| ((*n).to_owned(), Measure { value: *v, better: *b }))
                .collect(),
        };
        let first = run(
            0,
            &[
                ("errors", 0.0, Better::Lower),
                ("p95_seconds", 0.2, Better::Lower),
                ("rps", 100.0, Better::Higher),
            ],
        );
        let last = run(
            1000,
            &[
                ("errors", 2.0, Better::Lower),
                ("new_seconds", 1.0, Better::Lower),
                ("p95_seconds", 0.23, Better::Lower),
                ("rps", 70.0, Better::Higher),
            ],
        );
        let shop =
            Benchmark { accepted: Some(first.clone()), runs: vec![first, last], ..Benchmark::default() };
        let report = report(&[("shop", &shop)], None);
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(report.regressed && lines.len() == 5, "{text}");
        assert!(lines[1].contains("+2") && lines[1].contains("REGRESSION"), "{text}");
        assert!(lines[2].contains("after 3 more") && lines[2].ends_with('-'), "{text}");
        assert!(lines[3].contains("0.2 (accepted)") && lines[3].ends_with("+15.0%"), "{text}");
        assert!(lines[4].contains("-30.0%  REGRESSION: worse by more than 20%"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        let measures = &json["benchmarks"][0]["measures"];
        assert_eq!(
            (&json["regressed"], &measures[3]["baseline"]["from"]),
            (&true.into(), &"accepted".into())
        );
        assert!(measures[1]["baseline"].is_null() && measures[0]["worse_ratio"].is_null());
        assert_eq!(json["benchmarks"][0]["last_run_timestamp_seconds"], 1.0);
    }
}
