//! What actions on the whole machine that seldom help have in common: tried once if somebody says so, and again only
//! where the record shows that they gained.

use super::{ActError, Plan, Refusal, Scene, Watch, options};
use crate::host::hand::Hand;
use crate::host::{Host, may_write};
use crate::optimize::observe::Observation;
use crate::optimize::verify::Verdict;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Between two of the same action.
const EVERY: Duration = Duration::from_hours(1);

/// What a ladder may say about it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Options {
    /// Do it though nobody knows yet whether it gains anything here.
    r#try: bool,
}

/// A number for a file below /proc/sys/vm.
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    file: String,
    number: u8,
}

pub(super) fn check(with: &Value) -> Result<(), String> {
    options::<Options>(with).map(|_| ())
}

/// A plan to write `number` into `/proc/sys/vm/FILE`, if the record speaks for it.
pub(super) fn plan(
    scene: &Scene<'_>,
    file: &str,
    number: u8,
    expected: Option<u64>,
) -> Result<Plan, Refusal> {
    let o: Options = options(scene.with).map_err(Refusal)?;
    let now = scene.before.at_millis;
    match (scene.history.last_at, scene.history.last_verdict.as_deref()) {
        (None, _) if !o.r#try => Err(Refusal(
            "it was never tried here; `with: {try: true}` on the ladder lets it show what it gains".into(),
        )),
        // A clock that was set back must not forbid it for long.
        (Some(at), _) if (0..EVERY.as_millis()).contains(&u128::try_from(now - at).unwrap_or(u128::MAX)) => {
            Err(Refusal("it was done within the last hour".into()))
        }
        (Some(_), verdict) if verdict != Some("freed") => Err(Refusal(format!(
            "it gained nothing when it was last done here ({})",
            verdict.unwrap_or("no outcome")
        ))),
        _ => Plan::new(expected, &Intent { file: file.to_owned(), number }),
    }
}

pub(super) fn permit(plan: &Value, host: &Host) -> Result<(), Refusal> {
    let intent: Intent = super::intent(plan).map_err(|e| Refusal(e.to_string()))?;
    let path = host.procfs.join("sys/vm").join(&intent.file);
    may_write(&path).map_err(|e| {
        Refusal(format!(
            "{} cannot be written: {e}; it takes the user root, and no capability does instead",
            path.display()
        ))
    })
}

pub(super) fn execute(plan: &Value, hand: &mut Hand, watch: &Watch<'_>) -> Result<String, ActError> {
    let intent: Intent = super::intent(plan)?;
    let path = hand.host().procfs.join("sys/vm").join(&intent.file);
    let failed = |e: &dyn std::fmt::Display| ActError::Failed(format!("{}: {e}", path.display()));
    let mut apart = hand
        .apart(&path)
        .map_err(|e| failed(&e))?
        .ok_or_else(|| failed(&"an earlier write has not returned"))?;
    let (file, text) = (path.clone(), intent.number.to_string());
    match apart.run(watch.left(), move |hand| hand.write(&file, &text)) {
        Some(Ok(())) => Ok(format!("wrote {} to {}", intent.number, path.display())),
        Some(Err(e)) => Err(failed(&e)),
        None => Ok(format!("{}: the write has not returned and is left to end by itself", path.display())),
    }
}

/// The gain is what the machine has more available, and not more than `shows`, which is what the action itself changes:
/// other programs give memory back too.
pub(super) fn verify(
    (before, after): (&Observation, &Observation),
    (shows, what): (u64, &str),
    min_gain_bytes: u64,
) -> Verdict {
    let rose = after.machine.reachable_bytes().saturating_sub(before.machine.reachable_bytes());
    let bytes = rose.min(shows);
    if bytes >= min_gain_bytes.max(1) {
        return Verdict::Freed { bytes };
    }
    let [shows, rose, counts] = [shows, rose, min_gain_bytes].map(|b| ByteSize::b(b).display().iec());
    Verdict::NoGain {
        why: format!("{what} {shows}, the machine has {rose} more available; {counts} would count"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenes::Stage;
    use super::super::{Action, compact_memory::CompactMemory, drop_caches::DropCaches};
    use super::*;
    use serde_json::json;

    const MIB: u64 = 1 << 20;

    fn stage(last: Option<(i64, Option<&str>)>, with: Value) -> Stage {
        let mut stage = Stage::group(2, 100 * MIB);
        stage.before.machine.cache_bytes = 300 * MIB;
        stage.with = with;
        stage.history.last_at = last.map(|(minutes, _)| stage.before.at_millis - minutes * 60_000);
        stage.history.last_verdict = last.and_then(|(_, v)| v).map(str::to_owned);
        stage
    }

    #[test]
    fn it_is_tried_once_if_somebody_says_so_and_then_only_where_it_gained_and_once_an_hour() {
        let says = |last, with| {
            let stage = stage(last, with);
            let of = |action: &dyn Action| action.plan(&stage.scene()).map(|_| ()).map_err(|e| e.0);
            assert_eq!(of(&DropCaches), of(&CompactMemory));
            of(&DropCaches).err().unwrap_or_default()
        };
        let (no, yes) = (|| Value::Null, || json!({"try": true}));
        assert!(says(None, no()).contains("never tried"));
        assert_eq!(says(None, yes()), "");
        assert!(says(Some((90, Some("no_gain"))), yes()).contains("gained nothing"));
        assert!(says(Some((90, Some("unknown"))), yes()).contains("gained nothing"));
        assert!(says(Some((90, None)), yes()).contains("no outcome"));
        assert_eq!(says(Some((90, Some("freed"))), no()), "");
        assert!(says(Some((59, Some("freed"))), yes()).contains("within the last hour"));
        assert_eq!(says(Some((-5, Some("freed"))), no()), "", "the clock was set back");
        assert!(DropCaches.check(&json!({"again": true})).is_err());
    }

    #[test]
    fn only_what_both_sides_show_is_a_gain() {
        let at = |cache, large, available| {
            let mut o = Observation::default();
            o.machine.cache_bytes = cache * MIB;
            o.machine.large_free_bytes = Some(large * MIB);
            o.machine.available_bytes = available * MIB;
            o
        };
        let before = at(3000, 10, 500);
        let dropped = |after| DropCaches.verify(&before, &after, 8 * MIB);
        // As measured: 2.9 GB of clean cache were available before as well.
        assert_eq!(dropped(at(100, 10, 507)).as_str(), "no_gain");
        assert_eq!(dropped(at(2900, 10, 900)), Verdict::Freed { bytes: 100 * MIB });
        assert_eq!(dropped(at(3000, 10, 900)).as_str(), "no_gain", "others' doing");
        let compacted = |after| CompactMemory.verify(&before, &after, 8 * MIB);
        assert_eq!(compacted(at(3000, 60, 900)), Verdict::Freed { bytes: 50 * MIB });
        assert_eq!(compacted(at(3000, 60, 500)).as_str(), "no_gain");
    }
}
