//! Prometheus's rule files: what is in them, and what of it cannot be evaluated here, by file, rule and place.

use super::template::Template;
use crate::promql::{Error, Query};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A group of rules, which are evaluated one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Between two evaluations, if not as for all.
    pub interval: Option<Duration>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name of the series that it records, or of the alert.
    pub name: String,
    /// The expression, as it is written.
    pub text: String,
    /// The expression; or what of it cannot be evaluated here, of which the rule fails and no other does.
    pub query: Result<Query, Error>,
    /// Labels that are set, with places in those of alerts.
    pub labels: BTreeMap<String, Template>,
    /// What makes an alert of it; a recording rule without.
    pub alert: Option<Alert>,
}

/// What makes an alert of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// How long the expression must say it before it fires.
    pub hold: Duration,
    /// How long it fires on when the expression does not say it any more.
    pub keep_firing: Duration,
    /// What people are told.
    pub annotations: BTreeMap<String, Template>,
}

/// A rule file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// It is not YAML, or not a rule file.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// Why, with line and column.
        why: String,
    },
    /// A rule in it.
    #[error("{file}: group `{group}`: {rule}: {why}")]
    Rule {
        /// The file.
        file: String,
        /// The group.
        group: String,
        /// The rule, and where in it.
        rule: String,
        /// Why.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    groups: Vec<WrittenGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGroup {
    name: String,
    interval: Option<String>,
    #[serde(default)]
    rules: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    r#for: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads a file's text.
pub fn read(file: &str, text: &str) -> Result<Vec<Group>, RuleError> {
    let written: File = serde_yaml::from_str(text)
        .map_err(|e| RuleError::File { file: file.to_owned(), why: e.to_string() })?;
    let mut groups: Vec<Group> = Vec::new();
    for group in written.groups {
        let at = |rule: &str, why: String| RuleError::Rule {
            file: file.to_owned(),
            group: group.name.clone(),
            rule: rule.to_owned(),
            why,
        };
        if groups.iter().any(|known| known.name == group.name) {
            return Err(at("name", "two groups of the file have it".into()));
        }
        let interval =
            group.interval.as_deref().map(duration).transpose().map_err(|why| at("interval", why))?;
        let rules = group.rules.into_iter().map(|rule| {
            let name = match (&rule.record, &rule.alert) {
                (Some(name), None) => format!("record `{name}`"),
                (None, Some(name)) => format!("alert `{name}`"),
                _ => return Err(at(&format!("`{}`", rule.expr), "either `record` or `alert`".into())),
            };
            read_rule(rule).map_err(|(place, why)| at(&format!("{name}: {place}"), why))
        });
        let rules = rules.collect::<Result<Vec<Rule>, RuleError>>()?;
        groups.push(Group { file: file.to_owned(), name: group.name.clone(), interval, rules });
    }
    Ok(groups)
}

/// A rule; else what of it is wrong, and why.
fn read_rule(rule: WrittenRule) -> Result<Rule, (String, String)> {
    let query = match Query::parse(&rule.expr) {
        Err(e) if !matches!(e, Error::Unsupported(_)) => {
            return Err((format!("`{}`", rule.expr.trim()), e.to_string()));
        }
        read => read,
    };
    let duration = |key: &str, text: Option<&str>| {
        let duration = text.map(duration).transpose().map_err(|why| (key.to_owned(), why))?;
        Ok::<Duration, (String, String)>(duration.unwrap_or_default())
    };
    let templates = |key: &str, all: &BTreeMap<String, String>| {
        let each = |(name, text): (&String, &String)| match Template::parse(text) {
            Ok(template) => Ok((name.clone(), template)),
            Err(why) => Err((format!("{key}.{name}"), why)),
        };
        all.iter().map(each).collect::<Result<BTreeMap<String, Template>, (String, String)>>()
    };
    let alert = Alert {
        hold: duration("for", rule.r#for.as_deref())?,
        keep_firing: duration("keep_firing_for", rule.keep_firing_for.as_deref())?,
        annotations: templates("annotations", &rule.annotations)?,
    };
    let is_alert = rule.alert.is_some();
    if !is_alert && (rule.r#for.is_some() || rule.keep_firing_for.is_some() || !rule.annotations.is_empty()) {
        return Err(("record".into(), "`for`, `keep_firing_for` and `annotations` are for alerts".into()));
    }
    let name = rule.alert.or(rule.record).unwrap_or_default();
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    if !is_alert
        && (name.is_empty() || !name.chars().all(good) || name.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Err(("record".into(), format!("no name of a series: `{name}`")));
    }
    if let Some(label) = rule.labels.keys().find(|label| !is_label(label)) {
        return Err((format!("labels.{label}"), "no name of a label".into()));
    }
    let labels = if is_alert {
        templates("labels", &rule.labels)?
    } else {
        rule.labels.iter().map(|(name, text)| (name.clone(), Template::plain(text))).collect()
    };
    Ok(Rule { name, text: rule.expr.trim().to_owned(), query, labels, alert: is_alert.then_some(alert) })
}

/// A duration as Prometheus writes it, such as `1h30m`; `0s` too.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text.trim_end_matches(|c: char| c.is_ascii_lowercase()) == "0" {
        return Ok(Duration::ZERO);
    }
    promql_parser::util::parse_duration(text)
}

fn is_label(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty()
        && name != "__name__"
        && name.chars().all(good)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        read("r.yml", text).unwrap_err().to_string()
    }

    #[test]
    fn the_files_of_this_repository_are_read_whole() {
        for (file, text) in crate::stack::files::RULES {
            let groups = read(file, text).unwrap();
            let rules: usize = groups.iter().map(|group| group.rules.len()).sum();
            assert_eq!(rules, text.matches("expr:").count(), "{file}");
        }
    }

    #[test]
    fn a_rule_that_wants_what_is_not_built_costs_itself_alone() {
        let text = "groups: [{name: g, rules: [{record: a, expr: 'limitk(1, up)'}, {record: b, expr: up}]}]";
        let rules = read("r.yml", text).unwrap().remove(0).rules;
        assert_eq!(
            rules[0].query.as_ref().unwrap_err().to_string(),
            "not supported here: the aggregation limitk"
        );
        assert!(rules[1].query.is_ok());
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_place() {
        let rule = |rule: &str| format!("groups: [{{name: g, rules: [{{{rule}}}]}}]");
        assert!(why("groups: {").starts_with("r.yml: "), "{}", why("groups: {"));
        assert!(why("grups: []").contains("grups"), "{}", why("grups: []"));
        for (text, said) in [
            ("alert: A, expr: 'sum(', for: 1m", "r.yml: group `g`: alert `A`: `sum(`: not an expression"),
            ("alert: A, expr: up, for: soon", "alert `A`: for: "),
            (
                "alert: A, expr: up, annotations: {a: '{{ tmpl 1 }}'}",
                "alert `A`: annotations.a: not supported here: `tmpl`",
            ),
            ("record: 'a b', expr: up", "record `a b`: record: no name of a series"),
            ("record: a, expr: up, for: 1m", "are for alerts"),
            ("record: a, alert: b, expr: up", "either `record` or `alert`"),
            ("alert: A, expr: up, labels: {'1': x}", "alert `A`: labels.1: no name of a label"),
        ] {
            let why = why(&rule(text));
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
