//! Benchmarks as metrics: what stands in the text file that the exporter, or node_exporter, shows.

use super::Book;
use crate::metric::{Desc, Sink, Value};

const VALUE: Desc<'static> = Desc::gauge(
    "headroom_benchmark_value",
    "Result of the last run, in the unit that the measure's name ends in.",
    &["benchmark", "measure"],
);
const BASELINE: Desc<'static> = Desc::gauge(
    "headroom_benchmark_baseline_value",
    "What the result is held against: that of the accepted run, or the median of the earlier ones.",
    &["benchmark", "measure"],
);
const WORSE: Desc<'static> = Desc::gauge(
    "headroom_benchmark_worse_ratio",
    "By what share of the baseline the result is worse; below 0 it is better, and infinite where the baseline is 0.",
    &["benchmark", "measure"],
);
const LAST_RUN: Desc<'static> = Desc::gauge(
    "headroom_benchmark_last_run_timestamp_seconds",
    "When the last run was recorded.",
    &["benchmark"],
);
const TOLERANCE: Desc<'static> = Desc::gauge(
    "headroom_benchmark_tolerance_ratio",
    "By what share a result may be worse, if this was said with a run.",
    &["benchmark"],
);

/// Writes the last run of each benchmark.
pub fn write(book: &Book, out: &mut dyn Sink) {
    let standings: Vec<_> = book
        .all()
        .flat_map(|(name, benchmark)| {
            let standings = benchmark.standings(benchmark.tolerance(None));
            standings.into_iter().map(move |standing| (name, standing))
        })
        .collect();
    let labels = standings.iter().map(|(name, standing)| [*name, standing.measure.as_str()]);
    let labels: Vec<_> = labels.collect();
    let each = || labels.iter().zip(&standings);
    family(out, &VALUE, each().map(|(labels, (_, s))| (*labels, s.last)));
    let baselines = each().filter_map(|(labels, (_, s))| Some((*labels, s.baseline?.value)));
    family(out, &BASELINE, baselines);
    family(out, &WORSE, each().filter_map(|(labels, (_, s))| Some((*labels, s.worse_ratio?))));
    let last = |(name, benchmark): (_, &super::Benchmark)| {
        Some(([name], benchmark.runs.last()?.at_millis as f64 / 1000.0))
    };
    family(out, &LAST_RUN, book.all().filter_map(last));
    let tolerances = book.all().filter_map(|(name, benchmark)| Some(([name], benchmark.tolerance_ratio?)));
    family(out, &TOLERANCE, tolerances);
}

/// A family without samples is not opened.
fn family<'a, const N: usize>(
    out: &mut dyn Sink,
    desc: &Desc<'_>,
    samples: impl Iterator<Item = ([&'a str; N], f64)>,
) {
    for (number, (labels, value)) in samples.enumerate() {
        if number == 0 {
            out.family(desc);
        }
        out.sample(&labels, Value::F64(value));
    }
}

#[cfg(test)]
mod tests {
    use super::super::better::Better;
    use super::super::{Measure, Run};
    use super::*;
    use crate::encode::text::TextEncoder;
    use std::collections::BTreeMap;

    fn run(at_millis: i64, seconds: f64) -> Run {
        let measure = Measure { value: seconds, better: Better::Lower };
        Run { at_millis, measures: BTreeMap::from([("p95_seconds".to_owned(), measure)]) }
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let samples = |book: &Book| {
            let mut out = TextEncoder::default();
            write(book, &mut out);
            let page = String::from_utf8(out.page().to_vec()).unwrap();
            page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut book = Book::default();
        assert_eq!(samples(&book), [""; 0]);
        book.record("shop", run(1_500, 0.2), None).unwrap();
        let first = [
            "headroom_benchmark_value{benchmark=\"shop\",measure=\"p95_seconds\"} 0.2",
            "headroom_benchmark_last_run_timestamp_seconds{benchmark=\"shop\"} 1.5",
        ];
        assert_eq!(samples(&book), first);
        book.accept("shop");
        book.record("shop", run(2_000, 0.3), Some(0.1)).unwrap();
        let both = samples(&book);
        assert_eq!(both.len(), 5, "{both:#?}");
        assert_eq!(
            both[1],
            "headroom_benchmark_baseline_value{benchmark=\"shop\",measure=\"p95_seconds\"} 0.2"
        );
        assert!(both[2].starts_with("headroom_benchmark_worse_ratio{"), "{both:#?}");
        assert!((both[2].rsplit(' ').next().unwrap().parse::<f64>().unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(both[4], "headroom_benchmark_tolerance_ratio{benchmark=\"shop\"} 0.1");
    }
}
