//! The reader of Prometheus's text format 0.0.4: families with their samples, or the line that is wrong.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use super::families::{Families, Number, Places, small};
use super::line::{Labels, Line, Sample, line};
use crate::host::ParseError;
use crate::host::parse::plain_lines;
use crate::metric::{Histogram, Kind};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// The most samples that one file may have.
const SAMPLES_MAX: usize = 100_000;

/// The families of a text.
pub(super) fn families(text: &str) -> Result<Families, ParseError> {
    let mut out = Reader::default();
    // A text that does not end with its last line was cut off while it was written.
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(ParseError::new(text.lines().count(), "a line feed at the end of the file"));
    }
    for (i, raw) in plain_lines(text).enumerate() {
        let n = i + 1;
        let wrong = |want: &str| ParseError::new(n, want);
        match line(raw).map_err(wrong)? {
            Line::Nothing => {}
            Line::Help(name, help) => out.help(name, &help).map_err(wrong)?,
            Line::Type(name, kind) => out.kind(name, kind).map_err(wrong)?,
            Line::Sample(sample) => {
                out.out.samples += 1;
                if out.out.samples > SAMPLES_MAX {
                    return Err(wrong("no more than 100000 samples"));
                }
                out.sample(sample).map_err(wrong)?;
            }
        }
    }
    Ok(out.out.finish())
}

/// A text that was read so far.
#[derive(Default)]
struct Reader<'t> {
    out: Families,
    names: HashMap<Cow<'t, str>, Known>,
    label_names: HashMap<Cow<'t, str>, u32>,
    /// Where a metric of a family is.
    metrics: Places,
    /// The parts of histograms and summaries that were there: metric, part, and the bits of the bound.
    parts: HashSet<(u32, Part, u64)>,
}

/// A family that was named.
#[derive(Clone, Copy)]
struct Known {
    at: usize,
    kind_given: bool,
    has_samples: bool,
}

type Wrong = &'static str;

/// Which of a family's numbers a sample holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Own,
    Sum,
    Count,
    Bucket,
}

impl<'t> Reader<'t> {
    fn open(&mut self, name: Cow<'t, str>) -> &mut Known {
        let out = &mut self.out;
        self.names.entry(name).or_insert_with_key(|name| Known {
            at: out.add_family(name),
            kind_given: false,
            has_samples: false,
        })
    }

    fn help(&mut self, name: Cow<'t, str>, help: &str) -> Result<(), Wrong> {
        let at = self.open(name).at;
        if self.out.add_help(at, help) { Ok(()) } else { Err("one HELP for each family") }
    }

    fn kind(&mut self, name: Cow<'t, str>, kind: Kind) -> Result<(), Wrong> {
        let known = self.open(name);
        if known.kind_given || known.has_samples {
            return Err("one TYPE for each family, before its samples");
        }
        known.kind_given = true;
        let at = known.at;
        if let Some(family) = self.out.all.get_mut(at) {
            family.kind = kind;
        }
        Ok(())
    }

    /// The family that a sample belongs to: its own, or the histogram or summary whose part it is.
    fn owner(&self, name: Cow<'t, str>) -> (Cow<'t, str>, Part) {
        if self.names.contains_key(&name) {
            return (name, Part::Own);
        }
        for (suffix, part) in [("_count", Part::Count), ("_sum", Part::Sum), ("_bucket", Part::Bucket)] {
            let Some(base) = name.strip_suffix(suffix) else { continue };
            let at = self.names.get(base).map(|known| known.at);
            match at.and_then(|at| self.out.all.get(at)).map(|family| family.kind) {
                Some(Kind::Histogram) => return (without(name, suffix), part),
                Some(Kind::Summary) if part != Part::Bucket => return (without(name, suffix), part),
                _ => {}
            }
        }
        (name, Part::Own)
    }

    fn sample(&mut self, sample: Sample<'t>) -> Result<(), Wrong> {
        let Sample { name, mut labels, value, .. } = sample;
        let (name, part) = self.owner(name);
        let known = self.open(name);
        known.has_samples = true;
        let at = known.at;
        let kind = self.out.all.get(at).map_or(Kind::Untyped, |family| family.kind);
        let bound = match (kind, part) {
            (Kind::Histogram, Part::Own) => {
                return Err("_bucket, _sum or _count behind the name of a histogram");
            }
            (Kind::Histogram, Part::Bucket) => Some(take_bound(&mut labels, "le")?),
            (Kind::Summary, Part::Own) => Some(take_bound(&mut labels, "quantile")?),
            _ => None,
        };
        let own = match kind {
            Kind::Histogram => Some("le"),
            Kind::Summary => Some("quantile"),
            _ => None,
        };
        if labels.iter().any(|(label, _)| Some(label.as_ref()) == own) {
            return Err("no `le` or `quantile` behind _sum and _count");
        }
        labels.sort_unstable();
        let (metric, fresh) = self.metric(at, kind, &labels);
        let bits = bound.map_or(0, |bound| (bound + 0.0).to_bits());
        let repeated = match kind {
            Kind::Histogram | Kind::Summary => !self.parts.insert((metric, part, bits)),
            _ => !fresh,
        };
        if repeated {
            return Err("each series once, and no two bounds that are one number");
        }
        match self.out.metrics.get_mut(metric as usize).map(|metric| &mut metric.number) {
            Some(Number::Float(own)) => *own = value,
            Some(Number::Histogram(to)) => match (part, bound) {
                (Part::Sum, _) => to.sum = Some(value),
                (Part::Count, _) => to.count = count(value)?,
                (_, Some(bound)) => to.buckets.push((bound, count(value)?)),
                _ => {}
            },
            Some(Number::Summary(to)) => match (part, bound) {
                (Part::Sum, _) => to.sum = value,
                (Part::Count, _) => to.count = count(value)?,
                (_, Some(quantile)) => to.quantiles.push((quantile, value)),
                _ => {}
            },
            None => {}
        }
        Ok(())
    }

    /// The place of a family's metric with these labels, and whether it was made now.
    fn metric(&mut self, family: usize, kind: Kind, labels: &Labels<'t>) -> (u32, bool) {
        let fresh = small(self.out.metrics.len());
        let out = &self.out;
        let hash = |hasher: &mut _| (family, labels).hash(hasher);
        let place = self.metrics.find_or_add(hash, fresh, |at| out.is(at, family, labels));
        if place == fresh {
            let mut names = Vec::with_capacity(labels.len());
            for (name, _) in labels {
                let out = &mut self.out;
                let place = self.label_names.entry(name.clone());
                names.push(*place.or_insert_with(|| out.add_label_name(name)));
            }
            let number = match kind {
                // As node_exporter does it, which shows a zero where a file has no sum.
                Kind::Histogram => {
                    Number::Histogram(Box::new(Histogram { sum: Some(0.0), ..Histogram::default() }))
                }
                Kind::Summary => Number::Summary(Box::default()),
                _ => Number::Float(0.0),
            };
            self.out.add_metric(family, labels, &names, number);
        }
        (place, place == fresh)
    }
}

/// A name without what it ends with.
fn without<'t>(name: Cow<'t, str>, suffix: &str) -> Cow<'t, str> {
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.strip_suffix(suffix).unwrap_or(name)),
        Cow::Owned(mut name) => {
            name.truncate(name.len() - suffix.len());
            Cow::Owned(name)
        }
    }
}

/// Takes the label out of the others that a bucket or a quantile has besides.
fn take_bound(labels: &mut Labels<'_>, name: &str) -> Result<f64, Wrong> {
    let at = labels.iter().position(|(label, _)| *label == name);
    let bound = at.map(|at| labels.remove(at)).and_then(|(_, bound)| bound.parse::<f64>().ok());
    bound.filter(|bound| !bound.is_nan()).ok_or("a number in the label `le` or `quantile`")
}

/// A number of observations; whole numbers may be written as 1e+06.
pub(crate) fn count(value: f64) -> Result<u64, Wrong> {
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
    use crate::metric::{Histogram, Summary};

    /// A family with its metrics: name, help, kind, and of each metric the labels and the number.
    type Shown = (String, Option<String>, Kind, Vec<(Vec<(String, String)>, Number)>);

    fn shown(text: &str) -> Vec<Shown> {
        let all = families(text).unwrap();
        let family = |family: &super::super::families::Family| {
            let metrics = &all.metrics[family.metrics()];
            let labels = |metric| all.labels(metric).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let metrics: Vec<_> = metrics.iter().map(|m| (labels(m), m.number.clone())).collect();
            (all.name(family).to_owned(), all.help(family).map(str::to_owned), family.kind, metrics)
        };
        all.all.iter().map(family).filter(|(_, _, _, metrics)| !metrics.is_empty()).collect()
    }

    fn float(text: &str) -> Vec<(Vec<(String, String)>, f64)> {
        let mut all = shown(text);
        assert_eq!(all.len(), 1, "{text}");
        let number = |n| if let Number::Float(v) = n { v } else { panic!("no float") };
        all.remove(0).3.into_iter().map(|(labels, n)| (labels, number(n))).collect()
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
            shown("# HELP x a\\\\b\\nc \"d\"\n# TYPE x counter\nx 1\n# HELP y\n# TYPE none gauge\ny 2\n");
        assert_eq!((all[0].1.as_deref(), all[0].2), (Some("a\\b\nc \"d\""), Kind::Counter));
        assert_eq!((all[1].1.as_deref(), all[1].2, all.len()), (None, Kind::Untyped, 2));
        assert_eq!(shown("# HELP x !\nx 1\n")[0].1.as_deref(), Some("!"));
    }

    #[test]
    fn histograms_and_summaries_are_put_together() {
        let text = "# TYPE h histogram\nh_bucket{l=\"1\",le=\"+Inf\"} 3\nh_bucket{l=\"1\",le=\"0.5\"} 1e0\nh_sum{l=\"1\"} 4.5\nh_count{l=\"1\"} 3\n\
                    # TYPE s summary\ns{quantile=\"0.9\"} 2\ns{quantile=\"0.5\"} 1\ns_count 7\ns_sum 8\nh_total 1\n";
        let all = shown(text);
        let h = Histogram { buckets: vec![(0.5, 1), (f64::INFINITY, 3)], sum: Some(4.5), count: 3 };
        assert_eq!(all[0].3, [(vec![("l".into(), "1".into())], Number::Histogram(Box::new(h)))]);
        let s = Summary { quantiles: vec![(0.5, 1.0), (0.9, 2.0)], sum: 8.0, count: 7 };
        assert_eq!(all[1].3, [(vec![], Number::Summary(Box::new(s)))]);
        assert_eq!(all[2].0, "h_total");
    }

    #[test]
    fn names_may_be_in_quotes_and_of_any_letters() {
        let text = "# HELP \"a.b ü\" A.\n# TYPE \"a.b ü\" counter\n{\"a.b ü\", \"c-d\"=\"1\",e=\"2\"} 3\n{ \"a.b ü\" } 4\n\
                    x{\"y z\"=\"5\"} 6\n";
        let all = shown(text);
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let metrics = vec![
            (vec![label("c-d", "1"), label("e", "2")], Number::Float(3.0)),
            (vec![], Number::Float(4.0)),
        ];
        assert_eq!(all[0], ("a.b ü".to_owned(), Some("A.".to_owned()), Kind::Counter, metrics));
        assert_eq!(all[1].3, [(vec![label("y z", "5")], Number::Float(6.0))]);
    }

    #[test]
    fn names_in_quotes_have_the_escapes_of_values() {
        let text = "# HELP \"a\\\"b\" A.\n# TYPE \"a\\\"b\" summary\n{\"a\\\"b_sum\",\"c\\\\\\n\"=\"d\"} 3\n";
        let number = Number::Summary(Box::new(Summary { sum: 3.0, ..Summary::default() }));
        let metrics = vec![(vec![("c\\\n".to_owned(), "d".to_owned())], number)];
        assert_eq!(shown(text), [("a\"b".to_owned(), Some("A.".to_owned()), Kind::Summary, metrics)]);
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
            "{\"x\\x\"} 1",
            "{\"x\\",
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
            "# TYPE x histogram\nx_bucket{le=\"1\"} 1\nx_bucket{le=\"1.0\"} 1",
            "# TYPE x histogram\nx_bucket{le=\"0\"} 1\nx_bucket{le=\"-0\"} 1",
            "# TYPE x histogram\nx_bucket{le=\"+Inf\"} 1\nx_bucket{le=\"inf\"} 1",
            "# TYPE x histogram\nx_sum{le=\"1\"} 1",
            "# TYPE x summary\nx{quantile=\"0.5\"} 1\nx{quantile=\"0.50\"} 1",
            "# TYPE x summary\nx_count{quantile=\"1\"} 1",
            "# TYPE x summary\nx_count 1\nx_count 1",
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
