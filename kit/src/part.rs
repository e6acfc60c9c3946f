//! What holds memory and can give it back: the contract between the registry and those whom it asks.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The longest name of a part or a kind; both are labels of metrics.
pub const NAME_CHARS_MAX: usize = 64;

/// Why a part could not do what it was asked for.
pub type PartError = Box<dyn std::error::Error + Send + Sync>;

/// How much is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Drop what is cheap to build again.
    #[default]
    Low,
    /// Drop all that can be dropped.
    High,
}

/// Something that holds memory. It is called from threads of the registry, one reclaim at a time, and may panic: that costs
/// itself, and nobody else.
pub trait Part: Send + Sync {
    /// What it holds; `None` if that is not known.
    fn held_bytes(&self) -> Option<u64> {
        None
    }

    /// What else is worth measuring of it.
    fn samples(&self) -> Vec<Sample> {
        Vec::new()
    }

    /// Gives back at least so much if it can, and says how much that was.
    fn reclaim(&self, target_bytes: u64, urgency: Urgency) -> Result<u64, PartError>;

    /// How often [`Self::tend`] is wanted; never if `None`.
    fn tended_every(&self) -> Option<Duration> {
        None
    }

    /// Does what time asks for: drops what is idle. It must be short, for all parts share a thread for it.
    fn tend(&self, _now: Instant) {}
}

/// A measurement that a part makes of itself beside what the registry knows of it: a gauge by `part` and `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Without the prefix: `cache_entries` is `headroom_kit_cache_entries`.
    pub name: &'static str,
    /// What it is.
    pub help: &'static str,
    /// How much.
    pub value: u64,
}

/// What is known of a part beside what it does: who it is, and when it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// Its name, a label of metrics.
    pub name: String,
    /// What a request may ask for by name: `drop_caches`, `unload_models`, `gc`, `trim`, or a word of yours.
    pub kind: String,
    /// What it costs to build again; who costs least is asked first.
    pub cost: f64,
    /// Whether it runs behind all others, on what they left (the allocator).
    pub finishes: bool,
}

impl About {
    /// A cache, among the first to be asked.
    pub fn cache(name: &str) -> Self {
        Self::new(name, "drop_caches", 20.0)
    }

    /// A part of that name, kind and cost.
    pub fn new(name: &str, kind: &str, cost: f64) -> Self {
        Self { name: name.into(), kind: kind.into(), cost, finishes: false }
    }

    /// What is wrong with it.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (what, word) in [("name", &self.name), ("kind", &self.kind)] {
            let chars = word.chars().count();
            if !(1..=NAME_CHARS_MAX).contains(&chars) || word.chars().any(char::is_control) {
                return Err(format!(
                    "the {what} {word:?}: wanted 1 to {NAME_CHARS_MAX} printable characters"
                ));
            }
        }
        if self.cost.is_finite() { Ok(()) } else { Err(format!("the cost {} is no number", self.cost)) }
    }
}

/// A part made of two functions.
pub(crate) struct Functions<H, G> {
    pub(crate) held_bytes: H,
    pub(crate) give_back: G,
}

impl<H, G> Part for Functions<H, G>
where
    H: Fn() -> u64 + Send + Sync,
    G: Fn(u64, Urgency) -> Result<u64, PartError> + Send + Sync,
{
    fn held_bytes(&self) -> Option<u64> {
        Some((self.held_bytes)())
    }

    fn reclaim(&self, target_bytes: u64, urgency: Urgency) -> Result<u64, PartError> {
        (self.give_back)(target_bytes, urgency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_be_a_label_is_refused() {
        assert!(About::cache("thumbnails").check().is_ok());
        let long = "x".repeat(NAME_CHARS_MAX + 1);
        for bad in ["", "two\nlines", long.as_str()] {
            assert!(About::cache(bad).check().is_err(), "{bad:?}");
            assert!(About::new("cache", bad, 1.0).check().is_err(), "{bad:?}");
        }
        assert!(About::new("cache", "gc", f64::NAN).check().is_err());
    }
}
