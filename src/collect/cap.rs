//! A bound on the series of one collector, whatever the machine has: what is more is left out and counted.

use crate::metric::{Besides, Desc, Kind, Mark, Sink, Value};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How many series a collector may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SeriesMax(pub usize);

impl Default for SeriesMax {
    fn default() -> Self {
        Self(50_000)
    }
}

/// The same for single collectors, by name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PerCollector(pub BTreeMap<String, usize>);

impl Default for PerCollector {
    fn default() -> Self {
        // Its files are the user's own, and it has bounds of its own.
        Self(BTreeMap::from([("applications".to_owned(), 500_000), ("textfile".to_owned(), 500_000)]))
    }
}

/// Hands on to another sink what one collector writes, up to so many series.
pub(super) struct Cap<'a> {
    out: &'a mut dyn Sink,
    left: usize,
    cut: u64,
    marks: Vec<(Mark, usize, u64)>,
}

impl<'a> Cap<'a> {
    pub(super) fn new(out: &'a mut dyn Sink, series_max: usize) -> Self {
        Self { out, left: series_max, cut: 0, marks: Vec::new() }
    }

    /// How many series were left out.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    /// Takes the room of a sample, if it is there; else the sample is counted.
    fn has_room(&mut self, value: Value<'_>) -> bool {
        let series = match value {
            Value::U64(_) | Value::F64(_) => 1,
            // The bucket without a bound, the sum and the count.
            Value::Histogram(histogram) => histogram.buckets.len() + 3,
            // And that of zeros.
            Value::Exponential(all) => all.positive.counts.len() + all.negative.counts.len() + 4,
            Value::Summary(summary) => summary.quantiles.len() + 2,
        };
        match self.left.checked_sub(series).filter(|_| self.cut == 0) {
            Some(left) => self.left = left,
            None => self.cut += series as u64,
        }
        self.cut == 0
    }
}

impl Sink for Cap<'_> {
    fn family(&mut self, desc: &Desc<'_>) {
        // A family that can have no samples is not opened.
        if self.cut == 0 && self.left > 0 {
            self.out.family(desc);
        }
    }

    fn sample(&mut self, label_values: &[&str], value: Value<'_>) {
        if self.has_room(value) {
            self.out.sample(label_values, value);
        }
    }

    fn sample_with(&mut self, label_values: &[&str], value: Value<'_>, besides: &Besides<'_>) {
        if self.has_room(value) {
            self.out.sample_with(label_values, value, besides);
        }
    }

    fn has_family(&self, name: &str) -> bool {
        self.out.has_family(name)
    }

    fn is_taken(&self, name: &str, kind: Kind) -> bool {
        self.out.is_taken(name, kind)
    }

    fn mark(&mut self) -> Mark {
        let mark = self.out.mark();
        self.marks.push((mark, self.left, self.cut));
        mark
    }

    fn rewind(&mut self, to: Mark) {
        self.out.rewind(to);
        if let Some(&(_, left, cut)) = self.marks.iter().rev().find(|(mark, ..)| *mark == to) {
            (self.left, self.cut) = (left, cut);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::text::TextEncoder;
    use crate::metric::{Histogram, single};

    const A: Desc<'static> = Desc::gauge("a", "A.", &["x"]);
    const B: Desc<'static> = Desc::gauge("b", "B.", &[]);

    fn page(series_max: usize, write: impl Fn(&mut dyn Sink)) -> (String, u64) {
        let mut out = TextEncoder::default();
        let mut cap = Cap::new(&mut out, series_max);
        write(&mut cap);
        let cut = cap.cut();
        let page = String::from_utf8(out.page().to_vec()).unwrap();
        (page.lines().filter(|l| !l.starts_with('#')).fold(String::new(), |all, l| all + l + "\n"), cut)
    }

    fn write(out: &mut dyn Sink) {
        out.family(&A);
        for x in ["1", "2", "3"] {
            out.sample(&[x], Value::U64(7));
        }
        single(out, &B, 8_u64);
    }

    #[test]
    fn what_is_more_is_left_out_from_the_end_and_counted() {
        let all = "a{x=\"1\"} 7\na{x=\"2\"} 7\na{x=\"3\"} 7\nb 8\n";
        assert_eq!(page(4, write), (all.to_owned(), 0));
        assert_eq!(page(3, write), (all[..all.len() - 4].to_owned(), 1));
        assert_eq!(page(1, write), ("a{x=\"1\"} 7\n".to_owned(), 3));
        assert_eq!(page(0, write), (String::new(), 4));
    }

    #[test]
    fn a_histogram_is_as_many_series_as_it_has_lines_and_is_whole_or_not_there() {
        let histogram = Histogram { buckets: vec![(1.0, 1), (2.0, 2)], sum: Some(3.0), count: 2 };
        let write = |out: &mut dyn Sink| {
            single(out, &Desc { kind: crate::metric::Kind::Histogram, ..B }, Value::Histogram(&histogram));
        };
        assert_eq!(page(4, write), (String::new(), 5));
        assert_eq!(page(5, write).0.lines().count(), 5);
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let twice = |out: &mut dyn Sink| {
            let mark = out.mark();
            write(out);
            out.rewind(mark);
            write(out);
        };
        assert_eq!(page(4, twice).1, 0);
        assert_eq!(page(2, twice), ("a{x=\"1\"} 7\na{x=\"2\"} 7\n".to_owned(), 2));
    }
}
