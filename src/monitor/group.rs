//! The evaluation of a group of rules: what is recorded, which alerts there are, which series have ended.

use super::alerts::{Alert, Alerts, Said, State};
use super::history::History;
use super::rules::{Group as Written, Rule};
use super::template::{About, Template};
use crate::promql::{Labels, Limits, NAME, Point, Query, Sample, Value, stale};
use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

/// A group, and what it said the last time.
#[derive(Debug)]
pub struct Group {
    /// As it is written.
    pub written: Written,
    /// Between two evaluations.
    pub interval: Duration,
    /// One for each rule.
    pub rules: Vec<Evaluated>,
    /// When it was evaluated last, in milliseconds since the epoch.
    pub last: Option<i64>,
    /// How long that took.
    pub took: Duration,
}

/// What is known of a rule from its last evaluation.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// The alerts; none of a recording rule.
    pub alerts: Alerts,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// How long it took.
    pub took: Duration,
    /// When, in milliseconds since the epoch.
    pub at: Option<i64>,
    /// The series that it recorded.
    said: HashSet<Labels>,
}

/// What surrounds an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Where samples come from and go to.
    pub history: &'a History,
    /// What an expression may take.
    pub limits: Limits,
    /// Labels that all alerts of this machine get.
    pub external: &'a BTreeMap<String, String>,
}

impl Around<'_> {
    /// What a template asks for.
    fn query(&self, text: &str, at: i64) -> Result<Vec<Sample>, String> {
        let answer = Query::parse(text).and_then(|query| query.instant(self.history, at, self.limits));
        match answer.map_err(|e| e.to_string())? {
            Value::Vector(samples) => Ok(samples),
            Value::Scalar(value) => Ok(vec![Sample { labels: Labels::default(), value }]),
            Value::Matrix(_) | Value::Text(_) => Err("the query says no samples".to_owned()),
        }
    }
}

impl Group {
    /// A group that has not been evaluated; `interval` is for those that name none.
    pub fn new(written: Written, interval: Duration) -> Self {
        let rules = written.rules.iter().map(|_| Evaluated::default()).collect();
        Self {
            interval: written.interval.unwrap_or(interval),
            written,
            rules,
            last: None,
            took: Duration::ZERO,
        }
    }

    /// Whether it is time for the next evaluation. A beat that comes a little early is taken for its own.
    pub fn is_due(&self, at: i64) -> bool {
        let interval = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
        self.last.is_none_or(|last| at.saturating_sub(last) >= interval - interval / 20 || at < last)
    }

    /// Evaluates all rules, one after the other, each of which sees what those before it recorded. A rule that fails leaves its
    /// alerts as they are. How many failed.
    pub fn evaluate(&mut self, around: &Around<'_>, at: i64) -> usize {
        let begun = Instant::now();
        let mut failed = 0;
        for (rule, evaluated) in self.written.rules.iter().zip(&mut self.rules) {
            let begun = Instant::now();
            let result = evaluated.evaluate(rule, around, at);
            (evaluated.took, evaluated.at) = (begun.elapsed(), Some(at));
            failed += usize::from(result.is_err());
            let before = std::mem::replace(&mut evaluated.error, result.err());
            match (&evaluated.error, before.is_some()) {
                (Some(why), false) => {
                    let (file, name) = (&self.written.file, &rule.name);
                    tracing::warn!(file, rule = name, error = why, "a rule fails");
                }
                (None, true) => tracing::info!(rule = rule.name, "a rule can be evaluated again"),
                _ => {}
            }
        }
        (self.last, self.took) = (Some(at), begun.elapsed());
        failed
    }

    /// All alerts of the group.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.rules.iter().flat_map(|rule| rule.alerts.iter())
    }
}

impl Evaluated {
    fn evaluate(&mut self, rule: &Rule, around: &Around<'_>, at: i64) -> Result<(), String> {
        let query = rule.query.as_ref().map_err(ToString::to_string)?;
        let samples = match query.instant(around.history, at, around.limits).map_err(|e| e.to_string())? {
            Value::Vector(samples) => samples,
            Value::Scalar(value) => vec![Sample { labels: Labels::default(), value }],
            Value::Matrix(_) | Value::Text(_) => return Err("the expression says no samples".to_owned()),
        };
        let recorded = match &rule.alert {
            None => recorded(rule, samples)?,
            Some(alert) => {
                let query = |text: &str| around.query(text, at);
                let each = |sample: Sample| said(rule, &alert.annotations, &sample, &query, around.external);
                let all: Vec<Said> = samples.into_iter().map(each).collect();
                alone(all.iter().map(|said| &said.labels))?;
                self.alerts.take(alert, at, all);
                self.alerts.iter().filter(|alert| alert.state != State::Inactive).flat_map(series).collect()
            }
        };
        self.record(&recorded, around.history, at);
        Ok(())
    }

    fn record(&mut self, recorded: &[Sample], history: &History, at: i64) {
        let now: HashSet<Labels> = recorded.iter().map(|sample| sample.labels.clone()).collect();
        let ended = self.said.difference(&now).map(|labels| (labels, stale()));
        let all: Vec<(&Labels, f64)> = recorded.iter().map(|s| (&s.labels, s.value)).chain(ended).collect();
        let texts: Vec<Vec<(&str, &str)>> = all.iter().map(|(labels, _)| labels.iter().collect()).collect();
        let points = all.iter().map(|&(_, value)| Point { at, value });
        history.append(texts.iter().map(Vec::as_slice).zip(points));
        self.said = now;
    }
}

fn recorded(rule: &Rule, samples: Vec<Sample>) -> Result<Vec<Sample>, String> {
    let mut out = Vec::with_capacity(samples.len());
    for sample in samples {
        let mut labels = sample.labels.edit();
        labels.set(NAME, &rule.name);
        for (name, text) in &rule.labels {
            labels.set(name, text.text());
        }
        out.push(Sample { labels: labels.labels(), value: sample.value });
    }
    alone(out.iter().map(|sample| &sample.labels))?;
    Ok(out)
}

fn said(
    rule: &Rule,
    annotations: &BTreeMap<String, Template>,
    sample: &Sample,
    query: &dyn Fn(&str) -> Result<Vec<Sample>, String>,
    external: &BTreeMap<String, String>,
) -> Said {
    let about = About { labels: &sample.labels, value: sample.value, external, query };
    // As in Prometheus, what cannot be filled says so and costs no alert.
    let filled = |template: &Template| {
        template.fill(&about).unwrap_or_else(|why| format!("<error expanding template: {why}>"))
    };
    let mut labels = sample.labels.without_name().edit();
    for (name, template) in &rule.labels {
        labels.set(name, &filled(template));
    }
    labels.set("alertname", &rule.name);
    let annotations = annotations.iter().map(|(name, template)| (name.clone(), filled(template))).collect();
    Said { annotations, labels: labels.labels(), value: sample.value }
}

/// No two samples of a rule may be one series.
fn alone<'a>(all: impl Iterator<Item = &'a Labels>) -> Result<(), String> {
    let mut seen = HashSet::new();
    for labels in all {
        if !seen.insert(labels) {
            return Err(format!("two samples have the same labels: {labels}"));
        }
    }
    Ok(())
}

/// `ALERTS` and `ALERTS_FOR_STATE` of an alert.
fn series(alert: &Alert) -> [Sample; 2] {
    let mut state = alert.labels.edit();
    state.set(NAME, "ALERTS");
    state.set("alertstate", alert.state.as_str());
    let mut since = alert.labels.edit();
    since.set(NAME, "ALERTS_FOR_STATE");
    // Prometheus's is in whole seconds too.
    let at = alert.active_at.div_euclid(1000) as f64;
    [Sample { labels: state.labels(), value: 1.0 }, Sample { labels: since.labels(), value: at }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rules;
    use crate::promql::Window;

    fn around<'a>(history: &'a History, external: &'a BTreeMap<String, String>) -> Around<'a> {
        Around { history, limits: Limits::default(), external }
    }

    fn tell(history: &History, labels: &[(&str, &str)], at: i64, value: f64) {
        history.append([(labels, Point { at, value })]);
    }

    fn now(history: &History, expr: &str, at: i64) -> String {
        let Value::Vector(samples) =
            Query::parse(expr).unwrap().instant(history, at, Limits::default()).unwrap()
        else {
            panic!("{expr}")
        };
        let lines: Vec<String> = samples.iter().map(|s| format!("{} {}\n", s.labels, s.value)).collect();
        lines.concat()
    }

    const RULES: &str = r#"
groups:
  - name: g
    rules:
      - {record: "a:b", expr: "m * 2", labels: {by: rule}}
      - alert: High
        expr: "a:b > 10"
        for: 5s
        labels: {severity: "{{ if gt $value 50.0 }}critical{{ else }}warning{{ end }}"}
        annotations: {summary: "{{ $labels.instance }}: {{ $value }}"}
"#;

    #[test]
    fn a_rule_sees_what_those_before_it_recorded_and_what_ended_is_marked() {
        let (history, external) = (History::new(1 << 20), BTreeMap::new());
        let mut group = Group::new(rules::read("r", RULES).unwrap().remove(0), Duration::from_secs(5));
        for (at, value) in [(5000, 4.0), (10_000, 7.0), (15_000, 8.0)] {
            tell(&history, &[(NAME, "m"), ("instance", "i")], at, value);
            assert!(group.is_due(at));
            assert_eq!(group.evaluate(&around(&history, &external), at), 0);
        }
        assert_eq!(now(&history, "a:b", 15_000), "a:b{by=\"rule\", instance=\"i\"} 16\n");
        let firing = "ALERTS{alertname=\"High\", alertstate=\"firing\", by=\"rule\", instance=\"i\", severity=\"warning\"} 1\n";
        assert_eq!(now(&history, "ALERTS", 15_000), firing, "pending has ended");
        let alert = group.alerts().next().unwrap();
        assert_eq!((alert.annotations["summary"].as_str(), alert.active_at), ("i: 16", 10_000));
        assert!(now(&history, "ALERTS_FOR_STATE", 15_000).ends_with("} 10\n"));
        tell(&history, &[(NAME, "m"), ("instance", "i")], 20_000, stale());
        group.evaluate(&around(&history, &external), 20_000);
        assert_eq!(now(&history, "{__name__=~\".+\"}", 20_000), "", "everything has ended");
        assert!(!group.is_due(22_000) && group.is_due(24_990) && group.is_due(1));
    }

    #[test]
    fn what_a_template_cannot_say_costs_no_alert() {
        let (history, external) = (History::new(1 << 20), BTreeMap::new());
        let text = "groups: [{name: g, rules: [{alert: A, expr: vector(1), labels: {l: '{{ $labels.x | humanize }}'}}]}]";
        let mut group = Group::new(rules::read("r", text).unwrap().remove(0), Duration::from_secs(5));
        assert_eq!(group.evaluate(&around(&history, &external), 5000), 0);
        let label = group.alerts().next().unwrap().labels.get("l").to_owned();
        assert_eq!(label, "<error expanding template: not a number: \"\">");
    }

    #[test]
    fn a_rule_that_fails_says_why_and_keeps_its_alerts() {
        let (history, external) = (History::new(1 << 20), BTreeMap::new());
        let text =
            "groups: [{name: g, rules: [{alert: A, expr: 'm * on (x) m'}, {record: r, expr: 'count(m)'}]}]";
        let mut group = Group::new(rules::read("r", text).unwrap().remove(0), Duration::from_secs(5));
        tell(&history, &[(NAME, "m"), ("x", "1")], 5000, 1.0);
        assert_eq!(group.evaluate(&around(&history, &external), 5000), 0);
        tell(&history, &[(NAME, "m"), ("x", "1"), ("y", "2")], 6000, 1.0);
        assert_eq!(group.evaluate(&around(&history, &external), 10_000), 1);
        assert!(group.rules[0].error.is_some() && group.rules[1].error.is_none());
        assert_eq!(group.alerts().count(), 1);
        assert_eq!(now(&history, "r", 10_000), "r{} 2\n".replace("{}", ""));
        let window = Window { from: 0, to: 20_000 };
        assert!(!history.labels(&[], window).is_empty());
    }
}
