//! Prometheus's relabelling: rules that change, keep and drop series by their labels.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>.

use super::md5::low_half;
use regex_lite::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A rule, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The labels whose values, joined, are looked at; `__name__` is the name.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// A regular expression for the whole of it.
    pub regex: String,
    /// What `hashmod` divides by.
    pub modulus: u64,
    /// The label that is written.
    pub target_label: String,
    /// What is written; `$1` and `${name}` are groups of the regular expression.
    pub replacement: String,
    /// What is done.
    pub action: Action,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".into(),
            regex: "(.*)".into(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".into(),
            action: Action::Replace,
        }
    }
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Writes the replacement into the target, if the expression matches.
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Copies labels whose names match to names that the replacement makes.
    LabelMap,
    /// Takes labels away whose names match.
    LabelDrop,
    /// Takes labels away whose names do not match.
    LabelKeep,
    /// Writes the hash of the values, divided, into the target.
    HashMod,
    /// Writes the values in small letters into the target.
    Lowercase,
    /// Writes the values in capital letters into the target.
    Uppercase,
    /// Drops what is not equal to the target's value.
    KeepEqual,
    /// Drops what is equal to the target's value.
    DropEqual,
}

/// Names and values of a series; the name is `__name__`.
pub type Labels = BTreeMap<String, String>;

/// Rules that can be used.
#[derive(Debug, Default)]
pub struct Relabelling(Vec<(Rule, Regex)>);

impl Relabelling {
    /// Rules in their order, or what is wrong with one.
    pub fn new(rules: &[Rule]) -> Result<Self, String> {
        let one = |(at, rule): (usize, &Rule)| {
            let wrong = |why: String| format!("rule {}: {why}", at + 1);
            rule.check().map_err(|why| wrong(why.into()))?;
            let regex = Regex::new(&format!("^(?s:{})$", rule.regex)).map_err(|e| wrong(e.to_string()))?;
            Ok((rule.clone(), regex))
        };
        rules.iter().enumerate().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Changes a series; false if it is dropped.
    pub fn apply(&self, labels: &mut Labels) -> bool {
        self.0.iter().all(|(rule, regex)| rule.apply(regex, labels))
    }
}

impl Rule {
    fn check(&self) -> Result<(), &'static str> {
        // These four take the target's name from the expression, or have none.
        let is_free = matches!(self.action, Action::Replace | Action::LabelMap | Action::Keep | Action::Drop);
        match self.action {
            Action::Replace | Action::Lowercase | Action::Uppercase if self.target_label.is_empty() => {
                Err("a `target_label` to write")
            }
            Action::HashMod if self.target_label.is_empty() || self.modulus == 0 => {
                Err("a `target_label`, and a `modulus` above 0, for hashmod")
            }
            Action::KeepEqual | Action::DropEqual
                if self.target_label.is_empty() || self.regex != Self::default().regex =>
            {
                Err("a `target_label`, and no `regex`, for keepequal and dropequal")
            }
            Action::LabelDrop | Action::LabelKeep
                if !self.source_labels.is_empty() || !self.target_label.is_empty() =>
            {
                Err("`regex` alone for labeldrop and labelkeep")
            }
            Action::Replace if !is_name(&filled(&self.target_label)) => {
                Err("a `target_label` that is the name of a label, with $1 and ${name} in it")
            }
            _ if !is_free && !self.target_label.is_empty() && !is_name(&self.target_label) => {
                Err("a `target_label` that is the name of a label")
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, regex: &Regex, labels: &mut Labels) -> bool {
        let value = |name: &String| labels.get(name).map_or("", String::as_str);
        let joined = self.source_labels.iter().map(value).collect::<Vec<_>>().join(&self.separator);
        let target = || labels.get(&self.target_label).map_or("", String::as_str);
        match self.action {
            Action::Keep => return regex.is_match(&joined),
            Action::Drop => return !regex.is_match(&joined),
            Action::KeepEqual => return joined == target(),
            Action::DropEqual => return joined != target(),
            Action::Replace => self.replace(regex, &joined, labels),
            Action::Lowercase => put(labels, self.target_label.clone(), joined.to_lowercase()),
            Action::Uppercase => put(labels, self.target_label.clone(), joined.to_uppercase()),
            Action::HashMod => {
                let rest = low_half(joined.as_bytes()).checked_rem(self.modulus).unwrap_or_default();
                put(labels, self.target_label.clone(), rest.to_string());
            }
            Action::LabelMap => {
                let copies: Vec<(String, String)> = labels
                    .iter()
                    .filter(|(name, _)| regex.is_match(name))
                    .map(|(name, value)| {
                        (regex.replace(name, &*self.replacement).into_owned(), value.clone())
                    })
                    .collect();
                for (name, value) in copies {
                    put(labels, name, value);
                }
            }
            Action::LabelDrop => labels.retain(|name, _| !regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| regex.is_match(name)),
        }
        true
    }

    fn replace(&self, regex: &Regex, joined: &str, labels: &mut Labels) {
        let Some(captures) = regex.captures(joined) else { return };
        let fill = |template: &str| {
            let mut out = String::new();
            captures.expand(template, &mut out);
            out
        };
        let name = fill(&self.target_label);
        if is_name(&name) {
            put(labels, name, fill(&self.replacement));
        }
    }
}

/// A label without a value is none.
fn put(labels: &mut Labels, name: String, value: String) {
    if value.is_empty() {
        labels.remove(&name);
    } else if !name.is_empty() {
        labels.insert(name, value);
    }
}

/// A template with a letter in place of each group.
fn filled(template: &str) -> String {
    let mut parts = template.split('$');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let rest = match part.strip_prefix('{').and_then(|part| part.split_once('}')) {
            Some((name, rest)) if !name.is_empty() && name.chars().all(good) => rest,
            _ if part.starts_with(good) => part.trim_start_matches(good),
            _ => return String::new(),
        };
        out.push('_');
        out.push_str(rest);
    }
    out
}

fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(good) && !text.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERIES: [(&str, &str); 4] = [("__name__", "up"), ("a", "foo"), ("b", "bar"), ("c", "baz")];

    /// The labels after one rule; `None` if it drops them.
    fn after(rule: &str) -> Option<String> {
        let rules: Vec<Rule> = serde_yaml::from_str(&format!("[{{{rule}}}]")).unwrap();
        let mut labels: Labels = SERIES.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        let kept = Relabelling::new(&rules).unwrap().apply(&mut labels);
        labels.remove("__name__");
        kept.then(|| labels.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(","))
    }

    /// Most of these cases are those of Prometheus's own tests.
    #[test]
    fn each_action_does_what_prometheus_does() {
        for (rule, want) in [
            (
                "source_labels: [a], regex: 'f(.*)', target_label: d, separator: ';', replacement: 'ch${1}-ch${1}'",
                Some("a=foo,b=bar,c=baz,d=choo-choo"),
            ),
            (
                "source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'",
                Some("a=boobam,b=bar,c=baz"),
            ),
            ("source_labels: [a], regex: 'o', target_label: d", Some("a=foo,b=bar,c=baz")),
            ("source_labels: [a], regex: '.*o.*', action: drop", None),
            ("source_labels: [a], regex: 'o', action: drop", Some("a=foo,b=bar,c=baz")),
            ("source_labels: [a], regex: 'no-match', action: keep", None),
            ("source_labels: [__name__], regex: 'up|down', action: keep", Some("a=foo,b=bar,c=baz")),
            ("regex: 'f|b', target_label: b, replacement: ''", Some("a=foo,b=bar,c=baz")),
            ("target_label: b, replacement: ''", Some("a=foo,c=baz")),
            (
                "source_labels: [a], regex: '(f).*', target_label: '${1}_x', replacement: 'z'",
                Some("a=foo,b=bar,c=baz,f_x=z"),
            ),
            (
                "source_labels: [c], target_label: d, action: hashmod, modulus: 1000",
                Some("a=foo,b=bar,c=baz,d=976"),
            ),
            ("source_labels: [a], target_label: d, action: uppercase", Some("a=foo,b=bar,c=baz,d=FOO")),
            ("source_labels: [a], target_label: b, action: lowercase", Some("a=foo,b=foo,c=baz")),
            (
                "regex: '(b.*)', replacement: 'bar_${1}', action: labelmap",
                Some("a=foo,b=bar,bar_b=bar,c=baz"),
            ),
            ("regex: '(b|c)', action: labeldrop", Some("a=foo")),
            ("regex: '(b|__.*)', action: labelkeep", Some("b=bar")),
            ("source_labels: [a], target_label: b, action: keepequal", None),
            ("source_labels: [a], target_label: b, action: dropequal", Some("a=foo,b=bar,c=baz")),
            ("source_labels: [nothing], target_label: nothing, action: dropequal", None),
        ] {
            assert_eq!(after(rule).as_deref(), want, "{rule}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for rule in [
            "action: replace",
            "action: hashmod, target_label: a",
            "action: hashmod, modulus: 5",
            "action: keepequal",
            "action: dropequal, target_label: a, regex: b",
            "action: labeldrop, source_labels: [a], regex: b",
            "action: uppercase, target_label: 'a-b'",
            "target_label: 'x-y', replacement: 'z'",
            "target_label: 'x-$1'",
            "target_label: 'x_${1'",
            "target_label: '1x'",
            "action: keep, regex: '('",
        ] {
            let rules: Vec<Rule> = serde_yaml::from_str(&format!("[{{{rule}}}]")).unwrap();
            assert!(Relabelling::new(&rules).unwrap_err().starts_with("rule 1: "), "{rule}");
        }
        assert!(serde_yaml::from_str::<Vec<Rule>>("[{action: shout}]").is_err());
        assert!(serde_yaml::from_str::<Vec<Rule>>("[{acton: keep}]").is_err());
    }
}
