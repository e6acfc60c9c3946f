//! What an action cost: a pure comparison of the minute before it with the time of it and the minute after.
//!
//! Without a "before" nothing is judged: who does not know what was usual cannot say what was caused.

use super::verify::Effect;
use crate::host::memory::Pressure;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// What of the freed bytes may be read in again beyond what was usual: a quarter.
const REFAULT_DIVISOR: u64 = 4;
/// A share of stalled time is harm above this many times the share before,
const STALL_FACTOR: f64 = 2.0;
/// and above this share.
const STALL_FLOOR: f64 = 0.10;
/// Faults that wait for a disk are harm above this many times the rate before,
const FAULTS_FACTOR: f64 = 4.0;
/// and above so many in a second.
const FAULTS_FLOOR: f64 = 100.0;
/// A span that is shorter shows nothing: one reading more or less is all of it.
const SPAN_MILLIS_MIN: i64 = 1000;

/// Counters of the machine, or of a control group, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// When, in milliseconds since the epoch.
    pub at_millis: i64,
    /// Time in which at least one task waited for memory.
    pub some_micros: Option<u64>,
    /// Time in which all tasks did.
    pub full_micros: Option<u64>,
    /// Pages that were taken and read in again.
    pub refaults: Option<u64>,
    /// Faults that waited for a disk.
    pub major_faults: Option<u64>,
}

impl Totals {
    /// The counters of a pressure file and of refaults, of anonymous pages and of files.
    pub fn new(at_millis: i64, stalls: Option<Pressure>, refaults: [Option<u64>; 2]) -> Self {
        let [anon, file] = refaults;
        // A kernel before 5.9 counts both in one, which is then absent here; half of it would be wrong.
        let refaults = anon.zip(file).map(|(a, f)| a.saturating_add(f));
        let stalls = stalls.unwrap_or_default();
        let (some_micros, full_micros) = (stalls.some_micros, stalls.full_micros);
        Self { at_millis, some_micros, full_micros, refaults, major_faults: None }
    }
}

/// What happened between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// How long it was.
    pub seconds: f64,
    /// The share of it in which at least one task waited for memory.
    pub some_ratio: Option<f64>,
    /// The share of it in which all tasks did.
    pub full_ratio: Option<f64>,
    /// What was read in again after it had been taken.
    pub refaulted_bytes: Option<u64>,
    /// Faults that waited for a disk.
    pub major_faults: Option<u64>,
}

impl Span {
    /// The span between two readings; none if it is too short, or a clock was set back. A counter that fell is absent.
    pub fn between(then: &Totals, now: &Totals) -> Option<Self> {
        let millis = now.at_millis.saturating_sub(then.at_millis);
        if millis < SPAN_MILLIS_MIN {
            return None;
        }
        let seconds = millis as f64 / 1000.0;
        let page_bytes = rustix::param::page_size() as u64;
        let by = |from: Option<u64>, to: Option<u64>| from.zip(to).and_then(|(a, b)| b.checked_sub(a));
        let ratio = |from, to| by(from, to).map(|micros| (micros as f64 / 1e6 / seconds).min(1.0));
        Some(Self {
            seconds,
            some_ratio: ratio(then.some_micros, now.some_micros),
            full_ratio: ratio(then.full_micros, now.full_micros),
            refaulted_bytes: by(then.refaults, now.refaults).map(|n| n.saturating_mul(page_bytes)),
            major_faults: by(then.major_faults, now.major_faults),
        })
    }
}

/// The minute before an action, the time of it, and the minute after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spans {
    /// Before the intent.
    pub before: Option<Span>,
    /// From the intent until the gain was measured.
    pub during: Option<Span>,
    /// From then on.
    pub after: Option<Span>,
}

/// What an application's own metric said: medians of what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// In the minute before.
    pub before: Option<f64>,
    /// While it acted.
    pub during: Option<f64>,
    /// In the minute after.
    pub after: Option<f64>,
    /// Above this many times what it was before, the action did harm.
    pub harmful_above_ratio: f64,
}

/// All that is known of an action's cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The machine.
    pub machine: Spans,
    /// The target's control group, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Spans>,
    /// The application's own metric, where one is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Own>,
    /// Of a run that pressure asked for: the share of stalled time that its rule saw just before the intent. That trouble
    /// was there, and goes on while the action is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_ratio: Option<f64>,
    /// Whether a later step of the same run was begun within the time after: what stalls then may be that one's doing, or
    /// the trouble that made it necessary.
    #[serde(default)]
    pub followed: bool,
}

/// Why an action of this kind that freed so many bytes was harmful; `None` if nothing shows that it was.
pub fn judge(effect: Effect, freed_bytes: u64, min_gain_bytes: u64, seen: &Evidence) -> Option<String> {
    // Whoever was asked has not acted yet, or acts far away.
    if effect == Effect::HandsOver {
        return None;
    }
    // A brake stalls its target on purpose; the end of processes lets others read in again what they had lost.
    let group = seen.group.filter(|_| effect == Effect::GivesBack);
    let mut why = Vec::new();
    if effect != Effect::Ends {
        let counted = [(group, "the target"), (Some(seen.machine), "the machine")];
        let spans = counted.into_iter().find_map(|(s, of)| Some((s?, of)).filter(|(s, _)| has_refaults(s)));
        why.extend(spans.and_then(|(s, of)| refaulted(&s, of, freed_bytes, min_gain_bytes)));
    }
    // The machine's stalls hold those of a group that is held back.
    let machine = Some(seen.machine).filter(|_| effect != Effect::Brakes);
    for (spans, of) in [(group, "the target"), (machine, "the machine")] {
        why.extend(spans.and_then(|s| stalled(&s, of, seen)));
    }
    why.extend(faulted(&seen.machine));
    why.extend(seen.application.and_then(|own| worsened(&own)));
    (!why.is_empty()).then(|| why.join("; "))
}

fn has_refaults(spans: &Spans) -> bool {
    let known = |s: Option<Span>| s.is_some_and(|s| s.refaulted_bytes.is_some());
    known(spans.before) && known(spans.after)
}

/// What was taken is needed again: more than a quarter of what was freed, beyond what was usual.
fn refaulted(spans: &Spans, of: &str, freed_bytes: u64, min_gain_bytes: u64) -> Option<String> {
    let (before, after) = (spans.before?, spans.after?);
    let usual = before.refaulted_bytes? as f64 / before.seconds * after.seconds;
    let more = after.refaulted_bytes? as f64 - usual;
    let counts = (freed_bytes / REFAULT_DIVISOR).max(min_gain_bytes);
    (more > counts as f64).then(|| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is above a count")]
        let more = ByteSize::b(more as u64).display().iec();
        format!(
            "{of} read in {more} again that had been taken; {} were freed",
            ByteSize::b(freed_bytes).display().iec()
        )
    })
}

/// Tasks wait more than before: during the action, or in the minute after.
fn stalled(spans: &Spans, of: &str, seen: &Evidence) -> Option<String> {
    let before = spans.before?.some_ratio?.max(seen.asked_ratio.unwrap_or(0.0));
    let during = spans.during.filter(|_| seen.asked_ratio.is_none());
    let after = spans.after.filter(|_| !seen.followed);
    let worst = [during, after].into_iter().flatten().filter_map(|s| s.some_ratio);
    let worst = worst.fold(0.0, f64::max);
    (worst > STALL_FLOOR && worst > before * STALL_FACTOR).then(|| {
        format!("{of} stalled for {:.0} % of the time, {:.0} % before", worst * 100.0, before * 100.0)
    })
}

/// Programs wait for the disk more than before.
fn faulted(spans: &Spans) -> Option<String> {
    let rate = |s: &Span| Some(s.major_faults? as f64 / s.seconds);
    let before = rate(&spans.before?)?;
    let after = rate(&spans.after?)?;
    (after > FAULTS_FLOOR && after > before * FAULTS_FACTOR)
        .then(|| format!("{after:.0} major faults in a second, {before:.0} before"))
}

/// The application says itself that it is worse off.
fn worsened(own: &Own) -> Option<String> {
    let before = own.before?;
    let worst = [own.during, own.after].into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
    // A ratio to nothing, or to less, is none.
    (before > 0.0 && worst > before * own.harmful_above_ratio)
        .then(|| format!("the application's own metric went from {before} to {worst}"))
}

#[cfg(test)]
mod tests;
