//! Cold anonymous memory of a process goes to swap: `process_madvise(MADV_PAGEOUT)` on mappings not touched lately.
//!
//! Sources: madvise(2), process_madvise(2), `Documentation/filesystems/proc.rst` (clear_refs, smaps).

use super::swapping::{Trial, room};
use super::{ActError, Action, Explanation, Plan, Refusal, Scene, Watch, intent};
use crate::host::hand::{Hand, HeldProcess};
use crate::host::proc::{self, Mapping};
use crate::host::{Host, HostError};
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// What one call advises, at most.
const CHUNK_BYTES: u64 = 16 << 20;
/// How long pages are watched to tell the touched from the cold.
const WATCH: Duration = Duration::from_secs(1);
/// A mapping of which more than this share was touched while it was watched is not cold.
const WARM_SHARE: f64 = 0.2;

/// Moves cold memory of the target's processes to swap.
pub struct Pageout;

#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    /// Number and start time of each process.
    processes: Vec<(u32, u64)>,
    bytes: u64,
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

    fn plan(&self, scene: &Scene<'_>) -> Result<Plan, Refusal> {
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
        Plan::new(Some(takable), &Intent { processes, bytes: scene.want_bytes.min(takable) })
    }

    fn execute(&self, plan: &Value, hand: &mut Hand, watch: &Watch<'_>) -> Result<String, ActError> {
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
        if let Some(why) = watch.sleep(WATCH) {
            return Ok(format!("moved nothing until {why}"));
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
