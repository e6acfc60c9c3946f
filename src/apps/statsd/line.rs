//! A line of StatsD with all its dialects: name, tags, and one sample or several.

use super::Tags;
use super::name::escaped;
use std::borrow::Cow;

/// The most tags of a line: each is compared with those before.
const TAGS_MAX: usize = 256;
/// The most parts of a sample: those of statsd_exporter, and what newer clients of DogStatsD add.
const PARTS_MAX: usize = 9;
/// The most that one sample may stand for.
const WEIGHT_MAX: f64 = 1e6;

/// What a sample does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What<'l> {
    /// Adds to a counter.
    Count(f64),
    /// Sets a gauge.
    Gauge(f64),
    /// Moves a gauge up or down.
    Step(f64),
    /// Observes a value so many times. Times are in seconds.
    Observe(f64, u64),
    /// Puts a value into a set.
    Member(&'l str),
}

/// A sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'s> {
    /// The name, as it came.
    pub name: &'s str,
    /// What it does.
    pub what: What<'s>,
    /// Names and values of the tags; each name once.
    pub labels: &'s [(Cow<'s, str>, &'s str)],
}

/// Why something of a line is not taken. The names are statsd_exporter's, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// No name, no colon, or no text in UTF-8.
    Line,
    /// Tags before and behind the value.
    MixedTags,
    /// No type behind the value.
    Parts,
    /// Several values of what is no timer, histogram or distribution.
    Aggregate,
    /// A part that is empty, or too many of them.
    Component,
    /// A value that is no number.
    Value,
    /// A sampling factor that is none, or a part of an unknown kind.
    Factor,
    /// A container that has no name.
    Container,
    /// A type that is not known.
    Kind,
    /// More tags than anything has.
    TooManyTags,
    /// A datagram that is longer than what was read of it.
    TooLong,
    /// A counter that was to go down.
    NegativeCounter,
    /// A mapping that leaves no name.
    EmptyName,
    /// No room for quantiles, sets and times to live (`applications.statsd.memory`).
    Memory,
    /// A tag that is empty, or has no name or no value. The rest of the line is taken.
    Tag,
    /// An event or a service check of DogStatsD.
    NoMetric,
}

impl Wrong {
    /// The value of the label `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Line => "malformed_line",
            Self::MixedTags => "mixed_tagging_styles",
            Self::Parts => "not_enough_parts_after_colon",
            Self::Aggregate => "invalid_extended_aggregate_type",
            Self::Component => "malformed_component",
            Self::Value => "malformed_value",
            Self::Factor => "invalid_sample_factor",
            Self::Container => "malformed_container_id",
            Self::Kind => "illegal_event",
            Self::TooManyTags => "too_many_tags",
            Self::TooLong => "too_long",
            Self::NegativeCounter => "illegal_negative_counter",
            Self::EmptyName => "empty_metric_name",
            Self::Memory => "memory",
            Self::Tag => "malformed_tag",
            Self::NoMetric => "no_metric",
        }
    }
}

/// Who is told what a line holds.
pub trait Take {
    /// A sample.
    fn sample(&mut self, sample: &Sample<'_>);
    /// Something that is not taken.
    fn wrong(&mut self, wrong: Wrong);
}

/// Names and values; a name that comes again has the later value.
type Labels<'l> = Vec<(Cow<'l, str>, &'l str)>;

/// Reads a line.
pub fn read(line: &[u8], forms: &[Tags], to: &mut impl Take) {
    if line.is_empty() {
        return;
    }
    if line.starts_with(b"_e{") || line.starts_with(b"_sc|") {
        return to.wrong(Wrong::NoMetric);
    }
    match std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) {
        Some((name, rest)) if !name.is_empty() => {
            if let Err(wrong) = parts(name, rest, forms, to) {
                to.wrong(wrong);
            }
        }
        _ => to.wrong(Wrong::Line),
    }
}

fn parts(name: &str, rest: &str, forms: &[Tags], to: &mut impl Take) -> Result<(), Wrong> {
    let mut labels = Labels::new();
    let name = name_and_tags(name, forms, &mut labels, to)?;
    let is_tagged_behind = rest.contains("|#");
    let is_one = is_tagged_behind || has_fields(rest);
    if is_tagged_behind && !labels.is_empty() {
        return Err(Wrong::MixedTags);
    }
    let (values, behind) = rest.split_once('|').ok_or(Wrong::Parts)?;
    let kind = behind.split('|').next().unwrap_or_default();
    if values.contains(':') {
        // Several values of one sample, as DogStatsD packs them.
        if !["ms", "h", "d"].contains(&kind) {
            return Err(Wrong::Aggregate);
        }
        for value in values.split(':') {
            sample(&name, (value, behind), &mut labels, (forms, to));
        }
    } else if is_one {
        sample(&name, (values, behind), &mut labels, (forms, to));
    } else {
        for one in rest.split(':') {
            match one.split_once('|') {
                Some(parts) => sample(&name, parts, &mut labels, (forms, to)),
                None => to.wrong(Wrong::Component),
            }
        }
    }
    Ok(())
}

/// Whether there are parts of DogStatsD, as `c:` and `e:`, behind value and type: then a colon begins no other sample. The
/// first part with a colon says so.
fn has_fields(rest: &str) -> bool {
    let mut parts = rest.split('|').skip(1);
    let kind_is_plain = parts.next().is_some_and(|kind| !kind.contains(':'));
    kind_is_plain && parts.find(|part| part.contains(':')).is_some_and(is_field)
}

/// A part that letters and a colon begin.
fn is_field(part: &str) -> bool {
    part.split_once(':')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic()))
}

/// The name without the tags that stand in it, or behind it.
fn name_and_tags<'l>(
    name: &'l str,
    forms: &[Tags],
    labels: &mut Labels<'l>,
    to: &mut impl Take,
) -> Result<Cow<'l, str>, Wrong> {
    if forms.contains(&Tags::Signalfx) {
        match (name.find('['), name.find(']')) {
            (Some(open), Some(close)) if open < close => {
                let (before, behind) = (name.get(..open), name.get(close + 1..));
                tags(name.get(open + 1..close).unwrap_or_default(), '=', labels, to)?;
                return Ok(match (before.unwrap_or_default(), behind.unwrap_or_default()) {
                    (before, "") => Cow::Borrowed(before),
                    (before, behind) => Cow::Owned([before, behind].concat()),
                });
            }
            (None, None) => {}
            _ => {
                to.wrong(Wrong::Tag);
                return Ok(Cow::Borrowed(name));
            }
        }
    }
    let begins = |c: char| {
        (c == '#' && forms.contains(&Tags::Librato)) || (c == ',' && forms.contains(&Tags::Influxdb))
    };
    let Some((before, behind)) = name.split_once(begins) else { return Ok(Cow::Borrowed(name)) };
    tags(behind, '=', labels, to)?;
    Ok(Cow::Borrowed(before))
}

/// Takes tags that commas part. One that is none is told, and the others are taken.
fn tags<'l>(text: &'l str, equals: char, labels: &mut Labels<'l>, to: &mut impl Take) -> Result<(), Wrong> {
    // Nothing behind the last comma is no tag, and no mistake.
    let text = text.strip_suffix(',').unwrap_or(text);
    if text.is_empty() {
        return Ok(());
    }
    for tag in text.split(',') {
        let tag = if equals == ':' { tag.strip_prefix('#').unwrap_or(tag) } else { tag };
        match tag.split_once(equals) {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                put(labels, escaped(name), value)?;
            }
            _ => to.wrong(Wrong::Tag),
        }
    }
    Ok(())
}

fn put<'l>(labels: &mut Labels<'l>, name: Cow<'l, str>, value: &'l str) -> Result<(), Wrong> {
    if let Some((_, known)) = labels.iter_mut().find(|(known, _)| *known == name) {
        *known = value;
    } else if labels.len() == TAGS_MAX {
        return Err(Wrong::TooManyTags);
    } else {
        labels.push((name, value));
    }
    Ok(())
}

/// One sample: its value, and what stands behind the first `|`.
fn sample<'l>(
    name: &str,
    parts: (&'l str, &'l str),
    labels: &mut Labels<'l>,
    (forms, to): (&[Tags], &mut impl Take),
) {
    match what(parts, labels, (forms, to)) {
        Ok(what) => to.sample(&Sample { name, what, labels }),
        Err(wrong) => to.wrong(wrong),
    }
}

fn what<'l>(
    (value, behind): (&'l str, &'l str),
    labels: &mut Labels<'l>,
    (forms, to): (&[Tags], &mut impl Take),
) -> Result<What<'l>, Wrong> {
    let mut parts = behind.split('|');
    let kind = parts.next().unwrap_or_default();
    if behind.split('|').count() >= PARTS_MAX || parts.clone().any(str::is_empty) {
        return Err(Wrong::Component);
    }
    // A member of a set may be any text.
    let number = if kind == "s" { 0.0 } else { number(value).ok_or(Wrong::Value)? };
    let mut factor = 1.0;
    for part in parts {
        if let Some(rate) = part.strip_prefix('@') {
            factor = match rate.parse::<f64>() {
                // Without a factor that makes sense the sample stands for itself, as in statsd_exporter.
                Err(_) => {
                    to.wrong(Wrong::Factor);
                    1.0
                }
                Ok(0.0) => 1.0,
                Ok(rate) if rate >= 1.0 / WEIGHT_MAX && rate.is_finite() => rate,
                Ok(_) => return Err(Wrong::Factor),
            };
        } else if let Some(list) = part.strip_prefix('#') {
            if forms.contains(&Tags::Dogstatsd) {
                tags(list, ':', labels, to)?;
            }
        } else if let Some(id) = part.strip_prefix("c:") {
            let id = Some(id).filter(|id| !id.is_empty()).ok_or(Wrong::Container)?;
            put(labels, Cow::Borrowed("container_id"), id)?;
        } else if !part.starts_with('T') && !is_field(part) {
            // `T` is the time of a sample, which only samples that somebody else aggregated have; what other letters say
            // (`e:` where it came from, `card:` how exactly) changes nothing of it.
            return Err(Wrong::Factor);
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the factor is above 0")]
    let times = (1.0 / factor) as u64;
    match kind {
        "c" => Ok(What::Count(number / factor)),
        "g" if value.starts_with(['+', '-']) => Ok(What::Step(number)),
        "g" => Ok(What::Gauge(number)),
        "ms" => Ok(What::Observe(number / 1000.0, times)),
        "h" | "d" => Ok(What::Observe(number, times)),
        "s" => Ok(What::Member(value)),
        _ => Err(Wrong::Kind),
    }
}

/// A number; one that is too large is none, unless infinity was said.
fn number(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let said = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    (!value.is_infinite() || said).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen {
        samples: Vec<String>,
        wrong: Vec<&'static str>,
    }

    impl Take for Seen {
        fn sample(&mut self, sample: &Sample<'_>) {
            let labels: Vec<String> = sample.labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
            self.samples.push(format!("{}{{{}}} {:?}", sample.name, labels.join(","), sample.what));
        }

        fn wrong(&mut self, wrong: Wrong) {
            self.wrong.push(wrong.as_str());
        }
    }

    const ALL: [Tags; 4] = [Tags::Dogstatsd, Tags::Influxdb, Tags::Librato, Tags::Signalfx];

    fn seen(line: &str) -> Seen {
        let mut seen = Seen::default();
        read(line.as_bytes(), &ALL, &mut seen);
        seen
    }

    #[test]
    fn samples_of_all_kinds_are_read() {
        for (line, want) in [
            ("a:2|c", "a{} Count(2.0)"),
            ("a:2|c|@0.2", "a{} Count(10.0)"),
            ("a:2|c|@0", "a{} Count(2.0)"),
            ("a:-3|g", "a{} Step(-3.0)"),
            ("a:+3|g|@0.1", "a{} Step(3.0)"),
            ("a:3|g", "a{} Gauge(3.0)"),
            ("a:200|ms", "a{} Observe(0.2, 1)"),
            ("a:2|h|@0.25", "a{} Observe(2.0, 4)"),
            ("a:2|d|@5", "a{} Observe(2.0, 0)"),
            ("a:bob|s", "a{} Member(\"bob\")"),
            ("a.b:1|c|#x:1,y.z:2,", "a.b{x=1,y_z=2} Count(1.0)"),
            ("a:1|c|@0.5|#x:a:b", "a{x=a:b} Count(2.0)"),
            ("a:1|c|#x:1|c:ci-1|T1656581400", "a{x=1,container_id=ci-1} Count(1.0)"),
            ("a,x=1,x=2:1|c", "a{x=2} Count(1.0)"),
            ("a:1|c|@0.5|#x:1|c:ci-1|e:it-false,cn-b|card:low", "a{x=1,container_id=ci-1} Count(2.0)"),
            ("a:1|c|c:ci-1|T1", "a{container_id=ci-1} Count(1.0)"),
            ("a:1|g|e:it-false", "a{} Gauge(1.0)"),
            ("a:2|h|@0.000001", "a{} Observe(2.0, 1000000)"),
            ("a#x=1:1|c", "a{x=1} Count(1.0)"),
            ("a[x=1].b:1|c", "a.b{x=1} Count(1.0)"),
            ("a:Inf|g", "a{} Gauge(inf)"),
        ] {
            let seen = seen(line);
            assert_eq!((seen.samples, seen.wrong), (vec![want.to_owned()], vec![]), "{line}");
        }
    }

    #[test]
    fn a_line_may_have_several_samples_or_a_sample_several_values() {
        assert_eq!(
            seen("a:1|c:2|g:3|ms").samples,
            ["a{} Count(1.0)", "a{} Gauge(2.0)", "a{} Observe(0.003, 1)"]
        );
        let counts = ["a{} Count(10.0)", "a{} Count(2.0)", "a{} Count(3.0)"];
        assert_eq!(seen("a:1|c|@0.1:2|c:3|c").samples, counts);
        assert_eq!(seen("a:10|c:2|c:3|c").samples, counts);
        let packed = seen("a:1:2:x:3|d|#t:1");
        assert_eq!(packed.samples.len(), 3);
        assert_eq!(
            (&*packed.samples[2], &*packed.wrong),
            ("a{t=1} Observe(3.0, 1)", &["malformed_value"][..])
        );
    }

    #[test]
    fn what_is_wrong_has_its_reason_and_harms_nothing_else() {
        for (line, wrong) in [
            ("a", "malformed_line"),
            (":1|c", "malformed_line"),
            ("a:1", "not_enough_parts_after_colon"),
            ("a,x=1:1|c|#y:1", "mixed_tagging_styles"),
            ("a:1:2|c", "invalid_extended_aggregate_type"),
            ("a:1|c|", "malformed_component"),
            ("a:1|c|@1|@1|@1|@1|@1|@1|@1|@1", "malformed_component"),
            ("a:x|c", "malformed_value"),
            ("a:1e999|g", "malformed_value"),
            ("a:1|x", "illegal_event"),
            ("a:1|c|@-1", "invalid_sample_factor"),
            ("a:1|h|@1e-30", "invalid_sample_factor"),
            ("a:1|c|@0.0000009", "invalid_sample_factor"),
            ("a:1|c|@nan", "invalid_sample_factor"),
            ("a:1|c|what", "invalid_sample_factor"),
            ("a:1|c|#x:1|c:", "malformed_container_id"),
            ("_e{1,1}:a|b", "no_metric"),
            ("_sc|a|0", "no_metric"),
        ] {
            let seen = seen(line);
            assert_eq!((seen.samples, seen.wrong), (vec![], vec![wrong]), "{line}");
        }
        for (line, wrong) in [
            ("a:1|c|@x", "invalid_sample_factor"),
            ("a:1|c|#x:1,y,:,z:", "malformed_tag"),
            ("a[x:1|c", "malformed_tag"),
        ] {
            let seen = seen(line);
            assert!(
                seen.samples.len() == 1 && seen.wrong.iter().all(|w| *w == wrong),
                "{line}: {:?}",
                seen.wrong
            );
            assert!(!seen.wrong.is_empty(), "{line}");
        }
        let tags = (0..300).fold("a:1|c|#".to_owned(), |all, i| all + &format!("t{i}:1,"));
        assert_eq!(seen(&tags).wrong, ["too_many_tags"]);
        let mut bytes = Seen::default();
        read(b"a:\xff|s", &ALL, &mut bytes);
        assert_eq!(bytes.wrong, ["malformed_line"]);
    }

    #[test]
    fn forms_of_tags_that_are_off_are_parts_of_the_name() {
        let mut seen = Seen::default();
        for line in ["a,x=1:1|c", "a#x=1:1|c", "a[x=1]:1|c", "a:1|c|#x:1"] {
            read(line.as_bytes(), &[], &mut seen);
        }
        let names = ["a,x=1{} Count(1.0)", "a#x=1{} Count(1.0)", "a[x=1]{} Count(1.0)", "a{} Count(1.0)"];
        assert_eq!(seen.samples, names);
    }
}
