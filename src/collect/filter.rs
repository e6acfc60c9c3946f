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

    pub(super) fn shows(&self, name: &str) -> bool {
        self.include.as_ref().is_none_or(|pattern| pattern.is_match(name))
            && !self.exclude.as_ref().is_some_and(|pattern| pattern.is_match(name))
    }
}
