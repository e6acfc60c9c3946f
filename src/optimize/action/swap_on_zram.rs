//! Compressed swap in memory where there is none: it frees nothing by itself, and lets what follows move cold memory.

mod device;
mod signature;

use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, intent, options};
use crate::host::capability::{SYS_ADMIN, has};
use crate::host::hand::Hand;
use crate::host::{Host, may_read, may_write};
use crate::optimize::observe::Observation;
use crate::optimize::verify::{Effect, Verdict};
use bytesize::ByteSize;
use device::{control, make, swaps_on, take_away};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signature::{Uuid, uuid};
use std::io;
use std::time::Duration;

/// The device keeps about 16 bytes for each page of 4 KiB, from its first moment.
const TABLE_SHARE: u64 = 256;
/// The size is a multiple of this.
const ROUND_BYTES: u64 = 1 << 20;
/// The kernel's largest priority.
const PRIORITY_MAX: u16 = 0x7fff;

/// Makes a swap on zram.
pub struct SwapOnZram;

/// What a ladder may say about it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// Its size before compression, as a share of the machine's memory.
    size_ratio: f64,
    /// The compressor (`lz4`, `zstd`); the kernel's own choice if not given.
    algorithm: Option<String>,
    /// The swap's priority.
    priority: u16,
    /// The share of the machine's memory that must stay available.
    available_ratio_min: f64,
    /// How long it stays; without it, until somebody takes it away.
    #[serde(with = "humantime_serde")]
    lease: Option<Duration>,
    /// Take away what was made.
    undo: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            size_ratio: 0.25,
            algorithm: None,
            priority: 100,
            available_ratio_min: 0.02,
            lease: None,
            undo: false,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Intent {
    Make(Make),
    TakeAway { available_bytes_min: u64 },
}

/// The swap to be made.
#[derive(Debug, Serialize, Deserialize)]
struct Make {
    /// By this it is known again, whatever number its device has.
    uuid: Uuid,
    size_bytes: u64,
    algorithm: Option<String>,
    priority: u16,
    available_bytes_min: u64,
}

impl Action for SwapOnZram {
    fn name(&self) -> &'static str {
        "swap_on_zram"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "makes a compressed swap in memory (zram) where the machine has none, for the rungs that follow",
            cost: "processor time for each page that is moved and wanted again; memory that does not compress gains nothing there",
            capabilities: &["CAP_SYS_ADMIN"],
            needs: "the kernel's module zram, the right to write /sys/class/zram-control and /sys/block/zram*, which is root's, and no other swap",
            verified: "the machine's swap must have grown; it frees nothing by itself",
            undone: "by a rung of the same action with `undo: true`, or by its lease if it was given one; only where what it holds has room in memory. It stays otherwise, also after a crash",
        }
    }

    fn effect(&self) -> Effect {
        Effect::Brakes
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let o: Options = options(with)?;
        if !(o.size_ratio > 0.0 && o.size_ratio <= 2.0) {
            return Err("`size_ratio` is above 0 and at most 2".to_owned());
        }
        if !(0.0..=1.0).contains(&o.available_ratio_min) {
            return Err("`available_ratio_min` is from 0 to 1".to_owned());
        }
        if o.priority > PRIORITY_MAX {
            return Err(format!("`priority` is at most {PRIORITY_MAX}"));
        }
        let word = |a: &String| !a.is_empty() && a.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !o.algorithm.as_ref().is_none_or(word) {
            return Err("`algorithm` is a name, such as lz4".to_owned());
        }
        let alone = !o.undo || o.lease.is_none();
        if alone { Ok(()) } else { Err("`undo` has no lease".to_owned()) }
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let o: Options = options(scene.with).map_err(Refusal)?;
        let machine = &scene.before.machine;
        let available_bytes_min = share(machine.total_bytes, o.available_ratio_min);
        if o.undo {
            if machine.swap_total_bytes == 0 {
                return Err(Refusal("there is no swap to take away".into()));
            }
            return Plan::new(None, &Intent::TakeAway { available_bytes_min });
        }
        if machine.swap_total_bytes > 0 {
            return Err(Refusal("the machine has swap already".into()));
        }
        let size_bytes =
            share(machine.total_bytes, o.size_ratio).max(ROUND_BYTES) / ROUND_BYTES * ROUND_BYTES;
        if machine.available_bytes < available_bytes_min.saturating_add(size_bytes / TABLE_SHARE) {
            let left = ByteSize::b(machine.available_bytes).display().iec();
            return Err(Refusal(format!("only {left} are available, and the device itself takes some")));
        }
        let make = Make {
            uuid: uuid(scene.before.at_millis),
            size_bytes,
            algorithm: o.algorithm,
            priority: o.priority,
            available_bytes_min,
        };
        let plan = Plan::new(None, &Intent::Make(make))?;
        Ok(match o.lease {
            Some(lease) => plan.leased(lease),
            None => plan,
        })
    }

    fn permit(&self, plan: &Value, host: &Host) -> Result<(), Refusal> {
        let intent: Intent = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        if !has(host, SYS_ADMIN) {
            return Err(Refusal(format!("no {}, which swapping needs", SYS_ADMIN.name)));
        }
        let (add, remove) = (control(host, "hot_add"), control(host, "hot_remove"));
        for (path, may) in [(&add, may_read(&add)), (&remove, may_write(&remove))] {
            may.map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => {
                    Refusal(format!("there is no {}: `modprobe zram`", path.display()))
                }
                _ => Refusal(format!("no right to {}: {e}; it is root's", path.display())),
            })?;
        }
        if matches!(intent, Intent::Make(_)) && swaps_on(host, None) {
            return Err(Refusal("the machine has swap already".into()));
        }
        Ok(())
    }

    fn execute(&self, plan: &Value, _: &Target, hand: &mut Hand, _: &Watch<'_>) -> Result<String, ActError> {
        match intent(plan)? {
            Intent::Make(wanted) => {
                let name = make(hand, &wanted)?;
                let size = ByteSize::b(wanted.size_bytes).display().iec();
                Ok(format!("swaps on {name}, {size}"))
            }
            Intent::TakeAway { available_bytes_min } => {
                let gone = take_away(hand, None, available_bytes_min)?;
                Ok(if gone.is_empty() { "found none of its own".into() } else { took(&gone) })
            }
        }
    }

    fn verify(&self, before: &Observation, after: &Observation, _: u64) -> Verdict {
        let [was, is] = [before, after].map(|o| o.machine.swap_total_bytes);
        if was == is {
            return Verdict::NoGain { why: "the machine has as much swap as before".into() };
        }
        Verdict::Applied
    }

    /// All that is swapped out comes back into memory first.
    fn is_slow_to_undo(&self) -> bool {
        true
    }

    fn undo(&self, plan: &Value, hand: &mut Hand) -> Result<Option<String>, ActError> {
        let Intent::Make(made) = intent(plan)? else { return Ok(None) };
        let gone = take_away(hand, Some(&made.uuid), made.available_bytes_min)?;
        Ok((!gone.is_empty()).then(|| took(&gone)))
    }
}

fn took(names: &[String]) -> String {
    format!("took away {}", names.join(", "))
}

fn share(bytes: u64, ratio: f64) -> u64 {
    let part = bytes as f64 * ratio;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast keeps to the bounds, and a ratio is not negative"
    )]
    let part = part as u64;
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimize::action::scenes::Stage;
    use serde_json::json;

    const MIB: u64 = 1 << 20;

    fn stage(with: Value) -> Stage {
        Stage { with, ..Stage::group(2, 100 * MIB) }
    }

    #[test]
    fn its_size_is_a_share_of_memory_and_it_stays_unless_it_has_a_lease() {
        let plan = SwapOnZram.plan(&stage(Value::Null).scene()).unwrap();
        assert_eq!(plan.intent["make"]["size_bytes"], 2048 * MIB);
        assert_eq!((plan.lease, plan.expected_bytes), (None, None));
        let with = json!({"size_ratio": 0.1, "algorithm": "lz4", "priority": 5, "lease": "10m"});
        let plan = SwapOnZram.plan(&stage(with).scene()).unwrap();
        assert_eq!(plan.intent["make"]["size_bytes"], 819 * MIB);
        assert_eq!(plan.intent["make"]["algorithm"], "lz4");
        assert_eq!(plan.lease, Some(Duration::from_mins(10)));
    }

    #[test]
    fn it_is_refused_where_there_is_swap_or_too_little_memory_left() {
        let refused = |stage: &Stage| SwapOnZram.plan(&stage.scene()).unwrap_err().0;
        let mut full = stage(Value::Null);
        full.before.machine.swap_total_bytes = 1;
        assert!(refused(&full).contains("has swap already"), "though none of it is free");
        full.with = json!({"undo": true});
        assert!(SwapOnZram.plan(&full.scene()).unwrap().intent["take_away"].is_object());
        assert!(refused(&stage(json!({"undo": true}))).contains("no swap to take away"));
        let mut short = stage(Value::Null);
        // A fiftieth of 8 GiB, and 8 MiB for the device's table.
        short.before.machine.available_bytes = share(8192 * MIB, 0.02) + 8 * MIB - 1;
        assert!(refused(&short).contains("available"));
        short.before.machine.available_bytes += 1;
        assert!(SwapOnZram.plan(&short.scene()).is_ok());
    }

    #[test]
    fn its_options_have_limits() {
        assert_eq!(SwapOnZram.check(&json!({"size_ratio": 0.5, "priority": 32767})), Ok(()));
        for bad in [
            json!({"size_ratio": 0.0}),
            json!({"size_ratio": 2.5}),
            json!({"priority": 32768}),
            json!({"algorithm": "lz4\n"}),
            json!({"available_ratio_min": -0.1}),
            json!({"undo": true, "lease": "1m"}),
            json!({"size": 1}),
        ] {
            assert!(SwapOnZram.check(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn swap_that_came_or_went_is_what_counts() {
        let at = |mib| {
            let mut o = Observation::default();
            o.machine.swap_total_bytes = mib * MIB;
            o
        };
        assert_eq!(SwapOnZram.verify(&at(0), &at(500), MIB), Verdict::Applied);
        assert_eq!(SwapOnZram.verify(&at(500), &at(0), MIB), Verdict::Applied);
        assert_eq!(SwapOnZram.verify(&at(0), &at(0), MIB).as_str(), "no_gain");
    }
}
