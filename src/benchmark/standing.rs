//! Where the last run stands beside the baseline: what the baseline is, and when a result is a regression.

use super::better::Better;
use super::{Benchmark, Measure, TOLERANCE};
use serde::Serialize;

/// Earlier runs that have a measure, without which there is no median to hold the last one against.
pub const EARLIER_MIN: usize = 3;

/// Where a baseline comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A run that somebody accepted.
    Accepted,
    /// The median of the earlier runs.
    Median,
}

/// What a result is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Baseline {
    /// The number.
    pub value: f64,
    /// Where it comes from.
    pub from: Origin,
}

/// One measure of the last run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Its name.
    pub measure: String,
    /// Which way is better.
    pub better: Better,
    /// The result.
    pub last: f64,
    /// What it is held against; nothing before there are enough runs.
    pub baseline: Option<Baseline>,
    /// By what share of the baseline it is worse; below 0 it is better. Infinite where the baseline is 0, which has no shares.
    pub worse_ratio: Option<f64>,
    /// Whether that is more than the tolerance.
    pub regressed: bool,
}

impl Benchmark {
    /// By how much it may be worse: as given now, as given with a run, or as the rules have it.
    pub fn tolerance(&self, given: Option<f64>) -> f64 {
        given.or(self.tolerance_ratio).unwrap_or(TOLERANCE)
    }

    /// All measures of the last run.
    pub fn standings(&self, tolerance: f64) -> Vec<Standing> {
        let measures = self.runs.last().into_iter().flat_map(|run| &run.measures);
        measures.map(|(name, measure)| self.standing(name, *measure, tolerance)).collect()
    }

    fn standing(&self, name: &str, last: Measure, tolerance: f64) -> Standing {
        let baseline = self.baseline(name);
        let worse_ratio = baseline.and_then(|baseline| worse(last, baseline.value));
        Standing {
            measure: name.to_owned(),
            better: last.better,
            last: last.value,
            baseline,
            worse_ratio,
            regressed: worse_ratio.is_some_and(|worse| worse > tolerance),
        }
    }

    /// What the accepted run has; of a measure that it lacks, and where none was accepted, the median of the earlier runs.
    fn baseline(&self, name: &str) -> Option<Baseline> {
        if let Some(measure) = self.accepted.as_ref().and_then(|run| run.measures.get(name)) {
            return Some(Baseline { value: measure.value, from: Origin::Accepted });
        }
        let (_, earlier) = self.runs.split_last()?;
        let mut values: Vec<f64> =
            earlier.iter().filter_map(|run| Some(run.measures.get(name)?.value)).collect();
        if values.len() < EARLIER_MIN {
            return None;
        }
        Some(Baseline { value: median(&mut values)?, from: Origin::Median })
    }

    /// How many more runs a measure of the last run wants before it has a baseline.
    pub fn wanted(&self, name: &str) -> usize {
        // The last one is among the earlier ones then.
        let having = self.runs.iter().filter(|run| run.measures.contains_key(name)).count();
        (EARLIER_MIN + 1).saturating_sub(having)
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

fn worse(last: Measure, baseline: f64) -> Option<f64> {
    let has_shares = baseline > 0.0;
    match last.better {
        Better::Lower if has_shares => Some(last.value / baseline - 1.0),
        Better::Lower if last.value > 0.0 => Some(f64::INFINITY),
        Better::Lower => Some(0.0),
        Better::Higher => has_shares.then(|| 1.0 - last.value / baseline),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::*;
    use std::collections::BTreeMap;

    fn benchmark(better: Better, values: &[f64]) -> Benchmark {
        let run = |value: &f64| Run {
            at_millis: 0,
            measures: BTreeMap::from([("x".to_owned(), Measure { value: *value, better })]),
        };
        Benchmark { runs: values.iter().map(run).collect(), ..Benchmark::default() }
    }

    fn of(benchmark: &Benchmark) -> Standing {
        benchmark.standings(benchmark.tolerance(None)).remove(0)
    }

    #[test]
    fn without_an_accepted_run_three_earlier_ones_make_the_baseline() {
        let three = of(&benchmark(Better::Lower, &[1.0, 9.0, 100.0]));
        assert_eq!((three.baseline, three.worse_ratio, three.regressed), (None, None, false));
        assert_eq!(benchmark(Better::Lower, &[1.0, 9.0, 100.0]).wanted("x"), 1);
        // One run that was out of the way does not move the median.
        let four = of(&benchmark(Better::Lower, &[1.0, 50.0, 1.2, 1.3]));
        assert_eq!(four.baseline, Some(Baseline { value: 1.2, from: Origin::Median }));
        assert!(!four.regressed, "{four:?}");
        let even = of(&benchmark(Better::Lower, &[1.0, 3.0, 2.0, 4.0, 1.0]));
        assert_eq!(even.baseline, Some(Baseline { value: 2.5, from: Origin::Median }));
    }

    #[test]
    fn an_accepted_run_is_the_baseline_of_what_it_has() {
        let mut some = benchmark(Better::Lower, &[1.0, 1.0, 1.0, 3.0]);
        some.accepted = Some(benchmark(Better::Lower, &[2.9]).runs.remove(0));
        assert_eq!(of(&some).baseline, Some(Baseline { value: 2.9, from: Origin::Accepted }));
        assert!(!of(&some).regressed);
        some.accepted.as_mut().unwrap().measures.clear();
        assert_eq!(of(&some).baseline.unwrap().from, Origin::Median);
        assert!(of(&some).regressed);
    }

    #[test]
    fn a_regression_is_more_than_the_tolerance_in_the_wrong_direction() {
        for (better, last, worse, regressed) in [
            (Better::Lower, 120.0, 0.2, false),
            (Better::Lower, 121.0, 0.21, true),
            (Better::Lower, 50.0, -0.5, false),
            (Better::Higher, 80.0, 0.2, false),
            (Better::Higher, 79.0, 0.21, true),
            (Better::Higher, 200.0, -1.0, false),
            (Better::Higher, 0.0, 1.0, true),
        ] {
            let standing = of(&benchmark(better, &[100.0, 100.0, 100.0, last]));
            let said = standing.worse_ratio.unwrap();
            assert!((said - worse).abs() < 1e-9, "{better:?} {last}: {said}");
            // At the threshold itself a float may lie on either side.
            let at_it = (worse - TOLERANCE).abs() < 1e-9;
            assert!(at_it || standing.regressed == regressed, "{better:?} {last}");
        }
        let mut strict = benchmark(Better::Lower, &[100.0, 100.0, 100.0, 110.0]);
        assert!(!of(&strict).regressed);
        strict.tolerance_ratio = Some(0.05);
        assert!(of(&strict).regressed);
        assert!(!strict.standings(strict.tolerance(Some(0.5)))[0].regressed, "what is given now wins");
    }

    #[test]
    fn a_baseline_of_zero_has_no_shares() {
        let zero = |better, last| of(&benchmark(better, &[0.0, 0.0, 0.0, last]));
        let errors = zero(Better::Lower, 0.01);
        assert_eq!((errors.worse_ratio, errors.regressed), (Some(f64::INFINITY), true));
        assert_eq!(zero(Better::Lower, 0.0).worse_ratio, Some(0.0));
        assert_eq!(
            (zero(Better::Higher, 5.0).worse_ratio, zero(Better::Higher, 5.0).regressed),
            (None, false)
        );
    }
}
