//! OpenTelemetry's names and units as Prometheus's names.
//!
//! Source: <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>; where that leaves a choice,
//! the names are those that Prometheus's own receiver gives.

use super::Names;
use std::borrow::Cow;

/// What a metric is, as far as its name tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Counter,
    Gauge,
    Other,
}

/// Units of OpenTelemetry and their names.
const UNITS: [(&str, &str); 25] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("%", "percent"),
];
/// Units behind a stroke: of each.
const PER: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

/// The name of a metric with its unit and suffix; empty if nothing of it can be a name.
pub(super) fn metric(names: Names, name: &str, unit: &str, sort: Sort) -> String {
    let (main, per) = unit_words(unit);
    match names {
        Names::Underscores => underscored(name, (&main, &per), (unit, sort)),
        Names::Utf8 => suffixed(name, (&main, &per), (unit, sort)),
    }
}

/// What the unit is called: `bytes` and `per_second` for `By/s`. What stands in braces is no unit.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let named = |part: &str, table: &[(&str, &str)]| {
        let part = part.trim();
        if part.contains(['{', '}']) || part == "1" {
            return String::new();
        }
        table.iter().find(|(short, _)| *short == part).map_or(part, |(_, long)| long).to_owned()
    };
    let (main, per) = (named(main, &UNITS), named(per, &PER));
    let per = if per.is_empty() { per } else { format!("per_{per}") };
    (main, per)
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == ':'
}

/// The name in words of letters and digits with one underscore between two.
fn underscored(name: &str, (main, per): (&str, &str), (unit, sort): (&str, Sort)) -> String {
    let clean =
        |text: &str| text.split(|c| !is_word(c)).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("_");
    let (main, per) = (clean(main), clean(per));
    let mut words: Vec<&str> = name.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return String::new();
    }
    for suffix in [main.as_str(), per.as_str()] {
        if !suffix.is_empty() && suffix != "per" && !words.contains(&suffix) {
            words.push(suffix);
        }
    }
    if sort == Sort::Counter {
        words.retain(|word| *word != "total");
        words.push("total");
    }
    if sort == Sort::Gauge && unit == "1" {
        words.retain(|word| *word != "ratio");
        words.push("ratio");
    }
    let digit = words.first().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    if digit { format!("_{}", words.join("_")) } else { words.join("_") }
}

/// The name as it is, with the suffixes that it lacks.
fn suffixed(name: &str, (main, per): (&str, &str), (unit, sort): (&str, Sort)) -> String {
    // A suffix that is there already moves to the end, with whatever stood before it.
    let without = |name: &str, suffix: &str| -> String {
        let start = name.strip_suffix(suffix).and_then(|start| {
            let (last, _) = start.char_indices().next_back()?;
            start.get(..last).filter(|start| !start.is_empty())
        });
        start.unwrap_or(name).to_owned()
    };
    let kind = match sort {
        Sort::Counter => "total",
        Sort::Gauge if unit == "1" => "ratio",
        _ => "",
    };
    let mut out = name.to_owned();
    for suffix in [kind, per].into_iter().filter(|suffix| !suffix.is_empty()) {
        out = without(&out, suffix);
    }
    let main = if out.ends_with(main) { "" } else { main };
    for suffix in [main, per, kind].into_iter().filter(|suffix| !suffix.is_empty()) {
        out.push('_');
        out.push_str(suffix);
    }
    out
}

/// The name of an attribute as that of a label; empty if nothing of it can be a name.
pub(super) fn label(names: Names, key: &str) -> Cow<'_, str> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let plain =
        key.chars().all(good) && !key.contains("__") && !key.starts_with(|c: char| c.is_ascii_digit());
    if plain || names == Names::Utf8 {
        let only_underscores = key.chars().all(|c| c == '_');
        return Cow::Borrowed(if only_underscores { "" } else { key });
    }
    let mut out = String::with_capacity(key.len() + 4);
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        out.push_str("key_");
    }
    for letter in key.chars() {
        let letter = if good(letter) { letter } else { '_' };
        if letter != '_' || !out.ends_with('_') {
            out.push(letter);
        }
    }
    Cow::Owned(if out.chars().all(|c| c == '_') { String::new() } else { out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_units_are_prometheus_s() {
        use Sort::{Counter, Gauge, Other};
        for (name, unit, sort, underscores, utf8) in [
            (
                "http.server.request.duration",
                "s",
                Other,
                "http_server_request_duration_seconds",
                "http.server.request.duration_seconds",
            ),
            ("latency", "ms", Other, "latency_milliseconds", "latency_milliseconds"),
            ("system.io", "By", Counter, "system_io_bytes_total", "system.io_bytes_total"),
            ("requests", "{request}", Counter, "requests_total", "requests_total"),
            ("requests_total", "1", Counter, "requests_total", "requests_total"),
            ("requests.total", "", Counter, "requests_total", "requests_total"),
            ("hit.rate", "1", Gauge, "hit_rate_ratio", "hit.rate_ratio"),
            ("hits", "1", Other, "hits", "hits"),
            ("speed", "By/s", Gauge, "speed_bytes_per_second", "speed_bytes_per_second"),
            ("speed", "{x}/m", Gauge, "speed_per_minute", "speed_per_minute"),
            ("queue.bytes", "By", Gauge, "queue_bytes", "queue.bytes"),
            ("a..b__c-d", "", Other, "a_b_c_d", "a..b__c-d"),
            ("1st", "", Other, "_1st", "1st"),
            ("load", "%", Gauge, "load_percent", "load_percent"),
            ("odd", "foo bar", Gauge, "odd_foo_bar", "odd_foo bar"),
            ("…", "s", Other, "", "…_seconds"),
        ] {
            assert_eq!(metric(Names::Underscores, name, unit, sort), underscores, "{name}");
            assert_eq!(metric(Names::Utf8, name, unit, sort), utf8, "{name}");
        }
    }

    #[test]
    fn attributes_are_labels() {
        for (key, underscores) in [
            ("http.method", "http_method"),
            ("plain_1", "plain_1"),
            ("1st", "key_1st"),
            ("a__b", "a_b"),
            ("__name__", "_name_"),
            ("ü", ""),
            ("", ""),
            ("aü.b", "a_b"),
        ] {
            assert_eq!(label(Names::Underscores, key), underscores);
        }
        assert_eq!(label(Names::Utf8, "http.method"), "http.method");
        assert_eq!(label(Names::Utf8, "__"), "");
    }
}
