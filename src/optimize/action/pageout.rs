//! Cold anonymous memory of a process goes to swap: `process_madvise(MADV_PAGEOUT)` on mappings not touched lately.
//!
//! Sources: madvise(2), process_madvise(2), `Documentation/filesystems/proc.rst` (clear_refs, smaps).

use super::swapping::{Trial, room};
use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Target, Watch, intent, options};
use crate::host::capability::{SYS_NICE, SYS_PTRACE, has, same_user};
use crate::host::hand::{Hand, HeldProcess};
use crate::host::proc::{self, Mapping};
use crate::host::{Host, HostError};
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// What one call advises, at most.
const CHUNK_BYTES: u64 = 16 << 20;
/// The longest that a ladder may have pages watched.
const WATCH_MAX: Duration = Duration::from_secs(4);
/// A mapping of which more than this share was touched while it was watched is not cold.
const WARM_SHARE: f64 = 0.2;

/// Moves cold memory of the target's processes to swap.
pub struct Pageout;

/// What a ladder may say about it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    /// How long pages are watched to tell the touched from the cold.
    #[serde(with = "humantime_serde")]
    watch: Duration,
    /// Tell the kernel first which memory is cold (MADV_COLD), and move only what was not touched in another such time.
    cold_first: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { watch: Duration::from_secs(1), cold_first: false }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    /// Number and start time of each process.
    processes: Vec<(u32, u64)>,
    bytes: u64,
    #[serde(with = "humantime_serde")]
    watch: Duration,
    cold_first: bool,
}

impl Action for Pageout {
    fn name(&self) -> &'static str {
        "pageout"
    }

    fn explain(&self) -> Explanation {
        Explanation {
            what: "moves anonymous memory that is not in use to swap, by process_madvise(MADV_PAGEOUT)",
            cost: "what is wanted again comes back by major faults; a compressed swap costs processor time",
            capabilities: &["CAP_SYS_NICE", "CAP_SYS_PTRACE"],
            needs: "free swap that does not lie in the same memory, or that is seen to compress; CAP_SYS_PTRACE for other users' processes only",
            verified: "available memory must rise: resident size alone also falls where nothing is gained",
            undone: "not needed: pages come back when they are touched",
        }
    }

    fn check(&self, with: &Value) -> Result<(), String> {
        let watch = options::<Options>(with)?.watch;
        if watch.is_zero() || watch > WATCH_MAX {
            return Err(format!("`watch` is above 0 and at most {WATCH_MAX:?}"));
        }
        Ok(())
    }

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
        let Options { watch, cold_first } = options(scene.with).map_err(Refusal)?;
        let swap = scene.before.machine.swap_free_bytes;
        if swap == 0 {
            return Err(Refusal(
                "there is no free swap, without which the kernel does nothing and reports success".into(),
            ));
        }
        let mut members: Vec<_> =
            scene.members.iter().filter(|m| m.anon_bytes.is_some_and(|b| b > 0)).collect();
        members.sort_by_key(|m| std::cmp::Reverse(m.anon_bytes));
        let anon = members.iter().filter_map(|m| m.anon_bytes).fold(0_u64, u64::saturating_add);
        if anon == 0 {
            return Err(Refusal("the target's processes have no anonymous memory that is seen".into()));
        }
        let processes = members.iter().map(|m| (m.pid, m.start_ticks)).collect();
        let takable = anon.min(room(swap));
        let bytes = scene.want_bytes.min(takable);
        Plan::new(Some(takable), &Intent { processes, bytes, watch, cold_first })
    }

    fn permit(&self, plan: &Value, host: &Host) -> Result<(), Refusal> {
        let intent: Intent = intent(plan).map_err(|e| Refusal(e.to_string()))?;
        let others = intent.processes.iter().find(|(pid, _)| !same_user(host, *pid));
        if !has(host, SYS_NICE) {
            return Err(Refusal(format!("no {}, which moving other processes' memory needs", SYS_NICE.name)));
        }
        match others {
            Some((pid, _)) if !has(host, SYS_PTRACE) => {
                Err(Refusal(format!("process {pid} is another user's, and there is no {}", SYS_PTRACE.name)))
            }
            _ => Ok(()),
        }
    }

    fn execute(
        &self,
        plan: &Value,
        _: &Target,
        hand: &mut Hand,
        watch: &Watch<'_>,
    ) -> Result<String, ActError> {
        let intent: Intent = intent(plan)?;
        let progress = |moved: u64| {
            let [moved, asked] = [moved, intent.bytes].map(|b| ByteSize::b(b).display().iec());
            format!("{moved} of {asked}")
        };
        let mut held = Vec::new();
        for &(pid, start_ticks) in &intent.processes {
            let Some(process) = hand.hold(pid, start_ticks)? else { continue };
            match hand.clear_referenced(&process) {
                Ok(()) => {}
                Err(e) if has_ended(&e) => continue,
                Err(e) => return Err(refused(&process, "clear_refs", &e)),
            }
            let Some(stat) = proc::stat_of(hand.host(), pid)? else { continue };
            held.push(Held { process, start_ticks, resident_bytes: stat.resident_bytes });
        }
        if let Some(why) = watch.sleep(intent.watch) {
            return Ok(format!("moved nothing until {why}"));
        }
        if intent.cold_first
            && let Some(why) = cool(hand, &held, watch, intent.watch)?
        {
            return Ok(format!("made cold, and moved nothing until {why}"));
        }
        let trial = Trial::begin(hand.host())?;
        let mut moved = 0;
        for process in held.iter().map(|h| &h.process) {
            for range in chunks(&cold(hand.host(), process)?) {
                if moved >= intent.bytes {
                    return Ok(format!("moved {}", progress(moved)));
                }
                if let Some(why) = watch.end() {
                    return Ok(format!("moved {} until {why}", progress(moved)));
                }
                match hand.page_out(process, &[range]) {
                    Ok(_) => {}
                    Err(e) if has_ended(&e) => break,
                    // The process goes on while it is looked at: this part of it is not what it was a moment ago.
                    Err(e) if has_changed(&e) => continue,
                    Err(e) => return Err(refused(process, "process_madvise", &e)),
                }
                moved = moved_bytes(hand.host(), &held)?;
                if let Some(why) = trial.futile(hand.host())? {
                    return Ok(format!("moved {}; {why}", progress(moved)));
                }
            }
        }
        Ok(format!("moved {}: nothing else was cold", progress(moved)))
    }
}

/// Tells the kernel what is cold, and waits whether it stays so; why that ended early, if it did.
fn cool(
    hand: &mut Hand,
    held: &[Held],
    watch: &Watch<'_>,
    time: Duration,
) -> Result<Option<String>, ActError> {
    for process in held.iter().map(|h| &h.process) {
        let ranges: Vec<_> = cold(hand.host(), process)?.iter().map(|m| (m.start, m.end)).collect();
        for range in ranges {
            match hand.make_cold(process, &[range]) {
                Ok(_) => {}
                Err(e) if has_ended(&e) => break,
                Err(e) if has_changed(&e) => {}
                Err(e) => return Err(refused(process, "process_madvise", &e)),
            }
        }
    }
    Ok(watch.sleep(time))
}

/// A process, and what it held before.
struct Held {
    process: HeldProcess,
    start_ticks: u64,
    resident_bytes: u64,
}

/// By how much the processes shrank. One that ended was not moved anywhere.
fn moved_bytes(host: &Host, held: &[Held]) -> Result<u64, HostError> {
    let mut moved = 0_u64;
    for one in held {
        let stat = proc::stat_of(host, one.process.pid())?.filter(|s| s.start_ticks == one.start_ticks);
        moved += stat.map_or(0, |s| one.resident_bytes.saturating_sub(s.resident_bytes));
    }
    Ok(moved)
}

fn has_ended(e: &std::io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ESRCH | libc::ENOENT))
}

fn has_changed(e: &std::io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOMEM | libc::EINVAL | libc::EAGAIN | libc::EINTR))
}

fn refused(process: &HeldProcess, call: &str, e: &std::io::Error) -> ActError {
    let remedy = if e.raw_os_error() == Some(libc::EPERM) {
        "; it needs CAP_SYS_NICE, and CAP_SYS_PTRACE for another user's process"
    } else {
        ""
    };
    ActError::Failed(format!("{call} on process {}: {e}{remedy}", process.pid()))
}

/// The cold anonymous mappings of a process, coldest and largest first.
fn cold(host: &Host, process: &HeldProcess) -> Result<Vec<Mapping>, HostError> {
    let mut mappings = proc::smaps_of(host, process.pid())?.unwrap_or_default();
    mappings.retain(is_cold);
    mappings.sort_by_key(|m| (m.referenced_bytes, std::cmp::Reverse(m.anonymous_bytes)));
    Ok(mappings)
}

fn is_cold(m: &Mapping) -> bool {
    let private = m.perms.ends_with('p');
    let special = m.name.starts_with("[v") || ["lo", "ht", "io", "pf"].iter().any(|f| m.flags.has(f));
    private
        && !special
        && m.anonymous_bytes > 0
        && m.locked_bytes == 0
        && m.referenced_bytes as f64 <= m.rss_bytes as f64 * WARM_SHARE
}

fn chunks(mappings: &[Mapping]) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    for m in mappings {
        let mut start = m.start;
        while start < m.end {
            let end = m.end.min(start.saturating_add(CHUNK_BYTES));
            out.push((start, end));
            start = end;
        }
    }
    out
}
