//! What a benchmark is: named runs of measures, how many are kept, and what names and numbers are taken.

pub mod better;
pub mod formats;
pub mod page;
pub mod standing;

use better::Better;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most benchmarks that are kept: each is a value of a label.
const BENCHMARKS_MAX: usize = 100;
/// The most measures of a run: each is a value of a label, too.
const MEASURES_MAX: usize = 40;
/// Runs that are kept of a benchmark; the oldest goes.
const RUNS_MAX: usize = 30;
/// The longest name of a benchmark or a measure, in bytes: k6 has 128, and a statistic and a unit come behind.
const NAME_BYTES_MAX: usize = 144;
/// The form of the file.
const VERSION: u32 = 1;
/// The tolerance of a benchmark that was given none, as `headroom:benchmark_worse_warning:ratio` has it.
pub const TOLERANCE: f64 = 0.2;

/// What one run came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// When it was recorded, in milliseconds since the epoch.
    pub at_millis: i64,
    /// Its results by name.
    pub measures: BTreeMap<String, Measure>,
}

/// A result.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// From 0 on, in the unit that the name ends in.
    pub value: f64,
    /// Which way is better.
    pub better: Better,
}

/// A benchmark with its runs, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// The last runs.
    pub runs: Vec<Run>,
    /// The run that somebody accepted; it stays when it is none of the last any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Run>,
    /// By how much it may be worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_ratio: Option<f64>,
}

/// All benchmarks of a machine, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    version: u32,
    benchmarks: BTreeMap<String, Benchmark>,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, benchmarks: BTreeMap::new() }
    }
}

impl Book {
    /// The book in a text that [`Self::text`] made; everything in it is held against the limits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let book: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if book.version != VERSION {
            return Err(format!("its version is {}, and this program knows {VERSION}", book.version));
        }
        if book.benchmarks.len() > BENCHMARKS_MAX {
            return Err(format!("more than {BENCHMARKS_MAX} benchmarks"));
        }
        for (name, benchmark) in &book.benchmarks {
            check_name("benchmark", name)?;
            benchmark.check().map_err(|why| format!("{name}: {why}"))?;
        }
        Ok(book)
    }

    /// The book as it is kept.
    pub fn text(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n").map_err(|e| e.to_string())
    }

    /// All benchmarks with their names.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Benchmark)> {
        self.benchmarks.iter().map(|(name, benchmark)| (name.as_str(), benchmark))
    }

    /// The benchmark of this name.
    pub fn get(&self, name: &str) -> Option<&Benchmark> {
        self.benchmarks.get(name)
    }

    /// Adds a run; a tolerance that is given stays for those that follow.
    pub fn record(&mut self, name: &str, run: Run, tolerance_ratio: Option<f64>) -> Result<(), String> {
        check_name("benchmark", name)?;
        run.check()?;
        if !self.benchmarks.contains_key(name) && self.benchmarks.len() >= BENCHMARKS_MAX {
            return Err(format!(
                "there are {BENCHMARKS_MAX} benchmarks, which is the most; `headroom benchmark forget NAME` makes room"
            ));
        }
        let benchmark = self.benchmarks.entry(name.to_owned()).or_default();
        benchmark.runs.push(run);
        let over = benchmark.runs.len().saturating_sub(RUNS_MAX);
        benchmark.runs.drain(..over);
        benchmark.tolerance_ratio = tolerance_ratio.or(benchmark.tolerance_ratio);
        Ok(())
    }

    /// Makes the last run of a benchmark its baseline; false if there is no such benchmark.
    pub fn accept(&mut self, name: &str) -> bool {
        let Some(benchmark) = self.benchmarks.get_mut(name) else { return false };
        benchmark.accepted = benchmark.runs.last().cloned();
        benchmark.accepted.is_some()
    }

    /// Removes a benchmark with its runs; false if there is no such benchmark.
    pub fn forget(&mut self, name: &str) -> bool {
        self.benchmarks.remove(name).is_some()
    }
}

impl Benchmark {
    fn check(&self) -> Result<(), String> {
        if self.runs.is_empty() || self.runs.len() > RUNS_MAX {
            return Err(format!("{} runs; from 1 to {RUNS_MAX} are kept", self.runs.len()));
        }
        self.runs.iter().chain(&self.accepted).try_for_each(Run::check)?;
        self.tolerance_ratio.map_or(Ok(()), check_tolerance)
    }
}

impl Run {
    fn check(&self) -> Result<(), String> {
        if self.measures.is_empty() {
            return Err("a run without a measure".into());
        }
        if self.measures.len() > MEASURES_MAX {
            let many = self.measures.len();
            return Err(format!("{many} measures; a run may have {MEASURES_MAX} (--only NAME chooses some)"));
        }
        self.measures.iter().try_for_each(|(name, measure)| {
            check_name("measure", name)?;
            check_value(name, measure.value)
        })
    }
}

/// Whether a name can be the value of a label: what is no word stands for a slip, or for text that has no bound.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    let why = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > NAME_BYTES_MAX {
        format!("it has {} bytes, and {NAME_BYTES_MAX} is the most", name.len())
    } else if let Some(bad) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"_.-".contains(*c)) {
        format!("{bad:?} is none of a-z, A-Z, 0-9, _, . and -")
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    Err(format!("the {what} {shown:?} cannot be taken: {why}"))
}

/// Whether a number can be a measure's value: a share of something negative, or of nothing at all, has no meaning.
pub fn check_value(name: &str, value: f64) -> Result<(), String> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(format!("{name}: {value} is no measure: a number from 0 on is"))
}

/// Whether a ratio can be a tolerance.
pub fn check_tolerance(ratio: f64) -> Result<(), String> {
    if ratio > 0.0 && ratio <= 1.0 {
        return Ok(());
    }
    Err(format!("a tolerance of {ratio} cannot be: write 20% or 0.2, above 0 and at most 100%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(at_millis: i64, value: f64) -> Run {
        let measure = Measure { value, better: Better::Lower };
        Run { at_millis, measures: BTreeMap::from([("p95_seconds".to_owned(), measure)]) }
    }

    #[test]
    fn the_last_runs_are_kept_and_the_accepted_one_stays() {
        let mut book = Book::default();
        assert!(!book.accept("a"), "there is nothing to accept");
        for at in 0..100 {
            book.record("a", run(at, 1.0), (at == 3).then_some(0.5)).unwrap();
            if at == 0 {
                assert!(book.accept("a"));
            }
        }
        let a = book.get("a").unwrap();
        assert_eq!((a.runs.len(), a.runs[0].at_millis, a.runs[RUNS_MAX - 1].at_millis), (RUNS_MAX, 70, 99));
        assert_eq!((a.accepted.as_ref().unwrap().at_millis, a.tolerance_ratio), (0, Some(0.5)));
        assert_eq!(Book::parse(&book.text().unwrap()).unwrap(), book);
        assert!(book.forget("a") && !book.forget("a"));
    }

    #[test]
    fn what_is_too_much_or_no_name_is_refused_with_its_cause() {
        let mut book = Book::default();
        for n in 0..BENCHMARKS_MAX {
            book.record(&format!("b{n}"), run(0, 1.0), None).unwrap();
        }
        assert!(book.record("one-more", run(0, 1.0), None).unwrap_err().contains("benchmark forget"));
        book.record("b0", run(1, 1.0), None).unwrap();
        for (name, why) in [("", "empty"), ("a b", "' '"), ("ü", "'ü'"), (&"x".repeat(145), "145 bytes")] {
            let said = book.record(name, run(0, 1.0), None).unwrap_err();
            assert!(said.contains(why) && said.contains("benchmark"), "{said}");
        }
        let many = Run {
            at_millis: 0,
            measures: (0..=MEASURES_MAX)
                .map(|n| (format!("m{n}"), Measure { value: 1.0, better: Better::Lower }))
                .collect(),
        };
        assert!(book.record("b1", many, None).unwrap_err().contains("--only"));
        for bad in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(book.record("b1", run(0, bad), None).unwrap_err().contains("p95_seconds"), "{bad}");
        }
        assert_eq!(book.get("b1").unwrap().runs.len(), 1, "what was refused left nothing");
    }

    #[test]
    fn a_file_that_somebody_changed_is_held_against_the_limits() {
        let good = |more: &str, runs: &str| {
            format!("{{\"version\": 1, \"benchmarks\": {{\"a\": {{\"runs\": [{runs}]{more}}}}}}}")
        };
        let one =
            "{\"at_millis\": 1, \"measures\": {\"x_seconds\": {\"value\": 1.5, \"better\": \"lower\"}}}";
        assert!(Book::parse(&good("", one)).is_ok());
        for (text, why) in [
            (good("", one).replace("1.5", "-1.5"), "x_seconds"),
            (good("", one).replace("lower", "low"), "unknown variant"),
            (good("", one).replace("\"version\": 1", "\"version\": 2"), "version"),
            (good("", one).replace("x_seconds", "x seconds"), "measure"),
            (good("", ""), "0 runs"),
            (good("", &[one; 31].join(",")), "31 runs"),
            (good(", \"tolerance_ratio\": 20", one), "tolerance"),
            (good(", \"other\": 1", one), "unknown field"),
            ("{".into(), "EOF"),
        ] {
            let said = Book::parse(&text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
