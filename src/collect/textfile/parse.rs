//! The reader of Prometheus's text format 0.0.4: families with their samples, or the line that is wrong.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use super::line::{Labels, Line, Sample, line};
use crate::host::ParseError;
use crate::metric::{Histogram, Kind, Summary};
use std::collections::HashMap;

/// The most samples that one file may have.
const SAMPLES_MAX: usize = 100_000;

/// A family as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: Option<String>,
    pub(super) kind: Kind,
    pub(super) metrics: Vec<Metric>,
}

/// One sample, or all that make up a histogram or a summary.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Metric {
    /// Names and values of the labels, sorted by name.
    pub(super) labels: Labels,
    pub(super) number: Number,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    Float(f64),
    Histogram(Histogram),
    Summary(Summary),
}

/// The families of a text, in its order; those without samples are left out.
pub(super) fn families(text: &str) -> Result<Vec<Family>, ParseError> {
    let mut out = Reader::default();
    let count = text.lines().count();
    // A text that does not end with its last line was cut off while it was written.
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(ParseError::new(count, "a line feed at the end of the file"));
    }
    let mut samples = 0;
    for (i, raw) in text.lines().enumerate() {
        let n = i + 1;
        let wrong = |want: &str| ParseError::new(n, want);
        match line(raw).map_err(wrong)? {
            Line::Nothing => {}
            Line::Help(name, help) => out.help(&name, help).map_err(wrong)?,
            Line::Type(name, kind) => out.kind(&name, kind).map_err(wrong)?,
            Line::Sample(sample) => {
                samples += 1;
                if samples > SAMPLES_MAX {
                    return Err(wrong("no more than 100000 samples"));
                }
                out.sample(sample).map_err(wrong)?;
            }
        }
    }
    out.families.retain(|family| !family.metrics.is_empty());
    out.families.iter_mut().for_each(sort);
    Ok(out.families)
}

/// Buckets and quantiles ascend.
fn sort(family: &mut Family) {
    for metric in &mut family.metrics {
        match &mut metric.number {
            Number::Float(_) => {}
            Number::Histogram(histogram) => histogram.buckets.sort_by(|a, b| a.0.total_cmp(&b.0)),
            Number::Summary(summary) => summary.quantiles.sort_by(|a, b| a.0.total_cmp(&b.0)),
        }
    }
}

#[derive(Default)]
struct Reader {
    families: Vec<Family>,
    /// Where a family is, and whether its kind was given.
    names: HashMap<String, (usize, bool)>,
    /// Where a metric of a family is.
    metrics: HashMap<(usize, Labels), usize>,
}

type Wrong = &'static str;

/// Which of a family's numbers a sample holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Own,
    Sum,
    Count,
    Bucket,
}

impl Reader {
    fn open(&mut self, name: &str) -> usize {
        if let Some((at, _)) = self.names.get(name) {
            return *at;
        }
        let at = self.families.len();
        self.names.insert(name.to_owned(), (at, false));
        self.families.push(Family {
            name: name.to_owned(),
            help: None,
            kind: Kind::Untyped,
            metrics: Vec::new(),
        });
        at
    }

    fn help(&mut self, name: &str, help: String) -> Result<(), Wrong> {
        let at = self.open(name);
        match self.families.get_mut(at) {
            Some(family) if family.help.is_none() => family.help = Some(help),
            _ => return Err("one HELP for each family"),
        }
        Ok(())
    }

    fn kind(&mut self, name: &str, kind: Kind) -> Result<(), Wrong> {
        let at = self.open(name);
        let given = self.names.insert(name.to_owned(), (at, true)).is_some_and(|(_, given)| given);
        match self.families.get_mut(at) {
            Some(family) if family.metrics.is_empty() && !given => family.kind = kind,
            _ => return Err("one TYPE for each family, before its samples"),
        }
        Ok(())
    }

    /// The family that a sample belongs to: its own, or the histogram or summary whose part it is.
    fn owner(&mut self, name: &str) -> (usize, Part) {
        if let Some((at, _)) = self.names.get(name) {
            return (*at, Part::Own);
        }
        for (suffix, part) in [("_count", Part::Count), ("_sum", Part::Sum), ("_bucket", Part::Bucket)] {
            let at = name.strip_suffix(suffix).and_then(|base| self.names.get(base)).map(|(at, _)| *at);
            let kind = at.and_then(|at| self.families.get(at)).map(|family| family.kind);
            match (at, kind) {
                (Some(at), Some(Kind::Histogram)) => return (at, part),
                (Some(at), Some(Kind::Summary)) if part != Part::Bucket => return (at, part),
                _ => {}
            }
        }
        (self.open(name), Part::Own)
    }

    fn sample(&mut self, mut sample: Sample<'_>) -> Result<(), Wrong> {
        let (at, part) = self.owner(&sample.name);
        let Some(family) = self.families.get_mut(at) else { return Ok(()) };
        let bound = match family.kind {
            Kind::Histogram if part == Part::Bucket => Some(take_bound(&mut sample.labels, "le")?),
            Kind::Summary if part == Part::Own => Some(take_bound(&mut sample.labels, "quantile")?),
            Kind::Histogram if part == Part::Own => {
                return Err("_bucket, _sum or _count behind the name of a histogram");
            }
            _ => None,
        };
        sample.labels.sort_unstable();
        let fresh = family.metrics.len();
        let place = *self.metrics.entry((at, sample.labels.clone())).or_insert(fresh);
        if place == fresh {
            let number = match family.kind {
                Kind::Histogram => Number::Histogram(Histogram::default()),
                Kind::Summary => Number::Summary(Summary::default()),
                _ => Number::Float(sample.value),
            };
            family.metrics.push(Metric { labels: sample.labels, number });
        }
        let Some(metric) = family.metrics.get_mut(place) else { return Ok(()) };
        match &mut metric.number {
            Number::Float(_) if place != fresh => return Err("each series once"),
            Number::Float(_) => {}
            Number::Histogram(to) => match (part, bound) {
                (Part::Sum, _) => to.sum = sample.value,
                (Part::Count, _) => to.count = count(sample.value)?,
                (_, Some(bound)) => to.buckets.push((bound, count(sample.value)?)),
                _ => {}
            },
            Number::Summary(to) => match (part, bound) {
                (Part::Sum, _) => to.sum = sample.value,
                (Part::Count, _) => to.count = count(sample.value)?,
                (_, Some(quantile)) => to.quantiles.push((quantile, sample.value)),
                _ => {}
            },
        }
        Ok(())
    }
}

/// Takes the label out of the others that a bucket or a quantile has besides.
fn take_bound(labels: &mut Labels, name: &str) -> Result<f64, Wrong> {
    let at = labels.iter().position(|(label, _)| label == name);
    let bound = at.map(|at| labels.remove(at)).and_then(|(_, bound)| bound.parse::<f64>().ok());
    bound.filter(|bound| !bound.is_nan()).ok_or("a number in the label `le` or `quantile`")
}

/// A number of observations; whole numbers may be written as 1e+06.
fn count(value: f64) -> Result<u64, Wrong> {
    // The largest float below 2^64; the comparison is false for NaN.
    if (0.0..18_446_744_073_709_551_615.0).contains(&value) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        return Ok(value as u64);
    }
    Err("a count that is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(text: &str) -> Vec<(Labels, f64)> {
        let mut all = families(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        let metrics = all.remove(0).metrics.into_iter();
        metrics
            .map(|m| (m.labels, if let Number::Float(v) = m.number { v } else { panic!("no float") }))
            .collect()
    }

    #[test]
    fn escapes_blanks_and_special_numbers_are_understood() {
        let got = float(
            "  x {\tb = \"q\\\"\\\\\\n\" , a=\"ü}\",} +Inf \n\n# a remark\nx 0x\n"
                .replace("x 0x", "x 1e3")
                .as_str(),
        );
        let labels = vec![("a".into(), "ü}".into()), ("b".into(), "q\"\\\n".into())];
        assert_eq!(got, [(labels, f64::INFINITY), (vec![], 1000.0)]);
        assert!(float("x NaN\n")[0].1.is_nan());
    }

    #[test]
    fn help_and_type_belong_to_their_family() {
        let all =
            families("# HELP x a\\\\b\\nc \"d\"\n# TYPE x counter\nx 1\n# HELP y\n# TYPE none gauge\ny 2\n")
                .unwrap();
        assert_eq!((all[0].help.as_deref(), all[0].kind), (Some("a\\b\nc \"d\""), Kind::Counter));
        assert_eq!((all[1].help.as_deref(), all[1].kind, all.len()), (None, Kind::Untyped, 2));
    }

    #[test]
    fn histograms_and_summaries_are_put_together() {
        let text = "# TYPE h histogram\nh_bucket{l=\"1\",le=\"+Inf\"} 3\nh_bucket{l=\"1\",le=\"0.5\"} 1e0\nh_sum{l=\"1\"} 4.5\nh_count{l=\"1\"} 3\n\
                    # TYPE s summary\ns{quantile=\"0.9\"} 2\ns{quantile=\"0.5\"} 1\ns_count 7\ns_sum 8\nh_total 1\n";
        let all = families(text).unwrap();
        let h = Histogram { buckets: vec![(0.5, 1), (f64::INFINITY, 3)], sum: 4.5, count: 3 };
        assert_eq!(
            all[0].metrics,
            [Metric { labels: vec![("l".into(), "1".into())], number: Number::Histogram(h) }]
        );
        let s = Summary { quantiles: vec![(0.5, 1.0), (0.9, 2.0)], sum: 8.0, count: 7 };
        assert_eq!(all[1].metrics, [Metric { labels: vec![], number: Number::Summary(s) }]);
        assert_eq!(all[2].name, "h_total");
    }

    #[test]
    fn names_may_be_in_quotes_and_of_any_letters() {
        let text = "# HELP \"a.b ü\" A.\n# TYPE \"a.b ü\" counter\n{\"a.b ü\", \"c-d\"=\"1\",e=\"2\"} 3\n{ \"a.b ü\" } 4\n\
                    x{\"y\\\"z\"=\"5\"} 6\n";
        let all = families(text).unwrap();
        assert_eq!(
            (all[0].name.as_str(), all[0].help.as_deref(), all[0].kind),
            ("a.b ü", Some("A."), Kind::Counter)
        );
        let labels =
            |m: &Metric| m.labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ");
        assert_eq!(all[0].metrics.iter().map(labels).collect::<Vec<_>>(), ["c-d=1 e=2", ""]);
        assert_eq!(labels(&all[1].metrics[0]), "y\"z=5");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for bad in [
            "x",
            "x{",
            "x{a} 1",
            "x{a=1} 1",
            "x{a=\"b} 1",
            "x{a=\"b\"c=\"d\"} 1",
            "x{a=\"b\",a=\"c\"} 1",
            "x{a=\"\\x\"} 1",
            "x{__name__=\"y\"} 1",
            "1x 1",
            "x y",
            "x 1 soon",
            "x 1 2 3",
            "x 1 1441205977284",
            "x{é=\"1\"} 1",
            "{a=\"1\"} 1",
            "x{\"y\"} 1",
            "{\"x\",\"y\"} 1",
            "{a=\"1\",\"x\"} 1",
            "{\"\"} 1",
            "{\"x} 1",
            "# TYPE \"x gauge",
            "# TYPE x gage",
            "# TYPE x",
            "# HELP 1x y",
            "x 0\nx 1",
            "x 0\n# TYPE x gauge",
            "# TYPE x gauge\n# TYPE x gauge",
            "# HELP x a\n# HELP x a",
            "# TYPE x histogram\nx 1",
            "# TYPE x histogram\nx_bucket 1",
            "# TYPE x summary\nx{quantile=\"half\"} 1",
            "# TYPE x summary\nx_count -1",
        ] {
            let error = families(&format!("ok 1\n{bad}\n")).unwrap_err().to_string();
            let last = bad.lines().count() + 1;
            assert!(error.starts_with(&format!("line {last}: expected ")), "{bad}: {error}");
        }
        assert!(families("x 1").unwrap_err().to_string().contains("line feed"));
    }

    #[test]
    fn a_text_that_is_cut_anywhere_is_whole_lines_or_an_error() {
        let text = "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n# TYPE x counter\nx{a=\"\\\\\"} 10\n";
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        for cut in 0..text.len() {
            assert_eq!(families(&text[..cut]).is_ok(), cut == 0 || ends.contains(&cut), "{cut}");
        }
    }
}
