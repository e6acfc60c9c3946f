//! What the rungs so far came to, and how a run ends with that.

use super::{Climb, Ending};
use crate::optimize::observe::facts::Trend;

/// The longest that is kept of a silence's identifier, which is a UUID.
const SILENCE_CHARS_MAX: usize = 64;

/// What the rungs so far came to.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) freed_bytes: u64,
    pub(super) steps: usize,
    /// Whether an action held the target back, from which no bytes need come.
    pub(super) braked: bool,
    /// How the target's processes grew during the run.
    pub(super) trend: Trend,
    pub(super) notes: Vec<String>,
}

impl Tally {
    /// A run that freed memory was effective, whatever ended it but the ladder's own end.
    pub(super) fn closing(&self, ending: Ending) -> Ending {
        if self.freed_bytes == 0 || matches!(ending.result, "effective" | "exhausted") {
            return ending;
        }
        Ending::new("effective", self.words(&format!("{} freed, then: {}", self.freed(), ending.reason)))
    }

    fn freed(&self) -> String {
        bytesize::ByteSize::b(self.freed_bytes).display().iec().to_string()
    }

    pub(super) fn resolved(&self) -> Ending {
        let result = if self.freed_bytes > 0 {
            "effective"
        } else if self.steps > 0 {
            "no_gain"
        } else {
            "resolved"
        };
        Ending::new(result, self.words("the alert is resolved"))
    }

    /// The end of a run for whose alert a silence was set.
    pub(super) fn silenced(&self, silence: &str) -> Ending {
        let silence: String = silence.chars().take(SILENCE_CHARS_MAX).collect();
        Ending::new("silenced", self.words(&format!("Alertmanager has a silence for the alert: {silence}")))
    }

    /// The end of a run whose trouble is over, or whose ladder is.
    pub(super) fn ending(&self, climb: &Climb, over: bool) -> Ending {
        let before = !climb.run.rungs_begun.is_empty();
        let (result, why) = match (self.freed_bytes > 0, self.steps > 0, over) {
            (true, _, true) => ("effective", "the trouble is over"),
            (true, _, false) => ("exhausted", "the ladder's end; not all that was wanted"),
            (false, true, true) if self.braked => {
                ("effective", "the target is held back, and the trouble is over")
            }
            (false, true, true) => ("no_gain", "the trouble is over, by no action's doing"),
            (false, false, true) if climb.run.interrupted => ("interrupted", "nothing more to do"),
            (false, false, true) if before => ("no_gain", "the trouble is over, by no action's doing"),
            (false, false, true) => ("stale", "the condition is gone, as measured here"),
            (false, true, false) => ("exhausted", "the ladder's end"),
            (false, false, false) if before => ("exhausted", "the ladder's end"),
            (false, false, false) => ("exhausted", "no action of the ladder can help"),
        };
        let freed = if self.freed_bytes > 0 { format!("{} freed; ", self.freed()) } else { String::new() };
        Ending::new(result, self.words(&format!("{freed}{why}")))
    }

    fn words(&self, why: &str) -> String {
        if self.notes.is_empty() { why.to_owned() } else { format!("{why} ({})", self.notes.join("; ")) }
    }
}
