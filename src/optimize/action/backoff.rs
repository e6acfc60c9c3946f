//! How long an action leaves a target alone after its last step there: longer with each that did not help.

use super::{History, Refusal};
use crate::optimize::guard::millis;
use std::time::Duration;

/// The longest that doubling makes it.
const WAIT_MAX: Duration = Duration::from_hours(24);

/// Whether its time has come.
pub(super) fn admit(history: &History, every: Duration, now: i64) -> Result<(), Refusal> {
    let Some((last_at, _)) = history.on_target.first() else { return Ok(()) };
    let helped = |verdict: &Option<String>| matches!(verdict.as_deref(), Some("freed" | "applied"));
    let failures = history.on_target.iter().take_while(|(_, verdict)| !helped(verdict)).count();
    let doubled = u32::try_from(failures).ok().and_then(|n| 2_u32.checked_pow(n));
    let wait = doubled.and_then(|n| every.checked_mul(n)).unwrap_or(WAIT_MAX).min(WAIT_MAX.max(every));
    let left = last_at.saturating_add(millis(wait)).saturating_sub(now);
    let Ok(left @ 1..) = u64::try_from(left) else { return Ok(()) };
    let [every, left] = [wait, Duration::from_secs(left.div_ceil(1000))].map(humantime::format_duration);
    let why = match failures {
        0 => String::new(),
        n => format!(", as the last {n} did not help"),
    };
    Err(Refusal(format!("at most once in {every} on this target{why}; the next in {left} at the earliest")))
}

/// The same for what is only handed over: whoever has accepted it has so much time. What failed may be tried again.
pub(super) fn spaced(history: &History, every: Duration, now: i64) -> Result<(), Refusal> {
    let accepted = history.on_target.iter().find(|(_, verdict)| verdict.as_deref() == Some("applied"));
    let Some((last_at, _)) = accepted else { return Ok(()) };
    if now.saturating_sub(*last_at) >= millis(every) {
        return Ok(());
    }
    let every = humantime::format_duration(every);
    Err(Refusal(format!("at most once in {every} on this target")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn after(verdicts: &[Option<&str>], now: i64) -> Result<(), String> {
        let on_target = verdicts.iter().map(|v| (0, v.map(str::to_owned))).collect();
        let history = History { on_target, ..History::default() };
        admit(&history, Duration::from_hours(1), now).map_err(|r| r.0)
    }

    #[test]
    fn each_step_that_did_not_help_doubles_the_wait() {
        assert_eq!(after(&[], 0), Ok(()));
        let why = after(&[Some("freed"), Some("no_gain")], HOUR - 1).unwrap_err();
        assert_eq!(why, "at most once in 1h on this target; the next in 1s at the earliest");
        assert_eq!(after(&[Some("freed"), Some("no_gain")], HOUR), Ok(()));
        // What was cut off has no verdict, and did not help.
        let twice = [Some("no_gain"), None, Some("freed")];
        let why = after(&twice, HOUR).unwrap_err();
        assert!(why.starts_with("at most once in 4h on this target, as the last 2 did not help"), "{why}");
        assert_eq!(after(&twice, 4 * HOUR), Ok(()));
        assert!(after(&[Some("failed"), Some("freed")], HOUR).unwrap_err().contains("once in 2h"));
        assert!(after(&[None; 16], 24 * HOUR - 1).is_err());
        assert_eq!(after(&[None; 16], 24 * HOUR), Ok(()));
    }

    #[test]
    fn what_was_accepted_is_not_repeated_and_what_failed_may_be() {
        let on_target = |verdicts: &[(i64, &str)]| History {
            on_target: verdicts.iter().map(|(at, v)| (*at, Some((*v).to_owned()))).collect(),
            ..History::default()
        };
        let every = Duration::from_hours(1);
        assert_eq!(spaced(&on_target(&[(0, "failed")]), every, 1), Ok(()));
        let accepted = on_target(&[(5, "failed"), (0, "applied")]);
        assert!(spaced(&accepted, every, HOUR - 1).is_err());
        assert_eq!(spaced(&accepted, every, HOUR), Ok(()));
    }
}
