//! The status codes that a probe takes for good: one, a class, or a range.

use serde::de::{Deserializer, Error, Visitor};
use std::fmt;

/// Codes from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    first: u16,
    last: u16,
}

impl Expected {
    /// `2xx`.
    pub(super) const ALL_GOOD: Self = Self { first: 200, last: 299 };

    /// Whether a code is among them.
    pub(super) fn holds(self, code: u16) -> bool {
        (self.first..=self.last).contains(&code)
    }

    fn parse(text: &str) -> Option<Self> {
        let code = |text: &str| text.parse().ok().filter(|code| (100..=599).contains(code));
        if let Some(class) = text.strip_suffix("xx") {
            let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
            return Some(Self { first: class * 100, last: class * 100 + 99 });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (code(first)?, code(last)?);
        (first <= last).then_some(Self { first, last })
    }
}

impl<'de> serde::Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OneOrSeveral)
    }
}

struct OneOrSeveral;

impl Visitor<'_> for OneOrSeveral {
    type Value = Expected;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a status such as 200, 2xx or 200-204")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Expected, E> {
        Expected::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_u64<E: Error>(self, code: u64) -> Result<Expected, E> {
        self.visit_str(&code.to_string())
    }

    fn visit_i64<E: Error>(self, code: i64) -> Result<Expected, E> {
        self.visit_str(&code.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_a_class_and_a_range_are_read_and_nothing_else() {
        let holds = |text: &str, code| Expected::parse(text).unwrap().holds(code);
        assert!(holds("200", 200) && !holds("200", 201));
        assert!(holds("3xx", 300) && holds("3xx", 399) && !holds("3xx", 400) && !holds("3xx", 299));
        assert!(holds("200-204", 204) && !holds("200-204", 205));
        for wrong in ["", "xx", "6xx", "0xx", "99", "600", "204-200", "200-", "ok", "-200", "2xx-3xx"] {
            assert_eq!(Expected::parse(wrong), None, "{wrong}");
        }
    }
}
