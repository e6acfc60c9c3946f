//! What each action gained and cost here, target by target, from the steps in the record.

use super::guard::breaker;
use serde::Serialize;

/// Tries of one action on one target that a report looks at: the last ones.
pub const TRIES_MAX: usize = 1000;

/// A step, as far as its outcome goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Try {
    /// When it began, in milliseconds since the epoch.
    pub begun_at: i64,
    /// When its outcome was written.
    pub ended_at: Option<i64>,
    /// `begun`, `done`, `failed` or `interrupted`.
    pub state: String,
    /// The verdict, once there is one.
    pub verdict: Option<String>,
    /// Verified bytes.
    pub freed_bytes: u64,
    /// Why it was harmful, if it was.
    pub harm: Option<String>,
}

/// What a try came to, gain and harm together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It gained, or did what it was to do, and nothing shows harm.
    Effective,
    /// It gained too little to count, or could not be carried out.
    NoGain,
    /// Whatever it gained, it did harm.
    Harmful,
    /// It was not measured: cut off, under way, or its target has gone.
    Unknown,
}

impl Try {
    /// What it came to.
    pub fn judgement(&self) -> Judgement {
        match (&self.harm, self.verdict.as_deref(), self.state.as_str()) {
            (Some(_), _, _) => Judgement::Harmful,
            (None, Some("freed" | "applied"), _) => Judgement::Effective,
            (None, Some("no_gain"), "done" | "failed") => Judgement::NoGain,
            (None, _, _) => Judgement::Unknown,
        }
    }
}

/// What one action came to on one target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// The action.
    pub action: String,
    /// The target.
    pub target: String,
    /// How often it was tried: the last [`TRIES_MAX`] at most.
    pub tries: usize,
    /// Of those, effective ones,
    pub effective: usize,
    /// ones without a gain that counts,
    pub no_gain: usize,
    /// harmful ones,
    pub harmful: usize,
    /// and ones that nobody could measure.
    pub unknown: usize,
    /// The share of effective ones among those that were measured; absent where none was.
    pub effective_ratio: Option<f64>,
    /// The median of what those freed; what gained nothing freed 0 bytes.
    pub gain_median_bytes: Option<u64>,
    /// All that they freed.
    pub freed_bytes: u64,
    /// When it was last tried, in milliseconds since the epoch.
    pub last_at_millis: i64,
    /// What it came to then.
    pub last: Judgement,
    /// The last harm that it did.
    pub last_harm: Option<String>,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Until when it is left out, while the breaker is open.
    pub breaker_until_millis: Option<i64>,
}

impl Line {
    /// The line of these tries, newest first; none without a try.
    pub fn new(pair: (String, String), tries: &[Try], now: i64, options: &breaker::Options) -> Option<Self> {
        let last = tries.first()?;
        let count = |what| tries.iter().filter(|t| t.judgement() == what).count();
        let unknown = count(Judgement::Unknown);
        let measured = tries.len() - unknown;
        let mut gains: Vec<u64> =
            tries.iter().filter(|t| t.judgement() != Judgement::Unknown).map(|t| t.freed_bytes).collect();
        gains.sort_unstable();
        let breaker = breaker::state(tries, now, options);
        let (action, target) = pair;
        Some(Self {
            action,
            target,
            tries: tries.len(),
            effective: count(Judgement::Effective),
            no_gain: count(Judgement::NoGain),
            harmful: count(Judgement::Harmful),
            unknown,
            effective_ratio: (measured > 0).then(|| count(Judgement::Effective) as f64 / measured as f64),
            gain_median_bytes: gains.get(gains.len() / 2).copied(),
            freed_bytes: tries.iter().map(|t| t.freed_bytes).sum(),
            last_at_millis: last.begun_at,
            last: last.judgement(),
            last_harm: tries.iter().find_map(|t| t.harm.clone()),
            breaker: breaker.as_str(),
            breaker_until_millis: breaker.until(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_try(state: &str, verdict: Option<&str>, freed_bytes: u64, harm: Option<&str>) -> Try {
        let verdict = verdict.map(Into::into);
        Try { state: state.into(), verdict, freed_bytes, harm: harm.map(Into::into), ..Try::default() }
    }

    #[test]
    fn harm_outweighs_a_gain_and_what_was_not_measured_counts_neither_way() {
        let of = |state, verdict, harm| a_try(state, verdict, 1, harm).judgement();
        assert_eq!(of("done", Some("freed"), None), Judgement::Effective);
        assert_eq!(of("done", Some("freed"), Some("x")), Judgement::Harmful);
        assert_eq!(of("done", Some("applied"), None), Judgement::Effective);
        assert_eq!(of("failed", Some("freed"), None), Judgement::Effective, "it gained all the same");
        assert_eq!(of("failed", Some("no_gain"), None), Judgement::NoGain);
        for (state, verdict) in [("begun", None), ("interrupted", Some("unknown")), ("done", Some("unknown"))]
        {
            assert_eq!(of(state, verdict, None), Judgement::Unknown);
        }
    }

    #[test]
    fn a_line_has_shares_and_medians_of_what_was_measured() {
        let tries = [
            a_try("interrupted", Some("unknown"), 0, None),
            a_try("done", Some("freed"), 100, Some("it stalled")),
            a_try("done", Some("freed"), 40, None),
            a_try("done", Some("no_gain"), 0, None),
        ];
        let line = |tries: &[Try]| {
            Line::new(("app_hook".into(), "t".into()), tries, 0, &breaker::Options::default())
        };
        let all = line(&tries).unwrap();
        assert_eq!((all.tries, all.effective, all.no_gain, all.harmful, all.unknown), (4, 1, 1, 1, 1));
        assert_eq!((all.effective_ratio, all.gain_median_bytes), (Some(1.0 / 3.0), Some(40)));
        assert_eq!((all.freed_bytes, all.last_harm.as_deref()), (140, Some("it stalled")));
        assert_eq!(all.last, Judgement::Unknown);
        assert_eq!(line(&tries[..1]).unwrap().effective_ratio, None, "nothing was measured");
        assert_eq!(line(&[]), None);
    }
}
