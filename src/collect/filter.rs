//! Patterns with which options choose devices and mounts.

use super::OptionError;
use regex_lite::Regex;

/// The pattern of an option; `None` where it is empty.
pub(super) fn pattern(key: &str, text: &str) -> Result<Option<Regex>, OptionError> {
    if text.is_empty() {
        return Ok(None);
    }
    Regex::new(text).map(Some).map_err(|e| OptionError {
        key: key.to_owned(),
        why: format!("`{text}` is no regular expression: {e}"),
    })
}

/// Which names are shown: those that one pattern includes, without those that another one excludes.
#[derive(Default)]
pub(super) struct Choice {
    include: Option<Regex>,
    exclude: Option<Regex>,
}

impl Choice {
    /// The choice of the options `{key}_include` and `{key}_exclude`.
    pub(super) fn new(key: &str, include: &str, exclude: &str) -> Result<Self, OptionError> {
        Ok(Self {
            include: pattern(&format!("{key}_include"), include)?,
            exclude: pattern(&format!("{key}_exclude"), exclude)?,
        })
    }

    /// The same, where not both may be given.
    pub(super) fn either(key: &str, include: &str, exclude: &str) -> Result<Self, OptionError> {
        if include.is_empty() || exclude.is_empty() {
            return Self::new(key, include, exclude);
        }
        let stem = key.rsplit('.').next().unwrap_or(key);
        let why = format!("give either `{stem}_include` or `{stem}_exclude`, and not both");
        Err(OptionError { key: format!("{key}_include"), why })
    }

    /// The same, where the `default` of what is excluded gives way to a pattern that includes.
    pub(super) fn over(key: &str, include: &str, exclude: &str, default: &str) -> Result<Self, OptionError> {
        let gives_way = !include.is_empty() && exclude == default;
        Self::either(key, include, if gives_way { "" } else { exclude })
    }

    /// Whether `name` is shown.
    pub(super) fn shows(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|pattern| pattern.is_match(name))
            && self.exclude.as_ref().is_none_or(|pattern| !pattern.is_match(name))
    }

    /// Whether nothing is left out, whatever it is called.
    pub(super) fn shows_all(&self) -> bool {
        self.include.is_none() && self.exclude.is_none()
    }
}
