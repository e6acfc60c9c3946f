//! Promtool's unit tests of the rules, passed by the monitor's own evaluation.

use headroom::monitor::alerts::State;
use headroom::monitor::group::{Around, Group};
use headroom::monitor::history::History;
use headroom::monitor::rules;
use headroom::promql::{Labels, Limits, NAME, Point, Query, Series, Source, Value, Window, stale};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule_files: Vec<String>,
    evaluation_interval: String,
    #[serde(default)]
    group_eval_order: Vec<String>,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: Option<String>,
    interval: String,
    #[serde(default)]
    input_series: Vec<Input>,
    #[serde(default, rename = "alert_rule_test")]
    alerts: Vec<AlertTest>,
    #[serde(default, rename = "promql_expr_test")]
    expressions: Vec<ExprTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    series: String,
    values: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlertTest {
    eval_time: String,
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<Expected>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, PartialOrd)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default)]
    exp_labels: BTreeMap<String, String>,
    #[serde(default)]
    exp_annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExprTest {
    expr: String,
    eval_time: String,
    #[serde(default)]
    exp_samples: Vec<ExpectedSample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedSample {
    #[serde(default)]
    labels: String,
    value: f64,
}

fn millis(text: &str) -> i64 {
    i64::try_from(rules::duration(text).unwrap_or_else(|e| panic!("{text}: {e}")).as_millis()).unwrap()
}

/// The labels of a selector, as series of these tests are written.
fn labels(selector: &str) -> Labels {
    let all = headroom::promql::matchers(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
    Labels::new(all.iter().map(|m| (m.name.as_str(), m.value.as_str())))
}

/// Promtool's notation of samples; `None` is none.
fn samples(notation: &str) -> Vec<Option<f64>> {
    let mut out = Vec::new();
    for item in notation.split_whitespace() {
        let (what, times) = match item.split_once('x') {
            Some((what, times)) => (what, times.parse::<usize>().unwrap()),
            None => (item, 0),
        };
        if what == "_" {
            out.extend(vec![None; times.max(1)]);
            continue;
        }
        let step = what.char_indices().skip(1).filter(|(_, c)| "+-".contains(*c)).map(|(at, _)| at);
        // Not the sign of an exponent.
        let step = step.filter(|at| !what[..*at].ends_with(['e', 'E'])).last();
        let number = |text: &str| if text == "stale" { stale() } else { text.parse::<f64>().unwrap() };
        let (from, step) = match step {
            Some(at) => (number(&what[..at]), number(&what[at..])),
            None => (number(what), 0.0),
        };
        out.extend((0..=times).map(|n| Some(if step == 0.0 { from } else { from + step * n as f64 })));
    }
    out
}

/// The input of a test: what an evaluation at a time may see of it is the past alone, as in a real history.
struct Inputs {
    series: Vec<(Labels, Vec<Option<f64>>)>,
    interval: i64,
    told: i64,
}

impl Inputs {
    fn tell(&mut self, history: &History, at: i64) {
        while self.told <= at {
            let step = usize::try_from(self.told / self.interval).unwrap();
            for (labels, values) in &self.series {
                let Some(Some(value)) = values.get(step) else { continue };
                let texts: Vec<(&str, &str)> = labels.iter().collect();
                history.append([(texts.as_slice(), Point { at: self.told, value: *value })]);
            }
            self.told += self.interval;
        }
    }
}

fn groups(file: &File, directory: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    for name in &file.rule_files {
        let text = std::fs::read_to_string(directory.join(name)).unwrap();
        groups.extend(rules::read(name, &supported(&text)).unwrap());
    }
    groups.sort_by_key(|group| file.group_eval_order.iter().position(|name| *name == group.name));
    groups.into_iter().map(|group| Group::new(group, Duration::from_secs(1))).collect()
}

/// A rule file without the rules over native histograms, which are kept with bounds here, and which promtool's tests cannot tell.
fn supported(text: &str) -> String {
    let mut file: serde_json::Value = serde_yaml::from_str(text).unwrap();
    for group in file["groups"].as_array_mut().unwrap() {
        group["rules"].as_array_mut().unwrap().retain(|rule| {
            let expr = rule["expr"].as_str().unwrap();
            let why = Query::parse(expr).err();
            assert!(why.is_none() || expr.contains("histogram_"), "{expr}: {why:?}");
            why.is_none()
        });
    }
    serde_json::to_string(&file).unwrap()
}

fn run(file: &File, directory: &Path, test: &Test, wrong: &mut Vec<String>) -> usize {
    let (every, interval) = (millis(&file.evaluation_interval), millis(&test.interval));
    let series = test.input_series.iter().map(|input| (labels(&input.series), samples(&input.values)));
    let mut inputs = Inputs { series: series.collect(), interval, told: 0 };
    let history = History::new(256 << 20);
    let external = BTreeMap::new();
    let around = Around { history: &history, limits: Limits::default(), external: &external };
    let mut groups = groups(file, directory);
    let times = test.alerts.iter().map(|t| &t.eval_time);
    let last =
        times.chain(test.expressions.iter().map(|t| &t.eval_time)).map(|t| millis(t)).max().unwrap_or(0);
    let mut at = 0;
    while at <= last {
        inputs.tell(&history, at);
        for group in &mut groups {
            assert_eq!(group.evaluate(&around, at), 0, "a rule of {} fails at {at}", group.written.name);
        }
        let is_now = |time: &str| (at..at + every).contains(&millis(time));
        for expected in test.alerts.iter().filter(|t| is_now(&t.eval_time)) {
            let firing = firing(&groups, &expected.alertname);
            let mut wanted = expected.exp_alerts.clone();
            wanted.sort_by(|a, b| a.partial_cmp(b).unwrap());
            if firing != wanted {
                let AlertTest { eval_time, alertname, .. } = expected;
                wrong.push(format!("{alertname} at {eval_time}:\n  ours   {firing:?}\n  wanted {wanted:?}"));
            }
        }
        at += every;
    }
    for expected in &test.expressions {
        let at = millis(&expected.eval_time);
        inputs.tell(&history, at);
        expression(&history, expected, at, wrong);
    }
    test.alerts.len() + test.expressions.len()
}

fn firing(groups: &[Group], name: &str) -> Vec<Expected> {
    let alerts = groups.iter().flat_map(Group::alerts);
    let ours = alerts.filter(|alert| alert.state == State::Firing && alert.labels.get("alertname") == name);
    let mut all: Vec<Expected> = ours
        .map(|alert| Expected {
            exp_labels: alert
                .labels
                .iter()
                .filter(|(name, _)| *name != "alertname")
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            exp_annotations: alert.annotations.clone(),
        })
        .collect();
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all
}

fn expression(history: &History, expected: &ExprTest, at: i64, wrong: &mut Vec<String>) {
    let answer = Query::parse(&expected.expr).unwrap().instant(history, at, Limits::default()).unwrap();
    let mut ours: Vec<(Labels, f64)> = match answer {
        Value::Vector(all) => all.into_iter().map(|s| (s.labels, s.value)).collect(),
        Value::Scalar(value) => vec![(Labels::default(), value)],
        other => panic!("{}: {other:?}", expected.expr),
    };
    let named = |text: &str| if text.is_empty() { Labels::default() } else { labels(text) };
    let mut wanted: Vec<(Labels, f64)> =
        expected.exp_samples.iter().map(|sample| (named(&sample.labels), sample.value)).collect();
    ours.sort_by(|a, b| a.0.cmp(&b.0));
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    let same =
        ours.len() == wanted.len() && ours.iter().zip(&wanted).all(|(a, b)| a.0 == b.0 && close(a.1, b.1));
    if !same {
        wrong.push(format!(
            "{} at {}:\n  ours   {ours:?}\n  wanted {wanted:?}",
            expected.expr, expected.eval_time
        ));
    }
}

#[test]
fn every_promtool_test_of_the_rules_passes_here_too() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus/tests");
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() > 10, "the tests were not found");
    let (wrong, count) = (Mutex::new(Vec::new()), Mutex::new(0));
    std::thread::scope(|scope| {
        for path in &files {
            let (wrong, count, directory) = (&wrong, &count, &directory);
            scope.spawn(move || {
                let text = std::fs::read_to_string(path).unwrap();
                let file: File =
                    serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                for test in &file.tests {
                    let mut found = Vec::new();
                    let looked_at = run(&file, directory, test, &mut found);
                    *count.lock().unwrap() += looked_at;
                    let name = test.name.as_deref().unwrap_or_default();
                    wrong
                        .lock()
                        .unwrap()
                        .extend(found.iter().map(|what| format!("{}: {name}: {what}", path.display())));
                }
            });
        }
    });
    let (wrong, count) = (wrong.into_inner().unwrap(), count.into_inner().unwrap());
    eprintln!("{count} expectations");
    assert!(count > 300, "a comparison of nothing");
    assert!(
        wrong.is_empty(),
        "{} of {count} are wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
}

#[test]
fn the_notation_of_samples_is_promtools() {
    let some = |all: &[f64]| all.iter().copied().map(Some).collect::<Vec<_>>();
    assert_eq!(
        samples("1 2x2 1+2x2 3-1x1 1e-3"),
        some(&[1.0, 2.0, 2.0, 2.0, 1.0, 3.0, 5.0, 3.0, 2.0, 0.001])
    );
    assert_eq!(samples("_ 1 _x2"), [None, Some(1.0), None, None]);
    assert_eq!(samples("-2-1x1"), some(&[-2.0, -3.0]));
}

#[test]
fn what_is_told_is_found() {
    let history = History::new(16 << 20);
    let mut inputs =
        Inputs { series: vec![(labels("m{a=\"b\"}"), samples("1+1x3"))], interval: 5000, told: 0 };
    inputs.tell(&history, 7000);
    let window = Window { from: 0, to: i64::MAX };
    let found: Vec<Series> = history.select(&[], window, usize::MAX).unwrap();
    assert_eq!(found[0].labels.get(NAME), "m");
    assert_eq!(found[0].points.len(), 2);
}
