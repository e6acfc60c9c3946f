//! Alertmanager's label matchers: `name="value"`, `!=`, `=~`, `!~`.
//!
//! Source: <https://prometheus.io/docs/alerting/latest/configuration/#matcher>.

use regex_lite::Regex;
use serde::{Deserialize, Deserializer, de};
use std::collections::BTreeMap;

/// The labels of an alert.
pub type Labels = BTreeMap<String, String>;

/// One matcher. A label that an alert lacks has the empty value, as in Alertmanager.
#[derive(Clone, Debug)]
pub struct Matcher {
    text: String,
    label: String,
    test: Test,
    negated: bool,
}

#[derive(Clone, Debug)]
enum Test {
    Equal(String),
    Regex(Regex),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Matcher {
    /// Parses a matcher; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad =
            |why: &str| format!("`{text}` is not a matcher such as name=\"value\" or name=~\"a|b\": {why}");
        let at = text.find(['=', '!']).ok_or_else(|| bad("it has no =, !=, =~ or !~"))?;
        let (label, rest) = text.split_at(at);
        let (operator, value) = ["=~", "!~", "!=", "="]
            .iter()
            .find_map(|o| rest.strip_prefix(o).map(|v| (*o, v)))
            .ok_or_else(|| bad("it has no =, !=, =~ or !~"))?;
        let label = label.trim();
        let named =
            |c: char, first: bool| c == '_' || c.is_ascii_alphabetic() || (!first && c.is_ascii_digit());
        if label.is_empty() || !label.chars().enumerate().all(|(i, c)| named(c, i == 0)) {
            return Err(bad("the part before the operator is no label name"));
        }
        let value = unquote(value.trim()).ok_or_else(|| bad("the value's quotes do not match"))?;
        let check = if operator.ends_with('~') {
            Test::Regex(Regex::new(&format!("^(?:{value})$")).map_err(|e| bad(&e.to_string()))?)
        } else {
            Test::Equal(value)
        };
        Ok(Self {
            text: text.to_owned(),
            label: label.to_owned(),
            test: check,
            negated: operator.starts_with('!'),
        })
    }

    /// The matcher as PromQL has it, with its value in quotes.
    pub fn promql(&self) -> String {
        let (equal, value) = match &self.test {
            Test::Equal(value) => ("=", value.as_str()),
            Test::Regex(regex) => {
                let text = regex.as_str();
                ("~", text.strip_prefix("^(?:").and_then(|t| t.strip_suffix(")$")).unwrap_or(text))
            }
        };
        let operator = match (equal, self.negated) {
            ("=", false) => "=",
            ("=", true) => "!=",
            (_, false) => "=~",
            (_, true) => "!~",
        };
        format!("{}{operator}{}", self.label, quoted(value))
    }

    /// Whether the labels satisfy this matcher.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.label).map_or("", String::as_str);
        let hit = match &self.test {
            Test::Equal(want) => want == value,
            Test::Regex(regex) => regex.is_match(value),
        };
        hit != self.negated
    }
}

/// A text in the quotes of PromQL.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn unquote(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut out = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                quoted @ ('"' | '\\') => out.push(quoted),
                // Left as written: `\.` and `\d` are for the regular expression.
                other => out.extend(['\\', other]),
            },
            plain => out.push(plain),
        }
    }
    Some(out)
}

impl<'de> Deserialize<'de> for Matcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn matchers_do_what_alertmanagers_do() {
        let alert = labels(&[("a", "x"), ("b", "y.z\n\"q\"")]);
        for (text, hit) in [
            (r#"a="x""#, true),
            ("a=x", true),
            (r#"a = "x" "#, true),
            (r#"a!="x""#, false),
            (r#"a=~"x|w""#, true),
            (r#"a=~"""#, false),
            (r#"a=~".""#, true),
            (r#"aa=~".*""#, true),
            (r#"a!~"x.+""#, true),
            (r#"none="""#, true),
            (r#"none!="""#, false),
            (r#"b="y.z\n\"q\"""#, true),
            (r#"b=~"y\.z(?s:.*)""#, true),
        ] {
            assert_eq!(Matcher::parse(text).unwrap().matches(&alert), hit, "{text}");
        }
    }

    #[test]
    fn a_matcher_that_is_none_says_why() {
        for text in ["", "a", "=x", "1a=x", "a b=x", r#"a="x"#, r#"a=x""#, r#"a=~"(""#, "a!x"] {
            assert!(Matcher::parse(text).unwrap_err().contains("is not a matcher"), "{text}");
        }
    }

    #[test]
    fn a_matcher_is_written_as_promql_has_it() {
        for (text, want) in [
            ("a=b", "a=\"b\""),
            ("a!=\"b c\"", "a!=\"b c\""),
            ("code=~\"5..|499\"", "code=~\"5..|499\""),
            ("path!~\"/a\\.b\"", "path!~\"/a\\\\.b\""),
            ("a=\"x\\\"y\"", "a=\"x\\\"y\""),
        ] {
            assert_eq!(Matcher::parse(text).unwrap().promql(), want, "{text}");
        }
    }
}
