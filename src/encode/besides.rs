//! What stands behind a sample's value in lines of text: its time, and examples of what was counted.

use super::heads::push_name;
use super::lines::{escape, float};
use super::name::{Of, Scheme};
use crate::metric::{Besides, Exemplar, Value};

/// Writes a time, in milliseconds since the epoch, as the format has it.
pub(super) type Stamp = fn(&mut Vec<u8>, i64);

/// Adds it to the lines of one sample, which stand from `start` on. Few samples have any of it, so that those which have
/// none pay nothing for it.
pub(super) fn add(
    page: &mut Vec<u8>,
    start: usize,
    value: Value<'_>,
    besides: &Besides<'_>,
    (scheme, stamp): (Scheme, Stamp),
) {
    let mut time = Vec::new();
    if let Some(at) = besides.at_millis {
        time.push(b' ');
        stamp(&mut time, at);
    }
    let mut examples = examples(value, besides.exemplars).into_iter();
    // Values of labels have no line feeds: they are escaped.
    let lines = page.split_off(start);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        page.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        page.extend_from_slice(&time);
        if let Some(exemplar) = examples.next().flatten() {
            write(page, exemplar, scheme);
        }
        page.push(b'\n');
    }
}

/// The newest exemplar that belongs to each line, as far as lines may have one.
fn examples<'a>(value: Value<'_>, exemplars: &'a [Exemplar]) -> Vec<Option<&'a Exemplar>> {
    let histogram = match value {
        _ if exemplars.is_empty() => return Vec::new(),
        Value::U64(_) | Value::F64(_) => return vec![exemplars.last()],
        Value::Summary(_) | Value::Exponential(_) => return Vec::new(),
        Value::Histogram(histogram) => histogram,
    };
    let mut below = f64::NEG_INFINITY;
    let bounds = histogram.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite());
    let bucket = |bound| {
        let within = |e: &&Exemplar| below < e.value && e.value <= bound;
        let found = exemplars.iter().rev().find(within);
        below = bound;
        found
    };
    bounds.chain([f64::INFINITY]).map(bucket).collect()
}

fn write(page: &mut Vec<u8>, exemplar: &Exemplar, scheme: Scheme) {
    page.extend_from_slice(b" # ");
    let mut open = b'{';
    for (name, value) in &exemplar.labels {
        page.push(open);
        push_name(page, &scheme.escape(name, Of::Label), Of::Label);
        page.extend_from_slice(b"=\"");
        escape(page, value, true);
        page.push(b'"');
        open = b',';
    }
    page.extend_from_slice(if open == b',' { b"} " } else { b"{} " });
    float(page, exemplar.value);
    if let Some(at) = exemplar.at_millis {
        page.push(b' ');
        seconds(page, at);
    }
}

/// Writes a time in seconds, as OpenMetrics has it.
pub(super) fn seconds(page: &mut Vec<u8>, millis: i64) {
    let (whole, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    if millis < 0 {
        page.push(b'-');
    }
    page.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    page.extend_from_slice(format!(".{rest:03}").as_bytes());
}

/// Writes a time in milliseconds, as Prometheus's text has it.
pub(super) fn millis(page: &mut Vec<u8>, millis: i64) {
    page.extend_from_slice(itoa::Buffer::new().format(millis).as_bytes());
}

#[cfg(test)]
mod tests {
    use crate::encode::Encoder;
    use crate::encode::name::Scheme;
    use crate::encode::openmetrics::OpenMetricsEncoder;
    use crate::encode::text::TextEncoder;
    use crate::metric::{Besides, Desc, Exemplar, Histogram, Kind, Summary, Value};

    const H: Desc<'static> =
        Desc { name: "h", help: "H.", kind: Kind::Histogram, labels: &["l"], sparse: false };
    const S: Desc<'static> = Desc { name: "s", help: "S.", kind: Kind::Summary, labels: &[], sparse: false };

    /// The samples of the page that is written when the families are known from the last one.
    fn second_page(out: &mut impl Encoder) -> Vec<String> {
        let exemplars = [Exemplar { labels: vec![("a.b".into(), "1".into())], value: 0.5, at_millis: None }];
        let besides = Besides { at_millis: Some(7), exemplars: &exemplars };
        let histogram = Histogram { buckets: vec![(1.5, 1)], sum: Some(4.5), count: 3 };
        let summary = Summary { quantiles: vec![(0.5, 2.0)], sum: 4.5, count: 3 };
        for _ in 0..2 {
            out.clear(Scheme::AllowUtf8);
            out.family(&H);
            out.sample(
                &["before"],
                Value::Histogram(&Histogram { buckets: vec![], sum: Some(0.0), count: 0 }),
            );
            out.sample_with(&["a\nb"], Value::Histogram(&histogram), &besides);
            out.family(&S);
            out.sample_with(&[], Value::Summary(&summary), &besides);
            out.sample(&[], Value::U64(1));
        }
        let text = String::from_utf8(out.finish().clone()).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn each_line_of_the_sample_has_its_time_and_no_line_of_another_one() {
        assert_eq!(
            second_page(&mut TextEncoder::default()),
            [
                "h_bucket{l=\"before\",le=\"+Inf\"} 0",
                "h_sum{l=\"before\"} 0",
                "h_count{l=\"before\"} 0",
                "h_bucket{l=\"a\\nb\",le=\"1.5\"} 1 7",
                "h_bucket{l=\"a\\nb\",le=\"+Inf\"} 3 7",
                "h_sum{l=\"a\\nb\"} 4.5 7",
                "h_count{l=\"a\\nb\"} 3 7",
                "s{quantile=\"0.5\"} 2 7",
                "s_sum 4.5 7",
                "s_count 3 7",
                "s 1",
            ]
        );
    }

    #[test]
    fn an_exemplar_stands_behind_its_bucket_also_where_the_family_was_known_before() {
        let page = second_page(&mut OpenMetricsEncoder::default());
        let with: Vec<&String> = page.iter().filter(|line| line.contains(" # ")).collect();
        assert_eq!(with, ["h_bucket{l=\"a\\nb\",le=\"1.5\"} 1 0.007 # {\"a.b\"=\"1\"} 0.5"]);
    }
}
