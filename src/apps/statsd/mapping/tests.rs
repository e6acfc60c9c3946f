//! Tests of mapping files: what they map, and what is said of mistakes.

use super::*;

const FILE: &str = r#"
defaults:
  observer_type: histogram
  histogram_options: {buckets: [.1, 1, 10]}
  ttl: 1m
mappings:
- match: "test.dispatcher.*.*.*"
  name: "dispatcher_events_total"
  labels: {processor: "$1", action: "${2}", outcome: "$3", code: 200}
- match: "drop.*"
  name: dropped
  action: drop
- match: 'timed\.(\w+)\.(?P<what>\w+)'
  match_type: regex
  match_metric_type: timer
  name: "timed_${1}"
  observer_type: summary
  summary_options: {quantiles: [{quantile: 0.9, error: 0.01}, {quantile: 0.5, error: 0.05}], max_age: 30s, age_buckets: 3, buf_cap: 100}
  labels: {what: "$what", job: "x"}
  ttl: 2h
  scale: 0.001
  help: Times.
- match: "*.only.counters"
  match_metric_type: counter
  honor_labels: true
  name: "${1}_only"
"#;

fn found(mapping: &Mapping, name: &str, kind: Kind) -> Option<(String, Vec<(String, String)>)> {
    let found = mapping.find(name, kind)?;
    let mut labels: Vec<_> = found.labels.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
    labels.sort();
    Some((found.name, labels))
}

#[test]
fn names_and_labels_come_from_the_first_rule_that_matches() {
    let mapping = Mapping::parse(FILE).unwrap();
    assert_eq!(mapping.len(), 4);
    let (name, labels) = found(&mapping, "test.dispatcher.a.b.c", Kind::Gauge).unwrap();
    let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(name, "dispatcher_events_total");
    assert_eq!(pairs, [("action", "b"), ("code", "200"), ("outcome", "c"), ("processor", "a")]);
    assert!(mapping.find("drop.x", Kind::Counter).unwrap().rule.is_dropped);
    let timed = mapping.find("in.timed.x.y", Kind::Observer).unwrap();
    assert_eq!(
        (timed.name.as_str(), timed.rule.scale, &*timed.rule.help),
        ("timed_x", Some(0.001), "Times.")
    );
    assert_eq!(timed.rule.ttl, Some(Duration::from_hours(2)));
    let Observing::Summary(summary) = &timed.rule.observing else { panic!("no summary") };
    assert_eq!((summary.max_age, summary.age_buckets), (Duration::from_secs(30), 3));
    assert_eq!(summary.quantiles, [(0.5, 0.05), (0.9, 0.01)]);
    assert!(mapping.find("in.timed.x.y", Kind::Counter).is_none());
    let only = mapping.find("a.only.counters", Kind::Counter).unwrap();
    assert!(only.rule.honor_labels && only.rule.ttl == Some(Duration::from_mins(1)));
    assert_eq!(only.rule.observing, Observing::Histogram(vec![0.1, 1.0, 10.0]));
    assert!(mapping.find("a.only.counters", Kind::Gauge).is_none());
    assert_eq!(mapping.unused, ["summary_options.buf_cap"]);
    assert_eq!(mapping.default.ttl, Some(Duration::from_mins(1)));
}

#[test]
fn a_file_without_anything_maps_nothing() {
    for text in ["", "# nothing\n", "mappings:\n", "defaults: {}\n"] {
        let mapping = Mapping::parse(text).unwrap();
        assert!(mapping.is_empty() && mapping.find("a", Kind::Counter).is_none(), "{text:?}");
        let Observing::Summary(summary) = &mapping.default.observing else { panic!("no summary") };
        assert_eq!(summary.quantiles, QUANTILES);
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let entry = |keys: &str| Mapping::parse(&format!("mappings:\n- {{match: 'a.*', name: a, {keys}}}\n"));
    for keys in [
        "observer_type: none",
        "labels: {'a-b': c}",
        "labels: {1a: c}",
        "action: shout",
        "match_metric_type: set",
        "ttl: soon",
        "observer_type: histogram, summary_options: {}",
        "observer_type: summary, histogram_options: {}",
        "histogram_options: {buckets: [2, 1]}",
        "summary_options: {quantiles: [{quantile: 2, error: 0}]}",
        "summary_options: {age_buckets: 1000}",
        "scale: .inf",
        "colour: red",
        "summary_options: {colour: red}",
    ] {
        assert!(entry(keys).is_err(), "{keys}");
    }
    for text in [
        "- {match: 'a b', name: a}",
        "- {match: a, name: 'a b'}",
        "- {match: a}",
        "- {match: '(', match_type: regex, name: a}",
    ] {
        let error = Mapping::parse(&format!("defaults: {{}}\nmappings:\n{text}\n")).unwrap_err();
        let MappingError::At(Some(place), why) = error else { panic!("{error:?}") };
        assert!(place == (3, 3) && why.starts_with("mappings[0] "), "{place:?} {why}");
    }
    let MappingError::Text(error) = entry("colour: red").unwrap_err() else { panic!("no place") };
    assert!(error.to_string().contains("colour"), "{error}");
}
