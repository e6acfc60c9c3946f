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
